"""Stage 2. Reads token vectors, writes doc.ents and ent._.score. Next: relations."""
