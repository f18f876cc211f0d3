"""python -m spacy ie convert: corpora in many formats to .spacy and .jsonl files, and to brat."""

import shutil
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Optional, Tuple

import spacy
import typer
from spacy.cli._util import Arg, Opt
from spacy.tokens import Doc, DocBin
from tqdm import tqdm
from wasabi import Printer
from wasabi.util import locale_escape

from ..annotations import ENTITIES, EVENTS, RELATIONS
from ..data.brat import write_brat
from ..data.build import META, TOKENS
from ..data.convert import FORMATS, convert_files
from ..data.counts import Counts
from ..data.jsonl import doc_to_record, write_jsonl
from ..data.problems import Problems
from ..errors import Errors
from ..ner.scores import is_score_key

ENDINGS = (".spacy", ".jsonl", "")
OTHER_ATTRS = ("TAG", "POS", "MORPH", "LEMMA", "DEP")
_FORMATS = "; ".join(f"{name}: {format_.help}" for name, format_ in FORMATS.items())


def convert_cli(
    # fmt: off
    format_name: str = Arg(..., metavar="FORMAT", help=f"Format of the input ({_FORMATS})"),
    input_path: Path = Arg(..., metavar="INPUT", help="File, or folder with files of this format"),  # noqa: B008
    output_path: Path = Arg(..., metavar="OUTPUT", help="File to write, ending in .spacy or .jsonl; a folder, for brat"),  # noqa: B008
    lang: str = Opt("en", "--lang", "-l", help="Language: its tokenizer is used where the input has no tokens"),
    strict: bool = Opt(False, "--strict", "-S", help="Write nothing and exit 1 if there was any problem"),
    column: Optional[int] = Opt(None, "--column", "-c", help="conll: column of the tags, from 2; -1 (default) = last"),
    scheme: Optional[str] = Opt(None, "--scheme", "-s", help="conll: auto (default), iob1, iob2, bioes, bmes, bilou"),
    merge: bool = Opt(False, "--merge", "-m", help="conll: one document from one -DOCSTART- line to the next"),
    n_sents: Optional[int] = Opt(None, "--n-sents", "-n", help="conll: sentences in a document (default 1)"),
    strip_position: bool = Opt(False, "--strip-position", help="conll: take the last character off each word (Weibo)"),
    no_spaces: bool = Opt(False, "--no-spaces", help="conll: no spaces between tokens (Chinese, Japanese, Thai)"),
    comment: Optional[str] = Opt(None, "--comment", help="conll: leave out lines that begin so (default: none)"),
    text_key: Optional[str] = Opt(None, "--text-key", help="labelstudio: key of the text in 'data'"),
    main_arguments: bool = Opt(False, "--main-arguments", help="phee: leave out the parts of arguments"),
    only_entities: bool = Opt(False, "--only-entities", help="ace: leave out values and times"),
    # fmt: on
) -> None:
    """Convert annotated text into a file that training can read.

    Prints what was read, and what was skipped, repaired or left out, and why.
    """
    msg = Printer()
    given = {"column": column, "scheme": scheme, "n_sents": n_sents, "comment": comment, "text_key": text_key}
    flags = {"merge": merge, "strip_position": strip_position, "no_spaces": no_spaces}
    flags.update({"main_arguments": main_arguments, "only_entities": only_entities})
    options: Dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    options.update({key: True for key, value in flags.items() if value})
    counts, problems = convert(format_name, input_path, output_path, lang=lang, strict=strict, silent=False, **options)
    show_summary(msg, counts, problems)
    if strict and problems.total:
        msg.fail(f"{problems.total} problem(s), and --strict was given: {output_path} was not written", exits=1)
    msg.good(f"{output_path}: {counts.documents:,} document(s)")


