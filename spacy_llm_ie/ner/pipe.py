"""The component `ie_ner`: tags tokens with a CRF, writes doc.ents and the probability of each entity."""

from typing import Any, Callable, Dict, Iterable, List, Optional, Set

from numpy import ndarray
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.vocab import Vocab
from thinc.api import Config

from ..types import ScorerT, TaggerModelT
from . import decoding, targets
from .decoding import DocSpans
from .scores import get_score, install_extensions, set_scores
from .tagger import CrfTaggerPipe

DEFAULT_CONFIG = Config().from_str("""
[ie_ner]
scheme = "BILUO"
threshold = null
thresholds = {}
spans_key = null
candidate_threshold = 0.05
overwrite = true
temperature = 1.0
learn_rate_factor = 1.0
loss_weight = 1.0

[ie_ner.model]
@architectures = "spacy-llm-ie.CrfTagger.v1"
features = null
hidden_size = null
dropout = null

[ie_ner.model.tok2vec]
@architectures = "spacy.HashEmbedCNN.v2"
pretrained_vectors = null
width = 96
depth = 4
embed_size = 2000
window_size = 1
maxout_pieces = 3
subword_features = true

[ie_ner.scorer]
@scorers = "spacy-llm-ie.ner_scorer.v1"
""")


@Language.factory(
    "ie_ner",
    assigns=["doc.ents", "token.ent_iob", "token.ent_type", "span._.score"],
    default_config=DEFAULT_CONFIG["ie_ner"],
    default_score_weights={"ents_f": 1.0, "ents_p": 0.0, "ents_r": 0.0, "ents_ece": None, "ents_per_type": None},
)
def make_ner(
    nlp: Language,
    name: str,
    model: TaggerModelT,
    scheme: str,
    threshold: Optional[float],
    thresholds: Dict[str, float],
    spans_key: Optional[str],
    candidate_threshold: float,
    overwrite: bool,
    temperature: float,
    learn_rate_factor: float,
    loss_weight: float,
    scorer: Optional[Callable],
) -> "CrfEntityRecognizer":
    """Make the component `ie_ner`.

    model (Model[List[Doc], List[Floats2d]]): A tagger such as `spacy-llm-ie.CrfTagger.v1`.
    scheme (str): "BILUO" or "BIO".
    threshold (Optional[float]): None: `doc.ents` is the most probable set of entities. A number: `doc.ents` is every entity that
        is at least so probable (lower finds more, higher is surer); where two overlap, the more probable one.
    thresholds (Dict[str, float]): The same for single labels; goes before `threshold`.
    spans_key (Optional[str]): Also keep all candidates that are at least `candidate_threshold` probable, overlapping ones too,
        in `doc.spans[spans_key]`, with their probabilities in `.attrs["scores"]`.
    candidate_threshold (float): See `spans_key`.
    overwrite (bool): Replace entities that the document already has. If false they are kept, and the others are found given them.
    temperature (float): Divides all scores before probabilities are computed; `python -m spacy ie calibrate` sets it, so that
        of the entities with probability 0.8 four in five are right. Does not change which entities are the most probable.
    learn_rate_factor (float): The learning rate of the CRF and the layers before it is this many times the optimizer's, which is
        the encoder's. With a pretrained transformer at 5e-5, 20 is a good value; from scratch, 1.
    loss_weight (float): What the loss is multiplied by: the say of this component in what a shared encoder learns.
    scorer (Optional[Callable]): The scoring method.
    RETURNS (CrfEntityRecognizer): The component.
    """
    return CrfEntityRecognizer(
        nlp.vocab,
        model,
        name,
        scheme=scheme,
        threshold=threshold,
        thresholds=thresholds,
        spans_key=spans_key,
        candidate_threshold=candidate_threshold,
        overwrite=overwrite,
        temperature=temperature,
        learn_rate_factor=learn_rate_factor,
        loss_weight=loss_weight,
        scorer=scorer,
    )


class CrfEntityRecognizer(CrfTaggerPipe):
    """Find entities with a linear-chain CRF over token vectors, and say how probable each is.

    vocab (Vocab): The shared vocabulary.
    model (Model[List[Doc], List[Floats2d]]): A tagger with a CRF beside it.
    name (str): The name of the component instance.
    The other arguments are those of the factory.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: TaggerModelT,
        name: str = "ie_ner",
        *,
        overwrite: bool = True,
        scorer: Optional[ScorerT] = None,
        **settings: Any,
    ) -> None:
        super().__init__(vocab, model, name, scorer=scorer, overwrite=overwrite, **settings)
        install_extensions()

    def survey(self, examples: Iterable[Example]) -> Set[str]:
        """Collect the entity labels, and count what cannot be learned. RETURNS (Set[str]): The labels."""
        return targets.survey(examples, self.name)

    def allowed(self, example: Example) -> Optional[ndarray]:
        """The tags that the gold entities allow at each token. RETURNS: Shape (tokens, tags); None without annotation."""
        return targets.allowed_tags(example, self.scheme)

    def constrain(self, scores: ndarray, doc: Doc) -> ndarray:
        """Forbid entities that begin or end with white space, and readings without the entities that are kept."""
        return decoding.constrain(scores, doc, self.scheme, not self.cfg["overwrite"])

    def set_annotations(self, docs: Iterable[Doc], predictions: List[DocSpans]) -> None:
        """Write `doc.ents`, their scores, and the candidates if a `spans_key` is set. What stood there before is replaced.

        docs (Iterable[Doc]): Modified in place.
        predictions (List[DocSpans]): As `predict` returned them.
        """
        for doc, found in zip(docs, predictions):
            kept = {} if self.cfg["overwrite"] else {(ent.start, ent.end, ent.label_): ent for ent in doc.ents}
            scored = [(ent, score) for ent in kept.values() if (score := get_score(ent)) is not None]
            new = [(Span(doc, *span[:2], label=span[2]), span[3]) for span in found.ents if span[:3] not in kept]
            doc.set_ents([*kept.values(), *(span for span, _ in new)])
            set_scores(doc, [*scored, *new], self.labels)
            self.write_candidates(doc, found.candidates)
