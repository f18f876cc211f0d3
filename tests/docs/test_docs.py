"""Every code block in README and docs is run, and what it prints is what the page says."""

import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from spacy.util import load_model_from_config, registry
from thinc.api import Config

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.M | re.S)
# Commands that make environments or train for minutes: run by .ci/run and by tests/project instead.
ELSEWHERE = ("pip install", "scripts/", "spacy train", "benchmarks/", "spacy project")


def blocks(page):
    """(language, code, output or None): a block marked `text`, or unmarked and directly behind python, is its output."""
    found = list(FENCE.finditer(page.read_text(encoding="utf8")))
    for i, match in enumerate(found):
        language, code = match.groups()
        output = None
        if (
            i + 1 < len(found)
            and found[i + 1].group(1) in ("text", "")
            and not page.read_text(encoding="utf8")[match.end() : found[i + 1].start()].strip()
        ):
            output = found[i + 1].group(2)
        yield language, code, output


def has(page, language):
    return any(found == language for found, _, _ in blocks(page))


@pytest.mark.parametrize("page", [p for p in PAGES if has(p, "python")], ids=lambda p: p.name)
def test_python_blocks(page, tmp_path, monkeypatch):
    (tmp_path / "assets").mkdir()
    shutil.copytree(ROOT / "assets" / "newswire", tmp_path / "assets" / "newswire")
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    for language, code, output in blocks(page):
        if language != "python":
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, f"{page.name}: {code[:40]!r}", "exec"), names)
        if output is not None:
            assert printed.getvalue().strip() == output.strip()


@pytest.mark.parametrize("page", [p for p in PAGES if has(p, "bash")], ids=lambda p: p.name)
@pytest.mark.slow  # each command starts spaCy anew
def test_bash_blocks(page, tmp_path):
    (tmp_path / "assets").mkdir()
    shutil.copytree(ROOT / "assets" / "newswire", tmp_path / "assets" / "newswire")
    bin_folder = str(Path(sys.executable).parent)
    environment = {**os.environ, "PATH": bin_folder + os.pathsep + os.environ["PATH"], "HF_HUB_OFFLINE": "1"}
    for language, code, output in blocks(page):
        if language != "bash" or any(word in code for word in ELSEWHERE):
            continue
        done = subprocess.run(["bash", "-ec", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
        if output is not None:
            plain = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)
            for line in filter(None, (line.strip() for line in output.splitlines())):
                assert line == "..." or line in plain, f"not printed: {line}"


@pytest.mark.parametrize(
    "page", [p for p in [*PAGES, *sorted((ROOT / "docs" / "reference").glob("*.md"))] if has(p, "ini")], ids=lambda p: p.name
)
def test_config_blocks_build_what_they_say(page):
    for language, code, _ in blocks(page):
        if language != "ini":
            continue
        sections = re.findall(r"^\[([\w.]+)\]$", code, flags=re.M)
        parents = {name.rpartition(".")[0] for name in sections} - {"", *sections}
        config = Config().from_str("".join(f"[{name}]\n\n" for name in sorted(parents)) + code, interpolate=False)
        for name, component in config.get("components", {}).items():
            component.setdefault("factory", name)
        if "components" in config:
            base = {"nlp": {"lang": "en", "pipeline": list(config["components"])}, "components": config["components"]}
            nlp = load_model_from_config(Config(base), auto_fill=True, validate=True)
            assert nlp.pipe_names == list(config["components"])
        for reader in config.get("corpora", {}).values():
            assert callable(registry.resolve({"reader": reader})["reader"])


def test_the_reference_is_what_the_docstrings_say():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(ROOT / "scripts" / "docs.py"), "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target
