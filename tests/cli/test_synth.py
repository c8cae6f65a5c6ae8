"""``xzoo data synth``: what it fills a folder with, and what it refuses."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest
import torch
from PIL import Image

from xzoo.data import people

FEW = ["--subjects", 2, "--per-domain", 1, "--size", 32]


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "manifest.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_line_of_the_guide_fills_a_folder(xzoo, tmp_path):
    out = tmp_path / "people"
    done = xzoo("data", "synth", out, *FEW, "--domains", "VIS", "LWIR", "--seed", 4, "--json")
    assert done.code == 0, done.err
    assert done.json == {
        "manifest": str(out / "manifest.csv"),
        "pictures": 4,
        "labels": str(out / "labels.jsonl"),
    }
    drawn = people.faces(torch.tensor([1]), torch.tensor([0]), "VIS", size=32, seed=4)
    with Image.open(out / "p00001/VIS/000.png") as image:
        assert image.tobytes() == drawn[0].permute(1, 2, 0).numpy().tobytes()
    assert xzoo("data", "check", out, "--deep", "--json").json["problems"] == []


@pytest.mark.parametrize(
    "words",
    [
        ["--domains", "LWIR", "VIS"],
        ["--domains", "VIS", "--domains", "LWIR"],
        ["--domains", "VIS", "LWIR", "--domains", "VIS"],
        ["--domains=VIS", "--domains=LWIR"],
        [],
    ],
    ids=" ".join,
)
def test_domains_follow_one_word_or_each_its_own(xzoo, tmp_path, words):
    assert xzoo("data", "synth", tmp_path / "p", *FEW, "--no-labels", *words).code == 0
    assert [row["spectrum"] for row in rows(tmp_path / "p")] == ["VIS", "LWIR"] * 2


def test_distances_belong_to_the_bands_without_one(xzoo, tmp_path):
    words = ["--domains", "VIS", "LWIR-100m", "--distance", 0, 30, "--no-labels"]
    assert xzoo("data", "synth", tmp_path / "p", *FEW, *words).code == 0
    found = [(row["spectrum"], row["distance"]) for row in rows(tmp_path / "p")[:3]]
    assert found == [("VIS", ""), ("VIS", "30m"), ("LWIR", "100m")]


def test_splits_tracks_and_sessions_reach_the_manifest(xzoo, tmp_path):
    words = ["--domains", "VIS", "--splits", "dev=1", "eval=1", "--tracks", 3, "--sessions", "--no-labels"]
    assert xzoo("data", "synth", tmp_path / "p", *FEW, *words).code == 0
    found = [(row["split"], row["frame"], row["session"]) for row in rows(tmp_path / "p")]
    assert found == [("dev", "0", "0"), ("dev", "1", "0"), ("dev", "2", "0")] + [
        ("eval", "0", "0"),
        ("eval", "1", "0"),
        ("eval", "2", "0"),
    ]


def test_the_same_line_again_changes_nothing_and_another_is_refused(xzoo, tmp_path):
    line = ["data", "synth", tmp_path / "p", *FEW, "--domains", "VIS", "--no-labels"]
    assert xzoo(*line).code == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "p").rglob("*")}
    assert xzoo(*line).code == 0
    refused = xzoo(*line, "--seed", 1)
    assert refused.code == 2
    assert "seed was 0, is 1" in refused.err
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "p").rglob("*")} == before


BAD = [
    (["--domains", "VIS", "UV"], "OptionError", "domain 'UV'"),
    (["--domains", "LWIR-near"], "OptionError", "BAND-DISTANCEm"),
    (["--subjects", 0], "UsageError", "--subjects"),
    (["--subjects", "many"], "UsageError", "--subjects"),
    (["--per-domain", 0], "UsageError", "--per-domain"),
    (["--size", 8], "OptionError", "size=8"),
    (["--size", "big"], "OptionError", "'big'"),
    (["--size", "384x128"], "OptionError", "faces are square"),
    (["--kind", "body", "--size", 128], "OptionError", "a height and a width"),
    (["--kind", "body", "--size", "9x9"], "OptionError", "body_size=(9, 9)"),
    (["--kind", "hand"], "UsageError", "'hand'"),
    (["--bits", 12], "UsageError", "--bits"),
    (["--bits", 16, "--kind", "both"], "OptionError", "bodies have 8 bits"),
    (["--camera", "hose"], "OptionError", "hose"),
    (["--tracks", 1], "UsageError", "--tracks"),
    (["--splits", "train"], "OptionError", "NAME=SHARE"),
    (["--splits", "a=1", "b=1", "c=1"], "OptionError", "3 splits of 2 subjects"),
    (["--seed", -1], "UsageError", "--seed"),
    (["--distance", -5], "UsageError", "--distance"),
    (["--device", "warp"], "DeviceError", "warp"),
]


@pytest.mark.parametrize(("words", "kind", "says"), BAD, ids=[" ".join(map(str, words)) for words, _, _ in BAD])
def test_what_cannot_be_made_is_one_error_and_no_file(xzoo, tmp_path, words, kind, says):
    done = xzoo("data", "synth", tmp_path / "p", "--subjects", 2, *words)
    assert done.code in (1, 2)
    assert done.err.startswith(f"{kind}: "), done.err
    assert says in done.err
    assert "do: " in done.err or "exists: " in done.err
    assert done.out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_folder_swallowed_by_an_option_is_missed(xzoo, tmp_path):
    done = xzoo("data", "synth", "--domains", "VIS", "LWIR", tmp_path / "p")
    assert done.code == 2
    assert "name it first" in done.err


@pytest.mark.parametrize("place", ["full", "held", "file", "read-only"])
def test_a_place_that_cannot_take_it_is_one_error(xzoo, tmp_path, monkeypatch, place):
    out = tmp_path / "p"
    if place == "full":
        monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    elif place == "held":
        out.mkdir()
        (out / "mine.txt").write_text("mine")
    elif place == "file":
        out.write_text("mine")
    else:

        def refuse(self: Path, *arguments: object, **options: object) -> None:
            raise OSError(30, os.strerror(30), str(self))

        monkeypatch.setattr(Path, "mkdir", refuse)
    before = sorted(tmp_path.rglob("*"))
    done = xzoo("data", "synth", out, *FEW)
    says = {"full": "MB are needed", "held": "holds something", "file": "holds something", "read-only": "Read-only"}
    assert done.code == (1 if place == "full" else 2)
    assert says[place] in done.err
    assert done.err.count("\n") < 6
    assert sorted(tmp_path.rglob("*")) == before
