"""Where entity probabilities live on a Doc: plain numbers in user data, read through `span._.score`."""

import warnings
from typing import Dict, Iterable, List, Optional, Tuple

from spacy.tokens import Doc, Span

from ..errors import Warnings

# spaCy moves user data under keys ("._.", name, first character, end) along with `span.as_doc()` and `Doc.from_docs()`.
NAME = "ie_score"
KeyT = Tuple[str, str, int, int]


def install_extensions() -> None:
    """Register `span._.score`, once. If somebody else has registered it, theirs stays, and a warning says so."""
    if not Span.has_extension("score"):
        Span.set_extension("score", getter=get_score)
    elif Span.get_extension("score")[2] is not get_score:
        warnings.warn(Warnings.W202, stacklevel=3)


def get_score(span: Span) -> Optional[float]:
    """The probability that exactly this labelled span is an entity, as the component that set it computed it.

    It is found by characters and label, so that it survives merging of tokens; `doc.copy`, `to_bytes`, `to_disk`, pickle,
    `nlp.pipe(n_process=2)`, `DocBin(store_user_data=True)`, `span.as_doc(copy_user_data=True)` and `Doc.from_docs` keep it.

    span (Span): Any span.
    RETURNS (Optional[float]): In [0, 1]; None for a span that no component has scored.
    """
    return span.doc.user_data.get(_key(span), {}).get(span.label_)


def is_score_key(key: object) -> bool:
    """Whether a key of `doc.user_data` holds scores."""
    return isinstance(key, tuple) and key[:2] == ("._.", NAME)


def set_scores(doc: Doc, spans: Iterable[Tuple[Span, float]], labels: Iterable[str]) -> None:
    """Replace the scores of a component's entities; those of labels that belong to others stay.

    doc (Doc): Modified in place.
    spans (Iterable[Tuple[Span, float]]): Entities with their probabilities.
    labels (Iterable[str]): The labels of the component.
    """
    owned = set(labels)
    table: Dict[KeyT, Dict[str, float]] = {}
    keys: List[KeyT] = [key for key in doc.user_data if is_score_key(key)]
    for key in keys:
        table[key] = {label: score for label, score in doc.user_data.pop(key).items() if label not in owned}
    for span, score in spans:
        table.setdefault(_key(span), {})[span.label_] = float(score)
    doc.user_data.update({key: scores for key, scores in table.items() if scores})


def _key(span: Span) -> KeyT:
    return ("._.", NAME, span.start_char, span.end_char)
