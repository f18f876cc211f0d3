"""Pictures: every fact drawn once, nothing on top of another, and text that cannot break the page."""

import itertools
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc, Span, SpanGroup

import spacy_llm_ie
from spacy_llm_ie.annotations import Argument, Event, Relation, set_events, set_relations
from spacy_llm_ie.data.corpus import create_corpus_v1
from spacy_llm_ie.ner.scores import set_scores
from spacy_llm_ie.view.colors import entity_colors, fill_color, ink_color, line_colors
from spacy_llm_ie.view.facts import Options, collect
from spacy_llm_ie.view.render import Picture
from spacy_llm_ie.view.svg import lay_out
from spacy_llm_ie.view.words import embedding_levels, is_rtl, measure, visual_order

NEWSWIRE = Path(__file__).parents[2] / "assets" / "newswire"
NLP = spacy.blank("en")
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def gold():
    return [example.reference for example in create_corpus_v1(NEWSWIRE / "dev.jsonl", limit=30)(NLP)]


@pytest.fixture
def doc():
    doc = NLP("Arlen Foods of Omaha bought Bexley Grain for $2 million .")
    ents = [Span(doc, 0, 2, "ORG"), Span(doc, 3, 4, "GPE"), Span(doc, 5, 7, "ORG"), Span(doc, 8, 11, "MONEY")]
    doc.ents = ents
    set_scores(doc, [(ents[0], 0.97), (ents[1], 0.41)], ["ORG", "GPE"])
    set_relations(doc, [Relation(ents[0], ents[1], "headquartered_in", 0.83), Relation(ents[0], ents[2], "owns", 0.3)])
    arguments = [Argument("buyer", ents[0], 0.91), Argument("target", ents[2], 0.82), Argument("manner", doc[7:8], 0.2)]
    set_events(doc, [Event(doc[4:5], "acquisition", 0.77, arguments)])
    return doc


def parse(picture):
    """The picture as XML, which it has to be."""
    return ET.fromstring(str(picture))


def by_class(picture, name):
    return [element for element in parse(picture).iter() if name in element.get("class", "").split()]


def labels(picture, name):
    return [element.get("data-label") for element in by_class(picture, name)]


def texts(element):
    return "".join(element.itertext())


def geometry(doc, width=900, **options):
    options = Options(width=width, **options)
    scene = collect(doc, options)
    links = [link for link in scene.links if link.kind == "relation" or options.event_arcs]
    return lay_out(scene, links, float(width))


def test_each_fact_is_drawn_once(doc):
    picture = spacy_llm_ie.render(doc, event_arcs=True)
    assert labels(picture, "ie-entity") == ["ORG", "GPE", "ORG", "MONEY"]
    assert sorted(labels(picture, "ie-relation")) == ["headquartered_in", "owns"]
    assert labels(picture, "ie-event") == ["acquisition"]
    assert sorted(labels(picture, "ie-argument")) == ["buyer", "manner", "target"]
    assert labels(picture, "ie-card") == ["acquisition"]
    assert labels(picture, "ie-span") == [""]
    assert labels(spacy_llm_ie.render(doc), "ie-argument") == []


def test_facts_of_a_corpus_are_drawn_once(gold):
    for doc in gold:
        picture = spacy_llm_ie.render(doc, width=500, event_arcs=True)
        assert sorted(labels(picture, "ie-entity")) == sorted(ent.label_ for ent in doc.ents)
        assert sorted(labels(picture, "ie-relation")) == sorted(r.label for r in doc._.relations)
        assert sorted(labels(picture, "ie-card")) == sorted(e.label for e in doc._.events)
        assert sorted(labels(picture, "ie-argument")) == sorted(a.role for e in doc._.events for a in e.arguments)


def test_scores_stand_in_titles_and_cards(doc):
    picture = spacy_llm_ie.render(doc, event_arcs=True)
    titles = [texts(element) for element in parse(picture).iter(f"{SVG}title")]
    assert "Arlen Foods · ORG 0.97" in titles
    assert "Bexley Grain · ORG" in titles
    assert "Arlen Foods — headquartered_in → Omaha · 0.83" in titles
    assert "bought — buyer → Arlen Foods · 0.91" in titles
    (card,) = by_class(picture, "ie-card")
    assert texts(card) == "acquisitionbought0.77buyerArlen Foods0.91targetBexley Grain0.82mannerfor0.20"


