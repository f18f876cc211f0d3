"""python -m spacy ie distil: a small pipeline that learns from large ones, on labelled and unlabelled text."""

from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import spacy
import typer
from spacy.cli._util import import_code, parse_config_overrides
from spacy.util import load_config
from thinc.api import Config
from wasabi import msg

from ..compress.distil import Distilled, Settings, distil, score_on_dev
from ..compress.measure import folder_size
from ..errors import Errors
from ..tasks import TASKS


def distil_cli(
    # fmt: off
    ctx: typer.Context,
    teacher: str = typer.Argument(..., help="Trained pipeline that teaches: a folder or an installed package"),
    config: Path = typer.Argument(..., help="Training config of the student", exists=True),
    output: Path = typer.Argument(..., help="Folder for the student: model-best, model-last"),
    texts: Optional[Path] = typer.Option(
        None, "--texts", "-t", help="Texts, .jsonl or .spacy; labels are not read", exists=True
    ),
    teachers: List[str] = typer.Option([], "--teacher", "-T", help="COMPONENT=PIPELINE: another teacher for one component"),
    names: List[str] = typer.Option(
        [], "--student-to-teacher", "-n", help="COMPONENT=NAME: what its teacher calls it; no NAME: none"
    ),
    temperature: Optional[float] = typer.Option(None, "--temperature", help="Softens what the teachers say; 1 leaves it"),
    gold_weight: Optional[float] = typer.Option(None, "--gold-weight", "-g", help="Of the gold beside the teachers, 0 to 1"),
    layers: Optional[str] = typer.Option(
        None, "--layers", "-l", help="Layers of the teacher's transformer: 0,2,5; or how many"
    ),
    heads: Optional[bool] = typer.Option(None, "--heads/--no-heads", help="Start from the teacher's heads where shapes agree"),
    hidden_weight: Optional[float] = typer.Option(
        None, "--hidden-weight", help="Of the distance of token vectors; 0: not learned"
    ),
    label_map: List[str] = typer.Option([], "--label", "-L", help="THEIRS=OURS: rename hard entity labels; THEIRS= drops them"),
    code: Optional[str] = typer.Option(None, "--code", "-c", help="Python file with registered functions"),
    # fmt: on
) -> None:
    """Train a student from teachers. Settings of its config are overridden as in `spacy train`: --paths.train train.spacy"""
    import_code(code)
    overrides = parse_config_overrides(ctx.args)
    options: Dict[str, Any] = {"temperature": temperature, "gold_weight": gold_weight, "heads": heads}
    options["hidden_weight"] = hidden_weight
    options["layers"] = None if layers is None else read_layers(layers)
    options["student_to_teacher"] = read_pairs(names, "--student-to-teacher") or None
    options["label_map"] = read_pairs(label_map, "--label") or None
    options = {key: value for key, value in options.items() if value is not None}
    others = read_pairs(teachers, "--teacher")
    distil_pipeline(teacher, config, output, texts=texts, teachers=others, overrides=overrides, options=options)


def read_pairs(values: Sequence[str], option: str) -> Dict[str, str]:
    """Read options such as ie_ner=PATH. RETURNS (Dict[str, str]): Raises ValueError (E551) for one without a name or "="."""
    pairs = {}
    for value in values:
        name, sign, rest = value.partition("=")
        if not name or not sign:
            raise ValueError(Errors.E551.format(option=option, expected="NAME=VALUE", found=value))
        pairs[name] = rest
    return pairs


def read_layers(value: str) -> List[int]:
    """Read numbers parted by commas. RETURNS (List[int]): Raises ValueError (E551) for anything else."""
    parts = [part.strip() for part in value.split(",")]
    if not all(part.isdigit() for part in parts):
        raise ValueError(Errors.E551.format(option="--layers", expected="whole numbers parted by commas", found=value))
    return [int(part) for part in parts]


def read_settings(config: Config, options: Dict[str, Any]) -> Settings:
    """[distillation] of a config, and options, which go before it. RETURNS (Settings): ValueError (E550) for unknown names."""
    given = {**config.interpolate().get("distillation", {}), **options}
    unknown = sorted(set(given).difference(Settings._fields))
    if unknown:
        known = "one of " + ", ".join(Settings._fields)
        raise ValueError(Errors.E550.format(name="in [distillation]", expected=known, found=unknown))
    return Settings(**given)


def distil_pipeline(
    teacher: str,
    config: Path,
    output: Path,
    *,
    texts: Optional[Path] = None,
    teachers: Optional[Dict[str, str]] = None,
    overrides: Optional[Dict[str, Any]] = None,
    options: Optional[Dict[str, Any]] = None,
) -> Tuple[Dict[str, Any], Dict[str, Any]]:
    """Train a student from teachers, and print how both score on the development data, and their sizes.

    teachers (Optional[Dict[str, str]]): Other teachers, by the component of the student that they teach.
    overrides (Optional[Dict[str, Any]]): Values of the config.
    options (Optional[Dict[str, Any]]): Values of `Settings`, which go before [distillation] in the config.
    The other arguments are those of the command.
    RETURNS (Tuple[Dict[str, Any], Dict[str, Any]]): Scores of the teachers and of the student.
    """
    loaded = load_config(config, overrides=overrides or {}, interpolate=False)
    settings = read_settings(loaded, options or {})
    paths = list(dict.fromkeys([teacher, *(teachers or {}).values()]))
    pipelines = [spacy.load(path) for path in paths]
    assigned = {name: paths.index(path) for name, path in (teachers or {}).items()}
    done = distil(pipelines, loaded, output, texts=texts, assigned=assigned, settings=settings, say=msg.info)
    _print_plans(done, paths)
    best = output / "model-best"
    scores = (score_on_dev(done.nlp, pipelines, done.plans, settings.label_map), score_on_dev(spacy.load(best)))
    _print_scores(scores, [sum(folder_size(nlp.path) for nlp in pipelines), folder_size(best)])
    msg.good(f"Student: {best}")
    return scores


def _print_plans(done: Distilled, paths: List[str]) -> None:
    """Say who taught what, and count what teachers with hard labels have written."""
    rows = []
    for plan in done.plans:
        kind = "what it writes (hard labels)" if plan.pipe is None else f"the probabilities of {plan.pipe}"
        copied, total = done.heads.get(plan.name, (0, 0))
        rows.append([plan.name, paths[plan.teacher], kind, f"{copied} of {total}" if total else "-"])
    msg.table(rows, header=["Component", "Teacher", "Learns", "Started from it"], divider=True)
    for layer, found in done.found.items():
        counts = ", ".join(f"{label} {count}" for label, count in sorted(found.copied.items())) or "none"
        lost = ", ".join(f"{label} {count}" for label, count in sorted(found.dropped.items()))
        msg.text(f"Hard labels: {layer} in {found.texts} texts: {counts}" + (f"; dropped: {lost}" if lost else ""))


def _print_scores(scores: Tuple[Dict[str, Any], Dict[str, Any]], sizes: List[int]) -> None:
    rows = []
    for task in TASKS:
        values = [found.get(f"{task.prefix}_f") for found in scores]
        if values[1] is not None:
            rows.append([f"{task.name}, dev F1", *("-" if value is None else f"{100 * value:.1f}" for value in values)])
    rows.append(["size on disk, MB", *(f"{size / 1e6:.1f}" for size in sizes)])
    msg.table(rows, header=["", "Teacher", "Student"], divider=True, aligns=["l", "r", "r"])
