"""Adapters: what they train, that they leave the base alone, and how they travel."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import xzoo
from xzoo import adapters, errors
from xzoo.adapters.norms import parameters_of
from xzoo.families.base import Plain
from xzoo.families.edgeface.model import build
from xzoo.families.edgeface.options import Options

KINDS: dict[str, dict[str, Any]] = {
    "lora": {"kind": "lora", "rank": 2},
    "lora_and_norms": {"kind": "lora", "rank": 2, "also_train": "norms"},
    "norms": {"kind": "norms", "preset": "norms"},
}
BASES = ("edgeface_xxs", "tiny")


@pytest.fixture(params=KINDS)
def wish(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The arguments that ask for each kind of adapter."""
    return KINDS[request.param]


def make(name: str = "edgeface_xxs", seed: int = 0) -> Any:
    return copy.deepcopy(original(name, seed))


@cache
def original(name: str, seed: int) -> Any:
    torch.manual_seed(seed)
    return tiny() if name == "tiny" else xzoo.create(name)


def tiny() -> Plain:
    """A small one with what IR-ResNets and plugins bring: batch norms, one of them bare, a grouped convolution."""
    model = Plain(
        nn.Sequential(
            nn.Conv2d(3, 8, 7, 7, bias=False),
            nn.BatchNorm2d(8),
            nn.PReLU(8),
            nn.Conv2d(8, 8, 3, 2, groups=8),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(32, 16),
            nn.BatchNorm1d(16, affine=False),
        )
    )
    model.card = Card(name="tiny", licence={})
    return model.eval()


class Card(NamedTuple):
    """As much of a card as adapters read."""

    name: str
    licence: dict[str, str]


def faces(count: int = 4, size: int = 64) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(7))


