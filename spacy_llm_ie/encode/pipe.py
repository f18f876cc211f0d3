"""The component that a compressed pipeline has in the place of `transformer`: it encodes batches while others are read."""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Callable, Deque, Iterable, Iterator, List, Tuple

from spacy.language import Language
from spacy.tokens import Doc
from spacy.util import minibatch
from spacy.vocab import Vocab
from spacy_transformers import Transformer
from spacy_transformers.annotation_setters import null_annotation_setter
from spacy_transformers.data_classes import FullTransformerBatch
from spacy_transformers.pipeline_component import install_extensions
from spacy_transformers.util import batch_by_length
from thinc.api import Model

from .compiled import pass_on

# Batches that are encoded while the other components read one: while the pieces of one are counted, the other fills the processor.
AHEAD = 2
EncodedT = List[Tuple[List[Doc], FullTransformerBatch]]


class EncoderPipe(Transformer):
    """As spacy-transformers' component, but `pipe` runs the encoder in threads, two batches ahead of the other components.

    See `make_encoder`.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: Model[List[Doc], FullTransformerBatch],
        set_extra_annotations: Callable = null_annotation_setter,
        *,
        name: str = "ie_encoder",
        max_batch_items: int = 4096,
        ahead: bool = True,
    ) -> None:
        super().__init__(vocab, model, set_extra_annotations, name=name, max_batch_items=max_batch_items)
        self.ahead = ahead

    def find_listeners(self, component: Any) -> None:
        """As spacy-transformers' component does; layers that pool pieces are told that tokens may have one vector each.

        component (Any): A component behind this one.
        """
        super().find_listeners(component)
        for node in component.model.walk() if isinstance(getattr(component, "model", None), Model) else ():
            if node.name == "trfs2arrays" and node.layers[0].name.startswith("reduce_"):
                node._func = pass_on

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 128) -> Iterator[Doc]:
        """Encode documents.

        stream (Iterable[Doc]): The documents. Two batches more than are given back are taken from it.
        batch_size (int): Documents in a batch.
        YIELDS (Doc): The documents, in order, with `doc._.trf_data`.
        """
        if not self.ahead:
            yield from super().pipe(stream, batch_size=batch_size)
            return
        install_extensions()
        with ThreadPoolExecutor(AHEAD, thread_name_prefix=self.name) as workers:
            waiting: Deque[Tuple[List[Doc], Future]] = deque()
            for batch in minibatch(stream, batch_size):
                docs = list(batch)
                waiting.append((docs, workers.submit(self._encode, docs)))
                if len(waiting) > AHEAD:
                    yield from self._finish(*waiting.popleft())
            while waiting:
                yield from self._finish(*waiting.popleft())

    def _encode(self, docs: List[Doc]) -> EncodedT:
        groups = batch_by_length(docs, self.cfg["max_batch_items"])
        parts = [[docs[i] for i in indices] for indices in groups]
        with self.model.runtime.standing_by():
            return [(part, self.predict(part)) for part in parts]

    def _finish(self, docs: List[Doc], encoding: Future) -> Iterator[Doc]:
        for part, predictions in self.model.runtime.wait(encoding):
            self.set_annotations(part, predictions)
        yield from docs


@Language.factory(
    "ie_encoder",
    assigns=["doc._.trf_data"],
    default_config={
        "model": {
            "@architectures": "spacy-llm-ie.CompiledTransformer.v1",
            "get_spans": {"@span_getters": "spacy-llm-ie.wordpiece_spans.v1"},
            "backend": "onnxruntime",
            "precision": "int8",
        },
        "set_extra_annotations": {"@annotation_setters": "spacy-transformers.null_annotation_setter.v1"},
        "max_batch_items": 4096,
        "ahead": True,
    },
)
def make_encoder(
    nlp: Language,
    name: str,
    model: Model[List[Doc], FullTransformerBatch],
    set_extra_annotations: Callable[[List[Doc], FullTransformerBatch], None],
    max_batch_items: int,
    ahead: bool,
) -> EncoderPipe:
    """Make the component that runs an exported encoder: `factory = "ie_encoder"`, as `python -m spacy ie compress` writes it.

    model (Model[List[Doc], FullTransformerBatch]): `@architectures = "spacy-llm-ie.CompiledTransformer.v1"`.
    set_extra_annotations (Callable): Called with each batch of documents and its vectors.
    max_batch_items (int): Most tokens in a part of a batch, padding included.
    ahead (bool): Encode the next batches in threads while the other components read this one. `nlp.pipe` then takes two batches
        more from its stream before it gives back the first document; for streams that wait for each answer set it to false.
    RETURNS (EncoderPipe): The component.
    """
    return EncoderPipe(nlp.vocab, model, set_extra_annotations, name=name, max_batch_items=max_batch_items, ahead=ahead)
