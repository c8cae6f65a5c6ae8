"""The house landmark weights: file, card and log agree, and the file finds what they say on generated strangers."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import torch
from PIL import Image

import xzoo
from xzoo.cli import main
from xzoo.data.align import aligned
from xzoo.data.people import face_labels, faces
from xzoo.hub import sha256_of

ROOT = Path(__file__).resolve().parents[1]
NAME, TAG = "thermal_fld_lite", "synth_v1"
FILE = ROOT / "xzoo" / "weights" / f"{NAME}.{TAG}.safetensors"


@pytest.fixture(scope="module")
def model() -> Any:
    return xzoo.create(NAME, pretrained=True)


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    last: dict[str, Any] = json.loads((ROOT / "scripts" / "logs" / f"{NAME}.{TAG}.jsonl").read_text().splitlines()[-1])
    assert last["event"] == "figures"
    return last


@pytest.fixture(scope="module")
def strangers() -> tuple[torch.Tensor, torch.Tensor]:
    """Faces ``uint8 [12, 3, 112, 112]`` of people whom no house weights have seen, and their five points."""
    who = torch.arange(990_000_000, 990_000_012)
    known = {"size": 112, "seed": 7, "nuisances": 0.6}
    five = face_labels(who, torch.zeros_like(who), spectrum="LWIR", **known).points5  # type: ignore[arg-type]
    return faces(who, torch.zeros_like(who), "LWIR", **known), five  # type: ignore[arg-type]


def raw_crops(pictures: torch.Tensor, degrees: float = 14.0) -> list[np.ndarray[Any, Any]]:
    """Return faces turned, a fifth smaller and off the middle of wider pictures."""
    turn, scale, crops = math.radians(degrees), 1.2, []
    a, b = scale * math.cos(turn), scale * math.sin(turn)
    for picture in pictures:
        image = Image.fromarray(picture.permute(1, 2, 0).numpy())
        where = (a, -b, 60 - a * 84 + b * 70, b, a, 62 - b * 84 - a * 70)
        crops.append(np.asarray(image.transform((150, 140), Image.Transform.AFFINE, where, Image.Resampling.BILINEAR)))
    return crops


def test_the_file_is_the_one_of_the_card_in_half_precision_and_far_below_three_megabytes() -> None:
    tag = xzoo.card(NAME).tags[TAG]
    assert (tag.source, tag.dtype, tag.licence) == (f"bundled:{FILE.name}", "float16", "Apache-2.0")
    assert (tag.sha256, tag.bytes) == (sha256_of(FILE), FILE.stat().st_size)
    assert FILE.stat().st_size < 1_200_000
    with safetensors.safe_open(FILE, "pt") as opened:
        assert {opened.get_slice(key).get_dtype() for key in opened.keys()} <= {"F16", "I64"}  # noqa: SIM118


def test_the_figures_of_the_card_are_those_of_the_log(figures: dict[str, Any]) -> None:
    stated = [(row["value"], list(row["ci95"])) for row in xzoo.card(NAME).facts["results"]]
    for part in ("house", "blackhot_lowres", "framed_once", "framed_twice"):
        for metric in ("nme_68", "nme_5"):
            row = figures[part][metric]
            assert (row["value"], row["ci95"]) in stated, (part, metric)


def test_the_shipped_file_gives_the_logged_figure_and_halves_that_of_a_face_that_is_always_the_mean_one(
    figures: dict[str, Any], model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    script = __import__("train_landmarks")
    pictures, truth = script._strangers("house")
    found = script.figures(model, truth.mean(0), pictures, truth)
    logged = figures["house"]["nme_68"]
    # A processor that rounds otherwise moves no point by much.
    assert found["nme_68"]["value"] == pytest.approx(logged["value"], abs=0.0005)
    assert logged["ci95"][1] < 0.6 * figures["house"]["nme_68_mean_face"]["value"]
    for name in ("train_landmarks", "train_house"):
        sys.modules.pop(name, None)


def test_a_raw_crop_aligned_by_what_is_found_is_nearer_to_the_aligned_face_than_the_crop_as_it_is(
    strangers: tuple[torch.Tensor, torch.Tensor],
) -> None:
    pictures, five = strangers
    crops = raw_crops(pictures)
    recogniser = xzoo.create("hybrid_fr_t2v", pretrained=True)
    wanted = recogniser.embed(
        [
            aligned(picture.permute(1, 2, 0).numpy(), points, (112, 112))
            for picture, points in zip(pictures, five.tolist(), strict=True)
        ],
        spectrum="LWIR",
    )
    moved = (recogniser.embed(crops, spectrum="LWIR", align=NAME) * wanted).sum(1)
    as_it_is = (recogniser.embed(crops, spectrum="LWIR") * wanted).sum(1)
    assert (moved > as_it_is).float().mean() > 0.9
    assert moved.mean() > as_it_is.mean() + 0.1


def test_points_are_found_in_crops_of_other_shapes_and_a_second_look_helps_where_the_face_is_small(
    model: Any, strangers: tuple[torch.Tensor, torch.Tensor]
) -> None:
    pictures, five = strangers
    small = [np.pad(picture.permute(1, 2, 0).numpy(), ((20, 60), (70, 30), (0, 0))) for picture in pictures]
    wanted = five + torch.tensor([70.0, 20.0])
    eyes = (five[:, 0] - five[:, 1]).norm(dim=1, keepdim=True)
    once, twice = (
        ((model.landmarks(small, points=5, passes=passes) - wanted).norm(dim=2) / eyes).mean() for passes in (1, 2)
    )
    assert twice < once
    assert twice < 0.15


def test_the_command_line_takes_it_by_default(
    strangers: tuple[torch.Tensor, torch.Tensor], model: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "face.png"
    Image.fromarray(strangers[0][0].permute(1, 2, 0).numpy()).save(path)
    assert main(["landmarks", str(path), "--points", "5", "--passes", "2", "--mirrored", "--json"]) == 0
    told = torch.tensor(json.loads(capsys.readouterr().out)["points"])
    assert torch.allclose(told, model.landmarks(path, points=5, passes=2, mirrored=True)[0], atol=0.01)
    assert not torch.allclose(told, model.landmarks(path, points=5)[0], atol=0.05)
