from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from xzoo import errors
from xzoo.cards.schema import load_yaml, parse_card, read_card

GOOD = """\
---
schema: 1
name: test_net
kind: backbone
task: face-recognition
summary: A network.
status: stable
spectra: [VIS, LWIR]
family: edgeface
fixed: {variant: xxs}
default_tag: one
weights:
  - {tag: one, source: "hf-hub:org/repo/file.safetensors", dtype: float32, licence: MIT}
licence: {code: MIT, weights: MIT, data: none}
input: {size: [3, 112, 112], colour: RGB, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5], alignment: arcface_112_5pt}
output: {embedding: 512, normalised: false, compare: cosine}
results:
  - {tag: one, protocol: LFW, metric: accuracy, value: 99, source: paper}
use: {intended: Testing., not_for: [anything else]}
---
Prose.
"""


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3e-4", 3e-4),
        ("1E5", 1e5),
        (".5", 0.5),
        ("-2.", -2.0),
        ("010", 10),
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("OFF", "OFF"),
        ("y", "y"),
        ("true", True),
        ("False", False),
        ("12:30:45", "12:30:45"),
        ("1.2.3", "1.2.3"),
        ("2024-01-01", "2024-01-01"),
        ("1_000", "1_000"),
        ("0x1f", "0x1f"),
        ("e5", "e5"),
        ("~", None),
        ("", None),
        ("'3e-4'", "3e-4"),
    ],
)
def test_yaml_is_read_as_people_mean_it(text: str, value: object) -> None:
    found = load_yaml(f"key: {text}")["key"]
    assert found == value
    assert type(found) is type(value)


def test_a_key_given_twice_is_refused_with_its_line() -> None:
    with pytest.raises(errors.CardError, match=r"recipe.yaml:3: key 'a' appears twice"):
        load_yaml("a: 1\nb: 2\na: 3\n", "recipe.yaml")


@pytest.mark.parametrize("text", ["a: [1", "a: b: c", "\tx: 1", "a: !!python/object:os.system {}", "? [a, b]\n: 1"])
def test_what_is_no_yaml_is_one_error(text: str) -> None:
    with pytest.raises(errors.CardError):
        load_yaml(text, "card.md")


def test_five_yaml_traps_in_one_card_come_out_right() -> None:
    traps = GOOD.replace(
        "  - {tag: one, protocol: LFW, metric: accuracy, value: 99, source: paper}",
        "  - {tag: one, protocol: 12:30:45, metric: no, value: 3e-4, source: paper, notes: 1.10}",
    ).replace("data: none", "data: on")
    card = parse_card(traps, "test_net.md")
    assert card.results is not None
    row = card.results[0]
    assert (row.value, row.metric, row.notes, row.protocol, card.licence.data) == (3e-4, "no", "1.10", "12:30:45", "on")


