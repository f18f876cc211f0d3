"""How quickly this processor multiplies matrices in torch: float32 by MKL and by oneDNN, and bfloat16, in one thread and in two.

    python benchmarks/products.py [--rows 384] [--width 384] [--outputs 1536]

Billions of operations a second, medians of half a second; with two threads, each multiplies matrices of its own, and the sum is shown.
"""

import argparse
import threading
import time

import torch
from torch.nn import functional

from spacy_llm_ie.layers.products import find_one_dnn, quick_one_dnn
from spacy_llm_ie.processor import bfloat16_is_quick


def rate(multiply, operations, seconds=0.5):
    """RETURNS (float): Billions of operations a second, the median of what fits into some time, in this thread alone."""
    torch.set_num_threads(1)  # each thread has its own number
    rates, end = [], time.perf_counter() + seconds
    with torch.no_grad():
        while time.perf_counter() < end:
            start = time.perf_counter()
            multiply()
            rates.append(operations / (time.perf_counter() - start))
    return sorted(rates)[len(rates) // 2]


def side_by_side(multiply, operations, threads):
    found = []
    workers = [threading.Thread(target=lambda: found.append(rate(multiply, operations))) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(found)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, number in (("rows", 384), ("width", 384), ("outputs", 1536)):
        parser.add_argument(f"--{name}", type=int, default=number)
    args = parser.parse_args()
    torch.set_num_threads(1)
    values, weight = torch.ones(args.rows, args.width), torch.ones(args.outputs, args.width)
    halves, one_dnn = (values.bfloat16(), weight.bfloat16()), find_one_dnn()
    ways = {"float32, MKL": lambda: functional.linear(values, weight), "bfloat16": lambda: functional.linear(*halves)}
    if one_dnn is not None:
        ways["float32, oneDNN"] = lambda: one_dnn(values, weight, None, "none", [], "")
    operations = 2 * args.rows * args.width * args.outputs / 1e9
    print("| | one thread | two threads |\n| --- | ---: | ---: |")
    for name, multiply in ways.items():
        print(f"| {name} | " + " | ".join(f"{side_by_side(multiply, operations, threads):.0f}" for threads in (1, 2)) + " |")
    print(f"Taken here: bfloat16 {bfloat16_is_quick()}, oneDNN for float32 {quick_one_dnn() is not None}")


if __name__ == "__main__":
    main()
