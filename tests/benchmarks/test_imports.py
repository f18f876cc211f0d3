"""Benchmarks are not run by tests; that they can be started is the least."""

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "benchmarks"
# All in one process, which is ten times as quick.
START = """
import importlib, sys
sys.path.insert(0, sys.argv[1])
for name in sys.argv[2:]:
    importlib.import_module(name)
"""


def test_every_benchmark_can_be_imported():
    names = sorted(path.stem for path in FOLDER.glob("*.py"))
    assert "pruning" in names
    done = subprocess.run([sys.executable, "-c", START, str(FOLDER), *names], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