def test_gold_has_no_scores_in_its_cards(gold):
    assert not any(texts(cell) for cell in by_class(spacy_llm_ie.render(gold), "ie-score"))


def test_events_are_numbered_where_there_are_several(doc):
    set_events(doc, [Event(doc[4:5], "acquisition"), Event(doc[4:5], "purchase")])
    picture = spacy_llm_ie.render(doc)
    assert ["1acquisitionbought1.00", "2purchasebought1.00"] == [texts(card) for card in by_class(picture, "ie-card")]
    assert {"1 acquisition", "2 purchase"} <= {texts(label) for label in by_class(picture, "ie-label")}


def test_text_cannot_break_the_page():
    evil = "<script>alert('x')</script>\"&amp;"
    doc = Doc(NLP.vocab, words=["a\x0bb", evil, "]]>", "c\x00d", "\uffff"], spaces=[True] * 5)
    doc.ents = [Span(doc, 1, 2, evil)]
    set_relations(doc, [Relation(doc[1:2], doc[2:3], evil, 0.5)])
    set_events(doc, [Event(doc[2:3], evil, 0.5, [Argument(evil, doc[1:2], 0.5)])])
    doc.user_data["title"] = evil
    for style, page in itertools.product(("arcs", "table"), (True, False)):
        picture = spacy_llm_ie.render(doc, style=style, page=page, event_arcs=True, colors={evil: "red;}</style>"})
        root = parse(picture)
        assert not [element for element in root.iter() if element.tag.endswith("script")]
        assert labels(picture, "ie-entity") == [evil]
        assert evil in [texts(t) for t in root.iter(f"{SVG}text")]
        picture.encode("utf8")
    assert "http" not in spacy_llm_ie.render(doc).replace("http://www.w3.org/", "")


def test_a_page_is_whole_and_a_fragment_is_not(doc):
    page, fragment = spacy_llm_ie.render(doc, page=True), spacy_llm_ie.render(doc)
    assert page.startswith("<!DOCTYPE html>")
    assert parse(page).tag == "{http://www.w3.org/1999/xhtml}html"
    assert parse(fragment).tag == "div"
    assert "tex2jax_ignore" in fragment
    assert "prefers-color-scheme" in fragment


def test_arcs_do_not_touch(gold):
    for doc, width in itertools.product(gold, (380, 900, 1600)):
        drawing = geometry(doc, width, event_arcs=True)
        runs = [run for arc in drawing.arcs for run in arc.runs]
        for a, b in itertools.combinations(runs, 2):
            if a.line == b.line and a.level == b.level:
                assert a.high < b.low or b.high < a.low
            elif a.line == b.line:
                assert abs(a.y - b.y) >= 15, "labels are 12 px high"
        boxes = [(a.labelled.label_x, a.labelled.label, a.labelled.y) for a in drawing.arcs]
        for (x1, w1, y1), (x2, w2, y2) in itertools.combinations(boxes, 2):
            assert abs(y1 - y2) >= 12 or abs(x1 - x2) >= (w1 + w2) / 2
        for run in runs:
            line = drawing.lines[run.line]
            assert line.top <= run.y - 6
            assert run.y + 6 < min(s.y for s in drawing.segments if s.line == run.line)
            assert run.low >= 0
            assert run.high <= width


def test_lanes_are_not_shared_and_lie_beside_the_text(gold):
    for doc in gold:
        drawing = geometry(doc, 420, event_arcs=True)
        left = min(item.x for line in drawing.lines for item in line.items)
        right = max(item.x + item.width for line in drawing.lines for item in line.items)
        between = [arc for arc in drawing.arcs if arc.side]
        for arc in between:
            assert len(arc.runs) == 2
            assert 0 < arc.lane < left if arc.side < 0 else right < arc.lane < 420
        for a, b in itertools.combinations(between, 2):
            (a1, a2), (b1, b2) = (sorted(run.y for run in arc.runs) for arc in (a, b))
            assert abs(a.lane - b.lane) > 2 or a2 < b1 or b2 < a1


