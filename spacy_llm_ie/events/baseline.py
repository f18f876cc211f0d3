"""The baselines that stand beside every score: a list of the training triggers, and the nearest span of each label as argument."""

from collections import Counter
from typing import Dict, Iterable, List, Tuple

from spacy.language import Language
from spacy.matcher import PhraseMatcher
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.util import filter_spans

from ..annotations import Argument, Event, get_events, set_events
from ..relations.baseline import nearest


def _most_common(counts: Counter) -> str:
    return min(counts, key=lambda name: (-counts[name], name))


class ListedTriggers:
    """Tags whatever was a trigger in the training data, whatever its case, with its most frequent type; the longest first.

    nlp (Language): Gives tokenizer and vocabulary.
    examples (Iterable[Example]): Training data.
    """

    def __init__(self, nlp: Language, examples: Iterable[Example]) -> None:
        counts: Dict[str, Counter] = {}
        for example in examples:
            for event in get_events(example.reference):
                counts.setdefault(event.trigger.text.lower(), Counter())[event.label] += 1
        self.matcher = PhraseMatcher(nlp.vocab, attr="LOWER")
        for text, found in sorted(counts.items()):
            self.matcher.add(_most_common(found), [nlp.make_doc(text)])

    def __call__(self, doc: Doc) -> Doc:
        """Set the events of a document, without arguments. RETURNS (Doc): The same document."""
        set_events(doc, [Event(span, span.label_) for span in filter_spans(self.matcher(doc, as_spans=True))])
        return doc


class NearestArguments:
    """Gives each event the nearest entity of each label, in the role that this label has most often in events of its type.

    examples (Iterable[Example]): Training data.
    """

    def __init__(self, examples: Iterable[Example]) -> None:
        counts: Dict[Tuple[str, str], Counter] = {}
        for example in examples:
            for event in get_events(example.reference):
                for argument in event.arguments:
                    counts.setdefault((event.label, argument.span.label_), Counter())[argument.role] += 1
        self.roles = {key: _most_common(found) for key, found in counts.items()}

    def __call__(self, doc: Doc) -> Doc:
        """Replace the arguments of the events of a document that has entities. RETURNS (Doc): The same document."""
        events = []
        for event in get_events(doc):
            events.append(Event(event.trigger, event.label, event.score, tuple(self._arguments(event, doc.ents))))
        set_events(doc, events)
        return doc

    def _arguments(self, event: Event, ents: Iterable[Span]) -> Iterable[Argument]:
        by_label: Dict[str, List[Span]] = {}
        for ent in ents:
            by_label.setdefault(ent.label_, []).append(ent)
        for label, spans in by_label.items():
            if (event.label, label) in self.roles:
                yield Argument(self.roles[event.label, label], nearest(event.trigger, spans))
