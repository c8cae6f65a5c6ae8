"""The gallery in a real browser: filter, sort, columns, plot, compare, share; by mouse, by keyboard, on a phone."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.browser

Open = Callable[..., Any]
ZOO = "zoo/"
TWO = "edgeface_base.idiap,edgeface_xxs.idiap"
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


@pytest.fixture(scope="module")
def rows(site: Path) -> list[dict[str, Any]]:
    return json.loads((site / "zoo" / "zoo.json").read_text(encoding="utf-8"))["rows"]


def visible(page: Any) -> list[str]:
    return page.eval_on_selector_all("#zoo tbody tr:not([hidden])", "lines => lines.map(line => line.dataset.id)")


def view(page: Any) -> dict[str, Any]:
    """What a reader sees: rows in order, columns, ticks, texts of the controls."""
    return {
        "rows": visible(page),
        "heads": page.eval_on_selector_all("#zoo thead th:not([hidden])", "all => all.map(one => one.dataset.col)"),
        "ticks": page.eval_on_selector_all("#zoo tbody :checked", "all => all.map(one => one.ariaLabel)"),
        "search": page.input_value("#zoo-q"),
        "figure": page.input_value("#zoo-figure"),
        "points": page.eval_on_selector_all(".zoo-point", "all => all.map(one => one.dataset.id)"),
        "sheet": page.eval_on_selector_all(".zoo-sheet tr", "all => all.map(one => one.innerText)"),
    }


def check(page: Any, facet: str, value: str) -> None:
    page.check(f'input[name="zoo-{facet}"][value="{value}"]')


def test_the_whole_table_is_there_without_javascript(open_page: Open, rows: list[dict[str, Any]]) -> None:
    page = open_page(ZOO, java_script_enabled=False)
    assert page.locator("#zoo tbody tr:visible").count() == len(rows) >= 31
    assert not page.locator(".zoo-controls").is_visible()
    assert page.locator(f'#zoo a[href="{rows[0]["name"]}/index.html"]').first.is_visible()


def test_facets_narrow_each_other_and_widen_within_one(open_page: Open, rows: list[dict[str, Any]]) -> None:
    page = open_page(ZOO)
    check(page, "spectra", "LWIR")
    assert visible(page) == [row["id"] for row in rows if "LWIR" in row["spectra"]]
    check(page, "kind", "network")
    narrow = [row["id"] for row in rows if "LWIR" in row["spectra"] and row["kind"] == "backbone"]
    assert visible(page) == narrow
    check(page, "spectra", "NIR")
    wide = [row["id"] for row in rows if {"LWIR", "NIR"} & set(row["spectra"]) and row["kind"] == "backbone"]
    assert visible(page) == wide != narrow
    assert f"{len(wide)} of {len(rows)} entries" in page.inner_text(".zoo-count")
    page.click("text=Show all")
    assert visible(page) == [row["id"] for row in rows]


@pytest.mark.parametrize("pattern", ["edgeface_*", "*_ir_?8", "hybrid_fr.*"])
def test_wildcards_match_whole_names(open_page: Open, rows: list[dict[str, Any]], pattern: str) -> None:
    page = open_page(ZOO)
    page.fill("#zoo-q", pattern)
    found = [row["id"] for row in rows if fnmatch(row["name"], pattern) or fnmatch(row["id"], pattern)]
    assert visible(page) == found != []


def test_plain_words_match_anywhere_and_all_of_them(open_page: Open, rows: list[dict[str, Any]]) -> None:
    page = open_page(ZOO)
    page.fill("#zoo-q", "Thermal-to-visible permissive")
    found = [row for row in rows if "thermal-to-visible" in row["summary"].lower()]
    assert visible(page) == [row["id"] for row in found if row["licence_class"] == "permissive"] != []
    page.fill("#zoo-q", "no such thing")
    assert visible(page) == []


def test_sorting_puts_the_unmeasured_last_both_ways(open_page: Open, rows: list[dict[str, Any]]) -> None:
    page = open_page(ZOO)
    known = [row["params"] for row in rows if row["params"] is not None]
    by_id = {row["id"]: row["params"] for row in rows}
    for way, reverse in (("ascending", False), ("descending", True)):
        page.click('#zoo th[data-col="params"] button')
        assert page.get_attribute('#zoo th[data-col="params"]', "aria-sort") == way
        values = [by_id[name] for name in visible(page)]
        assert values[: len(known)] == sorted(known, reverse=reverse)
        assert values[len(known) :] == [None] * (len(rows) - len(known))
    page.click('#zoo th[data-col="params"] button')
    assert visible(page) == [row["id"] for row in rows]


def test_figures_are_sorted_only_when_they_are_of_one_kind(open_page: Open, rows: list[dict[str, Any]]) -> None:
    page = open_page(ZOO)
    head = page.locator('#zoo th[data-col="figure"] button')
    assert head.is_disabled()
    page.select_option("#zoo-figure", "LFW: accuracy")
    head.click()
    lfw = {
        row["id"]: figure["error"]
        for row in rows
        for figure in row["figures"]
        if (figure["protocol"], figure["metric"]) == ("LFW", "accuracy")
    }
    shown = visible(page)[: len(lfw)]
    assert [lfw[name] for name in shown] == sorted(lfw.values())
    assert "not reported" in page.inner_text('tr[data-id="hybrid_fr.synth_v2"] [data-col="figure"]')


def test_columns_come_and_go(open_page: Open) -> None:
    page = open_page(ZOO)
    page.click("summary:has-text('Columns')")
    page.uncheck('input[name="zoo-cols"][value="task"]')
    check(page, "cols", "input")
    assert page.locator('#zoo td[data-col="task"]').first.is_hidden()
    assert page.locator('#zoo td[data-col="input"]').first.is_visible()


def test_an_address_brings_the_same_view_to_somebody_else(open_page: Open) -> None:
    page = open_page(ZOO)
    check(page, "kind", "network")
    page.fill("#zoo-q", "face_")
    page.select_option("#zoo-figure", "CFP-FP: accuracy")
    page.click('#zoo th[data-col="figure"] button')
    page.click("summary:has-text('Columns')")
    page.uncheck('input[name="zoo-cols"][value="fidelity"]')
    page.check('[aria-label="compare edgeface_base.idiap"]')
    page.check('[aria-label="compare adaface_ir_50.casia"]')
    page.select_option("#zoo-x", "latency")
    page.click("text=Copy link to this view")
    link = page.evaluate("navigator.clipboard.readText()")
    assert link == page.url
    other = open_page(f"zoo/#{link.partition('#')[2]}")
    assert view(other) == view(page)
    assert 2 < len(view(other)["rows"]) < page.locator("#zoo tbody tr").count()


def test_an_address_of_nonsense_is_an_ordinary_view(open_page: Open, rows: list[dict[str, Any]]) -> None:
    page = open_page("zoo/#kind=robot&pick=nobody&sort=beauty&cols=shoe&max=many&x=price&figure=none&oops=1")
    assert visible(page) == [row["id"] for row in rows]
    assert page.locator(".zoo-compare").is_hidden()


def test_ready_made_views_are_links_that_work(open_page: Open, rows: list[dict[str, Any]]) -> None:
    page = open_page(ZOO)
    page.click("text=Under 5 M parameters, permissive weights")
    small = [
        row["id"] for row in rows if row["params"] and row["params"] < 5e6 and row["licence_class"] == "permissive"
    ]
    assert visible(page) == small != []
    page.click("text=Not from withdrawn data")
    assert set(visible(page)) == {row["id"] for row in rows if row["data"] != "withdrawn"}
    page.go_back()


def test_the_view_can_be_had_as_csv(open_page: Open, rows: list[dict[str, Any]], tmp_path: Path) -> None:
    page = open_page("zoo/#q=edgeface_*&sort=-params")
    with page.expect_download() as waiting:
        page.click("text=Download as CSV")
    waiting.value.save_as(tmp_path / "zoo.csv")
    with open(tmp_path / "zoo.csv", newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert [line["name"] for line in table] == visible(page)
    assert table[0]["licence"] == "CC-BY-NC-SA-4.0"


# --- compare ---


def test_two_of_one_protocol_show_their_difference(open_page: Open, rows: list[dict[str, Any]]) -> None:
    page = open_page(ZOO)
    for name in TWO.split(","):
        page.check(f'[aria-label="compare {name}"]')
    assert "2 ticked" in page.inner_text(".zoo-count")
    lines = {line.split("\t")[0]: line for line in view(page)["sheet"]}
    assert "18.23 M" in lines["params"] and "1.24 M" in lines["params"]
    values = [
        figure["value"]
        for name in TWO.split(",")
        for row in rows
        for figure in row["figures"]
        if row["id"] == name and figure["protocol"] == "LFW"
    ]
    assert f"−{round(values[0] - values[1], 2)} percentage points" in lines["LFW: accuracy"]
    page.check("#zoo-same")
    assert "embedding" not in {line.split("\t")[0] for line in view(page)["sheet"]}


def test_no_difference_is_printed_across_protocols_or_hands(open_page: Open) -> None:
    page = open_page("zoo/#pick=edgeface_base.idiap,hybrid_fr_t2v.synth_v2,hybrid_fr_n2v.synth_v2")
    assert page.locator(".zoo-result").count() > 10
    first = page.locator(".zoo-result:has(th:text-is('LFW: accuracy'))")
    assert first.locator(".zoo-delta").count() == 0
    assert first.locator(".zoo-absent").count() == 2
    # every difference stands in a row whose figures agree in everything that makes them comparable
    wrong = page.evaluate(
        """() => {
          const data = JSON.parse(document.getElementById("zoo-data").textContent);
          const ids = [...document.querySelectorAll(".zoo-sheet thead a")].map(a => a.textContent);
          const found = ids.map(id => data.rows.find(row => row.id === id));
          return [...document.querySelectorAll(".zoo-result")].filter(line => {
            const key = line.cells[0].textContent;
            const figures = found.map(row => row.figures.find(f => `${f.protocol}: ${f.metric}` === key));
            return [...line.cells].slice(1).some((cell, i) => cell.querySelector(".zoo-delta") &&
              !(figures[0] && figures[i] && JSON.stringify(figures[0].same) === JSON.stringify(figures[i].same)));
          }).length;
        }"""
    )
    assert wrong == 0


def test_figures_that_differ_in_counts_alone_are_not_subtracted(open_page: Open, site: Path) -> None:
    html = (site / "zoo" / "index.html").read_text(encoding="utf-8")
    found = re.search(r'id="zoo-data">(.*?)</script>', html)
    data = json.loads(found[1])
    row = next(row for row in data["rows"] if row["id"] == "edgeface_xxs.idiap")
    next(figure for figure in row["figures"] if figure["protocol"] == "LFW")["same"][5] = "6,000 pairs"
    other = html.replace(found[1], json.dumps(data).replace("<", "\\u003c"))
    page = open_page(ZOO)
    page.route("**/zoo/*", lambda route: route.fulfill(body=other, content_type="text/html"))
    page.goto(page.url.split("#")[0] + f"?#pick={TWO}")
    line = page.locator(".zoo-result:has(th:text-is('LFW: accuracy'))")
    assert line.locator(".zoo-delta").count() == 0
    assert "not comparable: another counts" in line.inner_text()
    assert page.locator(".zoo-result", has_text="CFP-FP: accuracy").locator(".zoo-delta").count() == 1


def test_four_is_the_most(open_page: Open, rows: list[dict[str, Any]]) -> None:
    page = open_page(ZOO)
    names = [row["id"] for row in rows]
    for name in names[:4]:
        page.check(f'[aria-label="compare {name}"]')
    assert page.locator(f'[aria-label="compare {names[4]}"]').is_disabled()
    page.click(f'[aria-label="take {names[0]} off"]')
    assert page.locator(f'[aria-label="compare {names[4]}"]').is_enabled()
    page.click(".zoo-compare >> text=Clear")
    assert page.locator(".zoo-compare").is_hidden()


# --- plot ---


@pytest.mark.parametrize("axis", ["params", "latency"])
def test_the_front_joins_those_that_none_beats_in_both(open_page: Open, rows: list[dict[str, Any]], axis: str) -> None:
    page = open_page(f"zoo/#figure=LFW%3A%20accuracy&x={axis}")
    points = {
        row["id"]: (row[axis], figure["error"])
        for row in rows
        for figure in row["figures"]
        if (figure["protocol"], figure["metric"]) == ("LFW", "accuracy") and row[axis]
    }
    assert set(view(page)["points"]) == set(points)
    if not points:
        assert "not reported" in page.inner_text(".zoo-stage")
        return
    values = set(points.values())
    front = {p for p in values if not any(o != p and o[0] <= p[0] and o[1] <= p[1] for o in values)}
    drawn = page.get_attribute(".zoo-front", "points")
    assert len(drawn.split()) == len(front)
    spots = page.eval_on_selector_all(
        ".zoo-point", "all => all.map(one => [one.dataset.id, one.getAttribute('transform')])"
    )
    on_line = {points[name] for name, place in spots if place[len("translate(") : -1] in drawn.split()}
    assert on_line == front


def test_a_point_ticks_its_row(open_page: Open) -> None:
    page = open_page("zoo/#figure=LFW%3A%20accuracy")
    page.locator('.zoo-point[data-id="edgeface_base.idiap"]').click()
    assert page.is_checked('[aria-label="compare edgeface_base.idiap"]')


# --- keyboard, phone, contrast ---


def tab_to(page: Any, wanted: str, most: int = 200) -> None:
    """Press Tab until the element is focused, as somebody without a mouse would, and see that the focus shows."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if page.evaluate("wanted => document.activeElement.matches(wanted)", wanted):
            outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none", f"the focus on {wanted} cannot be seen"
            return
    pytest.fail(f"{wanted} cannot be reached by Tab")


