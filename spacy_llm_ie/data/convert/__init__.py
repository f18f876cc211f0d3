"""Converters, one file a format. Each is a function of a path, a pipeline and a collector of problems.

A new format is a function with the signature `(path, nlp, problems, *, options) -> Iterator[Doc]` and a row
in FORMATS.
"""

import difflib
import inspect
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Sequence, Tuple, Union

from spacy.language import Language
from spacy.tokens import Doc

from ...errors import Errors
from ..files import find_files
from ..problems import Problems
from .ace import read_ace
from .brat import read_brat
from .conll import read_conll
from .doccano import read_doccano
from .dygie import read_dygie
from .fewfc import read_fewfc
from .jmee import read_jmee
from .labelstudio import read_labelstudio
from .oneie import read_oneie
from .ours import read_ours, read_spacy
from .phee import read_phee
from .prodigy import read_prodigy
from .semeval import read_semeval
from .spert import read_spert

__all__ = ["FORMATS", "Format", "convert_files", "get_format"]


class Format(NamedTuple):
    """A format that can be read.

    read (Callable[..., Iterator[Doc]]): Reads one file: `(path, nlp, problems, *, options)`.
    endings (Tuple[str, ...]): How its files end, to find them in a folder.
    help (str): What it is, in a few words.
    beside (str): Ending of the files that belong to them, one to each, which are not read on their own.
    """

    read: Callable[..., Iterator[Doc]]
    endings: Tuple[str, ...]
    help: str
    beside: str = ""

    @property
    def options(self) -> Dict[str, Any]:
        """RETURNS (Dict[str, Any]): The options of the format, with their defaults."""
        parameters = inspect.signature(self.read).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


FORMATS: Dict[str, Format] = {
    "ace": Format(read_ace, (".apf.xml",), "ACE 2005 of the LDC, .apf.xml and .sgm", ".sgm"),
    "brat": Format(read_brat, (".ann",), "brat standoff, .ann and .txt", ".txt"),
    "conll": Format(
        read_conll,
        (".conll", ".tsv", ".txt", ".bio", ".iob", ".iob2", ".ner", ".bioes", ".annotated"),
        "one token a line, tags in a column",
    ),
    "doccano": Format(read_doccano, (".jsonl",), "JSONL export of doccano"),
    "dygie": Format(read_dygie, (".jsonl", ".json"), "JSONL of DyGIE++ and SciERC"),
    "fewfc": Format(read_fewfc, (".json", ".jsonl"), "JSONL of FewFC"),
    "jmee": Format(read_jmee, (".json",), "JSON list of JMEE"),
    "jsonl": Format(read_ours, (".jsonl",), "JSONL of spacy-llm-ie"),
    "labelstudio": Format(read_labelstudio, (".json",), "JSON export of Label Studio"),
    "oneie": Format(read_oneie, (".json", ".jsonl"), "JSONL of OneIE and TextEE"),
    "phee": Format(read_phee, (".json", ".jsonl"), "JSONL of PHEE"),
    "prodigy": Format(read_prodigy, (".jsonl",), "JSONL of prodigy db-out"),
    "semeval2010-task8": Format(read_semeval, (".TXT", ".txt"), "SemEval-2010 Task 8"),
    "spacy": Format(read_spacy, (".spacy",), "DocBin of spaCy"),
    "spert": Format(read_spert, (".json",), "JSON list of SpERT, as CoNLL04"),
}


def get_format(name: str) -> Format:
    """Look up a format.

    name (str): A key of FORMATS.
    RETURNS (Format): The format. Raises ValueError (E168) if there is none of this name.
    """
    if name not in FORMATS:
        close = difflib.get_close_matches(name.lower(), FORMATS, 1)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        raise ValueError(Errors.E168.format(name=name, known=", ".join(FORMATS), hint=hint))
    return FORMATS[name]


def convert_files(
    name: str,
    path: Union[str, Path],
    nlp: Language,
    problems: Problems,
    *,
    skip: Sequence[Path] = (),
    **options: Any,
) -> Iterator[Doc]:
    """Read a file, or all files of a folder, in some format.

    name (str): A key of FORMATS.
    path (Union[str, Path]): A file with any ending, or a folder, of which the files with the endings of the
        format are read.
    nlp (Language): Tokenizer and vocabulary; a blank pipeline is enough.
    problems (Problems): Takes in what does not fit.
    skip (Sequence[Path]): Files that are not to be read.
    **options: Those of the format.
    YIELDS (Doc): The documents, in the order of the names of the files. Raises ValueError (E165, E166, E168,
        E169, and those of the format).
    """
    format_ = get_format(name)
    for option in options:
        if option not in format_.options:
            known = ", ".join(format_.options) or "none"
            raise ValueError(Errors.E169.format(name=name, option=option, known=known))
    skip = [*skip, *_beside(Path(path), format_)]
    files = find_files(path, format_.endings, skip=skip, any_ending=True, problems=problems)
    return (doc for file_ in files for doc in format_.read(file_, nlp, problems, **options))


def _beside(path: Path, format_: Format) -> List[Path]:
    """The files of a folder that belong to one that is read."""
    if not format_.beside or not path.is_dir():
        return []
    names = [(file_, ending) for ending in format_.endings for file_ in path.rglob(f"*{ending}")]
    return [file_.with_name(file_.name.removesuffix(ending) + format_.beside) for file_, ending in names]
