"""What setup.cfg promises is there, under the names that it promises, and does something when called."""

import configparser
from importlib.metadata import distribution
from pathlib import Path

import pytest
import spacy
from spacy.language import Language

import spacy_llm_ie

ROOT = Path(__file__).parents[2]
REGISTRIES = {
    "spacy_architectures": "architectures",
    "spacy_scorers": "scorers",
    "spacy_readers": "readers",
    "spacy_misc": "misc",
}


def declared():
    parser = configparser.ConfigParser(delimiters=("=",))
    parser.optionxform = str
    parser.read(ROOT / "setup.cfg", encoding="utf8")
    for group, lines in parser["options.entry_points"].items():
        for line in filter(None, lines.splitlines()):
            name, _, target = (part.strip() for part in line.partition("="))
            yield group, name, target


DECLARED = list(declared())


def installed():
    return {(e.group, e.name): e for e in distribution("spacy-llm-ie").entry_points}


def test_what_is_declared_is_installed():
    assert {(group, name) for group, name, _ in DECLARED} == set(installed())


@pytest.mark.parametrize(("group", "name", "target"), DECLARED, ids=lambda value: str(value))
def test_every_entry_point_loads(group, name, target):
    assert installed()[group, name].value == target
    assert installed()[group, name].load() is not None
    if group in REGISTRIES:
        assert callable(getattr(spacy.registry, REGISTRIES[group]).get(name))
    if group == "spacy_factories":
        assert Language.has_factory(name) or spacy.blank("en").has_factory(name)
    if group.startswith("spacy_") and group not in ("spacy_factories", "spacy_cli", "spacy_displacy_colors"):
        assert name.startswith("spacy-llm-ie.")
        assert name.endswith(".v1")


def test_registered_names_are_called_in_tests_or_shipped_configs():
    """A name that is only looked up is not tested: each stands in a test or in a config that a test runs."""
    files = [*ROOT.glob("tests/**/*.py"), *ROOT.glob("configs/*.cfg")]
    text = "\n".join(path.read_text(encoding="utf8") for path in files)
    defaults = str(spacy.blank("en").get_factory_meta("ie_ner").default_config)
    unused = [n for g, n, _ in DECLARED if g in REGISTRIES and n not in text and n not in defaults]
    assert not unused


def test_public_names():
    assert all(hasattr(spacy_llm_ie, name) for name in spacy_llm_ie.__all__)
    assert spacy_llm_ie.__all__ == sorted(spacy_llm_ie.__all__)
    assert spacy_llm_ie.__version__ == distribution("spacy-llm-ie").version
