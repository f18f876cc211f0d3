import pytest
import spacy
import torch

from tests.contract.test_components import train, trf_pipeline
from tests.util import make_tiny_bert


@pytest.fixture(scope="module")
def tiny_bert(tmp_path_factory):
    return make_tiny_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def teacher(tiny_bert):
    """`ie_ner` on a tiny BERT, trained on the texts of the contract."""
    spacy.util.fix_random_seed(0)
    nlp = trf_pipeline("ie_ner", tiny_bert)
    train(nlp, steps=40, rate=0.003)
    return nlp


@pytest.fixture(autouse=True, scope="package")
def _one_thread():
    """Tiny encoders are quicker in one thread, and tests that leave it to the machine would not be repeatable."""
    torch.set_num_threads(1)
