"""Torch modules without spaCy; each has a brute-force twin in tests/layers."""