def test_ends_of_arcs_are_apart_and_on_their_boxes(gold):
    for doc in gold:
        drawing = geometry(doc, event_arcs=True)
        ends = [end for arc in drawing.arcs for end in (arc.head, arc.tail)]
        for a, b in itertools.combinations(ends, 2):
            assert a.segment.line != b.segment.line or abs(a.x - b.x) > 2
        assert all(end.segment.x1 <= end.x <= end.segment.x2 for end in ends)
        for arc in drawing.arcs:
            assert arc.points[0][0] == arc.head.x
            assert arc.points[-1] == (arc.tail.x, arc.tail.segment.y - 1)


def test_crossing_arcs_get_heights_of_their_own():
    doc = NLP("a b c d e f g h")
    pairs = [(0, 4), (2, 6), (1, 5), (3, 7)]
    set_relations(doc, [Relation(doc[a : a + 1], doc[b : b + 1], "crosses") for a, b in pairs])
    drawing = geometry(doc)
    assert len(drawing.lines) == 1
    assert sorted(arc.runs[0].level for arc in drawing.arcs) == [0, 1, 2, 3]


def drawn_words(drawing):
    return "".join(item.text for line in drawing.lines for item in line.items)


def test_lines_wrap_at_the_width(gold):
    for doc, width in itertools.product(gold[:8], (260, 500, 900)):
        drawing = geometry(doc, width)
        assert drawn_words(drawing).replace(" ", "") == "".join(doc.text.split())
        for line in drawing.lines:
            end = 0.0
            for item in (line.items[i] for i in line.order):
                assert item.x >= end - 0.01
                end = item.x + item.width
            assert end <= width
    assert len(geometry(gold[0], 300).lines) > len(geometry(gold[0], 900).lines)


def test_short_entities_are_not_broken_and_long_ones_are():
    doc = NLP("one two three four five six seven eight nine ten eleven twelve " * 3)
    doc.ents = [Span(doc, 3, 6, "SHORT"), Span(doc, 10, 35, "LONG")]
    parts = [doc.ents[s.mark].label_ for s in geometry(doc, 300).segments]
    assert parts.count("SHORT") == 1
    assert parts.count("LONG") > 2
    assert labels(spacy_llm_ie.render(doc, width=300), "ie-entity") == ["SHORT", "LONG"]


def test_line_breaks_of_the_text_are_kept():
    doc = NLP("Title\n\nFirst line,  two blanks\nsecond\r\nthird")
    drawing = geometry(doc)
    lines = ["".join(item.text for item in line.items) for line in drawing.lines]
    assert lines == ["Title", "First line,  two blanks", "second", "third"]
    assert [bool(line.gap) for line in drawing.lines] == [False, True, False, False]
    doc = Doc(NLP.vocab, words=["a\nb", "\n", "c", "\n\n"], spaces=[False, False, True, False])
    doc.ents = [Span(doc, 0, 3, "X"), Span(doc, 3, 4, "Y")]
    assert ["".join(item.text for item in line.items).strip() for line in geometry(doc).lines if line.items][:2] == ["a", "b"]
    assert drawn_words(geometry(doc)).strip() == "abc"
    assert labels(spacy_llm_ie.render(doc), "ie-entity") == ["X", "Y"]


def test_long_words_are_cut():
    doc = NLP("see http://example.org/" + "x" * 500 + " now")
    drawing = geometry(doc, 400)
    assert len(drawing.lines) > 5
    assert all(item.x + item.width <= 400 for line in drawing.lines for item in line.items)


def test_words_have_the_width_that_was_reckoned(doc):
    for element in parse(spacy_llm_ie.render(doc)).iter(f"{SVG}text"):
        bold = element.get("class") == "ie-label"
        assert float(element.get("textLength")) == pytest.approx(
            measure(texts(element), 10 if bold else 15, bold=bold), abs=0.11
        )


