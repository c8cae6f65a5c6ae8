"""Rows of the gallery, and what card pages give to paste."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import click
import pytest

import xzoo
from xzoo import cli
from xzoo.cards import draw, gallery
from xzoo.cards.render import hub_front_matter, page
from xzoo.catalog import cards

BUILT_IN = [card for card in cards().values() if card.origin == "built-in"]
NAMES = [card.name for card in BUILT_IN]


def changed(name: str, **facts: object) -> xzoo.Card:
    card = xzoo.card(name)
    return card._replace(facts={**card.facts, **facts})


def test_there_is_a_row_for_every_tag_and_for_every_card_without_one() -> None:
    rows = gallery.rows(BUILT_IN)
    wanted = [f"{card.name}.{tag}" if tag else card.name for card in BUILT_IN for tag in (card.tags or [None])]
    assert [row["id"] for row in rows] == wanted
    assert len(rows) >= 31
    assert json.loads(json.dumps(rows)) == rows


def test_a_tag_has_its_own_data_licence_and_figures() -> None:
    rows = {row["tag"]: row for row in gallery.rows([xzoo.card("adaface_ir_50")])}
    assert (rows["webface4m"]["data"], rows["ms1mv2"]["data"]) == ("restricted", "withdrawn")
    assert [rows[tag]["figures"][0]["value"] for tag in rows] == [99.78, 99.85, 99.37]
    assert rows["casia"]["trained_on"] == ["CASIA-WebFace"]


def test_the_worst_of_several_sets_speaks_for_all() -> None:
    row = {"consent": "scraped", "name": "x"}
    card = changed("hybrid_fr", training_data=[{**row, "status": "available"}, {**row, "status": "withdrawn"}])
    assert gallery.rows([card])[0]["data"] == "withdrawn"


@pytest.mark.parametrize(
    ("metric", "value", "unit", "way", "error"),
    [
        ("accuracy", 99.57, "%", "higher", 0.0043),
        ("rank-1", 0.4, "", "higher", 0.6),
        ("TAR at FAR 1e-4", 95.49, "%", "higher", 0.0451),
        ("EER", 0.12, "", "lower", 0.12),
        ("FNMR at FMR 1e-3", 7.1, "%", "lower", 0.071),
        ("NME", 3.2, "%", "lower", 0.032),
        ("beauty", 1.0, "", None, None),
    ],
)
def test_a_figure_becomes_an_error_where_its_metric_is_known(
    metric: str, value: float, unit: str, way: str | None, error: float | None
) -> None:
    row = {"metric": metric, "value": value, "unit": unit}
    assert (gallery.better(metric), gallery.error(row)) == (way, error)


def test_figures_are_of_one_kind_only_when_everything_agrees() -> None:
    one = {"protocol": "LFW", "metric": "accuracy", "value": 99.0, "source": "paper", "unit": "%"}
    others = [
        {**one, "value": 98.0},
        {**one, "protocol": "CALFW"},
        {**one, "metric": "AUC"},
        {**one, "unit": ""},
        {**one, "source": "self"},
        {**one, "counts": {"pairs": 6000}},
    ]
    same = [gallery.rows([changed("edgeface_xxs", results=[row])])[0]["figures"][0]["same"] for row in [one, *others]]
    assert [found == same[0] for found in same[1:]] == [True, False, False, False, False, False]


@pytest.mark.parametrize(
    ("latency", "told"),
    [(169.3, "169 ms (118 to 1,757)"), (12.34, "12 ms (118 to 1,757)"), (0.363, "0.36 ms (118 to 1,757)")],
)
def test_numbers_are_written_as_people_read_them(latency: float, told: str) -> None:
    assert gallery.latency_text(latency, [118.1, 1757.2]) == told
    entry = {"latency_ms": latency, "mflops": 12592.97}
    row = gallery.rows([xzoo.card("adaface_ir_34")], {"entries": {"adaface_ir_34": entry}})[0]
    assert gallery.shown(row)["mflops"] == "12,593"
    assert "e+" not in "".join(gallery.shown(row).values())


def test_fidelity_is_read_from_the_front_matter_or_else_the_prose() -> None:
    assert gallery.fidelity(xzoo.card("bd_student")) == "abstract-level"
    assert gallery.fidelity(changed("bd_student", fidelity="reproduced")) == "reproduced"
    assert gallery.fidelity(xzoo.card("mobilefacenet")) is None


def test_text_of_a_card_cannot_break_out_of_the_page() -> None:
    evil = changed("edgeface_xxs")._replace(summary="</script><b onclick=x>&amp;")
    made = gallery.page(gallery.rows([evil]))
    assert made.count("</script>") == 1
    assert "<b onclick" not in made
    inside = re.search(r'id="zoo-data">(.*?)</script>', made)
    assert inside is not None
    assert json.loads(inside[1])["rows"][0]["summary"] == evil.summary


# --- to paste ---


def entries(text: str) -> dict[str, dict[str, str]]:
    """Read BibTeX as a program does: entries, fields, balanced braces."""
    found: dict[str, dict[str, str]] = {}
    for key, body in re.findall(r"^@misc\{(\w+),\n(.*?)\n\}$", text, re.MULTILINE | re.DOTALL):
        assert body.count("{") == body.count("}")
        fields = [re.fullmatch(r"  (\w+) = \{(.+)\},", line) for line in body.splitlines()]
        assert all(fields), body
        assert key not in found
        found[key] = {match[1]: match[2] for match in fields if match}
    assert len(found) == text.count("@")
    return found


@pytest.mark.parametrize("name", NAMES)
def test_the_bibtex_of_a_card_can_be_read(name: str) -> None:
    for fields in entries(draw.bibtex(xzoo.card(name))).values():
        assert fields["title"] and fields["author"]
        assert not re.search(r"(?<!\\)[&%#_]", "".join(fields.values()))


TITLES = {
    "edgeface_xs": "EdgeFace: Efficient Face Recognition Model for Edge Devices",
    "adaface_ir_18": "AdaFace: Quality Adaptive Margin for Face Recognition",
    "bd_student": "Efficient Low-Resolution Face Recognition via Bridge Distillation",
    "lora": "LoRA: Low-Rank Adaptation of Large Language Models",
    "xedgeface": "Lightweight Cross-Spectral Face Recognition via Contrastive Alignment and Distillation",
    "mobilefacenet": "MobileFaceNets: Efficient CNNs for Accurate Real-Time Face Verification on Mobile Devices",
}


@pytest.mark.parametrize("name", TITLES)
def test_a_paper_is_cited_by_title_year_and_number(name: str) -> None:
    fields = next(iter(entries(draw.bibtex(xzoo.card(name))).values()))
    assert fields["title"] == f"{{{TITLES[name]}}}"
    assert re.fullmatch(r"20\d\d", fields["year"])
    assert f"arXiv {fields['eprint']}" in xzoo.card(name).facts["people"]["cite"]


def test_a_paper_is_credited_to_its_authors_and_not_to_who_wrote_the_card() -> None:
    fields = entries(draw.bibtex(xzoo.card("bd_student")))["bd_student"]
    assert fields["author"] == "S. Ge and S. Zhao and C. Li and Y. Zhang and J. Li"
    two = entries(draw.bibtex(xzoo.card("part_vit_tiny")))
    assert [one["author"].split(" and ")[0] for one in two.values()] == ["Anirudh Nanduri", "K. Zhu"]
    assert "xzoo" in entries(draw.bibtex(xzoo.card("hybrid_fr")))["hybrid_fr"]["author"]


@pytest.mark.parametrize("name", NAMES)
def test_the_command_of_a_card_is_a_right_call(name: str) -> None:
    words = shlex.split(draw.snippets(xzoo.card(name))["command line"])
    command: click.Command = cli.xzoo
    context, words = click.Context(command, info_name="xzoo"), words[1:]
    while isinstance(command, click.Group):
        _, found, words = command.resolve_command(context, words)
        assert found is not None
        command = found
    command.make_context(command.name, list(words))


@pytest.mark.parametrize("name", ["hybrid_fr_t2v", "lora", "norms", "xedgeface", "bd_student"])
def test_what_is_copied_works_as_pasted(name: str) -> None:
    told = draw.snippets(xzoo.card(name))
    exec(compile(told["Python"], name, "exec"), {})
    assert cli.main(shlex.split(told["command line"])[1:]) == 0


@pytest.mark.parametrize("name", NAMES)
def test_the_python_of_every_card_compiles(name: str) -> None:
    compile(draw.snippets(xzoo.card(name))["Python"], name, "exec")


# --- chain, contract, groups, failures ---


def test_the_chain_runs_from_data_to_weights_with_hashes() -> None:
    card = xzoo.card("hybrid_fr_t2v")
    links = draw.chain(card, card.tags["synth_v2"])
    assert [link.role for link in links] == ["data", "start", "recipe", "script", "weights"]
    assert links[1].sha256 == xzoo.card("hybrid_fr").tags["synth_v2"].sha256
    assert links[-1].sha256 == card.tags["synth_v2"].sha256


def test_an_unknown_link_of_the_chain_reads_not_reported() -> None:
    card = xzoo.card("edgeface_xxs")
    links = draw.chain(card, card.tags["idiap"])
    assert ("teacher, recipe", "not reported") in [(link.role, link.name) for link in links]
    assert "locked on first use" in draw.chain_html(links, "x")


@pytest.mark.parametrize("name", [card.name for card in BUILT_IN if card.kind == "backbone"])
def test_the_contract_is_drawn_in_the_numbers_of_the_card(name: str) -> None:
    from xml.etree import ElementTree

    card = xzoo.card(name)
    svg = draw.contract_svg(card)
    ElementTree.fromstring(svg)
    _, height, width = card.facts["input"]["size"]
    assert f"{width} x {height} pixels" in svg
    assert [letter for letter in re.findall(r'text-anchor="middle">([RGB])<', svg)] == list(
        card.facts["input"]["colour"]
    )
    assert svg.count("<circle") == (5 if card.facts["input"]["alignment"] == "arcface_112_5pt" else 0)


def test_eyes_alone_are_drawn_where_they_alone_are_aligned() -> None:
    given = {**xzoo.card("edgeface_xxs").facts["input"], "alignment": "eyes_112_2pt"}
    svg = draw.contract_svg(changed("edgeface_xxs", input=given))
    from xml.etree import ElementTree

    ElementTree.fromstring(svg)
    assert svg.count("<circle") == 2 and "crop by both eyes" in svg and "left eye: 0.643, 0.491" in svg


def test_groups_and_failures_have_places_of_their_own() -> None:
    row = {"protocol": "P", "metric": "FNMR", "value": 0.1, "source": "self", "counts": {"pairs": 9}, "evidence": "x"}
    use = {**xzoo.card("hybrid_fr").facts["use"], "known_failures": ["faces from behind"]}
    text = page(changed("hybrid_fr", results=[row, {**row, "group": "women", "value": 0.2}], use=use))
    everybody, groups = text.split("## Results by group of people")
    assert "FNMR 0.1" in everybody and "FNMR 0.2" not in everybody
    assert "P, women" in groups
    assert "## Known failures\n\n- faces from behind" in text
    two = changed("hybrid_fr", results=[row, {**row, "group": "women", "value": 0.2}])
    lines = [line for line in str(two).splitlines() if "FNMR" in line]
    assert ["P, women" in line for line in lines] == [False, True]
    assert "name: FNMR, women (measured by xzoo)" in hub_front_matter(two)
    bare = page(changed("hybrid_fr", results=[row], use={**use, "known_failures": []}))
    assert "## Known failures\n\nNot reported." in bare
    assert "## Results by group of people\n\nNot reported." in bare


def test_plain_pages_hold_nothing_that_only_our_site_can_show(tmp_path: Path) -> None:
    for card in BUILT_IN:
        assert not re.search(r"<(?!br>)[a-z]+[ >]", re.sub(r"```.*?```|`[^`]*`", "", page(card), flags=re.DOTALL))
