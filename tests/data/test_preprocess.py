"""Preprocessing is part of the weights: exact, explicit, the same for every input."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from xzoo.data.preprocess import Preprocess
from xzoo.errors import CardError, ImageError, MissingFile, OptionError

SMALL = Preprocess(size=(3, 8, 6))
RED = np.zeros((8, 6, 3), np.uint8) + np.array([200, 20, 3], np.uint8)


def test_values_are_scaled_as_the_paper_says() -> None:
    expected = (torch.from_numpy(RED).permute(2, 0, 1).float() / 255 - 0.5) / 0.5
    assert torch.equal(SMALL(RED), expected[None])


def test_black_is_minus_one_and_white_is_one() -> None:
    ends = np.array([[0, 255]], np.uint8).repeat(8, 0).repeat(3, 1)
    assert SMALL(ends).aminmax() == (-1.0, 1.0)


def test_grey_equals_its_three_replicated_channels() -> None:
    grey = np.random.default_rng(0).integers(0, 255, (20, 30), np.uint8)
    assert torch.equal(SMALL(grey), SMALL(np.repeat(grey[:, :, None], 3, axis=2)))


def test_bgr_networks_get_blue_first_and_raw_stays_rgb() -> None:
    bgr = replace(SMALL, colour="BGR")
    assert torch.equal(bgr(RED), SMALL(RED).flip(1))
    assert bgr.raw(RED)[0, :, 0, 0].tolist() == [200, 20, 3]


def test_mean_and_std_are_in_the_order_of_the_network() -> None:
    bgr = replace(SMALL, colour="BGR", mean=(3 / 255, 20 / 255, 200 / 255), std=(0.1, 0.2, 0.3))
    assert bgr(RED).abs().max() < 1e-6


def test_raw_is_uint8_of_the_stated_size() -> None:
    raw = SMALL.raw(np.zeros((50, 40), np.uint8))
    assert (raw.dtype, raw.shape, raw.is_contiguous()) == (torch.uint8, (1, 3, 8, 6), True)


def test_calling_is_raw_then_normalise() -> None:
    image = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    assert torch.equal(SMALL(image), SMALL.normalise(SMALL.raw(image)))


def test_normalise_leaves_its_input_alone() -> None:
    raw = SMALL.raw(RED)
    before = raw.clone()
    replace(SMALL, colour="BGR").normalise(raw)
    assert torch.equal(raw, before)


@pytest.mark.gpu
def test_normalise_stays_on_the_device() -> None:
    raw = SMALL.raw(RED).cuda()
    assert torch.allclose(SMALL.normalise(raw).cpu(), SMALL(RED), atol=1e-6)


def test_one_image_and_many_forms_of_many_agree(tmp_path: Path) -> None:
    file = tmp_path / "red.png"
    Image.fromarray(RED).save(file)
    many = [file, str(file), Image.open(file), RED, torch.from_numpy(RED).permute(2, 0, 1)]
    batch = SMALL(many)
    assert batch.shape == (5, 3, 8, 6)
    assert all(torch.equal(row, SMALL(RED)[0]) for row in batch)
    assert torch.equal(SMALL(np.stack([RED, RED])), batch[:2])
    assert torch.equal(SMALL(torch.from_numpy(np.stack([RED, RED])).permute(0, 3, 1, 2)), batch[:2])


@pytest.mark.parametrize("filter_", ["bilinear", "bicubic", "lanczos"])
def test_resizing_is_pillows(filter_: str) -> None:
    image = np.random.default_rng(0).integers(0, 255, (40, 30, 3), np.uint8)
    expected = Image.fromarray(image).resize((6, 8), Image.Resampling[filter_.upper()])
    raw = replace(SMALL, interpolation=filter_).raw(image)
    np.testing.assert_array_equal(raw[0].permute(1, 2, 0), np.array(expected))


def test_the_image_at_fault_is_numbered() -> None:
    with pytest.raises(ImageError, match="image 1 of 2"):
        SMALL([RED, np.zeros((2, 2), bool)])


def test_a_missing_file_in_a_list_is_named() -> None:
    with pytest.raises(MissingFile, match="nowhere.png"):
        SMALL([RED, "nowhere.png"])


@pytest.mark.parametrize("images", [[], (), 3, {"a": 1}, None], ids=repr)
def test_no_images_is_an_error(images: object) -> None:
    with pytest.raises(ImageError):
        SMALL(images)


@pytest.mark.parametrize(
    "tensor",
    [torch.zeros(1, 3, 8, 6), torch.zeros(3, 8, 6, dtype=torch.uint8), torch.zeros(1, 1, 8, 6, dtype=torch.uint8)],
    ids=["float", "no batch axis", "one channel"],
)
def test_normalise_refuses_what_it_would_scale_wrongly(tensor: torch.Tensor) -> None:
    with pytest.raises(ImageError, match="uint8"):
        SMALL.normalise(tensor)


@pytest.mark.parametrize(
    "change",
    [
        {"size": (1, 8, 8)},
        {"size": (3, 0, 8)},
        {"size": (3, 8)},
        {"size": (3, 8.0, 8)},
        {"colour": "rgb"},
        {"mean": (0.5,)},
        {"mean": (0.5, 0.5, float("nan"))},
        {"std": (0.5, 0.0, 0.5)},
        {"interpolation": "cubic"},
    ],
    ids=str,
)
def test_impossible_settings_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(OptionError, match=next(iter(change))):
        Preprocess(**change)


def test_a_card_gives_its_preprocessing() -> None:
    stated = {"size": [3, 32, 16], "colour": "BGR", "mean": [0.4, 0.5, 0.6], "std": [1, 1, 1], "alignment": "none"}
    card = SimpleNamespace(name="x", facts={"input": stated})
    assert Preprocess.from_card(card) == Preprocess((3, 32, 16), "BGR", (0.4, 0.5, 0.6), (1, 1, 1))


def test_a_card_may_ask_for_the_contrast_of_each_picture_and_for_either_template() -> None:
    stated = {"size": [3, 2, 2], "stretch": True, "alignment": "eyes_112_2pt"}
    found = Preprocess.from_card(SimpleNamespace(name="thermal", facts={"input": stated}))
    assert (found.stretch, found.alignment) == (True, "eyes_112_2pt")
    counts = np.array([[7000, 7001], [7001, 7002]], np.uint16)
    assert sorted(set(found.raw(counts).flatten().tolist())) == [0, 128, 255]


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"input": {}},
        {"input": {"size": 112}},
        {"input": {"size": [3, 8, 8], "colour": "grey"}},
        {"input": {"size": [3, 8, 8], "stretch": "yes"}},
    ],
    ids=str,
)
def test_a_card_without_usable_input_is_named(facts: dict[str, object]) -> None:
    with pytest.raises(CardError, match="'thermal_net'"):
        Preprocess.from_card(SimpleNamespace(name="thermal_net", facts=facts))


@pytest.mark.slow
def test_the_default_filter_gives_the_reference_figures_of_real_weights(real_data: Path, real_weights: Path) -> None:
    import xzoo
    from xzoo.data import Manifest, load_raw

    model = xzoo.create("edgeface_xxs", pretrained=real_weights / "edgeface_xxs_q.pt")
    faces = Manifest.read(real_data / "orl")
    embeddings = model.embed(load_raw(faces, Preprocess()))
    scores = (embeddings @ embeddings.T).fill_diagonal_(-2)
    label = torch.from_numpy(faces.labels)
    assert (label[scores.argmax(1)] == label).float().mean() == pytest.approx(0.9825, abs=1e-4)
    one, two = torch.triu_indices(len(label), len(label), 1)
    genuine = label[one] == label[two]
    impostors = scores[one, two][~genuine].sort(descending=True).values
    rate = (scores[one, two][genuine] > impostors[len(impostors) // 1000]).float().mean()
    assert rate == pytest.approx(0.727, abs=5e-4)  # bilinear gives 0.7256, Lanczos 0.7261
