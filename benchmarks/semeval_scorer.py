"""The report of the official scorer of SemEval-2010 Task 8, line for line, from two files of labels.

    python benchmarks/semeval_scorer.py KEY PROPOSED

Each line of both files is an id, a tab and a label: `8001<TAB>Message-Topic(e1,e2)`. Or KEY is a file of the corpus, such as
TEST_FILE_FULL.TXT; TEST_FILE_KEY.TXT of the release has no directions, and is refused. Ids that PROPOSED leaves out are skipped. The
last line has the official score. Exit code 1 if a file does not follow the format.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

from spacy_llm_ie.relations.semeval import OTHER, official_scores, read_labels

TITLES = {
    "directed": "(2*9+1)-WAY EVALUATION (USING DIRECTIONALITY)>>>:",
    "undirected": "(9+1)-WAY EVALUATION IGNORING DIRECTIONALITY >>>:",
    "official": "(9+1)-WAY EVALUATION TAKING DIRECTIONALITY INTO ACCOUNT -- OFFICIAL >>>:",
}


def short(label, known):
    """Cause-Effect(e1,e2) is C-E1, and *CE1 if the key does not have it."""
    if label == OTHER:
        return "_O_"
    relation, _, direction = label.partition("(")
    first, second = (word[0] for word in relation.split("-"))
    return (f"{first}-{second}" if label in known else f"*{first}{second}") + direction[1:2]


def matrix(scores, official):
    """The confusion matrix, with what was proposed across."""
    rows, per_type = scores["confusion"], scores["per_type"]
    columns = list(next(iter(rows.values()), {}))
    yield "Confusion matrix:"
    yield " " * 7 + "".join(f" {short(label, per_type):>4}" for label in columns) + " <-- classified as"
    yield f"{'':6}+{'-----' * len(columns)}+ -SUM- {'xDIRx skip  ACTUAL' if official else 'skip ACTUAL'}"
    for label, row in rows.items():
        there, turned, gold = sum(row.values()), per_type[label]["wrong_direction"], per_type[label]["gold"]
        ends = (
            f"{there:4}  {turned:4}  {gold - there - turned:4} {gold:6}" if official else f"{there:4} {gold - there:4} {gold:4}"
        )
        yield f" {short(label, per_type):>4} |" + "".join(f"{row[column]:4} " for column in columns) + f"| {ends}"
    yield f"{'':6}+{'-----' * len(columns)}+"
    sums = "".join(f"{sum(row[column] for row in rows.values()):4} " for column in columns)
    turned, answered, total = sum(found["wrong_direction"] for found in per_type.values()), scores["answered"], scores["total"]
    if official:
        yield f" -SUM- {sums}  {answered - turned:4}  {turned:4}  {total - answered:4} {total:6}"
    else:
        yield f" -SUM- {sums}  {answered:4} {total - answered:4} {total:4}"


def accuracies(scores):
    answered, total = scores["answered"], scores["total"]
    yield f"Coverage = {answered}/{total} = {100 * scores['coverage']:5.2f}%"
    for name, what, whole in (
        ("accuracy", "calculated for the above confusion matrix", answered),
        ("accuracy_skipped_wrong", "considering all skipped examples as Wrong", total),
        ("accuracy_skipped_other", "considering all skipped examples as Other", total),
    ):
        yield f"Accuracy ({what}) = {round(scores[name] * whole)}/{whole} = {100 * scores[name]:5.2f}%"


def figures(counts, p, r, f, turned=None):
    correct, proposed, gold = counts["correct"], counts["proposed"], counts["gold"]
    below = f"{proposed:4}" if turned is None else f"({proposed - turned:4} +{turned:4})"
    return f"P = {correct:4}/{below} = {100 * p:6.2f}%     R = {correct:4}/{gold:4} = {100 * r:6.2f}%     F1 = {100 * f:6.2f}%"


def report(gold, proposed):
    """YIELDS (str): The lines of the report."""
    for label, count in sorted(Counter(proposed.values()).items()):
        if label not in gold.values():
            name = "_Other" if label == OTHER else label
            yield f"!!!WARNING!!! The proposed file contains {count} label(s) of type '{name}', which is NOT present in the key file.\n"
    found = official_scores(gold, proposed)
    for name, title in TITLES.items():
        scores, official = found[name], name == "official"
        yield f"<<< {title}\n"
        yield from matrix(scores, official)
        yield ""
        yield from accuracies(scores)
        yield "\nResults for the individual relations:"
        for label, own in scores["per_type"].items():
            turned = own["wrong_direction"] if official else None
            shown = "_Other" if label == OTHER else label
            yield f"{shown:>25} :    {figures(own, own['p'], own['r'], own['f'], turned)}"
        yield "\nMicro-averaged result (excluding Other):"
        yield figures(scores, *(scores[f"micro_{k}"] for k in "prf"))
        yield "\nMACRO-averaged result (excluding Other):"
        yield "\t".join(
            f"{k} = {100 * scores[name]:6.2f}%" for k, name in (("P", "macro_p"), ("R", "macro_r"), ("F1", "macro_f"))
        )
        yield "\n\n"
    score = 100 * found["official"]["macro_f"]
    way = "(9+1)-way evaluation with directionality taken into account"
    yield f"<<< The official score is {way}: macro-averaged F1 = {score:.2f}% >>>"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("key", type=Path, help="TEST_FILE_FULL.TXT, for example")
    parser.add_argument("proposed", type=Path, help="labels to score")
    paths = parser.parse_args()
    try:
        for line in report(read_labels(paths.key), read_labels(paths.proposed)):
            print(line)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
