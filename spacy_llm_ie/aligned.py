"""Where gold spans lie on the tokens of the predicted document."""

from typing import Iterable, List, Optional, Tuple

from spacy.tokens import Span
from spacy.training import Example

PlaceT = Tuple[int, int]


def predicted_places(example: Example, spans: Iterable[Span]) -> List[Optional[PlaceT]]:
    """Find spans of the reference in the predicted document.

    example (Example): The example; its documents may be tokenized differently.
    spans (Iterable[Span]): Spans of `example.reference`; they may overlap.
    RETURNS (List[Optional[Tuple[int, int]]]): First token and end, one for each span in order; None where a border of the span
        is no border of a token.
    """
    spans = list(spans)
    if not spans:
        return []
    forth, back = example.alignment.y2x, example.alignment.x2y
    return [_place(forth, back, span.start, span.end) for span in spans]


def _place(forth: object, back: object, start: int, end: int) -> Optional[PlaceT]:
    tokens = forth[start:end]
    if not len(tokens):
        return None
    first, stop = int(tokens[0]), int(tokens[-1]) + 1
    returned = back[first:stop]
    return (first, stop) if len(returned) and (returned[0], returned[-1]) == (start, end - 1) else None
