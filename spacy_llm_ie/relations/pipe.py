"""The component `ie_relations`: labels pairs of entities, writes doc._.relations."""

from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Set, Tuple

import numpy
from numpy import ndarray
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.vocab import Vocab
from thinc.api import Config

from ..aligned import predicted_places
from ..annotations import Relation, get_relations, is_annotated, set_relations
from ..pairs.candidates import Candidates, PairGeneratorT, SpanT
from ..pairs.labels import GoldPairs, SchemaT
from ..pairs.model import PairModelT
from ..pairs.pipe import FoundPair, PairPipe
from ..types import ScorerT

DEFAULT_CONFIG = Config().from_str("""
[ie_relations]
spans_key = null
threshold = null
thresholds = {}
schema = {}
label_filter = true
symmetric = []
train_on = "gold"
none_weight = 1.0
max_pairs = 100000
learn_rate_factor = 1.0
loss_weight = 1.0

[ie_relations.candidates]
@misc = "spacy-llm-ie.near_pairs.v1"
max_distance = 100
max_sentences = null

[ie_relations.model]
@architectures = "spacy-llm-ie.PairClassifier.v1"
hidden_size = 128
label_size = 32
context_size = 12
distance_size = 32
biaffine = false
dropout = null

[ie_relations.model.tok2vec]
@architectures = "spacy.HashEmbedCNN.v2"
pretrained_vectors = null
width = 96
depth = 4
embed_size = 2000
window_size = 1
maxout_pieces = 3
subword_features = true

[ie_relations.scorer]
@scorers = "spacy-llm-ie.relation_scorer.v1"
""")


@Language.factory(
    "ie_relations",
    assigns=["doc._.relations"],
    requires=["doc.ents"],
    default_config=DEFAULT_CONFIG["ie_relations"],
    default_score_weights={
        "rels_micro_f": 1.0,
        "rels_micro_p": 0.0,
        "rels_micro_r": 0.0,
        "rels_macro_f": None,
        "rels_boundary_f": None,
        "rels_candidate_recall": None,
        "rels_per_type": None,
    },
)
def make_relations(
    nlp: Language,
    name: str,
    model: PairModelT,
    candidates: Callable,
    spans_key: Optional[str],
    threshold: Optional[float],
    thresholds: Dict[str, float],
    schema: Dict[str, List[List[str]]],
    label_filter: bool,
    symmetric: List[str],
    train_on: str,
    none_weight: float,
    max_pairs: int,
    learn_rate_factor: float,
    loss_weight: float,
    scorer: Optional[Callable],
) -> "RelationExtractor":
    """Make the component `ie_relations`.

    model (Model[PairBatch, Floats2d]): A pair classifier such as `spacy-llm-ie.PairClassifier.v1`.
    candidates (Callable): Which pairs of spans are scored, such as `spacy-llm-ie.near_pairs.v1`.
    spans_key (Optional[str]): Read spans from `doc.spans[spans_key]`. None: from `doc.ents`.
    threshold (Optional[float]): How probable a relation must be. None: more probable than no relation (than not, where a pair may
        have several labels).
    thresholds (Dict[str, float]): The same for single labels; goes before `threshold`. `python -m spacy ie thresholds` finds them.
    schema (Dict[str, List[List[str]]]): Types that a label joins: {"makes": [["ORG", "PRODUCT"]]}. Labels that it does not name
        have the types that the training data shows.
    label_filter (bool): Score only pairs whose types some label joins, and only these labels.
    symmetric (List[str]): Labels without direction. They are stored once, with the span that stands first as the head; what both
        directions say is averaged.
    train_on (str): Learn from "gold" entities; from "predicted" ones, which needs the components before this one in `[training]
        annotating_components`; or from a "mix": both. Wrong entities have no relations to learn.
    none_weight (float): Weight in the loss of pairs without relation (where a pair may have several labels: of each label that it
        does not have). Below 1, more is found and less of it is right.
    max_pairs (int): Most pairs scored in a document; the closest are kept, and a warning says how many were not.
    learn_rate_factor (float): The learning rate of the classifier is this many times the optimizer's, which is the encoder's.
    loss_weight (float): What the loss is multiplied by: the say of this component in what a shared encoder learns.
    scorer (Optional[Callable]): The scoring method.
    RETURNS (RelationExtractor): The component.
    """
    settings = {
        "spans_key": spans_key,
        "threshold": threshold,
        "thresholds": thresholds,
        "schema": schema,
        "label_filter": label_filter,
        "symmetric": symmetric,
        "train_on": train_on,
        "none_weight": none_weight,
        "max_pairs": max_pairs,
        "learn_rate_factor": learn_rate_factor,
        "loss_weight": loss_weight,
    }
    return RelationExtractor(nlp.vocab, model, name, candidates=candidates, scorer=scorer, **settings)


