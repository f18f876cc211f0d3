"""The student's token vectors, projected, against the teacher's: only while a student is distilled, never in a pipeline.

A hidden-state loss with a learned projection: Jiao et al., "TinyBERT: Distilling BERT for Natural Language Understanding", 2020,
equation 8, on the vectors of tokens instead of word pieces, so that encoders of any two kinds can be compared.
"""

from typing import Any, Iterable, List, Optional, Tuple

from numpy import ndarray
from spacy.language import Language
from spacy.training import Example
from spacy.util import registry
from thinc.api import Linear, chain, with_array
from thinc.types import Floats2d

from ..errors import Errors
from ..settings import ConfiguredPipe, Lesson
from ..types import Tok2VecModelT


class HiddenStates(ConfiguredPipe):
    """Learns to say the teacher's token vectors from the student's.

    tok2vec (Model[List[Doc], List[Floats2d]]): A listener to the student's encoder.
    width (int): Width of the teacher's vectors.
    weight (float): The weight of the loss, which is a mean of squares, beside those of the components.
    learn_rate_factor (float): As of a component.
    """

    def __init__(self, tok2vec: Tok2VecModelT, width: int, weight: float, learn_rate_factor: float) -> None:
        self.name = "hidden_states"
        self.model = chain(tok2vec, with_array(Linear(nO=width)))
        self.model.set_ref("tok2vec", tok2vec)
        self.configure(None, {"loss_weight": weight, "learn_rate_factor": learn_rate_factor})

    def learn(self, examples: List[Example], lesson: Optional[Lesson] = None) -> float:
        """Pass the gradients of a batch back. Without a lesson they are zeros. RETURNS (float): The loss."""
        vectors, backprop = self.model.begin_update([example.predicted for example in examples])
        loss, gradients = self.get_teacher_student_loss([None] * len(examples) if lesson is None else lesson.scores, vectors)
        backprop(gradients)
        return loss

    def get_teacher_scores(self, teacher_pipe: Any, examples: Iterable[Example], temperature: float = 1.0) -> List[ndarray]:
        """The token vectors that the teacher's component reads. RETURNS (List[ndarray]): Shape (tokens, width), float16."""
        docs = [example.reference for example in examples]
        teacher_pipe.check_upstream(docs)
        vectors = teacher_pipe.model.get_ref("tok2vec").predict(docs)
        return [teacher_pipe.model.ops.to_numpy(array).astype("float16") for array in vectors]

    def get_teacher_student_loss(
        self, teacher_scores: List[Optional[ndarray]], student_scores: List[Floats2d], temperature: float = 1.0
    ) -> Tuple[float, List[Floats2d]]:
        """The mean square of the differences, over all tokens and places of the vectors, times the weight, and its gradient."""
        pairs = zip(teacher_scores, student_scores)
        differences = [ours * 0 if given is None else ours - self.model.ops.asarray2f(given) for given, ours in pairs]
        count = max(sum(d.size for d, given in zip(differences, teacher_scores) if given is not None), 1)
        factor = self.cfg["loss_weight"] / count
        return factor * sum(float((d**2).sum()) for d in differences), [2 * factor * d for d in differences]


def add_hidden_states(student: Language, name: str, teacher: Language, teacher_name: str, weight: float) -> HiddenStates:
    """Let a learner of hidden states listen to the student's encoder.

    student (Language): Initialised.
    name (str): A component of it that listens to the encoder. ValueError (E552) if it has token vectors of its own.
    teacher (Language): Trained.
    teacher_name (str): The component of the teacher whose token vectors are learned.
    weight (float): Of the loss.
    RETURNS (HiddenStates): To be updated after all components; give it to `remove_hidden_states` at the end.
    """
    pipe, block = student.get_pipe(name), student.config.interpolate()["components"][name]["model"]["tok2vec"]
    tok2vec = registry.resolve({"tok2vec": block})["tok2vec"]
    theirs = vector_width(teacher, teacher_name)
    hidden = HiddenStates(tok2vec, theirs, weight, pipe.cfg["learn_rate_factor"])
    for encoder in encoders(student):
        encoder.find_listeners(hidden)
    if not any(hidden.name in encoder.listening_components for encoder in encoders(student)):
        raise ValueError(Errors.E552.format(name=name))
    projection = hidden.model.layers[1].layers[0]
    projection.set_dim("nI", vector_width(student, name))
    projection.initialize()
    return hidden


def encoders(nlp: Language) -> List[Any]:
    """The components that others listen to. RETURNS (List[Any]): In the order of the pipeline."""
    return [pipe for _, pipe in nlp.pipeline if hasattr(pipe, "find_listeners")]


def vector_width(nlp: Language, name: str) -> int:
    """The width of the token vectors that an initialised component reads. RETURNS (int): As its encoder says."""
    own = nlp.get_pipe(name).model.get_ref("tok2vec").maybe_get_dim("nO")
    widths = [pipe.model.maybe_get_dim("nO") for pipe in encoders(nlp) if name in pipe.listening_components]
    return int(own or widths[0])


def remove_hidden_states(student: Language, hidden: HiddenStates) -> None:
    """Undo `add_hidden_states`."""
    for encoder in encoders(student):
        for listener in list(encoder.listener_map.get(hidden.name, ())):
            encoder.remove_listener(listener, hidden.name)
