"""What the papers say of each network's structure, counted."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import xzoo
from xzoo.families.edgeface.model import FactorisedLinear

PARAMETERS = {
    "edgeface_base": 18_225_812,
    "edgeface_s_gamma_05": 3_652_520,
    "edgeface_xs_gamma_06": 1_770_492,
    "edgeface_xs": 2_242_620,
    "edgeface_xxs": 1_244_744,
    "adaface_ir_18": 24_020_352,
    "adaface_ir_34": 34_134_080,
    "adaface_ir_50": 43_585_600,
    "adaface_ir_101": 65_150_912,
    "adaface_ir_se_50": 43_808_320,
}
MFLOPS = {
    "edgeface_base": 1398.83,
    "edgeface_s_gamma_05": 306.12,
    "edgeface_xs_gamma_06": 154.00,
    "edgeface_xxs": 94.72,
}
LINEAR = {"edgeface_s_gamma_05": 43, "edgeface_xs_gamma_06": 43, "edgeface_xxs": 0}
ENTRIES = {"adaface_ir_18": 179, "adaface_ir_34": 323, "adaface_ir_50": 467, "adaface_ir_se_50": 515}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_count_is_the_published_one_and_the_cards(name):
    with torch.device("meta"):
        count = sum(p.numel() for p in _empty(name).parameters())
    assert count == PARAMETERS[name] == xzoo.card(name).facts["size"]["params"]


@pytest.mark.parametrize("name", MFLOPS)
def test_flops_are_the_published_ones(name):
    model = xzoo.create(name)
    with torch.profiler.profile(with_flops=True) as profile, torch.inference_mode():
        model(torch.zeros(1, 3, 112, 112))
    counted = sum(event.flops for event in profile.key_averages()) / 1e6
    assert counted == pytest.approx(MFLOPS[name], abs=0.01)


@pytest.mark.parametrize("name", LINEAR)
def test_factorised_layers_are_as_many_as_upstream_has(name):
    found = {key for key, module in _empty(name).named_modules() if isinstance(module, FactorisedLinear)}
    assert len(found) == LINEAR[name]
    assert not found or "backbone.head.fc" in found


def test_rank_of_a_factorised_layer_follows_the_rule():
    assert FactorisedLinear(nn.Linear(32, 128), 0.6).linear1.out_features == 19
    assert FactorisedLinear(nn.Linear(3, 8), 0.1).linear1.out_features == 2


@pytest.mark.parametrize("name", ENTRIES)
def test_state_dict_has_upstreams_number_of_entries(name):
    assert len(_empty(name).state_dict()) == ENTRIES[name]


@pytest.mark.parametrize("name", ["edgeface_xxs", "adaface_ir_18"])
def test_features_end_in_the_embedding_that_forward_returns(name):
    model = xzoo.create(name)
    images = torch.randn(2, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        features = model.forward_features(images)
        assert torch.equal(features["embedding"], model(images))
    assert [features[f"stage{i}"].shape[-1] for i in range(4)] == (
        [28, 14, 7, 3] if "edge" in name else [56, 28, 14, 7]
    )


@pytest.mark.parametrize("name", ["edgeface_xxs", "edgeface_s_gamma_05", "adaface_ir_18"])
def test_groups_cover_every_parameter(name):
    model = _empty(name)
    grouped = {parameter for names in model.groups().values() for parameter in names}
    assert grouped == {parameter for parameter, _ in model.named_parameters()}


def test_edgeface_is_the_same_in_training_and_evaluation():
    model = xzoo.create("edgeface_xxs")
    images = torch.randn(2, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(model.train()(images), model.eval()(images))


def _empty(name):
    from xzoo.loading import Blueprint
    from xzoo.models import check_options

    card = xzoo.card(name)
    empty = Blueprint.of(card, check_options(card, {})).empty()
    assert empty is not None
    return empty


@pytest.mark.parametrize("name", ["edgeface_xxs", "edgeface_xs_gamma_06", "adaface_ir_18"])
def test_an_embedding_keeps_its_bits_whatever_else_is_in_the_batch(name):
    model = xzoo.create(name)
    images = torch.randint(0, 256, (24, 3, 112, 112), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    every = model.embed(images)
    for rows in ([5], [5, 9], [0, 7, 23], list(range(0, 24, 2)), list(range(17))):
        assert torch.equal(model.embed(images[rows]), every[rows]), rows
