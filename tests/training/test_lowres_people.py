"""Recipes for few pixels on generated people, as they are shipped, with small networks in the place of large ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import xzoo
from xzoo import adapters, errors, recipes
from xzoo.data.degrade import through
from xzoo.data.manifest import Manifest
from xzoo.data.people import faces
from xzoo.data.people.traits import SESSION
from xzoo.families.base import Embedder
from xzoo.recipes.schema import check
from xzoo.training import distill, fit
from xzoo.training.run import Run

PEOPLE, DAYS, SIDE = 10, 4, 32


class Stages(nn.Module):
    """Four stages that end at given places of ``body``, each of half the pixels; identities fill the rest."""

    def __init__(self, ends: tuple[int, ...]) -> None:
        super().__init__()
        self.input_layer = nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.PReLU(8))
        wide = dict(zip(ends, (8, 12, 16, 24), strict=True))
        parts: list[nn.Module] = []
        width = 8
        for place in range(ends[-1] + 1):
            if place in wide:
                block = nn.Sequential(nn.Conv2d(width, wide[place], 3, 2, 1), nn.BatchNorm2d(wide[place]), nn.PReLU())
                width = wide[place]
                parts.append(block)
            else:
                parts.append(nn.Identity())
        self.body = nn.Sequential(*parts)
        self.last = nn.Linear(24 * (SIDE // 16) ** 2, 32)

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.last(self.body(self.input_layer(images)).flatten(1))
        return out


class Wrapped(Embedder):
    """The same with the names of an IR network."""

    lora_targets = r"body\.\d+\.0|last"

    def __init__(self, ends: tuple[int, ...]) -> None:
        super().__init__()
        inner = Stages(ends)
        self.input_layer, self.body, self.last = inner.input_layer, inner.body, inner.last

    def trunk(self, images: Tensor) -> Tensor:
        found: Tensor = self.body(self.input_layer(images)).flatten(1)
        return found

    def project(self, features: Tensor) -> Tensor:
        out: Tensor = self.last(features)
        return out

    def forward_features(self, images: Tensor) -> dict[str, Tensor]:
        return {"embedding": self(images)}

    def groups(self) -> dict[str, list[str]]:
        return {"all": [name for name, _ in self.named_parameters()]}


def made(ends: tuple[int, ...], seed: int) -> Embedder:
    """Return a network that knows its batch norms' statistics of faces."""
    xzoo.register("staged", lambda: Wrapped(ends), input={"size": [3, SIDE, SIDE]}, replace=True)
    torch.manual_seed(seed)
    return xzoo.create("staged")


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Ten generated people on four days; every second picture has a fourth of the pixels. Two of them are ``test``."""
    folder = tmp_path_factory.mktemp("people")
    who = torch.arange(PEOPLE).repeat_interleave(DAYS)
    seen = faces(6_000_000 + who, torch.arange(DAYS).repeat(PEOPLE) * SESSION, "VIS", size=SIDE, seed=31)
    blurred = through(seen, [SIDE // 4] * len(seen))
    lines = ["path,subject,spectrum,split"]
    for number, person in enumerate(who.tolist()):
        picture = blurred[number] if number % 2 else seen[number]
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(folder / f"{number}.png")
        lines.append(f"{number}.png,p{person},VIS,{'test' if person >= PEOPLE - 2 else 'train'}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return Manifest.read(folder / "manifest.csv")


def trained(name: str, people: Manifest, output: Path, changes: dict[str, Any], steps: int = 24, **given: Any) -> Run:
    plan = recipes.load(name)
    stage = plan.stages[0].name
    small = {f"stages.{stage}.batch.size": 16, f"stages.{stage}.steps": steps}
    return distill(recipe=plan.with_(small | changes), data=people, output=output, **given)


def falls(run: Run, term: str | None = None) -> bool:
    rows = [row["loss"] if term is None else row["terms"][term] for row in run.metrics if "loss" in row]
    assert np.isfinite(rows).all()
    return float(np.mean(rows[-6:])) < 0.9 * float(np.mean(rows[:6]))


def test_fskd_brings_a_student_of_few_pixels_to_its_teacher(people: Manifest, tmp_path: Path) -> None:
    """Modules, losses, weights, margin and view are the shipped ones; a smaller picture asks for other sizes."""
    low = {"name": "rand5_r_up", "options": {"sizes": [8, 16, 32]}}
    calm = {"stages.distil.optimiser.lr": 0.05, "stages.distil.views.named.low.degrade": low}
    teacher = made((2, 6, 20, 23), 1)
    run = trained("fskd", people, tmp_path / "run", calm, teacher=teacher, student=made((1, 3, 5, 7), 2))
    assert falls(run) and falls(run, "hint1") and falls(run, "across")
    assert run.before is not None and run.after is not None


def test_crfr_learns_people_and_holds_its_own_features(people: Manifest, tmp_path: Path) -> None:
    calm = {"stages.curriculum.optimiser.lr": 0.05, "stages.curriculum.batch.accumulate": 2}
    run = trained("crfr", people, tmp_path / "run", calm, student=made((1, 3, 5, 7), 2))
    assert falls(run) and falls(run, "identity")


def test_petalface_leaves_an_adapter_and_the_base_as_it_was(people: Manifest, tmp_path: Path) -> None:
    student = made((1, 3, 5, 7), 2)
    before = {key: value.clone() for key, value in student.state_dict().items()}
    calm = {"stages.adapt.optimiser.lr": 0.01, "stages.adapt.optimiser.warmup": 4}
    run = trained("petalface", people, tmp_path / "run", calm, student=student)
    assert falls(run)
    assert (run.folder / "adapter" / "adapter_config.json").is_file()
    assert not (run.folder / "student.safetensors").exists()
    found = run.model
    assert [adapter.kind for adapter in found.adapters.values()] == ["petalface"]
    changed = found.embed(_pictures(people))
    adapters.detach(found, next(iter(found.adapters)))
    assert all(torch.equal(found.state_dict()[key], value) for key, value in before.items())
    assert not torch.equal(found.embed(_pictures(people)), changed)
    again = trained("petalface", people, tmp_path / "again", calm, student=student)
    assert torch.equal(again.model.embed(_pictures(people)), changed)


def test_petalface_on_named_weights_leaves_no_copy_of_them(people: Manifest, tmp_path: Path) -> None:
    run = trained("petalface", people, tmp_path / "run", {}, 1, student="lrfr_aird_16", evaluate=False)
    assert run.facts["base"]["name"] == "lrfr_aird_16"
    assert not (run.folder / "base.safetensors").exists()
    assert run.model.adapters


def _pictures(people: Manifest) -> list[Path]:
    return [people.root / row.path for row in people.rows[:8]]


@pytest.mark.parametrize(
    ("train", "says"),
    [
        ({"petalface": {"rank": 8}, "groups": "norms"}, "alone"),
        ({"petalface": {"rank": 0}}, "rank"),
        ({"petalface": {"treshold": 0.2}}, "threshold"),
    ],
    ids=["groups", "rank", "spelling"],
)
def test_a_plan_for_petalface_that_cannot_be_meant_is_refused(train: dict[str, Any], says: str) -> None:
    tree = recipes.load("petalface").model_dump(mode="json")
    tree["stages"][0]["train"] = train
    with pytest.raises(errors.RecipeError, match=says):
        check(tree, "wrong")


def test_targets_that_a_network_lacks_are_told_before_anything_runs() -> None:
    plan = recipes.load("petalface").with_({"stages.adapt.train.petalface.targets": r".*\.nothing"})
    with pytest.raises(errors.RecipeError, match=r"train\.petalface.*matches no module"):
        fit.check(plan)