def test_nothing_to_draw():
    for empty in (NLP(""), NLP("   "), NLP("\n\n")):
        assert parse(spacy_llm_ie.render(empty, page=True)) is not None
    assert "no text" in spacy_llm_ie.render(NLP(""))
    assert parse(spacy_llm_ie.render([])) is not None
    plain = spacy_llm_ie.render(NLP("No facts here."))
    assert labels(plain, "ie-relation") == labels(plain, "ie-card") == []
    assert "No facts here." in plain


def test_spans_that_overlap_are_stacked():
    doc = NLP("University of New South Wales in Sydney")
    doc.ents = [Span(doc, 0, 5, "ORG")]
    doc.spans["sc"] = SpanGroup(doc, spans=[Span(doc, 2, 5, "GPE"), Span(doc, 4, 7, "OTHER"), Span(doc, 2, 5, "STATE")])
    doc.spans["sc"].attrs["scores"] = [0.9, 0.2, 0.6]
    drawing = geometry(doc, spans="sc")
    found = {drawing.scene.marks[s.mark].label: s for s in drawing.segments}
    assert len({found[label].row for label in ("ORG", "GPE", "OTHER", "STATE")}) == 4
    for a, b in itertools.combinations(drawing.segments, 2):
        assert a.row != b.row or a.x2 <= b.x1 or b.x2 <= a.x1
    outer, inner = found["ORG"], found["GPE"]
    assert outer.row > inner.row
    assert outer.y < inner.y
    assert outer.x1 < inner.x1
    assert outer.x2 >= inner.x2
    assert "Wales in Sydney · OTHER 0.20" in spacy_llm_ie.render(doc, spans=["sc"])
    assert sorted(labels(spacy_llm_ie.render(doc, spans=True, min_score=0.5), "ie-entity")) == ["GPE", "ORG", "STATE"]
    assert labels(spacy_llm_ie.render(doc), "ie-entity") == ["ORG"]
    assert sorted(labels(spacy_llm_ie.render(doc, entities=False, spans="sc"), "ie-entity")) == ["GPE", "OTHER", "STATE"]


def test_relations_reach_nested_spans_and_the_span_itself():
    doc = NLP("Bank of New York Mellon hired Ada Quill")
    doc.ents = [Span(doc, 0, 5, "ORG"), Span(doc, 6, 8, "PERSON")]
    relations = [Relation(doc[2:4], doc[6:8], "a"), Relation(doc[0:5], doc[2:4], "b"), Relation(doc[6:8], doc[6:8], "c")]
    set_relations(doc, relations)
    drawing = geometry(doc)
    assert [arc.link.label for arc in drawing.arcs] == ["a", "b", "c"]
    xs = [end.x for arc in drawing.arcs for end in (arc.head, arc.tail)]
    assert all(abs(a - b) > 2 for a, b in itertools.combinations(xs, 2))


def test_right_to_left():
    nlp = spacy.blank("ar")
    words = ["أعلنت", "شركة", "Arlen", "Foods", "في", "3", "مارس", "2024"]
    doc = Doc(nlp.vocab, words=words)
    doc.ents = [Span(doc, 1, 4, "ORG"), Span(doc, 5, 8, "DATE")]
    set_relations(doc, [Relation(doc[1:4], doc[5:8], "founded_in")])
    drawing = geometry(doc)
    (line,) = drawing.lines
    at = {item.text: item.x for item in line.items if item.kind == "text"}
    assert at["أعلنت"] > at["شركة"] > at["Foods"] > at["Arlen"] > at["في"] > at["3"] > at["مارس"] > at["2024"]
    org, date = (s for s in drawing.segments)
    assert org.x1 < at["Arlen"] < at["شركة"] < org.x2 < at["أعلنت"]
    assert date.x1 < at["2024"] < at["3"] < date.x2 < org.x1
    assert max(item.x + item.width for item in line.items) == pytest.approx(890)
    root = parse(spacy_llm_ie.render(doc))
    assert "rtl" in [figure.get("dir") for figure in root.iter("figure")]
    drawn = [(texts(t), t.get("direction")) for t in root.iter(f"{SVG}text")]
    assert ("أعلنت", "rtl") in drawn
    assert ("Arlen Foods", None) in drawn


