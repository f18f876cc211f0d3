import pytest
import torch

from tests.util import make_tiny_bert


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def bert(tmp_path_factory):
    """Path of a random BERT that takes 126 pieces of text at once."""
    return make_tiny_bert(tmp_path_factory.mktemp("bert"))
