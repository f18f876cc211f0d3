"""python -m spacy ie compress: a trained pipeline becomes a smaller and quicker one, with a report of what that costs."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import spacy
import typer
from spacy.language import Language
from tqdm import tqdm
from wasabi import msg

from ..compress import distil
from ..compress.backend import compile_transformer, export_encoder, find_component, save_compiled
from ..compress.measure import Costs, measure, race, read_texts, score
from ..compress.report import HEADER, plot, problems, table, write_card
from ..compress.shrink import Removal, plan_packing, shrink
from ..data.corpus import create_corpus_v1
from ..encode.runtimes import RUNTIMES
from ..errors import Errors
from ..layers import loops
from ..processor import bfloat16_is_quick
from ..tasks import main_scores

NOTHING = Removal()


class Choice(NamedTuple):
    """A backend with a precision."""

    backend: str
    precision: str

    def __str__(self) -> str:
        return f"{self.backend} {self.precision}"


def compress_cli(
    # fmt: off
    pipeline: str = typer.Argument(..., help="Trained pipeline with a transformer: a folder or an installed package"),
    output: Path = typer.Argument(..., help="Folder of the new pipeline; must be new or empty"),
    dev: Path = typer.Option(..., "--dev", "-d", help="Development data, to see what is lost: .spacy or .jsonl", exists=True),
    backend: str = typer.Option("auto", "--backend", "-b", help=f"{', '.join(RUNTIMES)}; auto: the quickest on this machine"),
    precision: str = typer.Option(
        "auto", "--precision", "-p", help="float32, bfloat16, int8; auto: the quickest that keeps the score"
    ),
    train: Optional[Path] = typer.Option(None, "--train", "-T", help="Training data: for int8, and what follows", exists=True),
    heads: float = typer.Option(0.0, "--heads", help="Share of the attention heads to remove", min=0, max=0.99),
    neurons: float = typer.Option(0.0, "--neurons", help="Share of the feed-forward neurons to remove", min=0, max=0.99),
    layers: int = typer.Option(0, "--layers", help="Layers to remove", min=0),
    pieces: Optional[int] = typer.Option(
        None, "--pieces", help="Keep the training data's word pieces and this many others", min=0
    ),
    steps: int = typer.Option(0, "--steps", help="Updates in which the rest learns to do without", min=0),
    texts: Optional[Path] = typer.Option(
        None, "--texts", help="More text for these updates, .jsonl or .spacy; labels are not read", exists=True
    ),
    gold: bool = typer.Option(False, "--gold", help="Learn from gold annotation too in these updates, where much was removed"),
    learn_rate: Optional[float] = typer.Option(None, "--learn-rate", help="The highest in these updates"),
    distil_steps: int = typer.Option(
        0, "--distil-steps", help="Updates after that, in which the components too learn from the whole pipeline", min=0
    ),
    quantize_aware: bool = typer.Option(
        False, "--quantize-aware", help="Round as int8 does in these updates; the result is int8"
    ),
    bits: int = typer.Option(8, "--bits", help="Bits in which int8 weights are stored: 8, or 4 (rare word pieces: 2)"),
    threads: int = typer.Option(0, "--threads", "-t", help="Encoder passes at a time; 0: one for each processor", min=0),
    max_loss: float = typer.Option(1.0, "--max-loss", "-m", help="Most points of F1 that a task may lose", min=0),
    keep_vectors: bool = typer.Option(False, "--keep-vectors", help="Leave the vectors in doc._.trf_data"),
    force: bool = typer.Option(False, "--force", "-f", help="Keep the result also if it loses more, or is slower"),
    # fmt: on
) -> None:
    """Make a trained pipeline smaller and quicker, and show what that costs."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # else tokenizers warn whenever a process is started
    removal = Removal(heads, neurons, layers, pieces, steps, quantize_aware, bits, gold, learn_rate, distil_steps)
    runs = {"backend": backend, "precision": precision, "threads": threads, "keep_vectors": keep_vectors}
    compress(pipeline, output, dev, removal=removal, train=train, texts=texts, max_loss=max_loss, force=force, **runs)