def test_reading_order_follows_unicode():
    # The cases are those of UAX #9: capitals stand for right-to-left letters there.
    car, is_, the = "עברית", "hello", "the"
    assert visual_order(embedding_levels([the, " ", car, " ", "12", " ", is_], rtl=False)) == [0, 1, 4, 3, 2, 5, 6]
    assert visual_order(embedding_levels([car, " ", the, " ", is_, " ", car], rtl=True)) == [6, 5, 2, 3, 4, 1, 0]
    assert visual_order(embedding_levels(["a", " ", "1", ".", "b"], rtl=False)) == [0, 1, 2, 3, 4]
    assert is_rtl("abc עברית עברית")
    assert not is_rtl("abcdef אב")
    assert is_rtl("123", default=True)


@pytest.mark.parametrize(
    ("options", "gone"),
    [
        ({"entities": ["ORG"]}, "ie-entity=GPE"),
        ({"entities": "GPE"}, "ie-entity=ORG"),
        ({"entities": False}, "ie-entity=MONEY"),
        ({"relations": ["owns"]}, "ie-relation=headquartered_in"),
        ({"relations": False}, "ie-relation=owns"),
        ({"events": False}, "ie-card=acquisition"),
        ({"events": []}, "ie-event=acquisition"),
        ({"min_score": 0.5}, "ie-relation=owns"),
        ({"min_score": 0.5}, "ie-argument=manner"),
        ({"min_score": 0.5, "relations": False}, "ie-entity=GPE"),
        ({"min_score": 0.8}, "ie-event=acquisition"),
        ({"event_arcs": False}, "ie-argument=buyer"),
        ({"style": "table"}, "ie-relation=owns"),
    ],
)
def test_filters(doc, options, gone):
    name, _, label = gone.partition("=")
    everything = spacy_llm_ie.render(doc, event_arcs=True)
    picture = spacy_llm_ie.render(doc, **{"event_arcs": True, **options})
    assert label in labels(everything, name)
    assert label not in labels(picture, name)
    assert "".join(t for t in doc.text.split()) in drawn_words(geometry(doc)).replace(" ", "")


def test_a_fact_keeps_its_ends_when_the_filter_takes_their_labels(doc):
    picture = spacy_llm_ie.render(doc, entities=["ORG"], events=False)
    assert sorted(labels(picture, "ie-relation")) == ["headquartered_in", "owns"]
    assert labels(picture, "ie-span") == [""]


def test_a_table_lists_relations(doc):
    (table,) = by_class(spacy_llm_ie.render(doc, style="table"), "ie-relations")
    assert [texts(line) for line in table] == ["Arlen Foodsheadquartered_inOmaha0.83", "Arlen FoodsownsBexley Grain0.30"]


def test_width_and_title(doc):
    doc.user_data["title"] = "Omaha & more"
    picture = spacy_llm_ie.render(doc, width=321, page=True)
    assert {svg.get("width") for svg in parse(picture).iter(f"{SVG}svg")} == {"321"}
    assert [texts(t) for t in by_class(picture, "ie-title")] == ["Omaha & more"]


@pytest.mark.parametrize(
    ("docs", "options", "code"),
    [
        ("text", {}, "E610"),
        ([1], {}, "E610"),
        (3, {}, "E610"),
        (NLP("a b")[0:1], {}, "E610"),
        (NLP("a"), {"style": "dep"}, "E611"),
        (NLP("a"), {"width": 10}, "E612"),
        (NLP("a"), {"width": "900"}, "E612"),
        (NLP("a"), {"min_score": 2}, "E613"),
        (NLP("a"), {"spans": "sc"}, "E614"),
    ],
)
def test_mistakes_are_told(docs, options, code):
    with pytest.raises(ValueError, match=code):
        spacy_llm_ie.render(docs, **options)


