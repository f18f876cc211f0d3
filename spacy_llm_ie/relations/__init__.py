"""Stage 3 of 5. Reads doc.ents, writes doc._.relations. Next: events."""
