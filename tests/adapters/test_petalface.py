"""PETALface: two low-rank branches, mixed for each image by its sharpness."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import xzoo
from xzoo import adapters, errors
from xzoo.adapters import petalface
from xzoo.adapters.petalface import PetalfaceOptions, sharpness, weighted, weights_of
from xzoo.data.degrade import through
from xzoo.data.people import faces
from xzoo.families.base import Embedder, Plain


class Card(NamedTuple):
    """As much of a card as adapters read."""

    name: str
    licence: dict[str, str]


class Size(NamedTuple):
    """As much of preprocessing."""

    size: tuple[int, int, int]


def small() -> Embedder:
    """A convolution that looks first, a grouped one that cannot be adapted, a norm and two linear layers."""
    torch.manual_seed(4)
    body = nn.Sequential(nn.Conv2d(3, 8, 7, 7), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8))
    rest = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 24), nn.ReLU(), nn.Linear(24, 16))
    model = Plain(nn.Sequential(*body, *rest))
    model.card, model.preprocess = Card("small", {}), Size((3, 64, 64))  # type: ignore[assignment]
    return model.eval()


@cache
def _made(name: str) -> Embedder:
    torch.manual_seed(0)
    return small() if name == "small" else xzoo.create(name)


def make(name: str = "small") -> Embedder:
    return copy.deepcopy(_made(name))


def pictures(count: int = 4) -> Tensor:
    """Half of them noise, half of them smooth: of weights far apart."""
    drawn = torch.Generator().manual_seed(7)
    noise = torch.rand(count, 3, 64, 64, generator=drawn) * 2 - 1
    smooth = F.interpolate(torch.rand(count, 3, 5, 5, generator=drawn), 64, mode="bicubic", align_corners=False)
    return torch.where(torch.arange(count)[:, None, None, None] % 2 == 0, noise, smooth)


def trained(model: Embedder, **options: Any) -> Embedder:
    """Put an adapter on a model and move all its numbers: fresh ones change nothing."""
    torch.manual_seed(1)
    adapters.add(model, "petalface", **options)
    drawn = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.05 * torch.randn(parameter.shape, generator=drawn)
    return model


@torch.no_grad()
def run(model: nn.Module, images: Tensor | None = None) -> Tensor:
    out: Tensor = model(pictures() if images is None else images)
    return out


def alone(model: Embedder, which: str) -> Embedder:
    """Return a model with one of the two branches in the place of a plain LoRA: the others' factors are zero."""
    other = "low" if which == "high" else "high"
    state = adapters.state(model, "default")
    adapters.load_state(model, "default", {k: v * 0 if f".{other}." in k else v for k, v in state.items()})
    return model


# --- quality ---------------------------------------------------------------------------------------------------------


def test_sharpness_is_one_less_the_blur_of_crete_computed_by_hand() -> None:
    row = torch.tensor([0.0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1])  # a step: a mean of nine takes 8/9 of it away
    across = row.expand(1, 3, 12, 12)
    # Of a slope it takes nothing but at the ends, where pixels are repeated: 2 (4 + 3 + 2 + 1) / 9 of 11 steps.
    ramp = torch.arange(12.0)[None, None, :, None] / 100
    assert float(sharpness(across + ramp)) == pytest.approx(20 / 99, abs=1e-5)  # the axis with less of it counts
    both = across + across.transpose(2, 3)
    assert float(sharpness(both)) == pytest.approx(8 / 9, abs=1e-6)
    assert float(sharpness(torch.full((1, 3, 12, 12), 0.3))) == 0


def test_sharpness_follows_lost_pixels_and_neither_brightness_nor_contrast() -> None:
    who = torch.arange(3)
    seen = faces(5_000_000 + who, who * 0, "VIS", size=112, seed=31)
    means = [float(sharpness(through(seen, [side] * 3).float()).mean()) for side in (112, 64, 32, 16)]
    assert means == sorted(means, reverse=True)
    assert means[2] < PetalfaceOptions().threshold < means[1]
    other = 0.3 * seen.float() + 90
    torch.testing.assert_close(sharpness(other), sharpness(seen.float()))