def test_colors():
    colors = entity_colors({"mine": "#123456", "odd": "linear-gradient(90deg, #aa9cfc, #fc9ce7)", "bad": "x;}"})
    assert fill_color("ORG", colors) == "#7bdff2"  # registered by this package
    assert fill_color("LAW", colors) == "#ff8197"  # displaCy's own
    assert fill_color("MINE", colors) == "#123456"
    assert fill_color("odd", colors) == "#aa9cfc"
    assert fill_color("unheard-of", colors) == "#fbcfa3"  # the same in every process
    assert re.fullmatch("#[0-9a-f]{6}", fill_color("bad", colors))
    assert ink_color("#123456") == "#ffffff" != ink_color("#7bdff2")
    names = [f"label {i}" for i in range(10)]
    assert len(set(line_colors(names, {}).values())) == 10
    assert line_colors(["a"], {"A": "#010203"}) == {"a": "#010203"}


def test_a_relation_has_one_color_on_a_page(gold):
    picture = spacy_llm_ie.render(gold)
    colors = {(g.get("data-label"), g.get("stroke")) for g in by_class(picture, "ie-relation")}
    assert len(colors) == len({label for label, _ in colors}) == len({color for _, color in colors}) > 4


def test_it_shows_itself_in_notebooks(doc):
    picture = spacy_llm_ie.render([doc, doc])
    assert isinstance(picture, str)
    assert isinstance(picture, Picture)
    assert picture._repr_html_() == str(picture)
    said = []
    picture._repr_pretty_(type("Printer", (), {"text": said.append}), False)
    assert said[0].startswith("<picture of 2 document(s)")


def test_documents_are_not_changed(doc):
    before = doc.to_bytes()
    assert spacy_llm_ie.render(doc, event_arcs=True) == spacy_llm_ie.render(doc, event_arcs=True)
    assert doc.to_bytes() == before


def test_long_documents_take_no_time(gold):
    doc = Doc.from_docs(
        [
            Doc(NLP.vocab, words=[t.text for t in d], ents=[t.ent_iob_ + "-" + t.ent_type_ if t.ent_type_ else "O" for t in d])
            for d in gold
        ]
    )
    assert len(doc) > 1000
    set_relations(doc, [Relation(a, b, "next") for a, b in zip(doc.ents, doc.ents[5:])])
    start = time.perf_counter()
    picture = spacy_llm_ie.render(doc)
    assert time.perf_counter() - start < 5
    assert len(labels(picture, "ie-relation")) == len(doc.ents) - 5


SPANS = st.lists(st.tuples(st.integers(0, 11), st.integers(1, 6)), max_size=6)
WORDS = st.lists(
    st.sampled_from(["a", "word", "\n", "עברית", "12", "!", "  ", "extraordinarily", "<&>", "x\ny"]), min_size=12, max_size=12
)


@settings(max_examples=60, deadline=None)
@given(WORDS, SPANS, st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=8), st.sampled_from([240, 300, 900]))
def test_anything_can_be_drawn(words, places, pairs, width):
    doc = Doc(NLP.vocab, words=words)
    spans = [Span(doc, start, min(start + length, 12), f"L{i}") for i, (start, length) in enumerate(places)]
    doc.spans["sc"] = spans
    set_relations(doc, [Relation(spans[a], spans[b], "r") for a, b in pairs if max(a, b) < len(spans)])
    picture = spacy_llm_ie.render(doc, spans="sc", width=width)
    assert sorted(labels(picture, "ie-entity")) == sorted(span.label_ for span in spans)
    assert len(labels(picture, "ie-relation")) == len(doc._.relations)
    drawing = geometry(doc, width, spans="sc")
    assert "".join(drawn_words(drawing).split()) == "".join(doc.text.split())
    for a, b in itertools.combinations([run for arc in drawing.arcs for run in arc.runs], 2):
        assert (a.line, a.level) != (b.line, b.level) or a.high < b.low or b.high < a.low


def test_importing_the_package_does_not_import_pictures():
    code = "import sys, spacy_llm_ie; print('render' in dir(spacy_llm_ie), 'spacy_llm_ie.view' in sys.modules); spacy_llm_ie.nothing"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["True", "False"]
    assert "has no attribute 'nothing'" in done.stderr
