"""A toy network and toy people: training in milliseconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import xzoo
from xzoo import recipes
from xzoo.data.manifest import Manifest
from xzoo.families.base import Embedder
from xzoo.recipes.schema import Recipe
from xzoo.training import plots

SIDE = 16


def build_toy(width: int = 8) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, width, 3, stride=2, padding=1),
        nn.GELU(),
        nn.Conv2d(width, width, 3, stride=2, padding=1),
        nn.GELU(),
        nn.Flatten(),
        nn.LayerNorm(width * (SIDE // 4) ** 2),
        nn.Linear(width * (SIDE // 4) ** 2, 16),
    )


@pytest.fixture
def painted() -> None:
    """Ask for this to have pictures drawn."""


@pytest.fixture(autouse=True)
def _unpainted(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out pictures, which take longer than all the rest of a toy run."""
    if "painted" not in request.fixturenames:
        monkeypatch.setattr(plots, "picture", lambda *_: None)


@pytest.fixture
def toy() -> Embedder:
    xzoo.register("toy", build_toy, input={"size": [3, SIDE, SIDE]}, replace=True)
    torch.manual_seed(0)
    return xzoo.create("toy")


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve people, two images in VIS and two in LWIR, where red is blue; the last four are ``test``."""
    folder = tmp_path_factory.mktemp("people")
    random = np.random.default_rng(0)
    lines = ["path,subject,spectrum,split"]
    for person in range(12):
        face = random.uniform(60, 200, (4, 4, 3))
        for sample in range(2):
            for spectrum, seen in (("VIS", face), ("LWIR", face[..., ::-1])):
                noisy = seen + random.normal(0, 6, face.shape)
                name = f"p{person:02d}_{spectrum}_{sample}.png"
                Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).resize((SIDE, SIDE)).save(folder / name)
                lines.append(f"{name},p{person:02d},{spectrum},{'test' if person >= 8 else 'train'}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder / "manifest.csv"


@pytest.fixture(scope="session")
def manifest(people: Path) -> Manifest:
    return Manifest.read(people)


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    """The xEdgeFace recipe, made for the toy: everything trains, in small batches."""
    return recipes.load("xedgeface").with_(
        {"stages.*.train.groups": "all", "stages.*.batch.size": 8, "stages.*.steps": 6, "stages.*.optimiser.lr": 1e-3}
    )


@pytest.fixture(scope="session")
def two_stages(recipe: Recipe) -> Recipe:
    """Contrastive first, then distilled to its own result; dropout, so that torch's own random numbers count."""
    from xzoo.recipes.schema import check

    tree = recipe.model_dump(mode="json")
    stage = tree["stages"][0]
    stage["train"] = {"groups": "norms", "lora": {"rank": 2, "alpha": 4.0, "dropout": 0.2}}
    nce = {"name": "infonce", "on": ["student.source", "student.target"]}
    first = {**stage, "name": "first", "teacher": "none", "losses": [nce], "steps": 4}
    first["batch"] = {"sampler": "balanced", "size": 8, "per_subject": 2}
    tree["stages"] = [first, {**stage, "name": "second", "steps": 4}]
    return check(tree, "two stages")
