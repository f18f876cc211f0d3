"""Stage 1. Reads tokens, writes token vectors (doc._.trf_data). Next: ner."""
