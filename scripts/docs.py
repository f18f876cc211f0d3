"""Write docs/reference/*.md from the docstrings and defaults of the code.

    python scripts/docs.py [--check]

One page a component: what it reads and writes, its settings with their defaults, the architectures it takes, its methods.
"""

import argparse
import inspect
import re
import sys
from pathlib import Path

import spacy
from thinc.api import Config

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "reference"

PAGES = {
    "ie_ner": {
        "factory": "spacy_llm_ie.ner.pipe:make_ner",
        "component": "spacy_llm_ie.ner.pipe:CrfEntityRecognizer",
        "architectures": ["spacy_llm_ie.ner.model:build_crf_tagger_v1"],
        "functions": [
            "spacy_llm_ie.ner.scores:get_score",
            "spacy_llm_ie.ner.scorer:score_ner",
            "spacy_llm_ie.ner.scorer:expected_calibration_error",
            "spacy_llm_ie.ner.calibration:fit_temperature",
        ],
    },
    "transformer": {
        "architectures": ["spacy_llm_ie.encode.transformer:build_transformer_model_v1"],
        "functions": [
            "spacy_llm_ie.encode.spans:configure_wordpiece_spans",
            "spacy_llm_ie.encode.weights:packaged_weights",
        ],
    },
    "corpus": {
        "functions": ["spacy_llm_ie.data.corpus:create_corpus_v1", "spacy_llm_ie.data.corpus:annotation"],
    },
}
INHERITED = {"__init__"}


def load(target):
    module, _, name = target.partition(":")
    return getattr(__import__(module, fromlist=[name]), name)


def registered_name(target):
    """The name under which setup.cfg registers a function, or the function's own."""
    text = (ROOT / "setup.cfg").read_text(encoding="utf8")
    found = re.search(rf"^ *(\S+) = {re.escape(target)}$", text, flags=re.M)
    return found.group(1) if found else target.rpartition(":")[2]


def format_doc(text):
    """A docstring as Markdown: the text, its arguments as a table, what it returns."""
    prose, rows = [], []
    for line in inspect.cleandoc(text or "").split("\n"):
        argument = re.match(r"^(\w+(?:, [\w.]+)*) \((.+?)\): (.*)$", line) or re.match(
            r"^(RETURNS|YIELDS|RAISES)(?: \((.+?)\))?: (.*)$", line
        )
        if argument:
            rows.append(list(argument.groups()))
        elif rows and line.startswith("    "):
            rows[-1][2] += " " + line.strip()
        else:
            prose.append(line)
    result = "\n".join(prose).strip()
    if rows:
        table = [f"| `{n}` | {f'`{t}`' if t else ''} | {d} |".replace("||", "| |") for n, t, d in rows]
        result += "\n\n| argument | type | meaning |\n| --- | --- | --- |\n" + "\n".join(row for row in table)
    return result.strip()


def signature(function):
    names = [
        p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in inspect.signature(function).parameters.values()
    ]
    return ", ".join(name for name in names if name not in ("self", "cls"))


def make_page(name, parts):
    lines = [f"# {name}", "", "<!-- made by scripts/docs.py from the docstrings; edit those -->", ""]
    if "factory" in parts:
        function = load(parts["factory"])
        meta = spacy.blank("en").get_factory_meta(name)
        lines += [inspect.getdoc(load(parts["component"])).split("\n")[0], ""]
        lines += [
            f"Writes: {', '.join(f'`{a}`' for a in meta.assigns)}. Scores: {', '.join(f'`{s}`' for s in meta.default_score_weights)}.",
            "",
        ]
        lines += ["## Settings", "", format_doc(function.__doc__), "", "Defaults:", ""]
        lines += ["```ini", Config({"components": {name: meta.default_config}}).to_str().strip(), "```", ""]
    for heading, key in (("Architectures", "architectures"), ("Functions", "functions")):
        if parts.get(key):
            lines += [f"## {heading}", ""]
        for target in parts.get(key, []):
            function = load(target)
            lines += [
                f"### {registered_name(target)}",
                "",
                f"`{target.partition(':')[0]}.{function.__name__}({signature(function)})`",
                "",
                format_doc(function.__doc__),
                "",
            ]
    if "component" in parts:
        lines += ["## Methods", ""]
        for method, function in vars(load(parts["component"])).items():
            doc = inspect.getdoc(function)
            if not method.startswith("_") and doc:
                call = "" if isinstance(function, property) else f"({signature(function)})"
                lines += [f"### {method}{call}", "", format_doc(doc), ""]
    return "\n".join(lines).rstrip() + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a page is not up to date")
    check = parser.parse_args().check
    FOLDER.mkdir(parents=True, exist_ok=True)
    stale = []
    for name, parts in PAGES.items():
        path, text = FOLDER / f"{name}.md", make_page(name, parts)
        if not path.exists() or path.read_text(encoding="utf8") != text:
            stale.append(path.name)
            if not check:
                path.write_text(text, encoding="utf8")
    if check and stale:
        sys.exit(f"not up to date: {', '.join(stale)}; run python scripts/docs.py")


if __name__ == "__main__":
    main()
