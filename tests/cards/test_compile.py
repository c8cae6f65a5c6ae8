from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import yaml

from xzoo import catalog, errors
from xzoo.cards import compile as compiler
from xzoo.cards.compile import CARDS, catalogue, section
from xzoo.cards.render import hub_readme, page
from xzoo.cards.schema import parse_card, read_card
from xzoo.catalog.entries import card_from_dict
from xzoo.catalog.registry import CATALOG

NAMES = sorted(path.stem for path in CARDS.glob("*.md"))


def test_the_shipped_catalogue_equals_the_cards() -> None:
    assert len(NAMES) >= 15
    assert catalogue() == CATALOG.read_bytes(), "run python -m xzoo.cards.compile"


def test_compiling_twice_gives_the_same_bytes() -> None:
    assert catalogue() == catalogue()


def test_check_says_when_the_catalogue_is_stale(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "catalog.json"
    monkeypatch.setattr(compiler, "CATALOG", target)
    assert compiler.main(["--check"]) == 1
    assert "python -m xzoo.cards.compile" in capsys.readouterr().err
    assert not target.exists()
    assert compiler.main([]) == 0
    assert compiler.main(["--check"]) == 0


def test_an_unknown_argument_of_the_compiler_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert compiler.main(["--chek"]) == 2
    assert "usage" in capsys.readouterr().err


def test_the_faults_of_all_cards_are_told_together(tmp_path: Path) -> None:
    for name, old, fresh in (("edgeface_xxs", "schema: 1", "shema: 1"), ("lora", "status: stable", "status: stabel")):
        (tmp_path / f"{name}.md").write_text((CARDS / f"{name}.md").read_text().replace(old, fresh))
    with pytest.raises(errors.CardError) as caught:
        catalogue(tmp_path)
    for part in ("edgeface_xxs.md: shema: unknown key; close: schema", "lora.md: status: 'stabel'"):
        assert part in str(caught.value)


def test_a_folder_without_cards_is_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.CardError, match="no cards"):
        catalogue(tmp_path)


@pytest.mark.parametrize(
    ("old", "fresh", "told"),
    [
        ("fixed: {variant: xxs}", "fixed: {varient: xxs}", ["fixed.varient: no option", "fixed.variant: missing"]),
        ("family: edgeface", "family: no_such_family", ["options cannot be read"]),
        (
            "hf-hub:Idiap/EdgeFace-XXS/edgeface_xxs.pt",
            "bundled:gone.safetensors",
            ["bundled:gone.safetensors is not there"],
        ),
    ],
)
def test_a_card_that_does_not_fit_the_code_is_refused(tmp_path: Path, old: str, fresh: str, told: list[str]) -> None:
    (tmp_path / "edgeface_xxs.md").write_text((CARDS / "edgeface_xxs.md").read_text().replace(old, fresh))
    with pytest.raises(errors.CardError) as caught:
        catalogue(tmp_path)
    for part in told:
        assert part in str(caught.value)


def _bundled_card(folder: Path, extra: str = "") -> Path:
    text = (CARDS / "edgeface_xxs.md").read_text()
    text = text.replace("hf-hub:Idiap/EdgeFace-XXS/edgeface_xxs.pt", f"bundled:net.safetensors{extra}")
    (folder / "edgeface_xxs.md").write_text(text)
    return folder


def test_a_bundled_file_is_pinned_by_compiling(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "net.safetensors").write_bytes(b"tensors")
    monkeypatch.setattr(compiler, "PACKAGE", tmp_path)
    tag = json.loads(catalogue(_bundled_card(tmp_path)))["cards"][0]["tags"]["idiap"]
    assert (tag["sha256"], tag["bytes"]) == (hashlib.sha256(b"tensors").hexdigest(), 7)
    assert tag["trust"] == "pinned"


def test_a_bundled_file_that_differs_from_its_recorded_hash_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "net.safetensors").write_bytes(b"tensors")
    monkeypatch.setattr(compiler, "PACKAGE", tmp_path)
    with pytest.raises(errors.CardError, match="not the recorded ones"):
        catalogue(_bundled_card(tmp_path, f"\n    sha256: {'0' * 64}"))


