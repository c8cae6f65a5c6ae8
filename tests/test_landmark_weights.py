"""The house landmark weights: file, card and log agree, and the file finds what they say on generated strangers."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

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
HOUSES = {"rgb_fld_lite": ("synth_v1", "VIS", "hybrid_fr"), "thermal_fld_lite": ("synth_v2", "LWIR", "hybrid_fr_t2v")}
"""Tag and band of each, and who is given the faces that it aligned."""


class House(NamedTuple):
    name: str
    tag: str
    band: str
    recogniser: str
    model: Any

    @property
    def file(self) -> Path:
        return ROOT / "xzoo" / "weights" / f"{self.name}.{self.tag}.safetensors"

    def log(self, event: str) -> dict[str, Any]:
        """Return the last line of an event."""
        lines = (ROOT / "scripts" / "logs" / f"{self.name}.{self.tag}.jsonl").read_text().splitlines()
        found: dict[str, Any] = [line for line in map(json.loads, lines) if line["event"] == event][-1]
        return found


@pytest.fixture(scope="module", params=HOUSES)
def house(request: pytest.FixtureRequest) -> House:
    return House(request.param, *HOUSES[request.param], xzoo.create(request.param, pretrained=True))


@pytest.fixture(scope="module")
def strangers(house: House) -> tuple[torch.Tensor, torch.Tensor]:
    """Faces ``uint8 [12, 3, 112, 112]`` of people whom no house weights have seen, and their five points."""
    who = torch.arange(990_000_000, 990_000_012)
    known: dict[str, Any] = {"size": 112, "seed": 7, "nuisances": 0.6}
    five = face_labels(who, torch.zeros_like(who), spectrum=house.band, **known).points5
    return faces(who, torch.zeros_like(who), house.band, **known), five


@pytest.fixture()
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The script that made the weights."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    yield __import__("train_landmarks")
    for name in ("train_landmarks", "train_house"):
        sys.modules.pop(name, None)


def raw_crops(pictures: torch.Tensor, degrees: float = 14.0) -> list[np.ndarray[Any, Any]]:
    """Return faces turned, a fifth smaller and off the middle of wider pictures."""
    turn, scale, crops = math.radians(degrees), 1.2, []
    a, b = scale * math.cos(turn), scale * math.sin(turn)
    for picture in pictures:
        image = Image.fromarray(picture.permute(1, 2, 0).numpy())
        where = (a, -b, 60 - a * 84 + b * 70, b, a, 62 - b * 84 - a * 70)
        crops.append(np.asarray(image.transform((150, 140), Image.Transform.AFFINE, where, Image.Resampling.BILINEAR)))
    return crops


def test_the_file_is_the_one_of_the_card_in_half_precision_and_far_below_three_megabytes(house: House) -> None:
    tag, file = xzoo.card(house.name).tags[house.tag], house.file
    assert xzoo.card(house.name).default_tag == house.tag
    assert (tag.source, tag.dtype, tag.licence) == (f"bundled:{file.name}", "float16", "Apache-2.0")
    assert (tag.sha256, tag.bytes) == (sha256_of(file), file.stat().st_size)
    assert file.stat().st_size < 1_200_000
    with safetensors.safe_open(file, "pt") as opened:
        assert {opened.get_slice(key).get_dtype() for key in opened.keys()} <= {"F16", "I64"}  # noqa: SIM118


def test_the_figures_of_the_card_are_those_of_the_log_of_this_file(house: House) -> None:
    figures = house.log("figures")
    assert figures["sha256"] == sha256_of(house.file)
    stated = [(row["value"], list(row["ci95"])) for row in xzoo.card(house.name).facts["results"]]
    for part in ("house", "blackhot_lowres", "framed_once", "framed_twice"):
        for metric in ("nme_68", "nme_5"):
            row = figures[part][metric]
            assert (row["value"], row["ci95"]) in stated, (part, metric)


def test_the_thermal_network_was_taught_by_the_colour_network_that_is_given_out() -> None:
    rgb, thermal = (House(name, *HOUSES[name], None) for name in HOUSES)
    taught, steps = thermal.log("taught"), thermal.log("step")
    assert (taught["teacher"], taught["sha256"]) == (rgb.file.stem, sha256_of(rgb.file))
    behind = {row["role"]: row for row in xzoo.card(thermal.name).facts["provenance"]}
    assert behind["teacher"]["name"] == behind["start"]["name"] == f"{rgb.name}.{rgb.tag}"
    assert behind["teacher"]["sha256"] == behind["start"]["sha256"] == sha256_of(rgb.file)
    assert {"fi_gt", "fi_con", "ri_con", "dikd"} < steps.keys()
    assert steps["step"] == thermal.log("start")["steps"]  # the schedule was not cut off
    assert steps["dikd"] < 0.01  # and the distillation faded
    assert "teacher" not in {row["role"] for row in xzoo.card(rgb.name).facts["provenance"]}


@pytest.mark.parametrize(
    ("name", "metric"),
    [
        pytest.param(
            "rgb_fld_lite", "nme_5", marks=pytest.mark.slow
        ),  # the jaw is hard to tell from the neck in colour
        ("thermal_fld_lite", "nme_68"),
    ],
)
def test_the_shipped_file_gives_the_logged_figure_and_halves_that_of_a_face_that_is_always_the_mean_one(
    name: str, metric: str, script: Any
) -> None:
    house = House(name, *HOUSES[name], xzoo.create(name, pretrained=True))
    pictures, truth = script._strangers("house", house.band)
    found = script.figures(house.model, truth.mean(0), pictures, truth)
    logged = house.log("figures")["house"]
    # A processor that rounds otherwise moves no point by much.
    assert found["nme_68"]["value"] == pytest.approx(logged["nme_68"]["value"], abs=0.0005)
    assert logged[metric]["ci95"][1] < 0.6 * logged[f"{metric}_mean_face"]["value"]


def test_both_bands_are_moved_alike_and_the_points_with_them(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, same in (("painted", 2), ("seen", 2), ("lit", 1), ("covered", 1)):
        monkeypatch.setattr(script, name, (lambda picture, _: picture) if same == 2 else (lambda picture: picture))
    torch.manual_seed(0)
    side, points = script.DRAWN, torch.rand(32, 68, 2) * 0.5 + 0.25
    places = (torch.arange(side) + 0.5) / side
    # A bump of light about one point of each face.
    x, y = (places - points[:, 40, axis, None] for axis in (0, 1))
    spot = (-(x.square()[:, None] + y.square()[:, :, None]) / (2 * 0.03**2)).exp()[:, None]
    drawn = (spot * 255).round().to(torch.uint8)
    (colour, thermal), moved = script.varied([drawn.expand(-1, 3, -1, -1), drawn], points)
    assert torch.equal(colour, thermal)
    light = ((thermal[:, 0] + 1) / 2).square()
    there = (torch.arange(script.SIDE) + 0.5) / script.SIDE
    total = light.sum((1, 2))
    found = torch.stack([(light.sum(1) @ there) / total, (light.sum(2) @ there) / total], 1)
    # A point is found again at its own number, or at that of its mirror image.
    off = torch.stack([(found - moved[:, number]).norm(dim=1) for number in (40, 47)])
    inside = ((moved[:, [40, 47]] - 0.5).abs() < 0.4).all(2).all(1) & (total > 0)
    assert inside.sum() > 16
    assert (off[:, inside].amin(0) < 0.02).all()
    assert (off[1] < 0.02).any() and (off[0] < 0.02).any()


def test_the_lesson_leaves_the_teacher_as_it_is_and_asks_nothing_of_it_when_its_weight_has_faded(script: Any) -> None:
    torch.manual_seed(0)
    learner, teacher = script.build(script.NETWORK).train(), script.build(script.NETWORK).eval().requires_grad_(False)
    before = {key: value.clone() for key, value in teacher.state_dict().items()}
    views, points = [torch.rand(2, 3, 64, 64) * 2 - 1 for _ in range(2)], torch.rand(2, 68, 2)
    lesson = script.Lesson(learner, teacher)
    terms = lesson(views, points, 1.0)
    assert terms.keys() == {"wing", "gnll", "dikd"} and terms["dikd"] > 0
    assert lesson.parts.keys() == {"fi_gt", "fi_con", "ri_con"}
    torch.stack(list(terms.values())).sum().backward()
    assert all(p.grad is None for p in teacher.parameters()) and all(p.grad is not None for p in learner.parameters())
    assert all(torch.equal(value, teacher.state_dict()[key]) for key, value in before.items())
    assert lesson(views, points, 0.0)["dikd"] == 0
    assert script.Lesson(learner, None)(views[:1], points, 1.0).keys() == {"wing", "gnll"}


def test_a_raw_crop_aligned_by_what_is_found_is_nearer_to_the_aligned_face_than_the_crop_as_it_is(
    house: House, strangers: tuple[torch.Tensor, torch.Tensor]
) -> None:
    pictures, five = strangers
    crops = raw_crops(pictures)
    recogniser = xzoo.create(house.recogniser, pretrained=True)
    wanted = recogniser.embed(
        [
            aligned(picture.permute(1, 2, 0).numpy(), points, (112, 112))
            for picture, points in zip(pictures, five.tolist(), strict=True)
        ],
        spectrum=house.band,
    )
    moved = (recogniser.embed(crops, spectrum=house.band, align=house.name) * wanted).sum(1)
    as_it_is = (recogniser.embed(crops, spectrum=house.band) * wanted).sum(1)
    assert (moved > as_it_is).float().mean() > 0.9
    assert moved.mean() > as_it_is.mean() + 0.1


def test_points_are_found_in_crops_of_other_shapes_and_a_second_look_helps_where_the_face_is_small(
    house: House, strangers: tuple[torch.Tensor, torch.Tensor]
) -> None:
    pictures, five = strangers
    small = [np.pad(picture.permute(1, 2, 0).numpy(), ((20, 60), (70, 30), (0, 0))) for picture in pictures]
    wanted = five + torch.tensor([70.0, 20.0])
    eyes = (five[:, 0] - five[:, 1]).norm(dim=1, keepdim=True)
    once, twice = (
        ((house.model.landmarks(small, points=5, passes=passes) - wanted).norm(dim=2) / eyes).mean()
        for passes in (1, 2)
    )
    assert twice < once
    assert twice < 0.15


def test_the_command_line_takes_the_thermal_one_by_default(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "face.png"
    who, model = torch.tensor([990_000_000]), xzoo.create("thermal_fld_lite", pretrained=True)
    Image.fromarray(faces(who, torch.zeros_like(who), "LWIR", seed=7)[0].permute(1, 2, 0).numpy()).save(path)
    assert main(["landmarks", str(path), "--points", "5", "--passes", "2", "--mirrored", "--json"]) == 0
    told = torch.tensor(json.loads(capsys.readouterr().out)["points"])
    assert torch.allclose(told, model.landmarks(path, points=5, passes=2, mirrored=True)[0], atol=0.01)
    assert not torch.allclose(told, model.landmarks(path, points=5)[0], atol=0.05)
