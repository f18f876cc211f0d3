import pytest
import torch

from spacy_llm_ie.layers import loops
from tests.util import make_tiny_bert


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def bert(tmp_path_factory):
    """Path of a random BERT that takes 126 pieces of text at once."""
    return make_tiny_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module", params=["compiled", "plain", "numpy"])
def each_way(request):
    """Loops as they are installed; as plain Python; and numpy's operations in their place."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param != "compiled":
            patch.setattr(loops, "compiled", lambda function: function if request.param == "plain" else None)
        yield request.param
