"""What is wrong with what a user gave is said in a message; what is wrong with the program keeps its traceback."""

import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from spacy_llm_ie.cli import ie_app
from spacy_llm_ie.cli.group import MessageGroup
from spacy_llm_ie.errors import Errors

CONFIG = str(Path(__file__).parents[2] / "configs" / "joint_cnn.cfg")
COMMANDS = {
    "compress": ("empty", "out", "--dev", "DEV"),
    "distil": ("empty", CONFIG, "out", "--texts", "DEV"),
    "evaluate": ("empty", "DEV"),
    "calibrate": ("empty", "DEV"),
    "thresholds": ("empty", "DEV"),
    "view": ("empty", "DEV", "--output", "page.html"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_that_there_is_no_pipeline(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "dev.jsonl").write_text('{"text": "It said so."}\n', encoding="utf8")
    done = CliRunner().invoke(ie_app, [name, *(str(part).replace("DEV", "dev.jsonl") for part in COMMANDS[name])])
    assert done.exit_code == 1 and isinstance(done.exception, SystemExit), done.exception
    assert "[E053]" in done.output and "empty" in done.output


@pytest.mark.parametrize(
    ("error", "is_said"),
    [
        (ValueError(Errors.E522), True),
        (RuntimeError("[IE-E533] The pipeline could not be loaded"), True),
        (FileNotFoundError(2, "No such file or directory", "x.spacy"), True),
        (ValueError("[1, 2] is not 3"), False),
        (OSError("nothing that a user knows"), False),
        (KeyError("[IE-E522]"), False),
    ],
)
def test_errors_without_a_code_are_bugs(error, is_said):
    app = typer.Typer(cls=MessageGroup)

    @app.callback()
    def group():
        pass

    @app.command()
    def fail():
        raise error

    done = CliRunner().invoke(app, ["fail"])
    assert done.exit_code == 1
    assert isinstance(done.exception, SystemExit) == is_said
    assert is_said == (str(error)[:20] in done.output)


@pytest.mark.slow
def test_no_traceback_is_printed(tmp_path):
    (tmp_path / "dev.jsonl").write_text('{"text": "It said so."}\n', encoding="utf8")
    command = [sys.executable, "-m", "spacy", "ie", "compress", "nowhere", "out", "--dev", "dev.jsonl"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and "E050" in done.stdout and "Traceback" not in done.stdout + done.stderr
