"""python -m spacy ie view: what a pipeline finds in a text, or what a corpus says, as a page to look at."""

import itertools
import re
from pathlib import Path
from typing import Iterator, List, Optional, Union

import spacy
import typer
from spacy.language import Language
from spacy.tokens import Doc
from wasabi import msg

from ..data.build import META
from ..data.corpus import READERS, create_corpus_v1
from ..errors import Errors
from ..view.facts import ChoiceT, Options
from ..view.render import render_rows

NO_PIPELINE = "-"
WAYS = ("line", "paragraph", "file")


def view_cli(
    # fmt: off
    pipeline: str = typer.Argument(..., help="Trained pipeline: a folder or an installed package; - for none, with --gold"),
    data: Path = typer.Argument(..., help="A text file, or .jsonl or .spacy data", exists=True),
    output: Path = typer.Option(..., "--output", "-o", help="The HTML page to write"),
    limit: int = typer.Option(0, "--limit", "-n", help="Draw the first documents only; 0: all", min=0),
    gold: bool = typer.Option(
        False, "--gold", "-g", help="Draw the gold annotation of .jsonl or .spacy, beside the predictions"
    ),
    by: Optional[str] = typer.Option(
        None,
        "--by",
        help="What a document is in a text file: line, paragraph or file. "
        "Default: paragraph if there are empty lines, else line",
    ),
    style: str = typer.Option("arcs", "--style", "-s", help="arcs, or table for crowded documents"),
    entities: str = typer.Option("all", "--entities", help="Labels to show, with commas between them; all; none"),
    relations: str = typer.Option("all", "--relations", help="The same for relations"),
    events: str = typer.Option("all", "--events", help="The same for events"),
    min_score: float = typer.Option(0.0, "--min-score", help="Leave out what is less probable"),
    width: int = typer.Option(900, "--width", help="Of the text, in px"),
    event_arcs: bool = typer.Option(False, "--event-arcs", help="Draw arcs from triggers to arguments too"),
    # fmt: on
) -> None:
    """Draw entities, relations and events of documents as a page."""
    labels = [_choice(value) for value in (entities, relations, events)]
    options = Options(*labels, min_score=min_score, width=width, style=style, event_arcs=event_arcs)
    view(pipeline, data, output, limit=limit, gold=gold, by=by, options=options)


def view(
    pipeline: str,
    data: Path,
    output: Path,
    *,
    limit: int = 0,
    gold: bool = False,
    by: Optional[str] = None,
    options: Optional[Options] = None,
) -> int:
    """Draw documents and write the page.

    The arguments are those of the command; `options` holds those of `spacy_llm_ie.render`.
    RETURNS (int): How many documents were drawn. Raises ValueError (E177, E615, E616 and those of the reader and of
        `render`) for what cannot be read or drawn.
    """
    if pipeline == NO_PIPELINE and not (gold and _is_corpus(data)):
        raise ValueError(Errors.E615.format(path=data))
    if gold and not _is_corpus(data):
        raise ValueError(Errors.E617.format(path=data))
    nlp = spacy.blank("en") if pipeline == NO_PIPELINE else spacy.load(pipeline)
    if _is_corpus(data):
        rows = list(_corpus_rows(nlp, data, limit, gold, predict=pipeline != NO_PIPELINE))
    else:
        texts = itertools.islice(read_texts(data, by), limit or None)
        rows = [[_titled(doc, str(number))] for number, doc in enumerate(nlp.pipe(texts), 1)]
    if not rows:
        raise ValueError(Errors.E177.format(path=data, output=output))
    page = render_rows(rows, options or Options(), page=True)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(page, encoding="utf8")
    msg.good(f"{len(rows)} document(s): {output}")
    return len(rows)


def read_texts(path: Path, by: Optional[str] = None) -> Iterator[str]:
    """The documents of a text file.

    path (Path): A file in UTF-8.
    by (Optional[str]): "line", "paragraph" (between empty lines) or "file"; None: paragraphs if there are empty lines
        between texts, else lines.
    YIELDS (str): Texts that are not empty, in order. Raises ValueError (E174, E616) if the file is no text in UTF-8, or
        for another `by`.
    """
    if by is not None and by not in WAYS:
        raise ValueError(Errors.E616.format(value=by, known=", ".join(WAYS)))
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(Errors.E174.format(path=path, expected="text in UTF-8", problem=error)) from None
    paragraphs = re.split(r"\n[^\S\n]*\n", text.strip())
    if by is None:
        by = "paragraph" if len(paragraphs) > 1 else "line"
    parts = {"line": text.split("\n"), "paragraph": paragraphs, "file": [text]}[by]
    yield from (part.strip() for part in parts if part.strip())


def _is_corpus(path: Path) -> bool:
    return path.is_dir() or path.suffix in READERS


def _corpus_rows(nlp: Language, path: Path, limit: int, gold: bool, predict: bool) -> Iterator[List[Doc]]:
    """For each document, gold, or predictions, or both."""
    examples = list(create_corpus_v1(path, limit=limit)(nlp))
    found = nlp.pipe([example.predicted for example in examples]) if predict else itertools.repeat(None)
    for number, (example, doc) in enumerate(zip(examples, found), 1):
        meta = example.reference.user_data.get(META)
        name = str(meta["id"]) if isinstance(meta, dict) and "id" in meta else str(number)
        row = [_titled(example.reference, f"{name} · gold")] if gold else []
        if doc is not None:
            row.append(_titled(doc, f"{name} · predicted"))
        yield row


def _titled(doc: Doc, title: str) -> Doc:
    doc.user_data["title"] = title
    return doc


def _choice(value: str) -> ChoiceT:
    """The labels of an option of the command."""
    known: dict[str, Union[bool, List[str]]] = {"all": True, "none": False}
    return known.get(value, [label.strip() for label in value.split(",")])
