"""Pairs of spans -> labels with probabilities. Serves relations (head, tail) and events (trigger, argument)."""
