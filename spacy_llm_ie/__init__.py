"""Entities, relations and events with one shared transformer, inside spaCy.

How a document travels:

    Doc ──encode──▶ token vectors ──ner──▶ emissions ─▶ CRF ─▶ tags ─▶ doc.ents                 ent._.score
    doc.ents ──relations──▶ candidate pairs ─▶ pair classifier ─▶ doc._.relations               relation.score
    Doc ──events/triggers──▶ CRF ─▶ trigger spans ┐
    doc.ents ─────────────────────────────────────┴─▶ (trigger, span) pairs ─▶ doc._.events     event.score, argument.score

Triggers are tagged by the same CRF as entities, arguments classified by the same pair classifier as relations.

The rooms, in the order in which imports may point (each may use those above it):

    errors, types, about    coded messages, names for Model[In, Out], version
    shim, facts, aligned    torch modules in thinc models; scores over sets of facts; gold spans on predicted tokens
    optimizer, settings     two learning rates; what all trainable components share
    schemes                 labelling schemes: spans <-> tags, legal transitions
    annotations             Relation, Event, Argument: frozen views over what the Doc stores
    layers                  torch and numpy, no spaCy: the CRF, the scorer of pairs
    encode                  1  Doc -> token vectors
    ner                     2  vectors -> emissions -> CRF -> doc.ents
    carry                   annotation moves along into pieces of documents and joined documents
    pairs                   pairs of spans -> labels; serves relations and arguments
    relations               3  entities -> doc._.relations
    events                  4  triggers and their arguments -> doc._.events
    data                    reader, JSONL, converters
    view                    results as pictures
    cli                     python -m spacy ie <command>
"""

from importlib import import_module

from .about import __version__ as __version__

TYPE_CHECKING = False  # typing's own would double the time that importing the package takes
if TYPE_CHECKING:
    from typing import Any, List

# Public name -> module that has it. Modules are imported when a name is used, so that importing the package stays free.
PUBLIC = {
    "Argument": "annotations",
    "Event": "annotations",
    "Relation": "annotations",
    "get_events": "annotations",
    "get_relations": "annotations",
    "is_annotated": "annotations",
    "mark_missing": "annotations",
    "refresh_spans": "annotations",
    "set_events": "annotations",
    "set_relations": "annotations",
    "join_docs": "carry",
    "span_as_doc": "carry",
    "doc_to_json": "data.docjson",
    "json_to_doc": "data.docjson",
    "render": "view.render",
}

__all__ = sorted(["__version__", *PUBLIC])


def __getattr__(name: str) -> "Any":
    """Import what is public when it is used."""
    if name not in PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{PUBLIC[name]}", __name__), name)
    return value


def __dir__() -> "List[str]":
    return sorted({*globals(), *__all__})
