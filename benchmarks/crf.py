"""Time of our Viterbi decoding against pytorch-crf's, with numba and without it, and how ours grows on one long sequence.

    python benchmarks/crf.py [--repeats 7]

Batches: 32 random sentences of 10 to 64 tokens, BILUO tags of 4, 16 and 66 labels (17, 65 and 265 tags). Both get the same
emissions and the same parameters; pytorch-crf knows no constraints. Times alternate and the medians are shown. The long
sequence runs to 100,000 tokens; where numba is installed, all is computed with it but what says numpy. Memory is the peak of arrays that Python
allocated during the call.
"""

import argparse
import statistics
import time
import tracemalloc

import numpy
import torch

from spacy_llm_ie.layers import loops
from spacy_llm_ie.layers.chain import real_tokens, scaled_messages
from spacy_llm_ie.layers.crf import LinearChainCRF
from spacy_llm_ie.schemes import Scheme


def make(labels):
    scheme = Scheme("BILUO", [f"L{i}" for i in range(labels)])
    return LinearChainCRF(len(scheme.tags), scheme.legal(), scheme.legal_start(), scheme.legal_end())


def clock(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def batches(repeats):
    generator = numpy.random.default_rng(0)
    print(f"{'tags':>5} {'tokens':>7} {'ours µs/token':>14} {'pytorch-crf':>12} {'ratio':>6} {'marginals':>10}")
    for labels in (4, 16, 66):
        crf = make(labels)
        lengths = generator.integers(10, 65, 32)
        emissions = generator.normal(size=(32, 64, crf.num_tags)).astype("float32")
        tensor, mask = torch.from_numpy(emissions), torch.from_numpy(real_tokens(lengths, 64))
        calls = {
            "ours": lambda c=crf, e=emissions, n=lengths: c.viterbi(e, n),
            "theirs": lambda c=crf, t=tensor, m=mask: c.crf.decode(t, m),
            "sums": lambda c=crf, e=emissions, n=lengths: c.marginals(e, n),
        }
        times = {name: [] for name in calls}
        with torch.no_grad():
            for _ in range(repeats + 1):
                for name, call in calls.items():
                    times[name].append(clock(call))
        ours, theirs, sums = (statistics.median(t[1:]) / lengths.sum() * 1e6 for t in times.values())
        print(f"{crf.num_tags:>5} {lengths.sum():>7} {ours:>14.2f} {theirs:>12.2f} {theirs / ours:>6.1f} {sums:>10.2f}")


def ways(repeats):
    """numpy's operations against compiled loops, for a batch and for one sentence."""
    compiled = loops.compiled
    known = {"numpy": lambda function: None, "numba": compiled}
    if compiled(loops.best_paths) is None:
        known.pop("numba")
    print(
        f"\n{'tags':>5} {'tokens':>7}   µs/token: "
        + ", ".join(f"{task} by {way}" for task in ("Viterbi", "sums") for way in known)
    )
    for labels in (4, 8, 16):
        crf = make(labels)
        for size, least in ((128, 10), (1, 20)):
            lengths = numpy.random.default_rng(0).integers(least, 31 if size > 1 else 21, size)
            emissions = numpy.random.default_rng(0).normal(size=(size, max(lengths), crf.num_tags)).astype("float32")
            p = crf.potentials(emissions, lengths)
            times = {(task, way): [] for task in ("Viterbi", "sums") for way in known}
            for _ in range(10 * repeats):
                for way, loop in known.items():
                    loops.compiled = loop
                    times["Viterbi", way].append(clock(lambda p=p, crf=crf: crf.best_paths(p)))
                    times["sums", way].append(clock(lambda p=p: scaled_messages(p)))
            loops.compiled = compiled
            found = [statistics.median(seconds[repeats:]) / lengths.sum() * 1e6 for seconds in times.values()]
            print(f"{crf.num_tags:>5} {lengths.sum():>7}   " + ", ".join(f"{number:.2f}" for number in found))


def one_long_sequence():
    crf = make(16)
    print(f"\n{'tokens':>7} {'seconds':>8} {'µs/token':>9} {'peak MB':>8}   one sequence, {crf.num_tags} tags, Viterbi")
    for length in (1_000, 10_000, 100_000):
        emissions = numpy.random.default_rng(0).normal(size=(1, length, crf.num_tags)).astype("float32")
        seconds = clock(lambda e=emissions: crf.viterbi(e, numpy.array([e.shape[1]])))
        tracemalloc.start()
        crf.viterbi(emissions, numpy.array([length]))
        peak = tracemalloc.get_traced_memory()[1] / 1e6
        tracemalloc.stop()
        print(f"{length:>7} {seconds:>8.2f} {seconds / length * 1e6:>9.1f} {peak:>8.1f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    batches(args.repeats)
    ways(args.repeats)
    one_long_sequence()
