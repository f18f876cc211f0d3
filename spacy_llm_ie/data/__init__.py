"""Reader, JSONL format and converters: how annotated documents come in and go out."""
