"""What every component that classifies pairs of spans does: `ie_relations` and `ie_arguments`."""

import copy
import itertools
import warnings
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Set, Tuple

import numpy
import torch
from numpy import ndarray
from spacy.errors import Errors as SpacyErrors
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example, validate_get_examples
from spacy.vocab import Vocab
from thinc.api import xp2torch
from thinc.types import Floats2d

from ..errors import Errors, Warnings
from ..layers.pairs import pair_distance, pair_loss, pair_probabilities
from ..ner.decoding import check_thresholds
from ..rows import split_rows
from ..settings import ConfiguredPipe, Lesson
from ..types import ScorerT
from . import teaching
from .candidates import Candidates, PairGeneratorT, SpanT, check_generator, closest
from .choice import FoundPair, read_labels
from .defaults import DEFAULTS, SOURCES
from .labels import GoldPairs, LabelTable, SchemaT, check_schema, survey
from .model import PairBatch, PairModelT, get_scorer, set_sizes
from .teaching import TaughtPairs

NO_PAIRS = numpy.zeros((0, 2), dtype="int64")
# What the label table is made from.
TABLE_SETTINGS = ("labels", "span_labels", "label_filter", "schema", "learned_schema", "symmetric")


class PairPipe(ConfiguredPipe):
    """Classify pairs of spans. Subclasses say which spans there are, which pairs, and where the answer is written.

    vocab (Vocab): The shared vocabulary.
    model (Model[PairBatch, Floats2d]): A pair classifier.
    name (str): The name of the component instance.
    candidates (Callable): Says which pairs are scored.
    scorer (Optional[Callable]): The scoring method.
    settings (Any): Those of the factory that all of these components have, and what the subclass adds.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: PairModelT,
        name: str,
        *,
        candidates: PairGeneratorT,
        scorer: Optional[ScorerT] = None,
        **settings: Any,
    ) -> None:
        self.vocab = vocab
        self.model = model
        self.name = name
        self.candidates = check_generator(name, candidates)
        settings = {**DEFAULTS, **settings, "thresholds": dict(settings.get("thresholds") or {})}
        if settings["train_on"] not in SOURCES:
            raise ValueError(Errors.E305.format(name=name, found=settings["train_on"], known=", ".join(SOURCES)))
        check_thresholds(name, settings["threshold"], settings["thresholds"], 0.0)
        self.configure(scorer, settings, labels=[], span_labels=[], learned_schema={}, several=False)
        self.given_schema()
        self._table: Tuple[Any, Optional[LabelTable]] = (None, None)

    # What subclasses say.

    def spans(self, doc: Doc) -> List[SpanT]:
        """The spans of a document that may be paired. RETURNS (List[SpanT]): In any order."""
        raise NotImplementedError

    def was_read(self, doc: Doc) -> bool:
        """Whether the components before this one have looked for spans in a document, found or not."""
        raise NotImplementedError

    def ends(self, spans: Sequence[SpanT]) -> Tuple[ndarray, ndarray]:
        """Which of the spans may be heads, and which tails. RETURNS: Indices."""
        raise NotImplementedError

    def gold(self, example: Example) -> Optional[GoldPairs]:
        """The annotation of an example. RETURNS (Optional[GoldPairs]): None if it has none of the kind that is learned."""
        raise NotImplementedError

    def given_schema(self) -> SchemaT:
        """The ontology in the settings. RETURNS (SchemaT): Pairs of types, by label."""
        return check_schema(self.name, self.cfg["schema"])

    def full_schema(self) -> SchemaT:
        """The given ontology, and what the training data shows of labels that it does not name. RETURNS (SchemaT): By label."""
        return {**self.cfg["learned_schema"], **self.given_schema()}

    def forbids(self, head: SpanT, tail: SpanT, label: str) -> bool:
        """Whether the given ontology does not let a label join the types of two spans."""
        types = self.given_schema().get(label) if self.cfg["label_filter"] else None
        joined = [[head[2], tail[2]], *([[tail[2], head[2]]] if label in self.cfg.get("symmetric", ()) else [])]
        return types is not None and not any(pair in types for pair in joined)

    # Labels.

    @property
    def labels(self) -> Tuple[str, ...]:
        """RETURNS (Tuple[str, ...]): The labels, sorted."""
        return tuple(self.cfg["labels"])

    @property
    def label_data(self) -> Dict[str, Any]:
        """RETURNS (Dict[str, Any]): What `spacy init labels` writes and `initialize(labels=...)` takes."""
        return {key: self.cfg[key] for key in ("labels", "span_labels", "learned_schema", "several")}

    @property
    def table(self) -> LabelTable:
        """RETURNS (LabelTable): Numbers of labels, and which fit which types."""
        settings = [self.cfg.get(setting) for setting in TABLE_SETTINGS]
        if self._table[0] != settings:
            schema = self.full_schema() if self.cfg["label_filter"] else None
            self._table = (copy.deepcopy(settings), LabelTable(self.labels, self.cfg["span_labels"], schema))
        return self._table[1]

    def add_label(self, label: str) -> int:
        """Labels come with the types of their pairs, from data: raises ValueError (E306) for one that is not known."""
        if label in self.labels:
            return 0
        raise ValueError(Errors.E306.format(name=self.name, label=label, labels=list(self.labels)))

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Optional[Language] = None,
        labels: Optional[Dict[str, Any]] = None,
    ) -> None:
        """Find the labels and the types that they join, and build the model.

        get_examples (Callable[[], Iterable[Example]]): The training data; ValueError (E307) if it has no labelled pair.
        nlp (Optional[Language]): The pipeline.
        labels (Optional[Dict[str, Any]]): From `spacy init labels`; saves the pass over the data.
        """
        validate_get_examples(get_examples, f"{type(self).__name__}.initialize")
        found = self._survey(get_examples()) if labels is None else labels
        if not found["labels"]:
            raise ValueError(Errors.E307.format(name=self.name))
        for kind in ("labels", "span_labels"):
            if get_scorer(self.model) is not None and found[kind] != self.cfg[kind]:
                raise ValueError(Errors.E214.format(name=self.name, old=self.cfg[kind], new=found[kind]))
        self.cfg.update(found)
        self._check_labels()
        set_sizes(self.model, len(self.labels) + 1, len(self.cfg["span_labels"]))
        sample = [example.predicted for example in itertools.islice(get_examples(), 10)]
        self.model.initialize(X=[doc for doc in sample if len(doc)] or None)

    def _survey(self, examples: Iterable[Example]) -> Dict[str, Any]:
        """Read the training data once, and warn of what in it cannot be learned."""
        unreachable, symmetric = 0, self.cfg.get("symmetric", ())

        def annotations() -> Iterable[Optional[GoldPairs]]:
            nonlocal unreachable
            for example in examples:
                gold = self.gold(example)
                if gold is not None:
                    spans = numpy.array([span[:2] for span in gold.spans], dtype="int64").reshape(-1, 2)
                    pairs = self.candidates(example.predicted, spans, *self.ends(gold.spans))
                    known = {(gold.spans[i], gold.spans[j]) for i, j in pairs.tolist()}
                    for head, tail, label in gold.facts(symmetric):
                        unreachable += (head, tail) not in known or self.forbids(head, tail, label)
                yield gold

        found = survey(annotations(), symmetric)
        if found.lost or unreachable:
            warnings.warn(
                Warnings.W301.format(name=self.name, lost=found.lost, far=unreachable, count=found.facts), stacklevel=3
            )
        given = self.given_schema()
        return {
            "labels": sorted({*found.schema, *given}),
            "span_labels": sorted(
                {*found.span_labels, *(label for pairs in given.values() for pair in pairs for label in pair)}
            ),
            "learned_schema": found.schema,
            "several": found.several,
        }

    def _check_labels(self) -> None:
        unknown = sorted(set(self.cfg["thresholds"]).difference(self.labels))
        if unknown:
            raise ValueError(Errors.E209.format(name=self.name, unknown=unknown, labels=list(self.labels)))

    # Finding pairs.

    def pick(self, doc: Doc, spans: Iterable[SpanT]) -> Tuple[Candidates, int]:
        """As `pick_all`, of one document and its spans, in any order."""
        return self.pick_all([doc], [spans])[0]

    def pick_all(self, docs: Sequence[Doc], spans: Iterable[Iterable[SpanT]]) -> List[Tuple[Candidates, int]]:
        """The candidate pairs of spans: near each other, and of types that a label joins.

        docs (Sequence[Doc]): The documents.
        spans (Iterable[Iterable[SpanT]]): Their spans, in any order.
        RETURNS (List[Tuple[Candidates, int]]): One a document, in order: the candidates, and how many were left out because of
            `max_pairs`, the farthest ones.
        """
        ordered = [sorted(set(found)) for found in spans]
        if max(map(len, ordered), default=0) < 2:
            return [(Candidates(found, NO_PAIRS), 0) for found in ordered]
        table = self.table
        rows = table.rows(ordered)
        pairs = [self._pair_up(*parts) for parts in zip(docs, ordered, rows)]
        near = table.with_label(rows, pairs)
        kept = [closest(*parts, self.cfg["max_pairs"]) for parts in zip(rows, near)]
        return [(Candidates(*parts), len(all_) - len(parts[1])) for parts, all_ in zip(zip(ordered, kept), near)]

    def _pair_up(self, doc: Doc, spans: List[SpanT], rows: ndarray) -> ndarray:
        """The pairs of sorted spans that are near each other. Shape: (P, 2)."""
        heads, tails = self.ends(spans) if len(spans) > 1 else NO_PAIRS.T
        return self.candidates(doc, rows[:, :2], heads, tails) if len(heads) and len(tails) else NO_PAIRS

    def _batch(self, docs: List[Doc], candidates: Sequence[Candidates]) -> Tuple[PairBatch, ndarray]:
        """What the model takes, and the mask of allowed labels of all pairs. Shape: (P, K)."""
        table = self.table
        rows, pairs = table.rows([found.spans for found in candidates]), [found.pairs for found in candidates]
        return PairBatch(docs, rows, pairs), table.masks(rows, pairs)

    def predict(self, docs: Iterable[Doc]) -> List[List[FoundPair]]:
        """Find labelled pairs without changing the documents.

        docs (Iterable[Doc]): The documents.
        RETURNS (List[List[FoundPair]]): One list a document, in order; in it, by head and tail.
        """
        return self.decode_all(self.probabilities(docs))

    def probabilities(self, docs: Iterable[Doc]) -> List[Tuple[Candidates, ndarray]]:
        """The probability of each label for each candidate pair, which `decode` chooses from.

        docs (Iterable[Doc]): The documents; not changed. A warning counts the pairs that `max_pairs` leaves out.
        RETURNS (List[Tuple[Candidates, ndarray]]): One a document, in order: its candidates, and an array of shape (P, K), output 0
            for no label.
        """
        docs = list(docs)
        if get_scorer(self.model) is None:
            raise ValueError(SpacyErrors.E109.format(name=self.name))
        self._check_labels()
        found = self._pick_all(docs)
        nothing = numpy.zeros((0, len(self.labels) + 1), dtype="float32")
        results = [(candidates, nothing) for candidates in found]
        busy = [i for i, candidates in enumerate(found) if len(candidates.pairs)]
        if not busy:
            return results
        whole = self._score([docs[i] for i in busy], [found[i] for i in busy])
        for i, part in zip(busy, split_rows(whole, [len(found[i].pairs) for i in busy])):
            results[i] = (found[i], part)
        return results

    def _score(self, docs: List[Doc], candidates: Sequence[Candidates]) -> ndarray:
        """The probabilities of all pairs of documents that have some. Shape: (P, K)."""
        self.check_upstream(docs)
        batch, allowed = self._batch(docs, candidates)
        scores = self.model.ops.to_numpy(self.model.predict(batch))
        if not numpy.isfinite(scores).all():
            raise ValueError(Errors.E210.format(name=self.name))
        return pair_probabilities(scores, allowed, self.cfg["several"])

    def _pick_all(self, docs: Sequence[Doc]) -> List[Candidates]:
        """The candidates of documents, with a warning (W302) that counts what the budget leaves out."""
        picked = self.pick_all(docs, map(self.spans, docs))
        left_out = [count for _, count in picked if count]
        if left_out:
            counts = {"pairs": sum(left_out), "docs": len(left_out), "most": self.cfg["max_pairs"]}
            warnings.warn(Warnings.W302.format(name=self.name, **counts), stacklevel=4)
        return [candidates for candidates, _ in picked]

    def decode(self, candidates: Candidates, probabilities: ndarray) -> List[FoundPair]:
        """As `decode_all`, of one document."""
        return self.decode_all([(candidates, probabilities)])[0]

    def decode_all(self, scored: Sequence[Tuple[Candidates, ndarray]]) -> List[List[FoundPair]]:
        """Choose the labels of the pairs of documents; see `choose_labels`.

        scored (Sequence[Tuple[Candidates, ndarray]]): As `probabilities` gave them: candidates, and an array of shape (P, K).
        RETURNS (List[List[FoundPair]]): One a document, in order; in it, in the order of the pairs.
        """
        limits = [self.cfg["thresholds"].get(label, self.cfg["threshold"]) for label in self.labels]
        return read_labels(scored, self.labels, limits, self.cfg["several"])

    # Learning.

    def learn(self, examples: List[Example], lesson: Optional[Lesson] = None) -> float:
        """Pass the gradients of a batch back. RETURNS (float): The loss."""
        taught: List[Optional[TaughtPairs]] = [None] * len(examples) if lesson is None else lesson.scores
        weight = 1.0 if lesson is None else lesson.gold_weight
        shared = [teaching.join(*parts) for parts in zip(self._gold_pairs(examples, weight > 0), taught)]
        batch, allowed = self._batch([example.predicted for example in examples], [pairs.candidates for pairs in shared])
        scores, backprop = self.model.begin_update(batch)
        tensor = xp2torch(scores, requires_grad=True)
        loss = weight * self._gold_loss(tensor, allowed, numpy.concatenate([pairs.gold for pairs in shared]))
        if lesson is not None:
            target = numpy.concatenate([pairs.probabilities for pairs in shared])
            loss = loss + lesson.teacher_weight * self._distance(tensor, allowed, target, lesson.temperature)
        loss, gradient = self._gradient(loss, tensor)
        backprop(gradient)
        return loss

    def get_loss(self, examples: Iterable[Example], scores: Floats2d) -> Tuple[float, Floats2d]:
        """The loss of the candidate pairs (see `pair_loss`), times `loss_weight`, and its gradient.

        examples (Iterable[Example]): Those without annotation have no pairs.
        scores (Floats2d): Of all candidate pairs of the examples, in order. Shape: (P, K).
        RETURNS (Tuple[float, Floats2d]): The loss, and the gradient of the scores.
        """
        _, allowed, gold = self._training_batch(list(examples))
        tensor = xp2torch(scores, requires_grad=True)
        return self._gradient(self._gold_loss(tensor, allowed, gold), tensor)

    def get_teacher_scores(self, teacher_pipe: Any, examples: Iterable[Example], temperature: float = 1.0) -> List[TaughtPairs]:
        """The probabilities of the pairs that the teacher scores on the spans of each document; see `ConfiguredPipe`.

        Labels that this component does not have, or not for such a pair, count as no label.
        """
        columns = teaching.label_table(self, teacher_pipe)
        found = teacher_pipe.probabilities([example.reference for example in examples])
        several = teacher_pipe.cfg["several"]
        return [teaching.translate(self, *parts, columns, several, temperature) for parts in found]

    def get_teacher_student_loss(
        self, teacher_scores: List[Optional[TaughtPairs]], student_scores: Floats2d, temperature: float = 1.0
    ) -> Tuple[float, Floats2d]:
        """The Kullback-Leibler divergence of pairs (see `pair_distance`), times `loss_weight`, and its gradient.

        teacher_scores (List[Optional[TaughtPairs]]): One a document; None teaches nothing.
        student_scores (Floats2d): Of all those pairs, in order. Shape: (P, K).
        temperature (float): That of the teacher's scores.
        RETURNS (Tuple[float, Floats2d]): The loss, and the gradient of the scores.
        """
        tensor = xp2torch(student_scores, requires_grad=True)
        return self._gradient(self._distance(tensor, *teaching.stack(self.table, teacher_scores), temperature), tensor)

    def _gold_loss(self, scores: torch.Tensor, allowed: ndarray, gold: ndarray) -> torch.Tensor:
        """The loss of the pairs whose gold labels are known: those rows of `gold` that are not empty."""
        scores, *masks = teaching.known_rows(scores, gold, gold, allowed | gold)
        return pair_loss(scores, *masks, several=self.cfg["several"], none_weight=self.cfg["none_weight"])

    def _distance(self, scores: torch.Tensor, allowed: ndarray, target: ndarray, temperature: float) -> torch.Tensor:
        """The distance of the pairs that the teacher has scored: those rows of `target` that are not empty."""
        scores, *parts = teaching.known_rows(scores, target, target, allowed)
        return pair_distance(scores, *parts, several=self.cfg["several"], temperature=temperature)

    def _gradient(self, loss: torch.Tensor, scores: torch.Tensor) -> Tuple[float, Floats2d]:
        loss = loss * self.cfg["loss_weight"]
        if not torch.isfinite(loss):
            raise ValueError(Errors.E210.format(name=self.name))
        loss.backward()
        return float(loss.detach()), self.model.ops.asarray(scores.grad.cpu().numpy())

    def _gold_pairs(self, examples: List[Example], wanted: bool) -> List[Tuple[Candidates, ndarray]]:
        """Spans and pairs to learn from, and their gold labels (P, K). Documents without annotation have no pairs."""
        found = []
        if wanted and self.cfg["train_on"] != "gold" and not any(self.was_read(example.predicted) for example in examples):
            warnings.warn(Warnings.W303.format(name=self.name, source=self.cfg["train_on"]), stacklevel=4)
        for example in examples:
            gold = self.gold(example) if wanted else None
            if gold is None:
                candidates, gold = Candidates([], NO_PAIRS), GoldPairs([], {})
            else:
                candidates, _ = self.pick(example.predicted, self._training_spans(example, gold))
            found.append((candidates, self.table.targets(candidates.spans, candidates.pairs, gold, self.name)))
        return found

    def _training_batch(self, examples: List[Example]) -> Tuple[PairBatch, ndarray, ndarray]:
        """Spans and pairs to learn from the gold annotation, allowed labels and gold labels."""
        found, gold = zip(*self._gold_pairs(examples, True))
        batch, allowed = self._batch([example.predicted for example in examples], found)
        return batch, allowed | numpy.concatenate(gold), numpy.concatenate(gold)

    def _training_spans(self, example: Example, gold: GoldPairs) -> Set[SpanT]:
        """Gold spans, those that the components before this one have found (see `annotating_components`), or both."""
        source = self.cfg["train_on"]
        spans = set() if source == "predicted" else set(gold.spans)
        if source != "gold":
            spans.update(self.spans(example.predicted))
        return spans
