"""Entities, relations and events with one shared transformer, inside spaCy.

How a document travels (stages that are not built yet are marked with an asterisk):

    Doc ──encode──▶ token vectors ──ner──▶ emissions ─▶ CRF ─▶ tags ─▶ doc.ents      ent._.score
    doc.ents ──relations*──▶ candidate pairs ─▶ pair classifier ─▶ doc._.relations   relation.score
    Doc ──events*──▶ triggers ─▶ (trigger, span) pairs ─▶ doc._.events               event.score

The rooms, in the order in which imports may point (each may use those above it):

    errors, types, about    coded messages, names for Model[In, Out], version
    schemes                 labelling schemes: spans <-> tags, legal transitions
    annotations             Relation, Event, Argument: frozen views over what the Doc stores
    layers                  torch and numpy, no spaCy: the CRF
    encode                  1  Doc -> token vectors
    ner                     2  vectors -> emissions -> CRF -> doc.ents
    data                    reader, JSONL, converters
    view                    results as pictures
    cli                     python -m spacy ie <command>
"""

from .about import __version__

__all__ = ["__version__"]