def test_a_weight_is_half_at_the_threshold_and_stays_a_share() -> None:
    options = PetalfaceOptions(threshold=0.4, slope=1.0)
    found = weights_of(torch.tensor([0.4, 0.3, 0.6]), options)
    torch.testing.assert_close(found, torch.tensor([0.5, 0.4, 0.7]))
    steep = PetalfaceOptions(threshold=0.4, slope=10.0)
    torch.testing.assert_close(weights_of(torch.tensor([0.1, 0.9]), steep), torch.tensor([0.0, 1.0]))


# --- branches --------------------------------------------------------------------------------------------------------

BASES = ["small", "edgeface_xxs", "bd_student"]


@pytest.mark.parametrize("name", BASES)
def test_a_weight_of_zero_or_one_is_either_branch_alone(name: str) -> None:
    model = trained(make(name))
    images = _fit(model)
    for weight, which in ((0.0, "low"), (1.0, "high")):
        single = alone(copy.deepcopy(model), which)
        with weighted(model, weight), weighted(single, weight):
            assert torch.equal(run(single, images), run(model, images))
        with weighted(model, 0.5), weighted(single, 0.5):
            assert not torch.equal(run(single, images), run(model, images))


def _fit(model: Embedder) -> Tensor:
    return F.interpolate(pictures(), model.preprocess.size[1:], mode="bilinear", align_corners=False)


@pytest.mark.parametrize("name", BASES)
def test_every_image_is_mixed_by_its_own_weight(name: str) -> None:
    model = trained(make(name), threshold=0.5, slope=1.0)
    images = _fit(model)
    own = weights_of(sharpness(images), model.adapters["default"].options)
    assert own.max() - own.min() > 0.03
    whole = run(model, images)
    for index, weight in enumerate(own):
        with weighted(model, weight):
            torch.testing.assert_close(run(model, images)[index], whole[index], rtol=1e-4, atol=1e-5)


def test_a_mixed_layer_is_the_slow_plain_formula() -> None:
    model: Any = trained(make(), targets=r"network\.6", scale=0.7)
    layer = model.network[6]
    x, shares = torch.randn(5, 32), torch.tensor([0.0, 0.2, 0.5, 0.9, 1.0])
    low, high = (layer.branches[name] for name in ("low", "high"))
    layer.mixture.now = shares
    for row, share, out in zip(x, shares, layer(x), strict=True):
        change = (1 - share) * (low[1].weight @ low[0].weight @ row) + share * (high[1].weight @ high[0].weight @ row)
        torch.testing.assert_close(out, layer.base(row) + 0.7 * change)


def test_windows_of_one_image_have_its_weight_and_other_rows_are_refused() -> None:
    model: Any = trained(make(), targets=r"network\.6")
    layer = model.network[6]
    layer.mixture.now = torch.tensor([0.1, 0.8])
    x = torch.randn(6, 3, 32)
    found = layer(x)
    layer.mixture.now = torch.tensor([0.1, 0.1, 0.1, 0.8, 0.8, 0.8])
    torch.testing.assert_close(layer(x), found)
    with pytest.raises(errors.OptionError, match="sees 7 rows of 6 images"):
        layer(torch.randn(7, 32))


def test_what_follows_the_pooled_features_has_one_branch() -> None:
    model = make("edgeface_xxs")
    adapters.add(model, "petalface", rank=2)
    keys = adapters.state(model, "default")
    assert {key for key in keys if "head.fc" in key} == {
        "backbone.head.fc.branches.all.0.weight",
        "backbone.head.fc.branches.all.1.weight",
    }
    assert "backbone.stages.3.blocks.1.xca.qkv.branches.low.0.weight" in keys
    assert not any(".branches.all." in key for key in keys if "head.fc" not in key)


@pytest.mark.parametrize("name", BASES)
def test_a_fresh_one_changes_nothing_and_detached_the_base_is_itself(name: str) -> None:
    model = make(name)
    images, state = _fit(model), {key: value.clone() for key, value in model.state_dict().items()}
    before, tree = run(model, images), [(path, id(module)) for path, module in model.named_modules()]
    adapters.add(model, "petalface")
    assert torch.equal(run(model, images), before)
    adapters.detach(model, "default")
    assert [(path, id(module)) for path, module in model.named_modules()] == tree
    assert all(torch.equal(model.state_dict()[key], value) for key, value in state.items())
    assert torch.equal(run(model, images), before)


