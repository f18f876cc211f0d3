"""How wide text is, and in which order it is read: what a browser knows, without a browser.

Widths are those of Arial, which Helvetica and Liberation Sans share. Where another font is used, the picture tells the
browser the width that each piece of text must have (`textLength`), so nothing ever runs into its neighbour.
"""

import unicodedata
from functools import lru_cache
from typing import Dict, List, Sequence

# Width in thousandths of the font size -> characters.
_ADVANCES = {
    191: "'",
    222: "ijlł‘’ίι",
    260: "|",
    278: " !,./:;I[\\]ft·ıΙΪ",
    334: "()-`r{}¡“”",
    350: '"•',
    365: "г",
    389: "*°τ",
    446: "έεζξзкт",
    469: "^ς",
    500: "Jcksvxyzγκλνсухэ",
    530: "χГвпчья",
    556: "#$0123456789?L_abdeghnopqu£¥§«»ðþ–€Γήΰδηθορυаеийнор",
    578: "+<=>~άαβμКбдлц",
    611: "FTZ¿ßøΖΣΤσЗТъ",
    635: "У",
    655: "&ABEKPSVXYΑΒΔΕΚΛΞΡΥΧΫφАБВЕЛРХЧЬж",
    667: "Д",
    690: "πм",
    722: "CDHNRUwΗΝΠψИЙНПСЭЯы",
    740: "©®ΩЦю",
    760: "Ф",
    778: "GOQØΘΟωОЪ",
    802: "Φш",
    833: "MmΜΨМфщ",
    885: "%æЫ",
    920: "ЖШ",
    944: "WœЩ",
    1000: "Æ—…→Ю",
    1015: "@",
}
_WIDTHS: Dict[str, int] = {char: width for width, chars in _ADVANCES.items() for char in chars}
_NARROW_ARABIC = set("اأإآدذرزوؤة")
_WIDE_ARABIC = set("سشصضكطظ")
BOLD = 1.07
_RTL = ("R", "AL")


@lru_cache(maxsize=4096)
def _char_width(char: str) -> int:
    if char in _WIDTHS:
        return _WIDTHS[char]
    category = unicodedata.category(char)
    if category in ("Mn", "Me", "Cf", "Cc"):
        return 0
    if unicodedata.east_asian_width(char) in ("W", "F"):
        return 1000
    if unicodedata.bidirectional(char) in _RTL:
        return 300 if char in _NARROW_ARABIC else 850 if char in _WIDE_ARABIC else 560
    base = unicodedata.normalize("NFD", char)[0]
    if base != char:
        return _char_width(base)
    return 680 if category == "Lu" else 556


def measure(text: str, size: float, *, bold: bool = False) -> float:
    """The width of a line of text.

    text (str): Any text.
    size (float): Font size in px.
    bold (bool): Whether it is set in bold.
    RETURNS (float): The width in px; 0 for an empty text.
    """
    return sum(map(_char_width, text)) * size * (BOLD if bold else 1.0) / 1000


def is_rtl(text: str, default: bool = False) -> bool:
    """Whether a text is written from right to left: most of its letters are.

    text (str): Any text.
    default (bool): What to say of a text without letters, or with as many of each kind.
    RETURNS (bool): The direction.
    """
    kinds = [unicodedata.bidirectional(char) for char in text]
    right, left = sum(kind in _RTL for kind in kinds), kinds.count("L")
    return default if right == left else right > left


def _kind(text: str) -> str:
    """L, R, N (number) or O (neither), by the first character that decides."""
    number = "O"
    for char in text:
        kind = unicodedata.bidirectional(char)
        if kind == "L":
            return "L"
        if kind in _RTL:
            return "R"
        if kind in ("EN", "AN"):
            number = "N"
    return number


def embedding_levels(texts: Sequence[str], rtl: bool) -> List[int]:
    """The embedding levels of the pieces of a line: Unicode's algorithm (UAX #9, W7 and N1 to I2), on whole pieces.

    texts (Sequence[str]): The pieces, in the order in which they are read; spaces are pieces too.
    rtl (bool): Whether the paragraph runs from right to left.
    RETURNS (List[int]): One level a piece: even runs from left to right, odd from right to left.
    """
    base, left = int(rtl), 2 if rtl else 0
    kinds = [_kind(text) for text in texts]
    if not rtl and "R" not in kinds:
        return [0] * len(kinds)
    strong, sides = "R" if rtl else "L", []
    for kind in kinds:
        strong = kind if kind in "LR" else strong
        sides.append("L" if kind == "N" and strong == "L" else kind)
    levels = []
    for i, side in enumerate(sides):
        if side == "O":
            before = next((s for s in reversed(sides[:i]) if s != "O"), "R" if rtl else "L")
            after = next((s for s in sides[i + 1 :] if s != "O"), "R" if rtl else "L")
            same = (before == "L") == (after == "L")
            levels.append(base if not same else left if before == "L" else 1)
        else:
            levels.append({"L": left, "R": 1, "N": 2}[side])
    return levels


def visual_order(levels: Sequence[int]) -> List[int]:
    """The pieces of a line from left to right (UAX #9, L2).

    levels (Sequence[int]): Embedding levels, in the order in which the pieces are read.
    RETURNS (List[int]): Indices of the pieces, the leftmost first.
    """
    order = list(range(len(levels)))
    for level in range(max(levels, default=0), 0, -1):
        i = 0
        while i < len(order):
            j = i
            while j < len(order) and levels[order[j]] >= level:
                j += 1
            order[i:j] = reversed(order[i:j])
            i = j + 1
    return order