FAULTS = [
    ("summary: A network.", "sumary: A network.", ["sumary: unknown key; close: summary", "summary: missing"]),
    ("status: stable", "status: stabel", ["status: 'stabel' is not one of", "close: stable"]),
    ("status: stable", "status: withdrawn", ["reason: missing, status is withdrawn"]),
    ("[VIS, LWIR]", "[LWIR, VIS]", ["spectra: give each band once and in order: VIS, LWIR"]),
    ("[VIS, LWIR]", "[vis]", ["spectra[0]: 'vis' is not one of", "close: VIS"]),
    ("[VIS, LWIR]", "VIS", ["spectra: "]),
    ("code: MIT", "code: true", ["licence.code: True is no text; write it in quotes"]),
    ("colour: RGB", "colour: RBG", ["input.colour: 'RBG' is not one of", "close: RGB"]),
    ("colour: RGB", "color: RGB", ["input.color: unknown key; close: colour", "input.colour: missing"]),
    ("size: [3, 112, 112]", "size: [3, 112]", ["input.size: list should have at least 3 items"]),
    ("mean: [0.5, 0.5, 0.5]", "mean: [0.5, x, 0.5]", ["input.mean[1]: input should be a valid number, not 'x'"]),
    ("embedding: 512", "embedding: 0", ["output.embedding: "]),
    ("embedding: 512", "embedding: 5.5", ["output.embedding: "]),
    ("normalised: false", "normalised: no", ["output.normalised: "]),
    ("default_tag: one", "default_tag: oen", ["default_tag: 'oen' is no tag of this card; close: one"]),
    ("default_tag: one\n", "", ["default_tag: missing, there are weights"]),
    ("{tag: one, protocol", "{tag: two, protocol", ["results: 'two' is no tag of this card"]),
    ("source: paper", "source: self", ["results[0]: a figure of our own needs counts, and evidence"]),
    ("hf-hub:org", "https://org", ["weights[0].source: 'https://org/repo/file.safetensors' does not match"]),
    ("licence: MIT}", "licence: MIT, sha256: 12e4}", ["weights[0].sha256: '12e4' does not match"]),
    ("licence: MIT}", f"licence: MIT, sha256: {'a' * 64}}}", ["pinned by revision and sha256 together"]),
    ("kind: backbone", "kind: recipe", ["weights: not for a card of kind recipe"]),
    ("family: edgeface\n", "", ["family: a backbone has a family"]),
    ("name: test_net", "name: Test-Net", ["name: 'Test-Net' does not match"]),
    ("schema: 1", "schema: 2", ["schema: 2 is not one of 1"]),
    ("Testing., ", "'', ", ["use.intended: "]),
    ("use: {", "use: [{", ["not valid YAML"]),
]


@pytest.mark.parametrize(("old", "fresh", "told"), FAULTS, ids=[fresh or old for old, fresh, _ in FAULTS])
def test_a_fault_names_file_key_and_nearest_spelling(old: str, fresh: str, told: list[str]) -> None:
    assert old in GOOD
    with pytest.raises(errors.CardError) as caught:
        parse_card(GOOD.replace(old, fresh), "test_net.md")
    for part in ("test_net.md", *told):
        assert part in str(caught.value)


def test_all_faults_of_a_card_are_told_at_once_one_line_each() -> None:
    # One row of each kind: wrong key, wrong word, wrong number, and parts that do not fit together.
    together = [FAULTS[i] for i in (0, 1, 7, 11, 14, 16)]
    text = GOOD
    for old, fresh, _ in together:
        text = text.replace(old, fresh)
    with pytest.raises(errors.CardError) as caught:
        parse_card(text, "test_net.md")
    lines = str(caught.value).splitlines()
    for _, _, told in together:
        assert all(any(part in line for line in lines) for part in told)
    assert lines[0] == f"test_net.md: {len(lines) - 1} faults."


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("# no front matter\n", "no front matter"),
        ("---\nname: x\n", "no front matter"),
        ("", "no front matter"),
        ("---\n- a list\n---\n", "front matter: "),
        ("---\nnull\n---\n", "front matter: "),
        (GOOD.replace("schema: 1", "schema: 1\nprose: x"), "prose stands below"),
    ],
)
def test_a_file_that_is_no_card_is_one_clear_error(text: str, told: str) -> None:
    with pytest.raises(errors.CardError, match=told):
        parse_card(text, "test_net.md")


def test_a_card_without_optional_facts_is_good() -> None:
    card = parse_card(GOOD, "test_net.md")
    assert (card.size, card.training_data, card.prose) == (None, None, "Prose.\n")


def write(folder: Path, name: str, content: Any) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("other.md", GOOD, "call the file test_net.md"),
        ("test_net.md", b"---\n\xff\xfe\n---\n", "cannot be read"),
        ("test_net.md", GOOD.replace("family: edgeface", "target: os:system"), "only plugins have one"),
    ],
)
def test_a_file_must_be_called_as_its_card(tmp_path: Path, name: str, content: Any, told: str) -> None:
    with pytest.raises(errors.CardError, match=told):
        read_card(write(tmp_path, name, content))


def test_a_missing_card_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(errors.CardError, match="cannot be read"):
        read_card(tmp_path / "gone.md")
