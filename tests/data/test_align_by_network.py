"""Raw crops aligned by a landmark network: in one call, on the command line, and by the rows of a manifest."""

from __future__ import annotations

import json
from importlib import import_module

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import xzoo
from xzoo.cli import main
from xzoo.data.align import aligned, finder, locate, located
from xzoo.data.images import read_image
from xzoo.data.manifest import Manifest, Row
from xzoo.data.preprocess import Preprocess
from xzoo.errors import OptionError
from xzoo.families.landmark.model import LandmarkNet

PLACES = torch.tensor([[70.0, 60.0], [100.0, 66.0], [83.0, 80.0], [70.0, 95.0], [95.0, 100.0]])


class Known(LandmarkNet):
    """Finds the same five points in every picture, and remembers the boxes that it was given."""

    def __init__(self):
        super().__init__(nn.Identity(), nn.Linear(1, 1), 5, 64)
        self.boxes = []

    def _look(self, pictures, boxes, mirrored):
        self.boxes += boxes
        return PLACES.expand(len(pictures), -1, -1)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return xzoo.create("bd_student")


@pytest.fixture
def pictures(tmp_path):
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{name}.png" for name in "ab"]
    for path in paths:
        smooth = Image.fromarray(rng.integers(0, 256, (10, 8, 3), dtype=np.uint8)).resize((150, 180))
        smooth.save(path)
    return paths


def by_hand(model, paths):
    size = model.preprocess.size[1:]
    return model.embed([aligned(read_image(path), PLACES.tolist(), size) for path in paths])


def test_one_call_moves_the_points_found_to_the_template(model, pictures):
    found = model.embed(pictures, align=Known())
    assert torch.allclose(found, by_hand(model, pictures), atol=1e-6)
    assert not torch.allclose(found, model.embed(pictures), atol=1e-3)
    as_tensor = torch.from_numpy(np.stack([read_image(path) for path in pictures])).permute(0, 3, 1, 2)
    assert torch.allclose(model.embed(as_tensor, align=Known()), found, atol=1e-6)


def test_a_crop_of_the_networks_own_size_is_aligned_too(model):
    _, height, width = model.preprocess.size
    crop = torch.randint(0, 256, (1, 3, height, width), dtype=torch.uint8)
    assert not torch.allclose(model.embed(crop, align=Known()), model.embed(crop), atol=1e-3)


def test_rows_keep_the_points_they_know_and_others_are_looked_for_in_their_box(pictures):
    known = ((1.0, 2.0), (9.0, 2.0), (5.0, 5.0), (2.0, 8.0), (8.0, 8.0))
    rows = (
        Row("a.png", "ann", "LWIR", landmarks=known),
        Row("b.png", "ann", "LWIR", box=(10, 20, 100, 120), index=1),
        Row("b.png", "ann", "LWIR", landmarks=((0.0, 0.0),), index=2),
    )
    network = Known()
    told = located(Manifest(rows, root=pictures[0].parent), network)
    assert told.rows[0].landmarks == known
    assert np.allclose(told.rows[1].landmarks, PLACES)
    assert np.allclose(told.rows[2].landmarks, PLACES)
    assert network.boxes == [(10, 20, 100, 120), None]
    assert locate([read_image(pictures[0])], network)[0] == tuple(map(tuple, PLACES.tolist()))


def test_what_finds_no_five_points_is_refused(model):
    with pytest.raises(OptionError, match="no landmark network"):
        finder(model, model.preprocess)
    with pytest.raises(OptionError, match="takes pictures as they are"):
        finder(Known(), Preprocess())
    with pytest.raises(OptionError, match="no landmark network"):
        model.embed(np.zeros((50, 50), np.uint8), align="lrfr_aird_16")
    mesh = Known()
    mesh.points = 478
    with pytest.raises(OptionError, match="from its 478"):
        finder(mesh, model.preprocess)


def test_the_command_line_aligns_files_and_manifests(model, pictures, tmp_path, monkeypatch, capsys):
    verb = import_module("xzoo.cli.embed")

    networks = {"bd_student": model, "known": Known()}
    monkeypatch.setattr(verb, "model", lambda name, *_, **__: networks[name])
    out = tmp_path / "out.npz"
    assert main(["embed", "bd_student", *map(str, pictures), "--align", "known", "--output", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 2
    expected = by_hand(model, pictures).numpy()
    assert np.allclose(np.load(out)["embeddings"], expected, atol=1e-6)
    table = tmp_path / "manifest.csv"
    table.write_text("path,subject,spectrum\na.png,ann,LWIR\nb.png,ben,LWIR\n")
    assert main(["embed", "bd_student", "--data", str(table), "--align", "known", "--output", str(out)]) == 0
    assert np.allclose(np.load(out)["embeddings"], expected, atol=1e-6)
