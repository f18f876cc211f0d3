"""Settings of all components that classify pairs, and their values if a config does not give them."""

from typing import Any, Dict

# What `train_on` may be.
SOURCES = ("gold", "predicted", "mix")
DEFAULTS: Dict[str, Any] = {
    "threshold": None,
    "thresholds": {},
    "schema": {},
    "label_filter": True,
    "train_on": "gold",
    "none_weight": 1.0,
    "max_pairs": 100_000,
    "learn_rate_factor": 1.0,
    "loss_weight": 1.0,
}