def convert(
    format_name: str,
    input_path: Path,
    output_path: Path,
    *,
    lang: str = "en",
    strict: bool = False,
    silent: bool = True,
    **options: Any,
) -> Tuple[Counts, Problems]:
    """Convert a file or a folder.

    format_name (str): A key of `spacy_llm_ie.data.convert.FORMATS`.
    input_path (Path): A file, or a folder of files in this format.
    output_path (Path): The file to write, ending in .spacy or .jsonl; without an ending, a new folder of brat
        files. It appears once everything went well.
    lang (str): Code of a language of spaCy.
    strict (bool): Write nothing if there was a problem.
    silent (bool): Show no progress bar. It is never shown where the output is no terminal.
    **options: Those of the format.
    RETURNS (Tuple[Counts, Problems]): What was read, and what did not fit. Raises ValueError (E165-E180 and
        those of the format) if the input or the output cannot be used.
    """
    input_path, output_path = Path(input_path), Path(output_path)
    _check_output(input_path, output_path)
    counts, problems = Counts(), Problems()
    nlp = spacy.blank(lang)
    docs = convert_files(format_name, input_path, nlp, problems, skip=_files(output_path), **options)
    bar = tqdm(docs, unit=" docs", leave=False, disable=True if silent else None)
    part = _make_part(output_path)
    try:
        _write(part, output_path.suffix, _counted(bar, counts), problems)
        if not counts.documents:
            raise ValueError(Errors.E177.format(path=input_path, output=output_path))
        if not (strict and problems.total):
            part.replace(output_path)
    finally:
        _remove(part)
    return counts, problems


def _check_output(input_path: Path, output_path: Path) -> None:
    if output_path.suffix not in ENDINGS:
        raise ValueError(Errors.E175.format(path=output_path))
    if output_path.exists() and input_path.exists() and output_path.samefile(input_path):
        raise ValueError(Errors.E176.format(path=output_path))
    if not output_path.suffix and output_path.exists():
        raise ValueError(Errors.E180.format(path=output_path))


def _make_part(output_path: Path) -> Path:
    """RETURNS (Path): Where to write until everything went well; for brat, a new folder."""
    part = output_path.with_name(output_path.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    if not output_path.suffix:
        part.mkdir()
    return part


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def show_summary(msg: Printer, counts: Counts, problems: Problems) -> None:
    """Print what was read and what did not fit.

    msg (Printer): Prints.
    counts (Counts): What was read.
    problems (Problems): What did not fit.
    """
    msg.table(_rows(counts), aligns=("l", "r"), spacing=2)
    if problems.kinds(notes=True):
        msg.info("Notes")
        typer.echo(locale_escape(problems.render(notes=True)))
    if problems.total:
        msg.warn(f"{problems.total} problem(s)")
        typer.echo(locale_escape(problems.render()))


def _rows(counts: Counts) -> List[Tuple[str, str]]:
    sentences = f"{counts.sentences:,}"
    if counts.with_sentences < counts.documents:
        known = f"{counts.sentences:,} in {counts.with_sentences:,} document(s)"
        sentences = known if counts.with_sentences else "not known"
    rows = [
        ("documents", f"{counts.documents:,}"),
        ("sentences", sentences),
        ("tokens", f"{counts.tokens:,}"),
    ]
    for layer, found in counts.by_layer().items():
        rows.append((layer, f"{found.total():,}"))
        rows += [(f"  {label}", f"{count:,}") for label, count in sorted(found.items())]
        if counts.annotated[layer] < counts.documents:
            rows.append(("  not annotated with them", f"{counts.documents - counts.annotated[layer]:,} document(s)"))
        if layer == "events":
            rows.append(("arguments", f"{counts.arguments:,}"))
    return rows


def _counted(docs: Iterable[Doc], counts: Counts) -> Iterator[Doc]:
    for doc in docs:
        counts.add(doc)
        yield doc


def _files(output_path: Path) -> List[Path]:
    return [output_path, output_path.with_name(output_path.name + ".part")]


def _write(path: Path, ending: str, docs: Iterable[Doc], problems: Problems) -> None:
    if ending == ".spacy":
        docbin = DocBin(store_user_data=True)
        for doc in docs:
            docbin.add(doc)
        docbin.to_disk(path)
    elif not ending:
        write_brat(path, _checked(docs, problems, "not_in_brat"), problems)
    else:
        write_jsonl(path, map(doc_to_record, _checked(docs, problems, "not_written")))


def _checked(docs: Iterable[Doc], problems: Problems, kind: str) -> Iterator[Doc]:
    """Count what neither JSONL nor brat holds."""
    for number, doc in enumerate(docs, 1):
        unwritten = [attr for attr in OTHER_ATTRS if len(doc) and doc.has_annotation(attr)]
        unwritten += ["cats"] if doc.cats else []
        unwritten += [f"spans[{key!r}]" for key in doc.spans if key not in (ENTITIES, RELATIONS, EVENTS)]
        other = [key for key in doc.user_data if key not in (META, TOKENS) and not is_score_key(key)]
        unwritten += [f"user_data[{key!r}]" for key in other]
        if unwritten:
            problems.add(kind, f"document {number}", ", ".join(unwritten))
        yield doc
