import numpy
import pytest
import torch

from spacy_llm_ie.layers.snapshot import Snapshot

WRITES = {
    "in place": lambda p: p.add_(1),
    "copied to": lambda p: p.copy_(torch.ones_like(p)),
    "past torch": lambda p: p.data.copy_(torch.ones_like(p)),
    "averaged past torch": lambda p: p.data.mul_(0.9).add_(0.1),
    "by numpy": lambda p: p.detach().view(torch.int16 if p.dtype == torch.bfloat16 else p.dtype).numpy().fill(3),
    "replaced": lambda p: setattr(p, "data", p.data.clone()),
    "of another type": lambda p: setattr(p, "data", p.data.double()),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_whatever_is_written_is_seen(write, dtype):
    torch.manual_seed(0)
    parameters = [torch.nn.Parameter(torch.randn(*shape).to(dtype)) for shape in ((3, 4), (5,), (0, 2))]
    snapshot = Snapshot([*parameters, torch.tensor([True, False])])
    assert snapshot.is_current() and snapshot.is_current()
    with torch.no_grad():
        write(parameters[1])
    assert not snapshot.is_current()


def test_memory_that_was_given_back_is_not_taken_for_the_same():
    parameter = torch.nn.Parameter(torch.ones(1000))
    snapshot = Snapshot([parameter])
    for _ in range(20):
        parameter.data = torch.ones(1000)
        assert not snapshot.is_current()


def test_what_cannot_be_looked_at_is_never_current():
    assert not Snapshot([torch.ones(3, 4).t()]).is_current()
    assert not Snapshot([torch.ones(2, device="meta")]).is_current()
    assert Snapshot([]).is_current()


def test_numbers_that_are_none_do_not_hide_a_change():
    assert not Snapshot([torch.tensor([numpy.nan])]).is_current()
