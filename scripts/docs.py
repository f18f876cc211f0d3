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
    "ie_relations": {
        "factory": "spacy_llm_ie.relations.pipe:make_relations",
        "component": "spacy_llm_ie.relations.pipe:RelationExtractor",
        "architectures": ["spacy_llm_ie.pairs.model:build_pair_classifier_v1"],
        "functions": [
            "spacy_llm_ie.pairs.candidates:create_near_pairs_v1",
            "spacy_llm_ie.relations.scorer:score_relations",
            "spacy_llm_ie.relations.semeval:make_semeval_scorer",
        ],
    },
    "ie_triggers": {
        "factory": "spacy_llm_ie.events.triggers:make_triggers",
        "component": "spacy_llm_ie.events.triggers:TriggerTagger",
        "architectures": ["spacy_llm_ie.ner.model:build_crf_tagger_v1"],
        "functions": ["spacy_llm_ie.events.scorer:score_triggers"],
    },
    "ie_argument_spans": {
        "factory": "spacy_llm_ie.events.triggers:make_argument_spans",
        "component": "spacy_llm_ie.events.triggers:ArgumentSpanTagger",
        "architectures": ["spacy_llm_ie.ner.model:build_crf_tagger_v1"],
        "functions": ["spacy_llm_ie.events.scorer:score_argument_spans"],
    },
    "ie_arguments": {
        "factory": "spacy_llm_ie.events.arguments:make_arguments",
        "component": "spacy_llm_ie.events.arguments:ArgumentExtractor",
        "architectures": ["spacy_llm_ie.pairs.model:build_pair_classifier_v1"],
        "functions": [
            "spacy_llm_ie.pairs.candidates:create_near_pairs_v1",
            "spacy_llm_ie.events.scorer:score_arguments",
        ],
    },
    "transformer": {
        "architectures": ["spacy_llm_ie.encode.transformer:build_transformer_model_v1"],
        "functions": [
            "spacy_llm_ie.encode.spans:configure_wordpiece_spans",
            "spacy_llm_ie.encode.weights:packaged_weights",
        ],
    },
    "tok2vec": {"architectures": ["spacy_llm_ie.ops:build_hash_embed_cnn_v1"]},
    "ie_encoder": {
        "factory": "spacy_llm_ie.encode.pipe:make_encoder",
        "component": "spacy_llm_ie.encode.pipe:EncoderPipe",
        "architectures": ["spacy_llm_ie.encode.compiled:build_compiled_transformer_v1"],
    },
    "compress": {
        "classes": [
            "spacy_llm_ie.compress.shrink:Removal",
            "spacy_llm_ie.compress.importance:Importance",
            "spacy_llm_ie.compress.measure:Costs",
        ],
        "functions": [
            "spacy_llm_ie.cli.compress:compress",
            "spacy_llm_ie.compress.shrink:shrink",
            "spacy_llm_ie.compress.importance:measure_importance",
            "spacy_llm_ie.compress.prune:prune",
            "spacy_llm_ie.compress.vocabulary:trim_vocabulary",
            "spacy_llm_ie.compress.recover:recover",
            "spacy_llm_ie.compress.recover:imitate",
            "spacy_llm_ie.compress.simulate:simulated_int8",
            "spacy_llm_ie.compress.calibrate:calibrate",
            "spacy_llm_ie.compress.measure:measure",
        ],
    },
    "corpus": {
        "functions": ["spacy_llm_ie.data.corpus:create_corpus_v1", "spacy_llm_ie.data.corpus:annotation"],
    },
    "annotations": {
        "classes": [
            "spacy_llm_ie.annotations:Relation",
            "spacy_llm_ie.annotations:Event",
            "spacy_llm_ie.annotations:Argument",
        ],
        "functions": [
            "spacy_llm_ie.annotations:get_relations",
            "spacy_llm_ie.annotations:set_relations",
            "spacy_llm_ie.annotations:get_events",
            "spacy_llm_ie.annotations:set_events",
            "spacy_llm_ie.annotations:is_annotated",
            "spacy_llm_ie.annotations:mark_missing",
            "spacy_llm_ie.carry:span_as_doc",
            "spacy_llm_ie.carry:join_docs",
            "spacy_llm_ie.annotations:refresh_spans",
            "spacy_llm_ie.data.docjson:doc_to_json",
            "spacy_llm_ie.data.docjson:json_to_doc",
        ],
    },
    "view": {
        "functions": ["spacy_llm_ie.view.render:render"],
    },
}
# What a line of a docstring that explains an argument looks like: name, type, meaning.
ARGUMENTS = (
    r"^(\w+(?:, [\w.]+)*) \((.+?)\): (.*)$",
    r"^(RETURNS|YIELDS|RAISES)(?: \((.+?)\))?: (.*)$",
    r"^([a-z_]+(?:, [a-z_.]+)+)()?: (As in .*)$",
)


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
        argument = next(filter(None, (re.match(pattern, line) for pattern in ARGUMENTS)), None)
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
    names = []
    for p in inspect.signature(function).parameters.values():
        stars = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
        names.append(stars + p.name if p.default is p.empty else f"{p.name}={p.default!r}")
    return ", ".join(name for name in names if name not in ("self", "cls"))


def methods(component):
    """Name and function of what a component and our own classes above it define, each once, its own first."""
    found = {}
    for owner in component.__mro__:
        if owner.__module__.startswith("spacy_llm_ie."):
            for name, value in vars(owner).items():
                if inspect.isfunction(value) or isinstance(value, property):
                    found.setdefault(name, getattr(component, name))
    return found.items()


def make_page(name, parts):
    lines = [f"# {name}", "", "<!-- made by scripts/docs.py from the docstrings; edit those -->", ""]
    if "factory" in parts:
        function = load(parts["factory"])
        meta = spacy.blank("en").get_factory_meta(name)
        lines += [inspect.getdoc(load(parts["component"])).split("\n")[0], ""]
        lines += [
            f"Writes: {', '.join(f'`{a}`' for a in meta.assigns)}. Scores: {', '.join(f'`{s}`' for s in meta.default_score_weights) or 'none'}.",
            "",
        ]
        lines += ["## Settings", "", format_doc(function.__doc__), "", "Defaults:", ""]
        lines += ["```ini", Config({"components": {name: meta.default_config}}).to_str().strip(), "```", ""]
    for heading, key in (("Classes", "classes"), ("Architectures", "architectures"), ("Functions", "functions")):
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
        for method, function in methods(load(parts["component"])):
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
