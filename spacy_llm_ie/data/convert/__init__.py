"""Converters, one file a format. Each is a function of a path, a pipeline and a collector of problems.

A new format is a function with the signature `(path, nlp, problems, *, options) -> Iterator[Doc]` and a row
in FORMATS.
"""

import difflib
import inspect
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, NamedTuple, Sequence, Tuple, Union

from spacy.language import Language
from spacy.tokens import Doc

from ...errors import Errors
from ..files import find_files
from ..problems import Problems
from .conll import read_conll
from .doccano import read_doccano
from .labelstudio import read_labelstudio
from .ours import read_ours, read_spacy
from .prodigy import read_prodigy

__all__ = ["FORMATS", "Format", "convert_files", "get_format"]


class Format(NamedTuple):
    """A format that can be read.

    read (Callable[..., Iterator[Doc]]): Reads one file: `(path, nlp, problems, *, options)`.
    endings (Tuple[str, ...]): How its files end, to find them in a folder.
    help (str): What it is, in a few words.
    """

    read: Callable[..., Iterator[Doc]]
    endings: Tuple[str, ...]
    help: str

    @property
    def options(self) -> Dict[str, Any]:
        """RETURNS (Dict[str, Any]): The options of the format, with their defaults."""
        parameters = inspect.signature(self.read).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


FORMATS: Dict[str, Format] = {
    "conll": Format(
        read_conll,
        (".conll", ".tsv", ".txt", ".bio", ".iob", ".iob2", ".ner", ".bioes", ".annotated"),
        "one token a line, tags in a column",
    ),
    "doccano": Format(read_doccano, (".jsonl",), "JSONL export of doccano"),
    "jsonl": Format(read_ours, (".jsonl",), "JSONL of spacy-llm-ie"),
    "labelstudio": Format(read_labelstudio, (".json",), "JSON export of Label Studio"),
    "prodigy": Format(read_prodigy, (".jsonl",), "JSONL of prodigy db-out"),
    "spacy": Format(read_spacy, (".spacy",), "DocBin of spaCy"),
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
    files = find_files(path, format_.endings, skip=skip, any_ending=True, problems=problems)
    return (doc for file_ in files for doc in format_.read(file_, nlp, problems, **options))
