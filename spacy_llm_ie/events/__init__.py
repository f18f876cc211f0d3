"""Stage 4 of 5. Reads tokens and doc.ents, writes doc._.events: first triggers, then their arguments. Next: graph."""
