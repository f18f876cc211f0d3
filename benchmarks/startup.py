"""What our entry points add to the start of spaCy: spacy.blank("en") in fresh processes, with and without them.

    python benchmarks/startup.py [--repeats 9]

spaCy imports every installed factory when a pipeline is made. Both variants have spacy-transformers; `without` hides our factories.
Runs alternate; the medians are shown, and the time of `import spacy_llm_ie` alone.
"""

import argparse
import statistics
import subprocess
import sys

HIDE = """
from spacy import registry
factories = registry._entry_point_factories
original = factories._get_entry_points
factories._get_entry_points = lambda: [e for e in original() if not e.value.startswith("spacy_llm_ie")]
"""
CODE = """
import time
start = time.perf_counter()
import spacy
{hide}
spacy.blank("en")
import sys
assert ("spacy_llm_ie.ner.pipe" in sys.modules) == {ours}
print(time.perf_counter() - start)
"""
VARIANTS = {
    "without": CODE.format(hide=HIDE, ours=False),
    "with": CODE.format(hide="", ours=True),
    "import": "import time; start = time.perf_counter(); import spacy_llm_ie; print(time.perf_counter() - start)",
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    times = {name: [] for name in VARIANTS}
    for _ in range(repeats + 1):
        for name, code in VARIANTS.items():
            out = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
            times[name].append(float(out.stdout.strip().splitlines()[-1]))
    medians = {name: statistics.median(values[1:]) for name, values in times.items()}
    print(f"spacy.blank('en') with spacy-transformers      {medians['without']:.2f} s")
    print(
        f"spacy.blank('en') with spacy-llm-ie beside it  {medians['with']:.2f} s ({medians['with'] / medians['without'] - 1:+.1%})"
    )
    print(f"import spacy_llm_ie                            {medians['import']:.4f} s")


if __name__ == "__main__":
    main()
