"""The tasks of a pipeline, and which of its scores tell how well it does them."""

from typing import Any, Dict, NamedTuple, Tuple

from spacy.language import Language


class Task(NamedTuple):
    """What is scored: its name, the prefix of its scores, their key by label, and what the component before it gives."""

    name: str
    prefix: str
    per_type: str
    factory: str
    given: Tuple[str, ...] = ()


TASKS = (
    Task("entities", "ents", "ents_per_type", "ie_ner"),
    Task("relations", "rels_micro", "rels_per_type", "ie_relations", ("entities",)),
    Task("triggers", "triggers", "triggers_per_type", "ie_triggers"),
    Task("arguments", "args", "args_per_type", "ie_arguments", ("entities", "triggers")),
)


def main_scores(nlp: Language, scores: Dict[str, Any]) -> Dict[str, float]:
    """Choose one score a task, for any pipeline.

    nlp (Language): The pipeline.
    scores (Dict[str, Any]): As spaCy's Scorer gives them.
    RETURNS (Dict[str, float]): F1 by the name of our tasks; other scores that its training weighed, by their own name.
    """
    found = {task.name: scores.get(f"{task.prefix}_f") for task in TASKS}
    ours = {f"{task.prefix}_{part}" for task in TASKS for part in "prf"}
    weights = nlp.config["training"].get("score_weights") or {}
    found.update({key: scores.get(key) for key, weight in weights.items() if weight and key not in ours})
    return {name: float(value) for name, value in found.items() if isinstance(value, (int, float))}
