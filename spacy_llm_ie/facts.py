"""Precision, recall and F1 over sets of facts: whatever the candidates missed counts as missed."""

from collections import defaultdict
from typing import Any, Callable, Dict, Hashable, Iterable, Optional, Set

from spacy.scorer import PRFScore


class FactScore:
    """Compares sets of gold and predicted facts, document by document, altogether and by label."""

    def __init__(self) -> None:
        self.all = PRFScore()
        self.by_label: Dict[str, PRFScore] = defaultdict(PRFScore)

    def add(self, found: Set[Hashable], gold: Set[Hashable], label: Optional[Callable[[Any], str]] = None) -> None:
        """Count the facts of one document.

        found, gold (Set[Hashable]): Facts; equal ones are the same fact.
        label (Optional[Callable]): Gives the label of a fact, for the scores by label.
        """
        self.all.score_set(found, gold)
        if label is not None:
            for name in {label(fact) for fact in found | gold}:
                self.by_label[name].score_set(
                    {fact for fact in found if label(fact) == name}, {fact for fact in gold if label(fact) == name}
                )

    def scores(self, prefix: str) -> Dict[str, Any]:
        """RETURNS (Dict[str, Any]): prefix_p, prefix_r, prefix_f; None where there are neither gold nor predicted facts."""
        if not len(self.all):
            return {f"{prefix}_{k}": None for k in "prf"}
        return {f"{prefix}_p": self.all.precision, f"{prefix}_r": self.all.recall, f"{prefix}_f": self.all.fscore}

    def per_type(self) -> Optional[Dict[str, Dict[str, float]]]:
        """RETURNS (Optional[Dict[str, Dict[str, float]]]): p, r and f by label, sorted; None without facts."""
        return {name: score.to_dict() for name, score in sorted(self.by_label.items())} or None

    def macro_f(self, labels: Optional[Iterable[str]] = None) -> Optional[float]:
        """The mean F1 of the labels that have gold facts. RETURNS (Optional[float]): None without gold facts."""
        known = [s for name, s in self.by_label.items() if s.tp + s.fn and (labels is None or name in labels)]
        return sum(s.fscore for s in known) / len(known) if known else None