def disturb(model: nn.Module) -> None:
    """Stand in for training: move every trainable parameter a little."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.02 * torch.randn(parameter.shape, generator=generator)


def train(model: Any, steps: int = 3) -> None:
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    model.train()
    for _ in range(steps):
        optimiser.zero_grad()
        model(faces()).square().mean().backward()
        optimiser.step()
    model.eval()


@torch.no_grad()
def run(model: Any, images: Tensor | None = None) -> Tensor:
    out: Tensor = model(faces() if images is None else images)
    return out


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return list(first) == list(second) and all(torch.equal(first[name], second[name]) for name in first)


# --- what trains -----------------------------------------------------------------------------------------------------

COUNTS = {
    "edgeface_base": (14_576, 18_496, 175_936, 967_304, 7_589_776),
    "edgeface_s_gamma_05": (8_000, 10_352, 47_216, 245_560, 1_610_488),
    "edgeface_xs_gamma_06": (5_080, 6_648, 26_424, 131_516, 779_800),
    "edgeface_xxs": (3_328, 4_504, 14_488, 70_652, 516_536),
}


@pytest.mark.parametrize("name", COUNTS)
def test_presets_train_as_many_parameters_as_published(name: str) -> None:
    with torch.device("meta"):
        model = build(Options(name.removeprefix("edgeface_")))  # type: ignore[arg-type]
    for preset, count in zip(adapters.PRESETS, COUNTS[name], strict=True):
        names = parameters_of(model, preset, "preset")
        assert sum(model.get_parameter(name).numel() for name in names) == count


def test_the_default_preset_is_the_widest_published_one() -> None:
    model = make()
    adapter = adapters.add(model, "norms")
    trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert adapter.parameters == trainable == COUNTS["edgeface_xxs"][-1]


@pytest.mark.parametrize("name", [*BASES, "edgeface_xs_gamma_06"])
def test_only_the_adapter_takes_gradients_and_all_of_it_does(name: str, wish: dict[str, Any]) -> None:
    model = make(name)
    adapters.add(model, **wish)
    disturb(model)  # a fresh LoRA has a zero factor, which blocks the other one's gradient
    model(faces()).square().mean().backward()
    for parameter in model.parameters():
        assert (parameter.grad is not None) == parameter.requires_grad
        assert parameter.grad is None or parameter.grad.abs().max() > 0


def test_a_fresh_adapter_does_not_change_the_outputs(wish: dict[str, Any]) -> None:
    model = make()
    before = run(model)
    adapters.add(model, **wish)
    assert torch.equal(run(model), before)


def test_lora_adapts_the_inner_layers_of_a_factorised_one() -> None:
    model = make("edgeface_xs_gamma_06")
    adapters.add(model, "lora", rank=2)
    keys = adapters.state(model, "default")
    assert any(".mlp.fc1.linear1.lora_A" in key for key in keys)
    assert not any(".mlp.fc1.lora_A" in key for key in keys)


def test_lora_leaves_its_own_layers_out_of_what_is_trained_in_full() -> None:
    model = make()
    adapters.add(model, "lora", targets=r"backbone\.head\.fc", also_train="head")
    assert set(adapters.state(model, "default")) == {
        "base_model.model.backbone.head.fc.lora_A.weight",
        "base_model.model.backbone.head.fc.lora_B.weight",
        "base_model.model.backbone.head.norm.weight",
        "base_model.model.backbone.head.norm.bias",
    }


def test_groups_may_be_a_tuple_or_one_string() -> None:
    assert adapters.LoraOptions(also_train=("ln", "st")) == adapters.LoraOptions(also_train="ln+st")


# --- the base stays the base -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BASES)
def test_training_and_detaching_give_the_bare_base_back_bit_for_bit(name: str, wish: dict[str, Any]) -> None:
    model = make(name)
    state, out, tree = snapshot(model), run(model), [(path, id(module)) for path, module in model.named_modules()]
    flags = [parameter.requires_grad for parameter in model.parameters()]
    adapters.add(model, **wish)
    train(model)
    assert not torch.equal(run(model), out)
    adapters.detach(model, "default")
    assert same(snapshot(model), state)
    assert torch.equal(run(model), out)
    assert [(path, id(module)) for path, module in model.named_modules()] == tree
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    assert not model.adapters and not hasattr(model, "peft_config")


def test_batch_norms_that_are_not_trained_keep_still_in_training() -> None:
    model = make("tiny")
    state = snapshot(model)
    adapters.add(model, "lora", rank=2)
    train(model, steps=1)
    now = model.state_dict()
    assert all(torch.equal(now[name], state[name]) for name in state if "running_" in name)


def test_batch_norms_that_are_trained_carry_their_statistics_in_the_adapter() -> None:
    model = make("tiny")
    adapters.add(model, "norms", preset="norms")
    train(model, steps=1)
    key = "network.1.running_mean"
    assert adapters.state(model, "default")[key].abs().max() > 0
    with adapters.use(model, None):
        assert model.state_dict()[key].abs().max() == 0


def test_a_detached_model_is_in_the_mode_that_it_was_switched_to_meanwhile() -> None:
    model = make("tiny")
    adapters.add(model, "lora", rank=2)
    model.train()
    adapters.detach(model, "default")
    assert all(module.training for module in model.modules())


def test_an_adapter_that_waited_follows_a_cast_of_the_base(wish: dict[str, Any]) -> None:
    model = make()
    adapters.add(model, **wish)
    with adapters.use(model, None):
        model.double()
    assert run(model, faces().double()).dtype == torch.float64
    adapters.detach(model, "default")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float64}


def test_a_deep_copy_is_independent(wish: dict[str, Any]) -> None:
    model = make()
    adapters.add(model, **wish)
    twin = copy.deepcopy(model)
    before = run(model)
    disturb(twin)
    assert torch.equal(run(model), before) and not torch.equal(run(twin), before)
    adapters.detach(twin, "default")
    adapters.detach(model, "default")
    assert torch.equal(run(model), run(twin))


def test_merging_keeps_the_outputs_and_drops_the_claim_to_the_base(wish: dict[str, Any]) -> None:
    model = make()
    bare, keys = model.weights_sha256, list(model.state_dict())
    adapters.add(model, **wish)
    disturb(model)
    unmerged = run(model)
    adapters.merge(model, "default")
    torch.testing.assert_close(run(model), unmerged, rtol=1e-5, atol=1e-5)
    assert list(model.state_dict()) == keys
    assert model.weights_sha256 != bare
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_merging_into_a_network_with_batch_norms_keeps_the_outputs(wish: dict[str, Any]) -> None:
    model = make("tiny")
    adapters.add(model, **wish)
    train(model, steps=1)
    unmerged = run(model)
    adapters.merge(model, "default")
    torch.testing.assert_close(run(model), unmerged, rtol=1e-5, atol=1e-5)
    assert {type(module).__name__ for module in model.modules() if "BatchNorm" in type(module).__name__} == {
        "BatchNorm1d",
        "BatchNorm2d",
    }


# --- several adapters ------------------------------------------------------------------------------------------------


@pytest.fixture
def two() -> tuple[Any, dict[str | None, Tensor]]:
    """A base with an adapter of each kind, and the outputs of each."""
    model = make()
    outputs: dict[str | None, Tensor] = {None: run(model)}
    for name, kind, spectrum in (("thermal", "lora", "LWIR"), ("near", "norms", "NIR")):
        adapters.add(model, kind, name=name, spectrum=spectrum)
        disturb(model)
        outputs[name] = run(model)
    return model, outputs


def test_each_adapter_answers_for_itself(two: tuple[Any, dict[str | None, Tensor]]) -> None:
    model, outputs = two
    for name in ("thermal", None, "near", "thermal", "near", None):
        with adapters.use(model, name):
            assert adapters.active(model) == name
            assert torch.equal(run(model), outputs[name])
    assert adapters.active(model) == "near"


def test_detaching_one_leaves_the_other(two: tuple[Any, dict[str | None, Tensor]]) -> None:
    model, outputs = two
    adapters.detach(model, "near")
    assert torch.equal(run(model), outputs[None])
    adapters.switch(model, "thermal")
    assert torch.equal(run(model), outputs["thermal"])


def test_use_switches_back_after_an_error(two: tuple[Any, dict[str | None, Tensor]]) -> None:
    model, _ = two
    with pytest.raises(ZeroDivisionError), adapters.use(model, "thermal"):
        raise ZeroDivisionError
    assert adapters.active(model) == "near"


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("tiny", 2),
        ("edgeface_xxs", 2),
        ("edgeface_xxs", 3),
        ("edgeface_xxs", 9),
        ("edgeface_xxs", 16),
        ("adaface_ir_18", 3),
    ],
)
def test_rows_without_an_adapter_are_bit_equal_to_the_bare_base(name: str, count: int) -> None:
    model = make(name)
    images = faces(count, 112)
    with torch.no_grad():
        in_company, alone = model.infer(images)[::2], model.infer(images[::2])
    adapters.add(model, "lora", name="thermal", spectrum="LWIR")
    disturb(model)
    spectra = ["VIS" if index % 2 == 0 else "LWIR" for index in range(count)]
    with torch.no_grad():
        mixed = adapters.route(model, images, spectra)
    assert torch.equal(mixed[::2], in_company)
    assert torch.equal(mixed[::2], alone)
    with torch.no_grad(), adapters.use(model, None):
        assert not torch.isclose(mixed[1::2], model.infer(images)[1::2]).all()


def test_each_row_goes_through_the_adapter_of_its_band(two: tuple[Any, dict[str | None, Tensor]]) -> None:
    model, outputs = two
    with torch.no_grad():
        mixed = adapters.route(model, faces(), ["NIR", "SWIR", "LWIR", "NIR"])
    expected = torch.stack([outputs[name][row] for row, name in enumerate(("near", None, "thermal", "near"))])
    torch.testing.assert_close(mixed, expected, rtol=1e-5, atol=1e-5)


def test_an_adapter_without_a_spectrum_serves_all_bands() -> None:
    model = make()
    adapters.add(model, "norms")
    disturb(model)
    with torch.no_grad():
        # infer() and forward() may round differently in the last bit: which, depends on the processor.
        assert torch.equal(adapters.route(model, faces(), ["VIS", "LWIR", None, "NIR"]), model.infer(faces()))


def test_gradients_pass_through_routing() -> None:
    model = make()
    adapters.add(model, "norms", name="thermal", spectrum="LWIR")
    adapters.route(model, faces(), ["VIS", "LWIR", "LWIR", "VIS"]).square().mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)


def test_embed_routes_by_spectrum_and_training_goes_on(two: tuple[Any, dict[str | None, Tensor]]) -> None:
    model, _ = two
    images = torch.randint(0, 256, (4, 3, 112, 112), dtype=torch.uint8)
    with adapters.use(model, None):
        bare = model.embed(images)
    mixed = model.embed(images, spectrum=["VIS", "LWIR", "NIR", "VIS"])
    assert torch.equal(mixed[[0, 3]], bare[[0, 3]])
    assert not torch.equal(mixed[1], bare[1]) and not torch.equal(mixed[2], bare[2])
    train(model, steps=1)


# --- on disk ---------------------------------------------------------------------------------------------------------


def stored(folder: Path, wish: dict[str, Any], base: str = "edgeface_xxs", **more: Any) -> tuple[Any, Tensor]:
    model = make(base)
    adapters.add(model, **wish, **more)
    disturb(model)
    out = run(model)
    adapters.save(model, more.get("name", "default"), folder)
    return model, out


@pytest.mark.parametrize("base", BASES)
def test_a_round_trip_is_exact(tmp_path: Path, wish: dict[str, Any], base: str) -> None:
    saved, out = stored(tmp_path / "a", wish, base, name="thermal", spectrum="LWIR")
    model = make(base)
    adapter = adapters.attach(model, tmp_path / "a")
    assert (adapter.name, adapter.spectrum, adapter.kind) == ("thermal", "LWIR", wish["kind"])
    assert torch.equal(run(model), out)
    assert same(adapters.state(model, "thermal"), adapters.state(saved, "thermal"))
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_saving_twice_gives_identical_bytes(tmp_path: Path, wish: dict[str, Any]) -> None:
    model, _ = stored(tmp_path / "a", wish)
    again = make()
    adapters.attach(again, tmp_path / "a")
    with adapters.use(again, None):  # waiting or in use: the same file
        adapters.save(again, "default", tmp_path / "b")
    adapters.save(model, "default", tmp_path / "a")
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == ["README.md", "adapter_config.json", "adapter_model.safetensors"]
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_attached_as_trainable_it_goes_on_training(tmp_path: Path, wish: dict[str, Any]) -> None:
    _, out = stored(tmp_path / "a", wish)
    model = make()
    adapters.attach(model, tmp_path / "a", trainable=True)
    train(model, steps=1)
    assert not torch.equal(run(model), out)


def test_attaching_draws_no_random_numbers(tmp_path: Path) -> None:
    stored(tmp_path / "a", KINDS["lora"])
    model = make()
    before = torch.get_rng_state()
    adapters.attach(model, tmp_path / "a")
    assert torch.equal(torch.get_rng_state(), before)


def test_the_card_is_ours_or_the_callers(tmp_path: Path) -> None:
    model, _ = stored(tmp_path / "a", KINDS["norms"])
    assert "# default: norms adapter of edgeface_xxs" in (tmp_path / "a/README.md").read_text()
    adapters.save(model, "default", tmp_path / "a", card_text="# mine\n")
    assert (tmp_path / "a/README.md").read_text() == "# mine\n"


def test_peft_reads_a_plain_lora_and_gives_the_same_outputs(tmp_path: Path) -> None:
    from peft import PeftModel

    _, out = stored(tmp_path / "a", KINDS["lora"])
    with pytest.warns(UserWarning, match="xzoo"):  # peft says that it does not know our key
        theirs = PeftModel.from_pretrained(make(), str(tmp_path / "a"))
    torch.testing.assert_close(run(theirs), out)


def test_peft_refuses_a_lora_that_it_would_read_in_part(tmp_path: Path) -> None:
    stored(tmp_path / "a", KINDS["lora_and_norms"])
    assert set(json.loads((tmp_path / "a/adapter_config.json").read_text())) == {"xzoo"}


def test_another_base_of_equal_shapes_is_refused_and_left_alone(tmp_path: Path, wish: dict[str, Any]) -> None:
    stored(tmp_path / "a", wish)
    model = make(seed=1)
    state = snapshot(model)
    with pytest.raises(errors.BaseMismatch, match="was trained on edgeface_xxs") as caught:
        adapters.attach(model, tmp_path / "a")
    assert model.weights_sha256[:8] in str(caught.value) and "xzoo.create" in caught.value.do
    assert same(snapshot(model), state) and not model.adapters


def test_a_merged_base_refuses_adapters_of_the_old_one(tmp_path: Path) -> None:
    model, _ = stored(tmp_path / "a", KINDS["norms"])
    adapters.merge(model, "default")
    with pytest.raises(errors.BaseMismatch):
        adapters.attach(model, tmp_path / "a")
    with pytest.raises(errors.NotFound, match="merged"):
        adapters.save(model, "default", tmp_path / "b")


def config(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "adapter_config.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def flip_a_byte(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, tuple[Callable[[Path], object], type[errors.XzooError]]] = {
    "no config": (lambda f: (f / "adapter_config.json").unlink(), errors.MissingFile),
    "no weights": (lambda f: (f / "adapter_model.safetensors").unlink(), errors.MissingFile),
    "config cut off": (lambda f: (f / "adapter_config.json").write_text('{"xzoo'), errors.WeightsMismatch),
    "config is a list": (lambda f: (f / "adapter_config.json").write_text("[]"), errors.WeightsMismatch),
    "written by peft": (lambda f: config(f, lambda c: c.pop("xzoo")), errors.WeightsMismatch),
    "another format": (lambda f: config(f, lambda c: c["xzoo"].update(format=9)), errors.WeightsMismatch),
    "no base": (lambda f: config(f, lambda c: c["xzoo"].pop("base")), errors.WeightsMismatch),
    "name is a number": (lambda f: config(f, lambda c: c["xzoo"].update(name=3)), errors.WeightsMismatch),
    "unknown kind": (lambda f: config(f, lambda c: c["xzoo"].update(kind="dora")), errors.NotFound),
    "unknown option": (lambda f: config(f, lambda c: c["xzoo"]["options"].update(r=3)), errors.WeightsMismatch),
    "bad option": (lambda f: config(f, lambda c: c["xzoo"]["options"].update(rank=0)), errors.WeightsMismatch),
    "another rank": (lambda f: config(f, lambda c: c["xzoo"]["options"].update(rank=3)), errors.WeightsMismatch),
    "fewer targets": (
        lambda f: config(f, lambda c: c["xzoo"]["options"].update(targets=r"network\.6")),
        errors.WeightsMismatch,
    ),
    "unknown band": (lambda f: config(f, lambda c: c["xzoo"].update(spectrum="UV")), errors.OptionError),
    "a flipped byte": (flip_a_byte, errors.HashMismatch),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_folder_is_refused_and_the_model_left_as_it_was(tmp_path: Path, damage: str) -> None:
    stored(tmp_path / "a", KINDS["lora"], "tiny")
    change, error = DAMAGES[damage]
    change(tmp_path / "a")
    model = make("tiny")
    state = snapshot(model)
    with pytest.raises(error) as caught:
        adapters.attach(model, tmp_path / "a")
    assert len(str(caught.value).splitlines()) <= 7 and caught.value.why or caught.value.exists
    assert same(snapshot(model), state) and not model.adapters


# --- wrong calls -----------------------------------------------------------------------------------------------------

WRONG: dict[str, tuple[dict[str, Any], type[errors.XzooError], str]] = {
    "unknown kind": ({"kind": "lore"}, errors.NotFound, "lora"),
    "kind no string": ({"kind": ["lora"]}, errors.NotFound, "lora"),
    "unknown option": ({"rnk": 3}, errors.OptionError, "rank"),
    "option of another kind": ({"kind": "norms", "rank": 3}, errors.OptionError, "preset"),
    "options of another kind": ({"options": adapters.NormsOptions()}, errors.OptionError, "LoraOptions"),
    "options twice": ({"options": adapters.LoraOptions(), "rank": 3}, errors.OptionError, "either"),
    "rank 0": ({"rank": 0}, errors.OptionError, "rank=0"),
    "rank True": ({"rank": True}, errors.OptionError, "rank=True"),
    "rank 2.5": ({"rank": 2.5}, errors.OptionError, "rank=2.5"),
    "alpha 0": ({"alpha": 0}, errors.OptionError, "alpha=0"),
    "alpha nan": ({"alpha": float("nan")}, errors.OptionError, "alpha=nan"),
    "dropout 1": ({"dropout": 1.0}, errors.OptionError, "dropout=1.0"),
    "dropout below 0": ({"dropout": -0.1}, errors.OptionError, "dropout=-0.1"),
    "targets a list": ({"targets": ["qkv"]}, errors.OptionError, "regular expression"),
    "targets no expression": ({"targets": "(qkv"}, errors.OptionError, "regular expression"),
    "targets match nothing": ({"targets": "qkv"}, errors.OptionError, "matches no module"),
    "targets a depthwise convolution": ({"targets": r".*\.conv_dw"}, errors.OptionError, "24 groups"),
    "targets a container": ({"targets": r"backbone\.stages"}, errors.OptionError, "Sequential"),
    "also_train a number": ({"also_train": 3}, errors.OptionError, "also_train=3"),
    "also_train unknown": ({"also_train": "lm"}, errors.OptionError, "'lm'"),
    "preset unknown": ({"kind": "norms", "preset": "ln+stem"}, errors.OptionError, "'stem'"),
    "preset empty": ({"kind": "norms", "preset": ""}, errors.OptionError, "preset=''"),
    "preset of another family": ({"kind": "norms", "preset": "bn"}, errors.OptionError, "norms"),
    "name empty": ({"name": ""}, errors.OptionError, "not empty"),
    "name taken": ({"name": "thermal"}, errors.OptionError, "attached already"),
    "spectrum lower case": ({"spectrum": "nir"}, errors.OptionError, "NIR"),
    "spectrum taken": ({"spectrum": "LWIR"}, errors.OptionError, "'thermal' serves"),
}


@pytest.fixture(scope="module")
def occupied() -> Any:
    model = make()
    adapters.add(model, "norms", name="thermal", spectrum="LWIR", preset="ln")
    return model


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_wish_is_one_clear_error_and_changes_nothing(occupied: Any, case: str) -> None:
    wish, error, words = WRONG[case]
    state = snapshot(occupied)
    with pytest.raises(error, match="(?s)" + words.replace("(", r"\(")):
        adapters.add(occupied, **wish)
    assert same(snapshot(occupied), state) and adapters.active(occupied) == "thermal"


def test_unknown_names_suggest_the_near_ones(occupied: Any, tmp_path: Path) -> None:
    calls: list[Callable[[str], object]] = [
        lambda name: adapters.detach(occupied, name),
        lambda name: adapters.merge(occupied, name),
        lambda name: adapters.save(occupied, name, tmp_path),
        lambda name: adapters.switch(occupied, name),
        lambda name: adapters.use(occupied, name).__enter__(),
        lambda name: adapters.state(occupied, name),
    ]
    for call in calls:
        with pytest.raises(errors.NotFound, match="exists: thermal"):
            call("termal")


def test_merging_beside_another_adapter_is_refused(two: tuple[Any, dict[str | None, Tensor]]) -> None:
    model, outputs = two
    with pytest.raises(errors.OptionError, match="exists: near"):
        adapters.merge(model, "thermal")
    assert torch.equal(run(model), outputs["near"])


def test_merging_what_is_not_finite_is_refused() -> None:
    model = make()
    adapters.add(model, "norms")
    with torch.no_grad():
        next(p for p in model.parameters() if p.requires_grad).fill_(float("nan"))
    with pytest.raises(errors.WeightsMismatch, match="not finite"):
        adapters.merge(model, "default")


@pytest.mark.parametrize("spectra", [["VIS"], "VIS", ["VIS", "UV", "VIS", "VIS"]], ids=["too few", "one", "unknown"])
def test_route_takes_one_known_band_for_each_row(occupied: Any, spectra: Any) -> None:
    with pytest.raises(errors.OptionError):
        adapters.route(occupied, faces(), spectra)


def test_saving_over_a_file_is_refused(occupied: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.OptionError, match="is a file"):
        adapters.save(occupied, "thermal", tmp_path / "file")


@pytest.mark.parametrize("folder", [None, 3, ""], ids=repr)
def test_a_folder_is_a_path(occupied: Any, folder: Any) -> None:
    for call in (lambda: adapters.attach(occupied, folder), lambda: adapters.save(occupied, "thermal", folder)):
        with pytest.raises(errors.OptionError, match="not a path"):
            call()


def test_a_kind_can_be_added_but_not_replaced() -> None:
    from xzoo.adapters import base

    def build(model: Any, options: adapters.NormsOptions, empty: bool) -> dict[str, Any]:
        return {"backbone.head.fc.bias": nn.Parameter(model.backbone.head.fc.bias.detach() + 1)}

    adapters.register_kind(adapters.Kind("test_bias", "the last bias", adapters.NormsOptions, build))
    try:
        model = make()
        before = run(model)
        assert adapters.add(model, "test_bias").parameters == 512
        torch.testing.assert_close(run(model), before + 1)
        with pytest.raises(errors.OptionError, match="never replaced"):
            adapters.register_kind(adapters.Kind("lora", "", adapters.NormsOptions, build))
    finally:
        del base._KINDS["test_bias"]
