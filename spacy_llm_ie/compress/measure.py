"""What a pipeline costs and how well it does: size, load time, memory, speed, latency, scores."""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Sequence

from spacy.language import Language
from spacy.scorer import Scorer
from thinc.api import Model

from ..data.corpus import create_corpus_v1
from ..embedding import EmbedOnce
from ..encode.words import WordSplitter
from ..errors import Errors
from ..tasks import main_scores

# Enough words that starting a batch counts little, and texts enough for percentiles.
LEAST_WORDS = 12_000
SHORT_WORDS = 20
MOST_SHORT = 100


class Costs(NamedTuple):
    """What a pipeline costs, and its scores on the development set.

    size (float): Megabytes on disk.
    load (float): Seconds from `spacy.load` to the first answer, in a process of its own.
    memory (Optional[float]): Peak megabytes of that process after it has read the texts; None where the system does not say.
    speed (float): Words a second from raw text, median of several runs.
    p50, p95 (float): Milliseconds for one text of 20 words: median, and what 95% stay below.
    scores (Dict[str, float]): F1 (or the score that training used) of each task, 0 to 1.
    ece (Optional[float]): Expected calibration error of the entities' probabilities.
    """

    size: float
    load: float
    memory: Optional[float]
    speed: float
    p50: float
    p95: float
    scores: Dict[str, float]
    ece: Optional[float]


def read_texts(path: Path, nlp: Language) -> List[str]:
    """The texts of a corpus, again and again until there are enough words to time. RAISES (ValueError): If it has none (E532)."""
    texts = [example.reference.text for example in create_corpus_v1(path)(nlp) if len(example.reference)]
    if not texts:
        raise ValueError(Errors.E532.format(path=path))
    words = count_words(nlp, texts)
    return texts * max(1, -(-LEAST_WORDS // words))


def count_words(nlp: Language, texts: Iterable[str]) -> int:
    """RETURNS (int): Tokens of the texts."""
    return sum(len(nlp.make_doc(text)) for text in texts)


def score(nlp: Language, path: Path) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): What spaCy's Scorer says of the pipeline on a corpus, from raw text."""
    examples = list(create_corpus_v1(path)(nlp))
    for example, doc in zip(examples, nlp.pipe([example.predicted for example in examples])):
        example.predicted = doc
    return Scorer(nlp).score(examples)


def measure(paths: Dict[str, Path], pipelines: Dict[str, Language], data: Path, repeats: int = 3) -> Dict[str, Costs]:
    """Measure pipelines against each other, in alternation, so that what else the machine does hits all alike.

    paths (Dict[str, Path]): Their folders, by name.
    pipelines (Dict[str, Language]): The same, loaded.
    data (Path): Development data: .spacy or .jsonl.
    repeats (int): Runs of each.
    RETURNS (Dict[str, Costs]): By name.
    """
    texts = read_texts(data, next(iter(pipelines.values())))
    short = shorten(next(iter(pipelines.values())), texts)
    speeds = race(pipelines, texts, repeats)
    times = {name: wait_for_each(nlp, short) for name, nlp in pipelines.items()}
    costs = {}
    for name, nlp in pipelines.items():
        scores = score(nlp, data)
        found = probe(paths[name], texts)
        latencies = statistics.quantiles(times[name], n=20) if len(times[name]) > 1 else times[name] * 19
        costs[name] = Costs(
            size=folder_size(paths[name]) / 1e6,
            load=found["load"],
            memory=found["memory"],
            speed=statistics.median(speeds[name]),
            p50=1000 * statistics.median(times[name]),
            p95=1000 * latencies[18],
            scores=main_scores(nlp, scores),
            ece=scores.get("ents_ece"),
        )
    return costs


def race(pipelines: Dict[str, Language], texts: Sequence[str], repeats: int) -> Dict[str, List[float]]:
    """Words per second of pipelines from raw text, in alternation. RETURNS (Dict[str, List[float]]): Each run, by name."""
    speeds: Dict[str, List[float]] = {name: [] for name in pipelines}
    words = count_words(next(iter(pipelines.values())), texts)
    for nlp in pipelines.values():
        _read(nlp, texts[:64])
    for _ in range(repeats):
        for name, nlp in pipelines.items():
            forget_words(nlp)
            start = time.perf_counter()
            _read(nlp, texts)
            speeds[name].append(words / (time.perf_counter() - start))
    return speeds


def shorten(nlp: Language, texts: Sequence[str]) -> List[str]:
    """RETURNS (List[str]): The first 20 words of some texts that have as many, or else the texts."""
    docs = [nlp.make_doc(text) for text in list(dict.fromkeys(texts))[:MOST_SHORT]]
    return [doc[:SHORT_WORDS].text for doc in docs if len(doc) >= SHORT_WORDS] or [doc.text for doc in docs]


def wait_for_each(nlp: Language, texts: Sequence[str], before: Sequence[str] = ()) -> List[float]:
    """Process texts one by one.

    nlp (Language): It knows no words but those of `before`, as if the texts were new.
    texts (Sequence[str]): The texts.
    before (Sequence[str]): Others, which it reads first.
    RETURNS (List[float]): Seconds for each; the first few, which warm up, are done twice.
    """
    for text in texts[:5]:
        nlp(text)
    forget_words(nlp)
    _read(nlp, before)
    seconds = []
    for text in texts:
        start = time.perf_counter()
        nlp(text)
        seconds.append(time.perf_counter() - start)
    return seconds


def forget_words(nlp: Language) -> None:
    """Let a pipeline forget the words that it keeps: texts that are read again and again would all be known.

    nlp (Language): Reads the next text as if its words were new.
    """
    for _, pipe in nlp.pipeline:
        model = getattr(pipe, "model", None)
        for node in model.walk() if isinstance(model, Model) else ():
            for keeper in (node._func, getattr(node, "split", None)):
                if isinstance(keeper, (EmbedOnce, WordSplitter)):
                    keeper.forget()


def folder_size(path: Path) -> int:
    """RETURNS (int): Bytes of all files in a folder."""
    return sum(file.stat().st_size for file in Path(path).rglob("*") if file.is_file())


def probe(path: Path, texts: Sequence[str]) -> Dict[str, Any]:
    """Load a pipeline in a process of its own and let it read texts.

    path (Path): The folder of the pipeline.
    texts (Sequence[str]): What it reads.
    RETURNS (Dict[str, Any]): `load`, seconds to the first answer; `memory`, peak megabytes or None.
    RAISES (RuntimeError): If the process fails (E533).
    """
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf8", delete=False) as file:
        json.dump(list(texts), file)
    try:
        command = [sys.executable, "-W", "ignore", "-m", "spacy_llm_ie.compress.probe", str(path), file.name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    finally:
        Path(file.name).unlink()
    if done.returncode:
        raise RuntimeError(Errors.E533.format(path=path, problem=done.stderr.strip()[-1500:]))
    return json.loads(done.stdout.splitlines()[-1])


def _read(nlp: Language, texts: Sequence[str]) -> None:
    for _ in nlp.pipe(texts):
        pass


def peak_memory() -> Optional[float]:
    """RETURNS (Optional[float]): Most megabytes that this process ever had in memory; None where the system does not say."""
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage says includes the process that this one was forked from
        lines = (line.split() for line in status.read_text(encoding="utf8").splitlines())
        return next((float(line[1]) / 1e3 for line in lines if line[0] == "VmHWM:"), None)
    try:
        import resource
    except ImportError:
        return None
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size / 1e6 if sys.platform == "darwin" else size / 1e3
