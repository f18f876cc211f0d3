"""Tags of CoNLL files to spans: which scheme a file follows, and what becomes of tags that do not."""

from collections import Counter
from typing import Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

from ...errors import Errors

OUTSIDE = "O"
MISSING = "-"
SCHEMES: Dict[str, Dict[str, str]] = {
    "iob1": {"B": "begin", "I": "inside"},
    "iob2": {"B": "begin", "I": "inside"},
    "bioes": {"B": "begin", "I": "inside", "E": "last", "S": "unit"},
    "bmes": {"B": "begin", "M": "inside", "E": "last", "S": "unit"},
    "bilou": {"B": "begin", "I": "inside", "L": "last", "U": "unit"},
}
ALIASES = {"bio": "iob2", "iob": "iob1", "iobes": "bioes", "bmeso": "bmes", "biluo": "bilou"}
AUTO = "auto"


class Tagged(NamedTuple):
    """What the tags of one sentence say.

    spans (List[Tuple[int, int, str]]): Start, end (exclusive) and label, in the order of the text.
    missing (List[int]): Tokens of which it is not known whether they are in a span.
    repairs (List[Tuple[int, str]]): Tokens whose tag does not follow the scheme, and what was made of it.
    """

    spans: List[Tuple[int, int, str]]
    missing: List[int]
    repairs: List[Tuple[int, str]]


def scheme_name(name: str) -> str:
    """The name under which a scheme stands in SCHEMES, or "auto". Raises ValueError (E167) if there is none.

    name (str): The name as given; BIO, IOBES, BILUO and small or capital letters are understood.
    RETURNS (str): The name.
    """
    known = ALIASES.get(name.lower(), name.lower())
    if known not in (*SCHEMES, AUTO):
        expected = "one of " + ", ".join((AUTO, *SCHEMES, *ALIASES))
        raise ValueError(Errors.E167.format(name="scheme", expected=expected, found=name))
    return known


def split_tag(tag: str, where: str, scheme: str = AUTO) -> Tuple[str, str]:
    """Prefix and label of a tag.

    tag (str): "O", "-" (not known), or a prefix, "-" and a label.
    where (str): File and line, for messages.
    scheme (str): A key of SCHEMES, or "auto" for the prefixes of all of them.
    RETURNS (Tuple[str, str]): "B" and "ORG"; "O" or "-" and "". Raises ValueError (E171) for another tag.
    """
    if tag in (OUTSIDE, MISSING):
        return tag, ""
    prefix, _, label = tag.partition("-")
    prefixes = SCHEMES[scheme] if scheme != AUTO else [p for known in SCHEMES.values() for p in known]
    if prefix not in prefixes or not label:
        expected = f"O, or one of {', '.join(sorted(set(prefixes)))} with '-' and a label, as in B-ORG"
        raise ValueError(Errors.E171.format(where=where, tag=tag, scheme=scheme, expected=expected))
    return prefix, label


def detect_scheme(sentences: Iterable[Sequence[Tuple[str, str]]], where: str) -> str:
    """Tell the scheme from the prefixes. IOB1 is where B stands only between two spans of the same label.

    sentences (Iterable[Sequence[Tuple[str, str]]]): Prefix and label of each token.
    where (str): The file, for messages.
    RETURNS (str): A key of SCHEMES; "iob2" if there are no spans at all. Raises ValueError (E172) if the
        prefixes belong to several schemes.
    """
    prefixes: Counter = Counter()
    begun_by_inside = free_begin = 0
    for tags in sentences:
        before: Tuple[str, str] = (OUTSIDE, "")
        for prefix, label in tags:
            prefixes[prefix] += 1
            continues = before[0] in ("B", "I") and before[1] == label
            begun_by_inside += prefix == "I" and not continues
            free_begin += prefix == "B" and not continues
            before = (prefix, label)
    found = set(prefixes) - {OUTSIDE, MISSING}
    if found <= {"B", "I"}:
        return "iob1" if begun_by_inside and not free_begin else "iob2"
    fitting = [name for name, known in SCHEMES.items() if found <= set(known)]
    if not fitting:
        shown, known = ", ".join(sorted(found)), ", ".join(SCHEMES)
        raise ValueError(Errors.E172.format(where=where, prefixes=shown, known=known))
    return fitting[0]


def decode_tags(tags: Sequence[Tuple[str, str]], scheme: str) -> Tagged:
    """Read the spans off the tags of a sentence, leniently.

    A tag that continues a span which is not there begins one; a span that is not closed ends before the next
    tag that does not continue it. Both count as repairs.

    tags (Sequence[Tuple[str, str]]): Prefix and label of each token.
    scheme (str): A key of SCHEMES.
    RETURNS (Tagged): Spans, unknown tokens and repairs.
    """
    meaning = SCHEMES[scheme]
    closes = "last" in meaning.values()
    result = Tagged([], [], [])
    opened: Optional[Tuple[int, str]] = None
    for i, (prefix, label) in enumerate([*tags, (OUTSIDE, "")]):
        step = meaning.get(prefix, "outside")
        continues = step in ("inside", "last") and opened is not None and opened[1] == label
        if opened is not None and not continues:
            result.spans.append((opened[0], i, opened[1]))
            if closes:
                result.repairs.append((i - 1, f"{opened[1]} is not closed after {'-'.join(tags[i - 1])}"))
            opened = None
        if step in ("inside", "last") and not continues and scheme != "iob1":
            before = "-".join(filter(None, tags[i - 1])) if i else "the beginning"
            result.repairs.append((i, f"{prefix}-{label} after {before} begins an entity"))
        if step == "unit" or (step == "last" and not continues):
            result.spans.append((i, i + 1, label))
        elif step == "last":
            result.spans.append((opened[0] if opened else i, i + 1, label))
            opened = None
        elif step in ("begin", "inside") and not continues:
            opened = (i, label)
        if prefix == MISSING:
            result.missing.append(i)
    return result