class RelationExtractor(PairPipe):
    """Find relations: label ordered pairs of entities, and say how probable each relation is.

    vocab (Vocab): The shared vocabulary.
    model (Model[PairBatch, Floats2d]): A pair classifier.
    name (str): The name of the component instance.
    The other arguments are those of the factory.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: PairModelT,
        name: str = "ie_relations",
        *,
        candidates: PairGeneratorT,
        spans_key: Optional[str] = None,
        symmetric: Sequence[str] = (),
        scorer: Optional[ScorerT] = None,
        **settings: Any,
    ) -> None:
        settings = {"spans_key": spans_key, "symmetric": list(symmetric), **settings}
        super().__init__(vocab, model, name, candidates=candidates, scorer=scorer, **settings)

    def spans(self, doc: Doc) -> List[SpanT]:
        """The entities of a document, or the spans of the group that is set. RETURNS (List[SpanT]): In their order."""
        return entity_spans(doc, self.cfg["spans_key"])

    def was_read(self, doc: Doc) -> bool:
        """Whether entities, or spans of the group that is set, were looked for in a document."""
        key = self.cfg["spans_key"]
        return is_annotated(doc, "entities") if key is None else key in doc.spans

    def ends(self, spans: Sequence[SpanT]) -> Tuple[ndarray, ndarray]:
        """Every span may be head and tail. RETURNS: Indices."""
        numbers = numpy.arange(len(spans))
        return numbers, numbers

    def gold(self, example: Example) -> Optional[GoldPairs]:
        """The relations of the reference. RETURNS (Optional[GoldPairs]): None if it is not annotated with relations."""
        reference = example.reference
        if not is_annotated(reference, "relations"):
            return None
        relations = get_relations(reference)
        spans = [*_group(reference, self.cfg["spans_key"]), *(end for r in relations for end in (r.head, r.tail))]
        places = [p and (*p, span.label_) for p, span in zip(predicted_places(example, spans), spans)]
        first = len(spans) - 2 * len(relations)
        labels: Dict[Tuple[SpanT, SpanT], Set[str]] = {}
        lost = 0
        for relation, head, tail in zip(relations, places[first::2], places[first + 1 :: 2]):
            if head is None or tail is None:
                lost += 1
                continue
            labels.setdefault((head, tail), set()).add(relation.label)
            if relation.label in self.cfg["symmetric"]:
                labels.setdefault((tail, head), set()).add(relation.label)
        return GoldPairs(sorted({place for place in places if place is not None}), labels, lost)

    def full_schema(self) -> SchemaT:
        """As of every pair classifier; labels without direction join their types both ways. RETURNS (SchemaT): By label."""
        schema = super().full_schema()
        for label in set(self.cfg["symmetric"]).intersection(schema):
            reverse = [[tail, head] for head, tail in schema[label] if [tail, head] not in schema[label]]
            schema[label] = schema[label] + reverse
        return schema

    def decode_all(self, scored: Sequence[Tuple[Candidates, ndarray]]) -> List[List[FoundPair]]:
        """As every pair classifier does, with symmetric labels told once: the span that stands first is the head."""
        symmetric = set(self.cfg["symmetric"]).intersection(self.labels)
        if not symmetric:
            return super().decode_all(scored)
        columns = [self.table.outputs[label] for label in symmetric]
        whole = [(candidates, _both_ways(candidates.pairs, found, columns)) for candidates, found in scored]
        parts = zip(scored, super().decode_all(whole))
        return [_told_once(candidates, found, symmetric) for (candidates, _), found in parts]

    def set_annotations(self, docs: Iterable[Doc], predictions: List[List[FoundPair]]) -> None:
        """Write `doc._.relations`. What stood there before is replaced, but for labels that are not this component's.

        docs (Iterable[Doc]): Modified in place.
        predictions (List[List[FoundPair]]): As `predict` returned them.
        """
        for doc, found in zip(docs, predictions):
            spans = {span: Span(doc, *span[:2], label=span[2]) for pair in found for span in (pair.head, pair.tail)}
            others = [relation for relation in get_relations(doc) if relation.label not in self.labels]
            set_relations(doc, [*others, *(Relation(spans[p.head], spans[p.tail], p.label, p.score) for p in found)])

    def score(self, examples: Iterable[Example], **kwargs: Any) -> Dict[str, Any]:
        """Score a batch. RETURNS (Dict[str, Any]): What the scorer says; it is told which pairs were candidates."""
        return super().score(examples, candidates=self.candidate_places, **kwargs)

    def candidate_places(self, doc: Doc) -> Set[Tuple[int, int, int, int]]:
        """The pairs of a predicted document that this component scores, as characters: (start, end, start, end), head first."""
        found, _ = self.pick(doc, self.spans(doc))
        chars = [(doc[start].idx, doc[end - 1].idx + len(doc[end - 1])) for start, end, _ in found.spans]
        return {(*chars[i], *chars[j]) for i, j in found.pairs.tolist()}


def _group(doc: Doc, key: Optional[str]) -> Iterable[Span]:
    return doc.ents if key is None else doc.spans.get(key, [])


def entity_spans(doc: Doc, key: Optional[str]) -> List[SpanT]:
    """The spans that facts may join: entities, or a span group. RETURNS (List[SpanT]): In their order."""
    return [(span.start, span.end, span.label_) for span in _group(doc, key)]


def _told_once(candidates: Candidates, found: Sequence[FoundPair], symmetric: Set[str]) -> List[FoundPair]:
    """Labels without direction stand in both; only the one whose head stands first is kept, or the other one turned round."""
    scored = {(candidates.spans[i], candidates.spans[j]) for i, j in candidates.pairs.tolist()}
    result = []
    for pair in found:
        if pair.label in symmetric and pair.tail < pair.head:
            if (pair.tail, pair.head) in scored:
                continue
            pair = pair._replace(head=pair.tail, tail=pair.head)
        result.append(pair)
    return result


def _both_ways(pairs: ndarray, probabilities: ndarray, columns: List[int]) -> ndarray:
    """Average what a pair and its reverse say of some labels. RETURNS (ndarray): A copy. Shape: (P, K)."""
    place = {pair: row for row, pair in enumerate(map(tuple, pairs.tolist()))}
    reverse = numpy.array([place.get((j, i), row) for row, (i, j) in enumerate(pairs.tolist())], dtype="int64")
    result = probabilities.copy()
    for column in columns:
        result[:, column] = (probabilities[:, column] + probabilities[reverse, column]) / 2
    return result
