"""The page around the pictures: styles, headings, cards for events, lists of facts."""

from typing import Iterable, List, Sequence

from .colors import ink_color
from .facts import Frame, Mark, Options, Scene, score_text
from .svg import draw, escape, lay_out

# Grounds and inks follow JupyterLab and VS Code where the picture stands in one of them, else the reader's system.
STYLE = """
.ie-view{--ie-ground:var(--jp-layout-color0,var(--vscode-editor-background,#fff));
--ie-ink:var(--jp-content-font-color0,var(--vscode-editor-foreground,#1b1f24));
color:var(--ie-ink);background:var(--ie-ground);font:14px/1.45 Arial,Helvetica,"Liberation Sans",sans-serif;text-align:start}
@media (prefers-color-scheme:dark){.ie-view{--ie-ground:var(--jp-layout-color0,var(--vscode-editor-background,#15181c));
--ie-ink:var(--jp-content-font-color0,var(--vscode-editor-foreground,#e6e9ed))}}
.ie-view *{box-sizing:border-box}
.ie-view .ie-row{display:flex;flex-wrap:wrap;gap:10px 40px;margin:0 0 26px}
.ie-view .ie-doc{margin:0;padding:0;max-width:100%}
.ie-view .ie-title{font-weight:bold;font-size:13px;opacity:.75;padding:4px 10px}
.ie-view .ie-scroll{overflow-x:auto}
.ie-view svg{display:block;fill:var(--ie-ink);max-width:100%;height:auto;font:15px Arial,Helvetica,"Liberation Sans",sans-serif}
.ie-view svg text{stroke:none;white-space:pre}
.ie-view .ie-label{font-size:10px;font-weight:bold}
.ie-view .ie-ground{fill:var(--ie-ground);stroke:none}
.ie-view .ie-way{fill:none;stroke-width:1.3}
.ie-view .ie-reach{fill:none;stroke-width:9;stroke-opacity:0}
.ie-view .ie-argument .ie-way{stroke-dasharray:4 3}
.ie-view .ie-relation:hover .ie-way,.ie-view .ie-argument:hover .ie-way{stroke-width:2.6}
.ie-view .ie-facts{display:flex;flex-wrap:wrap;gap:10px;padding:2px 10px 6px}
.ie-view .ie-card{border:1px solid rgba(128,136,146,.4);border-inline-start-width:4px;border-radius:5px;padding:6px 10px 7px;
min-width:210px;max-width:100%}
.ie-view .ie-head{display:flex;gap:8px;align-items:baseline;margin-bottom:4px}
.ie-view .ie-cells{display:grid;grid-template-columns:auto 1fr auto;gap:2px 12px;font-size:13px;align-items:baseline}
.ie-view .ie-relations{grid-template-columns:auto auto auto auto;justify-content:start}
.ie-view .ie-line{display:contents}
.ie-view .ie-role,.ie-view .ie-score{opacity:.72}
.ie-view .ie-score{font-size:11px;font-variant-numeric:tabular-nums;margin-inline-start:auto}
.ie-view .ie-chip{border-radius:3px;padding:0 4px}
.ie-view .ie-none{opacity:.6;padding:2px 10px;font-style:italic}
"""


def figure(scene: Scene, options: Options) -> str:
    """The picture of one document.

    scene (Scene): What to show.
    options (Options): Width and style.
    RETURNS (str): A figure element.
    """
    direction = "rtl" if scene.rtl else "ltr"
    parts = [f'<figure class="ie-doc" lang="{escape(scene.lang)}" dir="{direction}" style="width:{options.width}px">']
    if scene.title:
        parts.append(f'<figcaption class="ie-title">{escape(scene.title)}</figcaption>')
    kinds = _kinds_with_arcs(scene, options)
    drawing = lay_out(scene, [link for link in scene.links if link.kind in kinds], float(options.width))
    if drawing.height:
        parts.append(f'<div class="ie-scroll" dir="ltr">{draw(drawing)}</div>')
    else:
        parts.append('<div class="ie-none">no text</div>')
    if "relation" not in kinds:
        parts.append(_relations(scene))
    if scene.frames:
        parts.append(f'<div class="ie-facts">{"".join(_card(frame, scene) for frame in scene.frames)}</div>')
    return "".join([*parts, "</figure>"])


def _kinds_with_arcs(scene: Scene, options: Options) -> List[str]:
    if options.style == "table":
        return []
    return ["relation", "argument"] if options.event_arcs else ["relation"]


def _chip(mark: Mark) -> str:
    color = mark.color if mark.kind == "entity" else ""
    style = f' style="background:{escape(color)};color:{ink_color(color)}"' if color else ""
    return f'<span><bdi class="ie-chip"{style}>{escape(mark.text)}</bdi></span>'


def _score(score: float, scene: Scene) -> str:
    """A score in its cell, which stays empty where all facts are gold."""
    return f'<span class="ie-score">{score_text(score) if scene.scored else ""}</span>'


def _card(frame: Frame, scene: Scene) -> str:
    """An event: type, trigger and score, and a line for each argument."""
    number = f"<span>{frame.number}</span>" if frame.number else ""
    lines = [
        f'<span class="ie-line"><span class="ie-role">{escape(role)}</span>{_chip(scene.marks[mark])}{_score(score, scene)}</span>'
        for role, mark, score in frame.arguments
    ]
    return (
        f'<section class="ie-card" data-label="{escape(frame.label)}" style="border-inline-start-color:{escape(frame.color)}">'
        f'<div class="ie-head">{number}<b>{escape(frame.label)}</b><bdi>{escape(scene.marks[frame.mark].text)}</bdi>'
        f'{_score(frame.score, scene)}</div><div class="ie-cells">{"".join(lines)}</div></section>'
    )


def _relations(scene: Scene) -> str:
    """A list of the relations, for the style "table"."""
    lines = [
        f'<span class="ie-line">{_chip(scene.marks[link.head])}<b>{escape(link.label)}</b>'
        f"{_chip(scene.marks[link.tail])}{_score(link.score, scene)}</span>"
        for link in scene.links
        if link.kind == "relation"
    ]
    return f'<div class="ie-facts"><div class="ie-cells ie-relations">{"".join(lines)}</div></div>' if lines else ""


def fragment(rows: Iterable[Sequence[Scene]], options: Options) -> str:
    """All pictures in one element.

    rows (Iterable[Sequence[Scene]]): Those of a row stand side by side where the window is wide enough.
    options (Options): Width and style.
    RETURNS (str): A div element with its styles. MathJax leaves it alone, so that dollars stay dollars.
    """
    parts = ['<div class="ie-view tex2jax_ignore mathjax_ignore">', f"<style>{STYLE}</style>"]
    for row in rows:
        parts.append(f'<div class="ie-row">{"".join(figure(scene, options) for scene in row)}</div>')
    return "".join([*parts, "</div>"])


def whole_page(content: str, title: str) -> str:
    """A page that can be opened by itself.

    content (str): What `fragment` returns.
    title (str): For the window.
    RETURNS (str): HTML that is XML too.
    """
    return (
        '<!DOCTYPE html>\n<html xmlns="http://www.w3.org/1999/xhtml"><head><meta charset="utf-8"/>'
        '<meta name="viewport" content="width=device-width"/><meta name="color-scheme" content="light dark"/>'
        f"<title>{escape(title)}</title><style>body{{margin:24px;background:#fff}}"
        "@media (prefers-color-scheme:dark){body{background:#15181c}}</style></head>"
        f"<body>{content}</body></html>\n"
    )
