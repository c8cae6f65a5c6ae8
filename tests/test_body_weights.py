"""The house weights of whole people: files, card and logs agree, and the files do what the logs say."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import safetensors

import xzoo
from xzoo.hub import sha256_of

ROOT = Path(__file__).resolve().parents[1]
NAME = "body_md_tiny"


@pytest.fixture(params=sorted(xzoo.card(NAME).tags))
def tag(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def file_of(tag: str) -> Path:
    return ROOT / "xzoo" / "weights" / f"{NAME}.{tag}.safetensors"


def last_of(tag: str) -> dict[str, Any]:
    lines = (ROOT / "scripts" / "logs" / f"{NAME}.{tag}.jsonl").read_text().splitlines()
    found: dict[str, Any] = json.loads(lines[-1])
    assert found["event"] == "figures"
    return found


def test_the_file_is_the_one_of_the_card_and_below_eight_megabytes_of_half_precision(tag: str) -> None:
    told, file = xzoo.card(NAME).tags[tag], file_of(tag)
    assert (told.source, told.dtype, told.licence) == (f"bundled:{file.name}", "float16", "Apache-2.0")
    assert (told.sha256, told.bytes) == (sha256_of(file), file.stat().st_size)
    assert file.stat().st_size < 8_000_000
    with safetensors.safe_open(file, "pt") as opened:
        assert {opened.get_slice(key).get_dtype() for key in opened.keys()} == {"F16"}  # noqa: SIM118


def test_the_figures_of_the_card_are_those_of_the_log(tag: str) -> None:
    logged = last_of(tag)["trained"]
    rows = [row for row in xzoo.card(NAME).facts["results"] if row["tag"] == tag]
    assert rows
    for row in rows:
        match = re.search(r"1 (\w+) picture each, 2 (\w+) probes", row["protocol"])
        assert match
        enrolled, band = match.groups()
        kind = band if enrolled == "VIS" else f"{band} in itself"
        kind += ", other day" if "another day" in row["protocol"] else ""
        assert row["value"] == logged[kind][{"rank-1": "rank1", "mAP": "map"}[row["metric"]]], row["protocol"]


@contextmanager
def measuring(*bands: str) -> Iterator[tuple[Any, Any]]:
    """Give the script, told to measure in some bands alone, and its strangers of one day."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "scripts"))
        script = __import__("train_body")
        patch.setattr(script, "SPECTRA", bands)
        patch.setattr(script, "OTHER_DAYS", False)
        yield script, script.strangers()
    sys.modules.pop("train_body", None)


@pytest.fixture(scope="module")
def strangers() -> Iterator[tuple[Any, Any]]:
    with measuring("VIS") as both:
        yield both


@pytest.mark.parametrize("tag", ["synth_v1", pytest.param("vis_v2", marks=pytest.mark.slow)])
def test_the_shipped_file_gives_the_logged_figures_and_beats_grey_values_and_random_weights(
    tag: str, strangers: tuple[Any, Any]
) -> None:
    script, seen = strangers
    found, logged = script.figures(xzoo.create(NAME, pretrained=tag), seen)["VIS"], last_of(tag)
    # A processor that rounds otherwise may turn a probe or two.
    assert found["rank1"] == pytest.approx(logged["trained"]["VIS"]["rank1"], abs=0.006)
    assert found["rank1_interval"][0] > logged["pixels"]["VIS"]["rank1_interval"][1]
    assert found["rank1_interval"][0] > last_of("vis_v2")["random"]["VIS"]["rank1_interval"][1]


@pytest.mark.slow
def test_the_network_taught_in_all_bands_finds_people_of_lwir_in_vis() -> None:
    with measuring("VIS", "LWIR") as (script, seen):
        found, logged = script.figures(xzoo.create(NAME, pretrained="synth_v1"), seen), last_of("synth_v1")
    for kind in ("LWIR", "LWIR in itself"):
        assert found[kind]["rank1"] == pytest.approx(logged["trained"][kind]["rank1"], abs=0.006)
        assert found[kind]["rank1_interval"][0] > logged["pixels"][kind]["rank1_interval"][1]
    assert found["LWIR"]["rank1_interval"][0] > 10 / 200  # ten times chance