def test_everything_can_be_done_by_keyboard(open_page: Open) -> None:
    page = open_page(ZOO)
    tab_to(page, "#zoo-q")
    page.keyboard.type("edgeface_*")
    tab_to(page, "summary")
    if page.evaluate("!document.activeElement.parentElement.open"):
        page.keyboard.press("Enter")
    tab_to(page, 'input[name="zoo-kind"][value="network"]')
    page.keyboard.press("Space")
    tab_to(page, '#zoo th[data-col="params"] button')
    page.keyboard.press("Enter")
    assert visible(page)[0] == "edgeface_xxs.idiap"
    tab_to(page, '[aria-label="compare edgeface_xxs.idiap"]')
    page.keyboard.press("Space")
    tab_to(page, '.zoo-point[data-id="edgeface_base.idiap"]')
    page.keyboard.press("Enter")
    assert page.locator(".zoo-sheet").is_visible()
    assert page.evaluate("document.activeElement.dataset.id") == "edgeface_base.idiap"
    tab_to(page, ".zoo-compare .zoo-button")
    page.keyboard.press("Enter")
    assert page.locator(".zoo-compare").is_hidden()


@pytest.mark.parametrize("path", ["zoo/", f"zoo/#pick={TWO}", "zoo/hybrid_fr_x2v/", "zoo/adaface_ir_50/"])
def test_a_phone_shows_all_without_scrolling_sideways(open_page: Open, path: str) -> None:
    page = open_page(path, **PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    if path == ZOO:
        wide = page.eval_on_selector_all(
            "#zoo tbody tr:not([hidden]) > :not([hidden])",
            "all => all.filter(one => one.getBoundingClientRect().right > innerWidth + 1).length",
        )
        assert wide == 0
        assert page.locator('tr[data-id="edgeface_base.idiap"] td[data-col="licence"]').is_visible()
        small = page.eval_on_selector_all(
            "#zoo tbody tr .zoo-tick label, .zoo-button, #zoo select, #zoo-q",
            "all => all.filter(one => one.getBoundingClientRect().height < 24).length",
        )
        assert small == 0
        page.select_option("#zoo-sort", "params")
        assert visible(page)[0] == "bd_student"


CONTRAST = Path(__file__).with_name("contrast.js").read_text(encoding="utf-8")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "path", [f"zoo/#pick={TWO}&figure=LFW%3A%20accuracy", "zoo/adaface_ir_50/"], ids=["gallery", "card"]
)
def test_text_stands_out_from_its_ground(open_page: Open, path: str, scheme: str) -> None:
    page = open_page(path, color_scheme=scheme)
    assert page.locator("article").inner_text()
    assert page.evaluate(CONTRAST) == []


