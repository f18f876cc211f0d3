"""Smaller pipelines out of trained ones. Reads whole pipelines and their configs, writes pipelines."""