def test_options_that_the_card_fixes_are_not_offered() -> None:
    assert set(catalog.card("edgeface_xxs").options) == {"embedding", "drop_path"}
    assert catalog.card("edgeface_xxs").fixed == {"variant": "xxs"}


def test_every_option_has_a_type_a_default_and_help() -> None:
    rows = [row for card in catalog.cards().values() for row in card.options.values()]
    assert len(rows) >= 20
    assert all({"type", "default", "help"} <= row.keys() and row["help"] for row in rows)


def test_help_is_read_from_a_google_docstring() -> None:
    arguments = "    one: The first,\n        on two lines.\n    two (int): The ``second``.\n"
    text = f"First.\n\nArgs:\n{arguments}\nReturns:\n    three: no."
    assert section(text, "Args") == {"one": "The first, on two lines", "two": "The second"}


@pytest.mark.parametrize("name", NAMES)
def test_each_card_states_what_honesty_needs(name: str) -> None:
    card = read_card(CARDS / f"{name}.md")
    assert card.prose.strip()
    assert card.use.not_for
    for row in card.weights:
        if row.source.startswith("hf-hub:") and row.sha256 is None:
            assert "first download is trusted" in " ".join(card.prose.split())
    if card.weights:
        assert card.training_data


@pytest.mark.parametrize("name", NAMES)
def test_each_card_becomes_a_page_and_a_hub_readme(name: str) -> None:
    card = catalog.card(name)
    text = page(card)
    assert text.startswith(f"# {name}\n\n{card.summary}")
    assert text.count(f"# {name}\n") == 1
    head = yaml.safe_load(hub_readme(card).split("---\n")[1])
    assert head["library_name"] == "xzoo"
    assert head["license"]


def test_a_licence_without_an_spdx_id_is_named_on_the_hub() -> None:
    head = yaml.safe_load(hub_readme(catalog.card("adaface_ir_18")).split("---\n")[1])
    assert (head["license"], head["license_name"]) == ("other", "research-only")


def test_the_hub_readme_of_a_tag_holds_its_results_only() -> None:
    head = yaml.safe_load(hub_readme(catalog.card("adaface_ir_18"), "casia").split("---\n")[1])
    values = [result["metrics"][0]["value"] for result in head["model-index"][0]["results"]]
    assert 99.22 in values
    assert 99.58 not in values


def test_weights_from_withdrawn_data_say_so_at_the_top() -> None:
    top = page(catalog.card("adaface_ir_101")).split("##")[0]
    assert "withdrawn" in top
    assert "`ms1mv2`" in top


def test_an_unmeasured_fact_reads_not_reported() -> None:
    text = page(catalog.card("adaface_ir_34"))
    assert "| MFLOPs | not reported |" in text
    assert "## Results\n\nNot reported." in text


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith(("edgeface", "adaface"))])
def test_parameter_counts_are_those_of_the_networks(name: str) -> None:
    torch = pytest.importorskip("torch")
    from importlib import import_module

    card = catalog.card(name)
    family = f"xzoo.families.{card.family}"
    options = import_module(f"{family}.options").Options(**card.fixed)
    with torch.device("meta"):
        network = import_module(f"{family}.model").build(options)
    assert sum(parameter.numel() for parameter in network.parameters()) == card.facts["size"]["params"]


def test_a_compiled_entry_is_a_card_again() -> None:
    for entry in json.loads(CATALOG.read_bytes())["cards"]:
        assert card_from_dict(entry) == catalog.card(entry["name"])


def test_a_card_may_fix_an_option_of_several_values() -> None:
    from xzoo.loading import Blueprint
    from xzoo.models import check_options

    text = (CARDS / "part_vit_tiny.md").read_text()
    text = text.replace("fixed: {variant: tiny}", "fixed: {variant: tiny, depth: 8, input_size: [256, 128]}")
    entry = compiler.compile_card(parse_card(text, "body.md"), "body.md", lambda source: None)
    card = card_from_dict(json.loads(json.dumps(entry)))
    assert "input_size" not in card.options
    options = check_options(card, {})
    assert (options["input_size"], options["parts"]) == ((256, 128), ("face", "torso", "lower_body"))
    empty = Blueprint.of(card, options).empty()
    assert empty is not None and empty.input_size == (256, 128)
    assert sum(tensor.numel() for tensor in empty.state_dict().values()) * 2 < 8_000_000  # in half precision
