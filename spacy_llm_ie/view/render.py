"""Entities, relations and events of documents as a picture: `spacy_llm_ie.render`."""

from typing import Any, Iterable, List, Mapping, Optional, Sequence, Union

from spacy.tokens import Doc

from ..errors import Errors
from .facts import ChoiceT, Options, collect, line_palette
from .page import fragment, whole_page

STYLES = ("arcs", "table")
LEAST = 240


class Picture(str):
    """HTML as a string that a notebook shows as the picture it is.

    It can be written to a file, sent, or joined like any other string.
    """

    def _repr_html_(self) -> str:
        return str(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(f"<picture of {self.count('<figure ')} document(s), {len(self):,} characters of HTML>")


def render(
    docs: Union[Doc, Iterable[Doc]],
    *,
    style: str = "arcs",
    entities: ChoiceT = True,
    relations: ChoiceT = True,
    events: ChoiceT = True,
    spans: ChoiceT = False,
    min_score: float = 0.0,
    width: int = 900,
    event_arcs: bool = False,
    colors: Optional[Mapping[str, str]] = None,
    page: bool = False,
) -> Picture:
    """Draw the entities, relations and events of documents.

    The picture is HTML with inline SVG and CSS: no script, nothing from elsewhere, for light and dark grounds. As the
    last line of a notebook's cell it shows itself; elsewhere it is a string. Scores appear when the mouse rests on a box
    or an arc, and in the cards of events. `doc.user_data["title"]` becomes the heading, as in displaCy.

    docs (Union[Doc, Iterable[Doc]]): One document or several, not modified.
    style (str): "arcs" draws relations as arcs above the text; "table" lists them below it, for crowded documents.
    entities (ChoiceT): True for all, False for none, else the label or labels to show. Spans that a shown relation or
        event needs are drawn in any case, without a label.
    relations (ChoiceT): The same for relations.
    events (ChoiceT): The same for events.
    spans (ChoiceT): Keys of `doc.spans` whose spans are drawn too; they may overlap. True for all but our own.
    min_score (float): Leave out entities, relations, events and arguments with a lower score.
    width (int): Of the text, px.
    event_arcs (bool): Also draw an arc, dashed, from each trigger to each of its arguments.
    colors (Optional[Mapping[str, str]]): CSS colours by label, before those in the registry `displacy_colors`.
    page (bool): Return a whole page instead of an element to put into one.
    RETURNS (Picture): The HTML, a str; as XML it is well-formed too. Raises ValueError (E610-E614) for what cannot be
        drawn.
    """
    found = [docs] if isinstance(docs, Doc) else _listed(docs)
    return render_rows(
        [[doc] for doc in found],
        page=page,
        options=Options(entities, relations, events, spans, min_score, width, style, event_arcs, dict(colors or {})),
    )


def render_rows(rows: Iterable[Sequence[Doc]], options: Options, page: bool = False) -> Picture:
    """Draw rows of documents, such as gold and predictions, side by side where the window is wide enough.

    rows (Iterable[Sequence[Doc]]): The documents.
    options (Options): As the arguments of `render`.
    page (bool): Return a whole page.
    RETURNS (Picture): The HTML. Raises ValueError as `render` does.
    """
    if options.style not in STYLES:
        raise ValueError(Errors.E611.format(style=options.style, known=", ".join(STYLES)))
    if isinstance(options.width, bool) or not isinstance(options.width, int) or options.width < LEAST:
        raise ValueError(Errors.E612.format(found=repr(options.width), least=LEAST))
    if isinstance(options.min_score, (bool, str)) or not 0 <= options.min_score <= 1:
        raise ValueError(Errors.E613.format(found=repr(options.min_score)))
    checked = [[_checked(doc) for doc in row] for row in rows]
    palette = line_palette((doc for row in checked for doc in row), options)
    scenes = [[collect(doc, options, palette) for doc in row] for row in checked]
    html = fragment(scenes, options)
    title = next((scene.title for row in scenes for scene in row if scene.title), "Entities, relations and events")
    return Picture(whole_page(html, title) if page else html)


def _listed(docs: Any) -> List[Any]:
    if isinstance(docs, (str, bytes, dict)) or not isinstance(docs, Iterable):
        raise ValueError(Errors.E610.format(found=type(docs).__name__))
    return list(docs)


def _checked(doc: Any) -> Doc:
    if not isinstance(doc, Doc):
        raise ValueError(Errors.E610.format(found=type(doc).__name__))
    return doc