@pytest.mark.parametrize("name", BASES)
def test_gradients_reach_the_branches_and_nothing_else(name: str) -> None:
    model = trained(make(name))
    model.train()
    model(_fit(model)).square().mean().backward()
    owned = {id(tensor) for tensor in adapters.base.owned(model, model.adapters["default"]).values()}
    for path, parameter in model.named_parameters():
        assert (id(parameter) in owned) == parameter.requires_grad == (parameter.grad is not None), path
        assert parameter.grad is None or parameter.grad.abs().max() > 0, path


def test_a_sharp_image_teaches_the_branch_of_sharp_images_alone() -> None:
    model = trained(make())
    with weighted(model, 1.0):
        model(pictures()).square().mean().backward()
    for key, tensor in adapters.base.owned(model, model.adapters["default"]).items():
        assert tensor.grad is not None
        assert bool(tensor.grad.abs().max() > 0) == (".high." in key), key


def test_embedding_a_picture_does_not_depend_on_its_company() -> None:
    model = trained(make("edgeface_xxs"))
    raw = (_fit(model) * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)
    together = model.embed(raw)
    for index in range(len(raw)):
        assert torch.equal(model.embed(raw[index : index + 1])[0], together[index])


def test_dropout_works_in_training_alone() -> None:
    model = trained(make(), dropout=0.5)
    assert torch.equal(run(model), run(model))
    model.train()
    assert not torch.equal(run(model), run(model))


# --- on disk ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BASES[:2])
def test_a_saved_one_comes_back_bit_for_bit(name: str, tmp_path: Path) -> None:
    model = trained(make(name), rank=3, threshold=0.25)
    images, folder = _fit(model), adapters.save(model, "default", tmp_path / "a")
    fresh = make(name)
    found = adapters.attach(fresh, folder)
    assert (found.kind, found.options, found.parameters) == (
        "petalface",
        model.adapters["default"].options,
        model.adapters["default"].parameters,
    )
    assert torch.equal(run(fresh, images), run(model, images))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    adapters.save(fresh, "default", tmp_path / "b")
    assert {path.name: path.read_bytes() for path in (tmp_path / "b").iterdir()} == before


def test_it_cannot_become_part_of_the_base_and_says_so_before_anything_changes() -> None:
    model = trained(make())
    before = run(model)
    with pytest.raises(errors.OptionError, match="depends on the image"):
        adapters.merge(model, "default")
    assert torch.equal(run(model), before) and adapters.active(model) == "default"


def test_a_copy_of_a_model_has_a_mixture_of_its_own() -> None:
    model = trained(make())
    other = copy.deepcopy(model)
    assert torch.equal(run(other), run(model))
    with weighted(other, 0.0):
        assert not torch.equal(run(other), run(model))


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{"rank": 0}, {"scale": -1.0}, {"dropout": 1.0}, {"threshold": 1.5}, {"slope": float("inf")}, {"targets": 3}],
    ids=str,
)
def test_options_that_cannot_be_meant_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(errors.OptionError, match=next(iter(options))):
        adapters.add(make(), "petalface", **options)


def test_weights_that_cannot_be_meant_are_refused() -> None:
    with pytest.raises(errors.OptionError, match="without petalface"), weighted(make(), 0.5):
        pass
    model = trained(make())
    with pytest.raises(errors.OptionError, match="shares"), weighted(model, 1.5):
        pass
    with pytest.raises(errors.OptionError, match="3 weights for a batch of 4"), weighted(model, torch.rand(3)):
        run(model)
    assert run(model) is not None


def test_networks_of_two_streams_are_refused() -> None:
    model = make()
    model.banded = True
    with pytest.raises(errors.OptionError, match="one first layer"):
        adapters.add(model, "petalface")
    assert not model.adapters and adapters.active(model) is None


def test_one_stand_in_looks_where_the_first_layer_is_not_adapted() -> None:
    model: Any = make()
    adapters.add(model, "petalface", targets=r"network\.[68]")
    assert type(model.network[0]).__name__ == "LookingConv2d"
    assert list(model.state_dict())[:2] == ["network.0.weight", "network.0.bias"]
    run(model)
    assert model.network[6].mixture.now.shape == (4,)
    assert petalface.PETALFACE.name in {kind.kind for kind in model.adapters.values()}