# --- card pages ---


@pytest.mark.parametrize("name", ["hybrid_fr_t2v", "lora", "xedgeface", "edgeface_base"])
def test_the_three_buttons_copy_what_the_card_gives(open_page: Open, name: str) -> None:
    import xzoo
    from xzoo.cards.draw import snippets

    page = open_page(f"zoo/{name}/")
    for title, text in snippets(xzoo.card(name)).items():
        page.click(f"button:has-text('Copy {title}')")
        page.wait_for_selector(".zoo-told:has-text('copied')")
        assert page.evaluate("navigator.clipboard.readText()") == text


def test_every_link_of_the_gallery_leads_to_a_card(open_page: Open, site: Path) -> None:
    page = open_page(ZOO)
    links = page.eval_on_selector_all("#zoo tbody a", "all => all.map(one => one.getAttribute('href'))")
    assert len(links) >= 31
    assert [link for link in links if not (site / "zoo" / link).is_file()] == []


def test_a_card_page_draws_contract_and_chain(open_page: Open) -> None:
    import xzoo

    page = open_page("zoo/hybrid_fr_t2v/")
    assert page.locator(".zoo-contract svg circle").count() == 5
    assert "64 x 64" in page.inner_text(".zoo-contract")
    chain = page.inner_text(".zoo-chain")
    assert xzoo.card("hybrid_fr_t2v").tags["synth_v2"].sha256 in chain
    assert chain.index("data") < chain.index("weights")
