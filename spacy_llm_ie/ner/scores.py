"""Where entity probabilities live on a Doc: plain numbers in user data, read through `span._.score`."""

from typing import Dict, Iterable, Optional, Tuple

from spacy.tokens import Doc, Span

SCORES_KEY = "ie_scores"


def install_extensions() -> None:
    """Register `span._.score`, once."""
    if not Span.has_extension("score"):
        Span.set_extension("score", getter=get_score)


def get_score(span: Span) -> Optional[float]:
    """The probability that exactly this labelled span is an entity, as the component that set it computed it.

    It is found by characters and label, so that it survives merging of tokens; `doc.copy`, `to_bytes`, `to_disk`,
    `nlp.pipe(n_process=2)` and `DocBin(store_user_data=True)` keep it.

    RETURNS (Optional[float]): In [0, 1]; None for a span that no component has scored.
    """
    scores = span.doc.user_data.get(SCORES_KEY)
    return None if scores is None else scores.get(_key(span))


def _key(span: Span) -> str:
    """Characters and label as one string: spaCy's serialisation turns tuples in values into lists."""
    return f"{span.start_char}:{span.end_char}:{span.label_}"


def set_scores(doc: Doc, spans: Iterable[Tuple[Span, float]], labels: Iterable[str]) -> None:
    """Replace the scores of a component's entities; those of labels that belong to others stay.

    doc (Doc): Modified in place.
    spans (Iterable[Tuple[Span, float]]): Entities with their probabilities.
    labels (Iterable[str]): The labels of the component.
    """
    owned = set(labels)
    old: Dict[str, float] = doc.user_data.get(SCORES_KEY) or {}
    scores = {key: value for key, value in old.items() if key.split(":", 2)[2] not in owned}
    scores.update((_key(span), float(score)) for span, score in spans)
    doc.user_data[SCORES_KEY] = scores
