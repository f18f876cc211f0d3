"""What the gold annotation allows at each token."""

import warnings
from typing import Iterable, List, Optional, Sequence, Set, Tuple

import numpy
import torch
from numpy import ndarray
from spacy.training import Example
from torch import Tensor

from ..errors import Errors, Warnings
from ..schemes import Scheme


def allowed_tags(example: Example, scheme: Scheme) -> Optional[ndarray]:
    """The tags that the reference allows at each token of the predicted document.

    A token whose annotation is missing, or whose gold span does not fall on the predicted tokens, allows every tag.

    example (Example): ValueError if the reference has a label that the scheme lacks.
    scheme (Scheme): The component's tags.
    RETURNS (Optional[ndarray]): True where allowed, shape (tokens, tags); None if the document has no entity annotation.
    """
    tags = example.get_aligned_ner()
    if all(tag is None for tag in tags):
        return None
    tags = _missing_spaces(example, tags)
    ids = [-1 if tag is None else scheme.index.get(name, -2) for tag, name in zip(tags, _translate(tags, scheme))]
    if -2 in ids:
        raise ValueError(_unknown_label(example, tags[ids.index(-2)] or "", scheme))
    allowed = numpy.eye(len(scheme.tags), dtype=bool)[ids]
    unknown = numpy.array(ids) == -1
    allowed[unknown] = True
    if scheme.name == "BIO":
        _end_spans(allowed, tags, scheme)
    return allowed


def _missing_spaces(example: Example, tags: List[Optional[str]]) -> List[Optional[str]]:
    """spaCy says that white space is outside of entities, also where the annotation around it is missing."""
    reference, rows = example.reference, example.alignment.x2y
    for token in example.predicted:
        if token.is_space and tags[token.i] == "O":
            aligned = [reference[int(j)] for j in rows[token.i]]
            if aligned and all(other.ent_iob == 0 for other in aligned):
                tags[token.i] = None
    return tags


def _translate(tags: List[Optional[str]], scheme: Scheme) -> List[str]:
    return scheme.from_biluo([tag or "O" for tag in tags])


def _end_spans(allowed: ndarray, tags: List[Optional[str]], scheme: Scheme) -> None:
    """In BIO nothing marks the last token of a span, so a missing tag behind it must not continue it."""
    for i, (tag, following) in enumerate(zip(tags, tags[1:])):
        if tag is not None and tag[0] in "LU" and following is None:
            allowed[i + 1, scheme.index[f"I-{tag[2:]}"]] = False


def _unknown_label(example: Example, tag: str, scheme: Scheme) -> str:
    text = example.reference.text
    return Errors.E203.format(label=tag[2:], text=text[:60] + ("..." if len(text) > 60 else ""), labels=list(scheme.labels))


def survey(examples: Iterable[Example], name: str) -> Set[str]:
    """Collect the labels of the training data, and count what of it cannot be learned.

    examples (Iterable[Example]): All training data.
    name (str): The component, for the warning about gold spans that do not fall on the predicted tokens.
    RETURNS (Set[str]): The labels.
    """
    labels: Set[str] = set()
    lost: List[str] = []
    count = 0
    for example in examples:
        ents = example.reference.ents
        labels.update(ent.label_ for ent in ents)
        count += len(ents)
        if ents and len(example.get_aligned_spans_y2x(ents)) < len(ents):
            kept = {(span.start_char, span.end_char) for span in example.get_aligned_spans_y2x(ents)}
            lost.extend(f"'{ent.text}' ({ent.label_})" for ent in ents if (ent.start_char, ent.end_char) not in kept)
    if lost:
        warnings.warn(Warnings.W201.format(name=name, lost=len(lost), count=count, some=", ".join(lost[:3])), stacklevel=3)
    return labels


def explain_bad_loss(name: str, losses: Tensor, examples: Sequence[Example], emissions: ndarray) -> str:
    """Say why a loss is not finite: the scores are not, or the scheme has no path for the annotation."""
    if not numpy.isfinite(emissions).all():
        return Errors.E210.format(name=name)
    example = examples[int(torch.nonzero(~torch.isfinite(losses))[0])]
    return Errors.E211.format(name=name, text=example.reference.text[:60], tags=example.get_aligned_ner()[:40])


def allowed_by_spans(
    spans: Sequence[Tuple[int, int, str]], length: int, scheme: Scheme, unknown: Iterable[int] = ()
) -> ndarray:
    """The tags that flat spans allow: those that spell them, and O elsewhere.

    spans (Sequence[Tuple[int, int, str]]): Start, end and label; their labels are the scheme's.
    length (int): Number of tokens.
    unknown (Iterable[int]): Tokens about which nothing is known; every tag is allowed there.
    RETURNS (ndarray): Shape (tokens, tags).
    """
    tags: List[Optional[str]] = list(Scheme("BILUO", scheme.labels).encode(spans, length))
    for i in unknown:
        tags[i] = None
    ids = [0 if tag is None else scheme.index[name] for tag, name in zip(tags, _translate(tags, scheme))]
    allowed = numpy.eye(len(scheme.tags), dtype=bool)[ids]
    allowed[[i for i, tag in enumerate(tags) if tag is None]] = True
    if scheme.name == "BIO":
        _end_spans(allowed, tags, scheme)
    return allowed
