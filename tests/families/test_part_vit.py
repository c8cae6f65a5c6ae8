"""The body network: published outputs, converted checkpoints, fusion, side information and LoRA."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

import xzoo
from xzoo import adapters, errors
from xzoo.families.part_vit.convert import stored_grid
from xzoo.families.part_vit.fusion import BNNeck, fuse
from xzoo.families.part_vit.model import build
from xzoo.families.part_vit.options import PARTS, Options
from xzoo.losses.metric import triplet

from .test_golden import relative, weight

NAMED = ("global", *PARTS)


def random(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(count, height, width, seed=1):
    return torch.randn(count, 3, height, width, generator=random(seed))


def pass_state(width=192, patches=128, depth=2, seed=0):
    """A state dict with the names and shapes of a PASS file."""
    draw = random(seed)

    def normal(*shape, around=0.0, scale=0.05):
        return around + scale * torch.randn(*shape, generator=draw)

    state = {name: normal(1, 1, width) for name in ("cls_token", "part_token1", "part_token2", "part_token3")}
    state |= {name: normal(1, 1, width) for name in ("cls_pos", "part1_pos", "part2_pos", "part3_pos")}
    state["pos_embed"] = normal(1, patches, width)
    state["patch_embed.proj.weight"], state["patch_embed.proj.bias"] = normal(width, 3, 16, 16), normal(width)
    for block in range(depth):
        shapes = {"attn.qkv": (3 * width, width), "attn.proj": (width, width)}
        shapes |= {"mlp.fc1": (4 * width, width), "mlp.fc2": (width, 4 * width)}
        for layer, shape in shapes.items():
            state[f"blocks.{block}.{layer}.weight"] = normal(*shape)
            state[f"blocks.{block}.{layer}.bias"] = normal(shape[0])
        for norm in ("norm1", "norm2"):
            state[f"blocks.{block}.{norm}.weight"] = normal(width, around=1)
            state[f"blocks.{block}.{norm}.bias"] = normal(width)
    state["norm.weight"], state["norm.bias"] = normal(width, around=1), normal(width)
    return state


def plainly(state, images, heads=3, depth=2):
    """PASS written out: the four output tokens ``[B, 4, D]``, patch positions resized from 16x8."""
    width = state["cls_token"].shape[2]
    patches = F.conv2d(images, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=16)
    grid = state["pos_embed"].reshape(1, 16, 8, width).permute(0, 3, 1, 2)
    positions = F.interpolate(grid, size=patches.shape[2:], mode="bilinear").flatten(2).transpose(1, 2)
    names = ("cls", "part1", "part2", "part3")
    tokens = [state["cls_token"], *(state[f"part_token{index}"] for index in (1, 2, 3))]
    prefix = torch.cat([token + state[f"{name}_pos"] for token, name in zip(tokens, names, strict=True)], 1)
    x = torch.cat([prefix.expand(len(images), -1, -1), patches.flatten(2).transpose(1, 2) + positions], 1)

    def norm(x, name):
        return F.layer_norm(x, (width,), state[f"{name}.weight"], state[f"{name}.bias"], 1e-6)

    def linear(x, name):
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    for block in (f"blocks.{index}" for index in range(depth)):
        qkv = linear(norm(x, f"{block}.norm1"), f"{block}.attn.qkv")
        q, k, v = (part.unflatten(2, (heads, -1)).transpose(1, 2) for part in qkv.chunk(3, 2))
        seen = (q @ k.transpose(2, 3) / (width // heads) ** 0.5).softmax(3) @ v
        x = x + linear(seen.transpose(1, 2).flatten(2), f"{block}.attn.proj")
        x = x + linear(F.gelu(linear(norm(x, f"{block}.norm2"), f"{block}.mlp.fc1")), f"{block}.mlp.fc2")
    return norm(x, "norm")[:, :4]


def small(**options):
    return xzoo.create("part_vit_tiny", **{"input_size": (64, 32), "depth": 2, **options})


@pytest.mark.parametrize(
    ("file", "name", "size"),
    [("pass_vit_base_384x128", "part_vit_base", (384, 128)), ("pass_vit_small_256x128", "part_vit_small", (256, 128))],
)
def test_a_pass_checkpoint_reproduces_the_published_tokens(file, name, size, golden, tmp_path):
    path = golden / f"{file}.safetensors"
    expected = load_file(path)
    with safe_open(path, "pt") as opened:
        keys = json.loads(opened.metadata()["keys"])
    state = {key: torch.from_numpy(weight(key, tuple(shape))) for key, shape in keys.items()}
    save_file(state, tmp_path / "pass.safetensors")
    model = xzoo.create(name, pretrained=str(tmp_path / "pass.safetensors"), input_size=size)
    with torch.inference_mode():
        features = model.forward_features(expected["input"])
    tokens = [expected["global_token"], *(expected[f"part{index}"] for index in (1, 2, 3))]
    for token, theirs in zip(NAMED, tokens, strict=True):
        assert relative(features[token], theirs) < 1e-4
    fused = torch.cat([tokens[0], (tokens[1] + tokens[2] + tokens[3]) / 3], 1)
    assert relative(features["embedding"], fused) < 1e-4


@pytest.mark.parametrize("size", [(256, 128), (384, 128)])
def test_a_converted_file_gives_the_tokens_of_the_network_written_out(size, tmp_path):
    state = pass_state()
    torch.save({"teacher": {f"module.backbone.{key}": value for key, value in state.items()}}, tmp_path / "pass.pth")
    model = xzoo.create("part_vit_tiny", pretrained=str(tmp_path / "pass.pth"), input_size=size, depth=2)
    images = pictures(2, *size)
    with torch.inference_mode():
        features = model.forward_features(images)
        expected = plainly(state, images)
    for index, token in enumerate(NAMED):
        torch.testing.assert_close(features[token], expected[:, index], atol=1e-5, rtol=1e-4)


WRAPPERS = {
    "bare": lambda state: state,
    "teacher of a pretraining file": lambda state: {
        "student": {f"module.backbone.{key}": value + 1 for key, value in state.items()},
        "teacher": {
            **{f"backbone.{key}": value for key, value in state.items()},
            "head.mlp.0.weight": torch.ones(2, 2),
        },
        "epoch": 100,
    },
    "state_dict": lambda state: {"state_dict": state},
    "model": lambda state: {"model": {**state, "fc.weight": torch.ones(3, 192)}},
    "fine-tuned": lambda state: {
        **{f"base.{key}": value for key, value in state.items()},
        **{f"bottleneck_{index}.weight": torch.ones(192) for index in (1, 2, 3)},
        "bottleneck.running_mean": torch.ones(192),
        "classifier.weight": torch.ones(5, 384),
    },
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_every_layout_of_a_pass_file_gives_the_same_network(wrap, tmp_path):
    state = pass_state()
    torch.save(wrap(state), tmp_path / "pass.pth")
    model = xzoo.create("part_vit_tiny", pretrained=str(tmp_path / "pass.pth"), input_size=(256, 128), depth=2)
    ours = model.state_dict()
    assert torch.equal(ours["backbone.pos_embed"][:, 4:], state["pos_embed"])
    assert torch.equal(ours["backbone.pos_embed"][:, 2:3], state["part2_pos"])
    assert torch.equal(ours["backbone.reg_token"][:, 2:], state["part_token3"])
    assert torch.equal(ours["backbone.blocks.1.attn.qkv.weight"], state["blocks.1.attn.qkv.weight"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda state: state.pop("blocks.1.norm1.bias"), "missing: backbone.blocks.1.norm1.bias"),
        (lambda state: state.update({"blocks.2.norm1.bias": torch.ones(192)}), "unknown to it"),
        (lambda state: state.update({"norm.weight": torch.ones(384)}), r"\[384\] instead of \[192\]"),
        (lambda state: state.update(pos_embed=torch.ones(1, 131, 192)), "131 positions"),
        (lambda state: state.pop("part3_pos"), "part3_pos"),
    ],
    ids=["missing", "left over", "wrong size", "no grid", "no position of a part"],
)
def test_a_checkpoint_that_does_not_fit_is_refused(change, said, tmp_path):
    state = pass_state()
    change(state)
    torch.save(state, tmp_path / "pass.pth")
    with pytest.raises(errors.WeightsMismatch, match=said):
        xzoo.create("part_vit_tiny", pretrained=str(tmp_path / "pass.pth"), depth=2)


def test_weights_of_the_zoos_own_move_to_another_input_size(tmp_path):
    first = xzoo.create("part_vit_tiny", input_size=(256, 128), depth=1)
    save_file(first.state_dict(), tmp_path / "own.safetensors")
    path = str(tmp_path / "own.safetensors")
    larger = xzoo.create("part_vit_tiny", pretrained=path, input_size=(384, 128), depth=1)
    back = xzoo.create("part_vit_tiny", pretrained=path, input_size=(256, 128), depth=1)
    grid = first.state_dict()["backbone.pos_embed"][:, 4:].reshape(1, 16, 8, 192)
    resized = larger.state_dict()["backbone.pos_embed"]
    # Rows of 24 lie at (row + 1/2) 2/3 - 1/2 of 16: the second at exactly a half.
    torch.testing.assert_close(resized[:, 4:].reshape(1, 24, 8, 192)[:, 1], grid[:, :2].mean(1))
    assert torch.equal(resized[:, :4], first.state_dict()["backbone.pos_embed"][:, :4])
    assert torch.equal(back.state_dict()["backbone.pos_embed"], first.state_dict()["backbone.pos_embed"])


def test_the_grids_of_published_files_are_known():
    assert [stored_grid(count) for count in (128, 192, 196)] == [(16, 8), (24, 8), (14, 14)]


def test_one_token_of_transreid_ssl_becomes_four(tmp_path):
    state = pass_state()
    plain = {key: value for key, value in state.items() if not key.startswith(("part", "cls_pos"))}
    plain["pos_embed"] = torch.cat([state["cls_pos"], state["pos_embed"]], 1)
    torch.save({"teacher": {f"backbone.{key}": value for key, value in plain.items()}}, tmp_path / "ssl.pth")
    model = xzoo.create("part_vit_tiny", pretrained=str(tmp_path / "ssl.pth"), input_size=(256, 128), depth=2)
    own = model.state_dict()
    assert torch.equal(own["backbone.pos_embed"][:, :4], state["cls_pos"].expand(-1, 4, -1))
    noise = own["backbone.reg_token"] - state["cls_token"]
    assert 0.015 < float(noise.std()) < 0.025
    assert float((noise[:, 0] - noise[:, 1]).abs().max()) > 0


def test_an_ics_file_of_transreid_ssl_fills_the_three_convolutions(tmp_path):
    names = {
        name: tensor for name, tensor in build(Options("tiny", (256, 128), depth=2, stem="ibn")).state_dict().items()
    }
    stem = {
        key.removeprefix("backbone."): torch.rand_like(value.float())
        for key, value in names.items()
        if "patch_embed" in key
    }
    assert stem["patch_embed.conv.1.IN.weight"].shape == stem["patch_embed.conv.4.BN.running_var"].shape == (32,)
    assert stem["patch_embed.conv.0.weight"].shape == (64, 3, 7, 7)
    assert stem["patch_embed.proj.weight"].shape == (192, 64, 8, 8)
    stem = {key: value.long() if key.endswith("tracked") else value for key, value in stem.items()}
    state = {key: value for key, value in pass_state().items() if not key.startswith(("part", "cls_pos", "patch"))}
    state["pos_embed"] = torch.rand(1, 129, 192)
    torch.save({**state, **stem}, tmp_path / "ics.pth")
    model = xzoo.create(
        "part_vit_tiny", pretrained=str(tmp_path / "ics.pth"), input_size=(256, 128), depth=2, stem="ibn"
    )
    with torch.inference_mode():
        assert model(pictures(1, 256, 128)).isfinite().all()
        x = model.backbone.patch_embed.conv[0](pictures(1, 256, 128))
        half = model.backbone.patch_embed.conv[1](x)
    scale, offset = stem["patch_embed.conv.1.IN.weight"], stem["patch_embed.conv.1.IN.bias"]
    by_hand = (x[0, 5] - x[0, 5].mean()) / (x[0, 5].var(correction=0) + 1e-5).sqrt() * scale[5] + offset[5]
    torch.testing.assert_close(half[0, 5], by_hand, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "size", "count"),
    [
        ("part_vit_base", (384, 128), 85_800_192),
        ("part_vit_small", (384, 128), 21_666_432),
        ("part_vit_tiny", (384, 128), 5_524_800),
        ("part_vit_tiny", (256, 128), 5_524_800 - 64 * 192),
    ],
)
def test_parameters_are_those_of_the_card(name, size, count):
    variant = xzoo.card(name).fixed["variant"]
    with torch.device("meta"):
        network = build(Options(variant, size))
    assert sum(parameter.numel() for parameter in network.parameters()) == count
    assert size != (384, 128) or xzoo.card(name).facts["size"]["params"] == count
    assert len(network.state_dict()) == 151  # the 157 of PASS, less six: its tokens and positions are joined here
    grouped = [parameter for group, names in network.groups().items() if group != "ln" for parameter in names]
    assert sorted(grouped) == sorted(name for name, _ in network.named_parameters())


def test_features_are_named_and_the_embedding_is_their_concatenation():
    model = small()
    images = pictures(2, 64, 32)
    with torch.inference_mode():
        features = model.forward_features(images)
        assert torch.equal(features["embedding"], model(images))
    assert [tuple(features[name].shape) for name in NAMED] == [(2, 192)] * 4
    mean = (features["face"] + features["torso"] + features["lower_body"]) / 3
    assert torch.equal(features["embedding"], torch.cat([features["global"], mean], 1))
    assert model.preprocess.size == (3, 64, 32)


@pytest.mark.parametrize("divisor", ["kept", "three"])
@pytest.mark.parametrize("parts", [("face",), ("torso", "lower_body"), ("face", "torso")])
def test_parts_that_are_left_out_do_not_enter_the_embedding(parts, divisor):
    model = small(parts=parts, divisor=divisor)
    with torch.inference_mode():
        features = model.forward_features(pictures(2, 64, 32))
    kept = sum(features[part] for part in parts) / (len(parts) if divisor == "kept" else 3)
    torch.testing.assert_close(features["embedding"][:, 192:], kept)


@pytest.mark.parametrize(("fusion", "length"), [("cat", 384), ("mean", 192), ("mlp", 384)])
def test_every_fusion_has_its_length_and_a_gradient_to_all_four_tokens(fusion, length):
    model = small(fusion=fusion)
    out = model(pictures(2, 64, 32))
    assert out.shape == (2, length)
    out.square().sum().backward()
    assert model.backbone.cls_token.grad.abs().sum() > 0
    assert (model.backbone.reg_token.grad.abs().sum((0, 2)) > 0).all()


def test_the_neck_of_bags_of_tricks_is_what_its_formula_says():
    torch.manual_seed(0)
    features = {name: torch.randn(6, 8) for name in NAMED}
    neck = BNNeck(8, 5)
    before, logits = neck(features)
    normal = {name: (x - x.mean(0)) / (x.var(0, correction=0) + 1e-5).sqrt() for name, x in features.items()}
    after = torch.cat([normal["global"], (normal["face"] + normal["torso"] + normal["lower_body"]) / 3], 1)
    torch.testing.assert_close(logits, after @ neck.classifier.weight.T)
    assert torch.equal(before, fuse(features["global"], [features[part] for part in PARTS]))
    trained = {name for name, parameter in neck.named_parameters() if parameter.requires_grad}
    assert trained == {"classifier.weight", *(f"necks.{name}.weight" for name in NAMED)}
    one = BNNeck(8, 5, how="mean", one_for_all=True)
    assert one(features)[0].shape == (6, 8)
    assert [tuple(norm.weight.shape) for norm in one.necks.values()] == [(8,)]


def test_side_information_adds_its_band_to_every_token():
    model = small(side_information=True)
    images = pictures(3, 64, 32)
    with torch.inference_mode():
        mixed = model(images, spectrum=["VIS", "LWIR", "VIS"])
        assert not torch.allclose(mixed, model(images, spectrum="VIS"))
        torch.testing.assert_close(mixed[1:2], model(images[1:2], spectrum="LWIR"))
        before = model.backbone._pos_embed(model.backbone.patch_embed(images)) + 3 * model.side[4]
        by_hand = model.backbone.norm(model.backbone.blocks(before))[:, 0]
        torch.testing.assert_close(model(images, spectrum="LWIR")[:, :192], by_hand)
    raw = torch.randint(0, 256, (4, 3, 64, 32), dtype=torch.uint8, generator=random())
    every = model.embed(raw, spectrum=["LWIR", "VIS", "LWIR", "NIR"])
    for index, band in enumerate(["LWIR", "VIS", "LWIR", "NIR"]):
        torch.testing.assert_close(model.embed(raw[index : index + 1], spectrum=band)[0], every[index])


@pytest.mark.parametrize("spectrum", [None, ["VIS", None], ["VIS"], "XIR"])
def test_side_information_without_a_band_is_refused(spectrum):
    with pytest.raises(errors.OptionError, match="side information"):
        small(side_information=True)(pictures(2, 64, 32), spectrum=spectrum)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"input_size": (100, 128)}, "multiples of 16"),
        ({"input_size": 128}, "tuple is expected"),
        ({"parts": ()}, "at least one"),
        ({"parts": ("face", "feet")}, "face, torso, lower_body"),
        ({"parts": ("face", "face")}, "each part once"),
        ({"variant": "small"}, "fixes variant"),
    ],
)
def test_impossible_options_are_refused(options, said):
    with pytest.raises(errors.OptionError, match=said):
        xzoo.create("part_vit_tiny", **options)


def test_checkpointing_changes_no_gradient():
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        model = small(checkpointing=checkpointing, drop_path=0.0).train()
        model(pictures(2, 64, 32)).square().sum().backward()
        gradients.append(model.backbone.blocks[0].attn.qkv.weight.grad)
    torch.testing.assert_close(*gradients)


def kept_bytes(model, images):
    """Return what the forward pass keeps for the backward one, and the gradients that come of it."""
    sizes = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = model(images).square().sum()
    loss.backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return sum(size for place, size in sizes.items() if place not in own), found


def test_adapters_train_with_checkpoints_in_evaluation_mode_by_the_same_gradients_and_less_memory():
    torch.manual_seed(0)
    model = small().eval()  # the mode in which adapters train
    adapters.add(model, "lora", rank=4)
    images = pictures(4, 64, 32)
    whole, plain = kept_bytes(model, images)
    model.set_grad_checkpointing()
    less, again = kept_bytes(model, images)
    assert less < 0.2 * whole
    assert plain.keys() == again.keys() and all(".lora_" in name for name in plain)
    for name, gradient in plain.items():
        torch.testing.assert_close(again[name], gradient)


def test_finetuning_with_checkpoints_ends_in_the_same_adapter(tmp_path):
    from xzoo import recipes
    from xzoo.data import people

    data = people.write(
        tmp_path / "set",
        subjects=4,
        samples=2,
        spectra=("VIS", "LWIR"),
        kind="body",
        body_size=(64, 32),
        progress=False,
    )
    changes = {"batch.targets": ["LWIR"], "batch.size": 8, "steps": 2, "optimiser.warmup": 0}
    plan = recipes.load("body_md").with_({f"stages.adapt.{key}": value for key, value in changes.items()})
    states = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        run = xzoo.finetune(
            small(),
            data,
            recipe=plan,
            output=tmp_path / f"run-{checkpointing}",
            evaluate=False,
            checkpointing=checkpointing,
        )
        states.append(run.model.state_dict())
    for name, tensor in states[0].items():
        torch.testing.assert_close(states[1][name], tensor, msg=name)
    with pytest.raises(errors.OptionError, match="keeps all activations"):
        xzoo.finetune(xzoo.create("edgeface_xxs"), data, output=tmp_path / "no", checkpointing=True)
    assert not (tmp_path / "no").exists()


def test_lora_adapts_exactly_24_layers_of_the_base_and_no_convolution():
    import re

    with torch.device("meta"):
        network = build(Options("base"))
    chosen = [name for name, _ in network.named_modules() if re.fullmatch(network.lora_targets, name)]
    assert len(chosen) == 24
    sides = [layer.in_features + layer.out_features for layer in map(network.get_submodule, chosen)]
    assert 8 * sum(sides) == 442_368  # of rank 8
    assert chosen[:2] == ["backbone.blocks.0.attn.qkv", "backbone.blocks.0.attn.proj"]
    assert not any("patch_embed" in name for name in chosen)


def test_lora_is_made_where_the_pattern_says_and_leaves_the_base_bit_for_bit():
    model = xzoo.create("part_vit_tiny", input_size=(64, 32))
    images = pictures(2, 64, 32)
    base = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    adapter = adapters.add(model, "lora", rank=8, alpha=16)
    made = {path for path in adapter.slots}
    assert len(made) == 24 and not any("patch_embed" in path for path in made)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert sum(parameter.numel() for parameter in trained) == 442_368 * 192 // 768
    before = model(images).detach()
    optimiser = torch.optim.SGD(trained, lr=0.1)
    for _ in range(2):
        optimiser.zero_grad()
        model(images).square().mean().backward()
        optimiser.step()
    adapted = model(images).detach()
    assert not torch.allclose(before, adapted, atol=1e-4)
    state = model.state_dict()
    kept = {name: tensor for name, tensor in base.items() if name in state}
    assert len(kept) > 100
    assert all(torch.equal(tensor, state[name]) for name, tensor in kept.items())
    adapters.merge(model, adapter.name)
    with torch.no_grad():
        torch.testing.assert_close(model(images), adapted, atol=1e-5, rtol=1e-4)


def people(seed=0):
    """Eight patterns, seen by four cameras of other gain and offset, two noisy pictures each."""
    draw = random(seed)
    patterns = F.interpolate(torch.randn(8, 1, 8, 4, generator=draw), size=(64, 32), mode="bilinear")
    images, cameras = [], []
    for camera, (gain, offset) in enumerate([(1, 0), (0.6, 0.4), (1.3, 0.2), (0.8, -0.4)]):
        for _ in range(2):
            images.append(gain * patterns + offset + 0.2 * torch.randn(8, 1, 64, 32, generator=draw))
            cameras += [camera] * 8
    return torch.cat(images).expand(-1, 3, -1, -1).contiguous(), torch.arange(8).repeat(8), torch.tensor(cameras)


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_a_tiny_network_learns_eight_people_across_four_domains(lora):
    images, subjects, cameras = people()
    torch.manual_seed(0)
    model = small(drop_path=0.0)
    if lora:
        adapters.add(model, "lora", rank=8, alpha=16)
    neck = BNNeck(192, 8)
    trained = [
        {"params": [p for p in model.parameters() if p.requires_grad], "lr": 2e-3 if lora else 1e-3},
        {"params": [p for p in neck.parameters() if p.requires_grad], "lr": 1e-2},
    ]
    optimiser = torch.optim.AdamW(trained)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, [group["lr"] for group in trained], 45, pct_start=0.2)

    def rank_1():
        with torch.no_grad():
            rows = F.normalize(model.eval()(images))
        gallery, probes = rows[cameras == 0], rows[cameras > 0]
        found = subjects[cameras == 0][(probes @ gallery.T).argmax(1)]
        return float((found == subjects[cameras > 0]).float().mean())

    assert rank_1() < 0.7
    for _ in range(45):
        before, logits = neck(model.train().forward_features(images))
        loss = F.cross_entropy(logits, subjects) + triplet(before, labels=subjects, margin=0.3)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    assert rank_1() == 1.0
