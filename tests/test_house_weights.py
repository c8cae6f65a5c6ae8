from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors
import torch

import xzoo
from xzoo.data.people import faces
from xzoo.evaluation import Pixels, retrieval
from xzoo.evaluation.pixels import SIZES
from xzoo.hub import sha256_of

NAME, TAG = "hybrid_fr_t2v", "synth_v1"
ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "xzoo" / "weights" / f"{NAME}.{TAG}.safetensors"
LOG = ROOT / "scripts" / "logs" / f"{NAME}.{TAG}.jsonl"


@pytest.fixture(scope="module")
def model():
    return xzoo.create(NAME, pretrained=True)


def test_the_file_is_the_one_of_the_card():
    tag = xzoo.card(NAME).tags[TAG]
    assert (tag.source, tag.dtype, tag.licence) == (f"bundled:{FILE.name}", "float16", "Apache-2.0")
    assert (tag.sha256, tag.bytes) == (sha256_of(FILE), FILE.stat().st_size)


def test_the_file_is_half_precision_and_below_four_megabytes():
    assert FILE.stat().st_size < 4_000_000
    with safetensors.safe_open(FILE, "pt") as file:
        assert {file.get_slice(name).get_dtype() for name in file.keys()} == {"F16"}  # noqa: SIM118


def test_the_names_in_the_file_are_the_networks_own(model):
    with safetensors.safe_open(FILE, "pt") as file:
        assert set(file.keys()) == set(model.state_dict())


def test_the_card_says_what_the_weights_never_saw():
    card = xzoo.card(NAME)
    assert "without a single real face" in card.prose
    assert "starting point" in card.prose


def test_the_figures_of_the_card_are_those_of_the_log():
    last = json.loads(LOG.read_text().splitlines()[-1])
    assert last["event"] == "figures"
    stated = json.dumps(xzoo.card(NAME).facts["results"])
    for camera, task in (("house", "LWIR_to_VIS"), ("house", "VIS_to_VIS"), ("blackhot_lowres", "LWIR_to_VIS")):
        assert str(last[camera][task]["rank1"]) in stated, (camera, task)


def test_strangers_are_recognised_across_spectra_better_than_by_pixels(model):
    # Another world than that of training: nobody here was ever drawn before.
    subjects, once = torch.arange(60), torch.zeros(60, dtype=torch.int64)
    gallery, probes = faces(subjects, once, "VIS", seed=9), faces(subjects, once + 1, "LWIR", seed=9)

    def rank1(embed) -> float:
        return float(retrieval(embed(probes), embed(gallery), subjects, subjects).cmc[0])

    def shrunk(size: int):
        shrink = torch.nn.functional.interpolate
        return lambda images: Pixels(size).embed(shrink(images.float(), size=(size, size), mode="area").byte())

    pixels = max(rank1(shrunk(size)) for size in SIZES)
    assert rank1(model.embed) > max(2 * pixels, 5 / 60)
