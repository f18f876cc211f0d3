import os
import subprocess
import sys
import time

import pytest
import torch

from spacy_llm_ie import processor
from spacy_llm_ie.layers.products import find_one_dnn

GROWTH = """
import spacy_llm_ie.processor
import torch

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6

torch.set_num_threads(1)
weight = torch.randn(384, 384)
with torch.no_grad():
    for count in (200, 1000):  # the first ones find room
        before = resident()
        for rows in range(10, 10 + count):
            torch.ops.mkldnn._linear_pointwise(torch.zeros(rows, 384), weight, None, "none", [], "")
print(resident() - before)
"""


def run(code, **settings):
    environment = {name: value for name, value in os.environ.items() if "CACHE_CAPACITY" not in name}
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True, env={**environment, **settings}
    )
    return done.stdout.strip()


@pytest.mark.skipif(find_one_dnn() is None or not sys.platform.startswith("linux"), reason="needs oneDNN, and reads /proc")
def test_products_of_many_sizes_do_not_fill_the_memory():
    kept, all_kept = (float(run(GROWTH, **settings)) for settings in ({}, {"LRU_CACHE_CAPACITY": "1024"}))
    assert kept < 400
    assert all_kept > kept  # what the user has set is left


def test_what_the_user_has_set_is_left():
    code = "import spacy_llm_ie.processor, os; print(os.environ['LRU_CACHE_CAPACITY'])"
    assert run(code) == "128"
    assert run(code, LRU_CACHE_CAPACITY="7") == "7"


def test_the_quicker_way_is_the_one_that_takes_less_time():
    quick, slow = (lambda: None), (lambda: time.sleep(0.001))
    assert processor.is_quicker(quick, slow, 1.1)
    assert not processor.is_quicker(slow, quick, 1.1)
    assert not processor.is_quicker(slow, slow, 2.0)


@pytest.mark.parametrize("supported", [True, False])
def test_bfloat16_is_tried_where_the_processor_has_it(monkeypatch, supported):
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: supported, raising=False)
    trials = []
    monkeypatch.setattr(processor, "is_quicker", lambda new, old, times: trials.append((new().dtype, old().dtype)) or True)
    assert processor.bfloat16_is_quick.__wrapped__() == supported
    assert trials == [(torch.bfloat16, torch.float32)] * supported