def compress(
    pipeline: str,
    output: Path,
    dev: Path,
    *,
    backend: str = "auto",
    precision: str = "auto",
    removal: Removal = NOTHING,
    train: Optional[Path] = None,
    texts: Optional[Path] = None,
    threads: int = 0,
    max_loss: float = 1.0,
    keep_vectors: bool = False,
    force: bool = False,
) -> Dict[str, Costs]:
    """Write the compressed pipeline, print the report and store it in the pipeline.

    The arguments are those of the command. Exits with 1, and leaves no output, if the result loses too much or is slower.
    RETURNS (Dict[str, Costs]): Of the original and the result.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        msg.fail(f"{output} exists and is not empty", "Give a new folder; nothing is overwritten.", exits=1)
    removal.check(train is not None, texts is not None)
    choices = list_choices(*_wanted(backend, precision, removal))
    nlp = spacy.load(pipeline)
    smaller = nlp if removal.is_empty else spacy.load(pipeline)
    read = {path: list(create_corpus_v1(path)(smaller)) for path in (train, dev) if path is not None}
    examples = read.get(train, [])
    raw = None if texts is None else distil.read_texts(nlp, texts)  # its words are not to be saved with the smaller one
    for change in shrink(smaller, nlp, removal, examples, read[dev], raw):
        before, after = change
        msg.text(f"Encoder: {before.parameters:,} parameters, now {after.parameters:,}")
    with tempfile.TemporaryDirectory() as folder:
        packing = plan_packing(smaller, removal, examples)
        docs = [example.reference for example in examples or read[dev]]
        how = {"packing": packing, "docs": docs, "compensate": not removal.learns_rounding}
        made = _make_all(smaller, choices, Path(folder), threads, keep_vectors, how)
        choice = choices[0] if len(choices) == 1 else _choose(nlp, made, dev, max_loss)
        shutil.copytree(made[choice], output, dirs_exist_ok=True)
    settings = {**choice._asdict(), **removal.settings(), **({} if texts is None else {"texts": texts.name})}
    return _report(nlp, settings, output, dev, max_loss, force)


def _wanted(backend: str, precision: str, removal: Removal) -> Tuple[str, str]:
    """The backend and the precision, or what the removal needs where they are auto; ValueError (E535, E536) if they do not fit."""
    if removal.quantize_aware and precision not in ("auto", "int8"):
        raise ValueError(Errors.E535.format(missing=f"--precision int8 (it is {precision})"))
    if removal.bits < 8 and (backend not in ("auto", "onnxruntime") or precision not in ("auto", "int8")):
        raise ValueError(Errors.E536.format(found=f"--backend {backend} --precision {precision}"))
    is_int8 = removal.quantize_aware or removal.bits < 8
    return "onnxruntime" if removal.bits < 8 else backend, "int8" if is_int8 else precision


def list_choices(backend: str, precision: str) -> List[Choice]:
    """The backends and precisions to try: those that were named, or all that are installed; bfloat16 only where it is quick.

    RETURNS (List[Choice]): At least one.
    RAISES (ValueError): If no backend has that precision (E520).
    RAISES (ImportError): If the named backend is not installed (E521), or none is (E522).
    """
    found = [
        Choice(name, known)
        for name, runtime in RUNTIMES.items()
        for known in runtime.precisions
        if backend in ("auto", name) and precision in ("auto", known)
    ]
    if not found:
        known = ", ".join(f"{name} ({', '.join(runtime.precisions)})" for name, runtime in RUNTIMES.items())
        raise ValueError(Errors.E520.format(backend=backend, precision=precision, known=known))
    if backend != "auto":
        RUNTIMES[backend].load_package()
    installed = [choice for choice in found if RUNTIMES[choice.backend].is_installed()]
    if not installed:
        raise ImportError(Errors.E522)
    quick = [choice for choice in installed if choice.precision != "bfloat16" or bfloat16_is_quick()]
    if precision != "auto" or quick == installed:
        return installed
    msg.info("This processor is no quicker at bfloat16 than at float32: it is not tried.")
    return quick


def _make_all(
    nlp: Language, choices: List[Choice], folder: Path, threads: int, keep_vectors: bool, how: Dict[str, Any]
) -> Dict[Choice, Path]:
    """Write a pipeline for each choice. how: Settings of `export_encoder`. RETURNS (Dict[Choice, Path]): Their folders."""
    name, pipe = find_component(nlp)
    made = {}
    for choice in tqdm(choices, desc="exporting", disable=None):
        weights = export_encoder(pipe.model, *choice, **how)
        compiled = compile_transformer(pipe.model, weights, *choice, threads=threads)
        made[choice] = folder / "-".join(choice)
        save_compiled(nlp, name, compiled, made[choice], keep_vectors, int8_components=how["packing"] is not None)
    return made


def _choose(nlp: Language, made: Dict[Choice, Path], dev: Path, max_loss: float) -> Choice:
    """The quickest on this machine of those that lose little; if all lose too much, the one that loses least."""
    pipelines = {choice: spacy.load(path) for choice, path in made.items()}
    speeds = {choice: max(found) for choice, found in race(pipelines, read_texts(dev, nlp), 2).items()}
    before = main_scores(nlp, score(nlp, dev))
    losses: Dict[Choice, float] = {}
    for choice, other in tqdm(pipelines.items(), desc="scoring", disable=None):
        after = main_scores(other, score(other, dev))
        losses[choice] = max((100 * (value - after.get(task, 0.0)) for task, value in before.items()), default=0.0)
    good = [choice for choice in made if losses[choice] <= max_loss]
    best = max(good, key=speeds.__getitem__) if good else min(made, key=losses.__getitem__)
    rows = [(str(c), f"{speeds[c]:,.0f}", f"{max(losses[c], 0):.1f}", "chosen" if c == best else "") for c in made]
    msg.table(rows, header=("backend", "words/s", "most lost", ""), divider=True, aligns=("l", "r", "r", "l"))
    return best


def _report(nlp: Language, settings: Dict[str, Any], output: Path, dev: Path, max_loss: float, force: bool) -> Dict[str, Costs]:
    costs = measure({"original": Path(nlp.path), "result": output}, {"original": nlp, "result": spacy.load(output)}, dev)
    before, after = costs["original"], costs["result"]
    msg.table(table(before, after), header=HEADER, divider=True, aligns=("l", "r", "r", "r"))
    found = problems(before, after, max_loss)
    if found and not force:
        shutil.rmtree(output)
        msg.fail("Refused: " + "; ".join(found), "Nothing was written. --force keeps such a result.", exits=1)
    for problem in found:
        msg.warn(f"Kept all the same: {problem}")
    write_card(output, before, after, settings, dev.name)
    _draw(costs, output)
    if not loops.compiled(loops.best_paths):
        msg.info(
            'Measured without numba: single, long and many-labelled texts take less with pip install "spacy-llm-ie[fast]".'
        )
    msg.good(
        f"{output}: {settings['backend']} {settings['precision']}; the report is in its meta.json, for the README of the package"
    )
    return costs


def _draw(costs: Dict[str, Costs], output: Path) -> None:
    try:
        plot(costs, output / "compression.png", "speed against score")
    except ImportError as error:
        msg.info(str(error))
