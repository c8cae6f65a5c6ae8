"""Networks of visible-infrared recognition by body: what each adds to its backbone, counted and written out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

import xzoo
from xzoo import errors, recipes
from xzoo.data import readers
from xzoo.data.people import layouts
from xzoo.families.agw import options as agw_options
from xzoo.families.agw.model import AGW
from xzoo.families.deen.model import DEE, MFA
from xzoo.families.idkl.model import Mask
from xzoo.families.wrim_net.model import MIIM
from xzoo.losses.hooks import Capture
from xzoo.training import distill, fit

from .test_part_vit import pass_state

SIZE = (64, 32)
RESNET50 = 25_557_032 - (2048 * 1000 + 1000)  # torchvision's, without its classifier
STEM = 64 * 3 * 49 + 2 * 64
LAYER3, LAYER4 = 7_098_368, 14_964_736


def random(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(count=4, seed=0, size=SIZE):
    return torch.randn(count, 3, *size, generator=random(seed))


def stirred(network, *begins):
    """Draw parameters anew that start at zero or one, where fresh ones would hide mistakes."""
    draw = random(3)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.startswith(begins) and parameter.ndim == 1:
                parameter.normal_(1, 0.3, generator=draw)
        for name, buffer in network.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(0, 0.2, generator=draw)
    return network.eval()


def made(name, *begins, **options):
    torch.manual_seed(0)
    return stirred(xzoo.create(name, input_size=SIZE, **options), *begins)


FIRST: dict[str, torch.Tensor] = {}
"""What DEEN sees before anything is stirred, and what the plain two-stream network sees with the same tensors."""


@pytest.fixture(scope="module")
def deen():
    torch.manual_seed(0)
    network = xzoo.create("deen_resnet50", input_size=SIZE)
    with torch.device("meta"):
        plain = AGW(agw_options.Options(SIZE, non_local="none", pooling="mean", neck="before")).eval()
    names = plain.state_dict()
    plain.load_state_dict({name: x for name, x in network.state_dict().items() if name in names}, assign=True)
    with torch.inference_mode():
        FIRST["looks"] = network.forward_features(pictures(2), ["VIS", "NIR"])["looks"]
        FIRST["plain"] = plain(pictures(2), ["VIS", "NIR"])
    for module in network.attention.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.weight, 0.01)
    return stirred(network, "neck.")


@pytest.fixture(scope="module")
def idkl():
    return made("idkl_resnet50", "neck.", "instance_norm.")


@pytest.fixture(scope="module")
def mixer():
    return made("mixer_resnet50", "necks.")


@pytest.fixture(scope="module")
def wrim():
    return made("wrim_resnet50", "heads.")


def empty(name, **options):
    from xzoo.loading import Blueprint
    from xzoo.models import check_options

    card = xzoo.card(name)
    network = Blueprint.of(card, check_options(card, options)).empty()
    assert network is not None
    return network


def convolution(inside, outside, kernel=1, bias=True):
    return inside * outside * kernel**2 + (outside if bias else 0)


def mfa(high, low):
    channel = convolution(high, low) + 2 * convolution(low, low) + convolution(low, high) + 2 * high
    half = low // 2
    place = convolution(high, half) + 2 * convolution(low, half) + convolution(half, high) + 2 * high
    return channel + place


def dee(c):
    return 2 * (3 * convolution(c, c // 4, 3, bias=False) + convolution(c // 4, c, bias=False))


def mask(c):
    return convolution(c, c // 16) + convolution(c // 16, c)


def miim(c, r, s):
    narrow = c // r
    return convolution(c, narrow, s) + 2 * narrow + 3 * narrow**2 + convolution(narrow, c)


def head(c):
    return c + (c * c + c) + 2 * c + (c * 128 + 128)


BLOCK = 12 * 768**2 + 13 * 768  # of a ViT-B: attention, two layers, two norms, all with offsets
COUNTED = {
    "deen_resnet50": RESNET50 + STEM + mfa(256, 64) + mfa(512, 256) + mfa(1024, 512) + dee(1024) + 2048,
    "idkl_resnet50": RESNET50 + LAYER3 + LAYER4 + 2 * 2048 + 2 * mask(2048) + 2048,
    "mixer_resnet50": RESNET50 + 2 * LAYER4 + 2 * 2048,
    "wrim_resnet50": RESNET50
    + 2 * (miim(256, 2, 4) + miim(512, 2, 2))
    + miim(1024, 4, 1)
    + miim(2048, 4, 1)
    + 3 * head(2048)
    + head(1024),
    "irm_vit_base": 85_800_192 - 64 * 768 + 2 * BLOCK + 70 * 768 + 2 * 768,
}
BAND = {"deen_resnet50": True, "idkl_resnet50": False, "mixer_resnet50": True, "wrim_resnet50": True}


@pytest.mark.parametrize("name", COUNTED)
def test_the_parameters_are_those_of_the_parts_and_every_one_has_a_group(name):
    network = empty(name)
    assert sum(p.numel() for p in network.parameters()) == COUNTED[name] == xzoo.card(name).facts["size"]["params"]
    groups = network.groups()
    names = [each for group, members in groups.items() if group not in ("bn", "ln") for each in members]
    assert sorted(names) == sorted(each for each, _ in network.named_parameters())
    example = torch.empty(2, 3, *xzoo.card(name).facts["input"]["size"][1:], device="meta")
    assert network.eval()(example).shape == (2, xzoo.card(name).facts["output"]["embedding"])


def test_deen_for_regdb_ends_with_the_third_stage():
    network = empty("deen_resnet50", last="layer3").eval()
    expected = RESNET50 - LAYER4 + STEM + mfa(256, 64) + mfa(512, 256) + dee(512) + 1024
    assert sum(p.numel() for p in network.parameters()) == expected
    assert network(torch.empty(2, 3, 64, 32, device="meta")).shape == (2, 6 * 1024)
    stages = network.forward_features(torch.empty(2, 3, 64, 32, device="meta"))
    assert [len(stages[f"stage{n}"]) for n in range(3)] == [2, 2, 6]


@pytest.mark.parametrize("name", BAND)
def test_a_picture_too_small_is_refused(name):
    with pytest.raises(errors.OptionError, match="input_size"):
        xzoo.create(name, input_size=(16, 8))


# --- DEEN -------------------------------------------------------------------------------------------------------------


def test_an_expansion_is_the_mean_of_three_dilated_convolutions():
    block = DEE(8).eval()
    x = torch.randn(2, 8, 7, 6, generator=random())
    found = block(x)
    assert found.shape == (6, 8, 7, 6)
    assert torch.equal(found[:2], x)
    for branch in range(2):
        weights = [layer.weight for layer in block.dilated[branch]]
        assert [tuple(weight.shape) for weight in weights] == [(2, 8, 3, 3)] * 3
        mean = sum(F.conv2d(x, weight, padding=d, dilation=d) for d, weight in enumerate(weights, 1)) / 3
        expected = torch.einsum("oc,bchw->bohw", block.back[branch].weight[:, :, 0, 0], mean.clamp(min=0))
        torch.testing.assert_close(found[2 * branch + 2 : 2 * branch + 4], expected)


@pytest.mark.parametrize("stride", [1, 2])
def test_attention_of_a_stage_is_its_two_sums_written_out(stride):
    block = MFA(8, 4, stride).double().eval()
    low = torch.randn(2, 4, 6, 4, generator=random(), dtype=torch.float64)
    high = torch.randn(2, 8, 6 // stride, 4 // stride, generator=random(1), dtype=torch.float64)
    assert torch.equal(block(high, low), high)  # fresh
    for part in (block.channel, block.place):
        nn.init.normal_(part["W"][1].weight, generator=random(2))

    def flat(layer, x):
        return layer(x).flatten(2)

    part, x = block.channel, high
    theta, phi, g = flat(part["theta"], x), flat(part["phi"], low), flat(part["g"], low)
    seen = torch.zeros(2, 4, 24, dtype=torch.float64)
    for i in range(4):
        for j in range(4):
            energy = (theta[:, i] * phi[:, j]).sum(1) / 4
            seen[:, i] += energy[:, None] * g[:, j]
    x = x + part["W"](seen.unflatten(2, (6, 4)))
    part = block.place
    theta, phi, g = flat(part["theta"], x), flat(part["phi"], low), flat(part["g"], low)
    assert theta.shape[1] == 2  # half of the lower channels
    seen = torch.zeros(2, 2, theta.shape[2], dtype=torch.float64)
    for i in range(theta.shape[2]):
        for j in range(24):
            energy = (theta[:, :, i] * phi[:, :, j]).sum(1) / 24
            seen[:, :, i] += energy[:, None] * g[:, :, j]
    expected = x + part["W"](seen.unflatten(2, x.shape[2:]))
    torch.testing.assert_close(block(high, low), expected)


def test_embeddings_of_deen_compare_by_the_mean_of_six_cosines(deen):
    with torch.no_grad():
        features = deen.forward_features(pictures(3), ["VIS", "NIR", "LWIR"])
        embedding, looks = features["embedding"], features["looks"]
        after = torch.stack([deen.neck(looks[:, k]) for k in range(3)], 1)
    assert looks.shape == (3, 3, 2048)
    assert embedding.shape == (3, 12288)
    cosines = [F.cosine_similarity(part[0, k], part[1, k], dim=0) for part in (looks, after) for k in range(3)]
    found = F.cosine_similarity(embedding[0], embedding[1], dim=0)
    torch.testing.assert_close(found, sum(cosines) / 6)
    with torch.no_grad():
        torch.testing.assert_close(deen(pictures(3), ["VIS", "NIR", "LWIR"]), embedding)


def test_fresh_deen_looks_first_as_the_plain_two_stream_network_does(deen):
    looks = FIRST["looks"]
    torch.testing.assert_close(looks[:, 0], FIRST["plain"], atol=1e-4, rtol=1e-4)
    assert (looks[:, 1] - looks[:, 2]).abs().max() > 1e-3


# --- IDKL -------------------------------------------------------------------------------------------------------------


def test_masks_of_idkl_are_exchanged(idkl):
    with torch.inference_mode():
        features = idkl.forward_features(pictures(2))
        own = features["specific"]
        norm = idkl.instance_norm
        shape = (1, -1, 1, 1)
        u = (own - norm.running_mean.view(shape)) / (norm.running_var.view(shape) + norm.eps).sqrt()
        u = u * norm.weight.view(shape) + norm.bias.view(shape)

        def kept(layers, x):
            first, second = (layer.weight[:, :, 0, 0] for layer in (layers[0], layers[2]))
            inner = torch.einsum("oc,bchw->bohw", first, x) + layers[0].bias.view(shape)
            return torch.sigmoid(torch.einsum("oc,bchw->bohw", second, inner.clamp(min=0)) + layers[2].bias.view(shape))

        def pooled(x):
            return (x.clamp(min=0) ** 3).mean((2, 3)) ** (1 / 3)

        m_u, m_f = kept(idkl.masks["instance"], u), kept(idkl.masks["whole"], own)
        purified = pooled(m_u * (m_f * own) + m_f * (m_u * u))
        expected = [pooled(features["stage3"]), features["embedding"], purified, pooled(own), pooled(m_f * own)]
    for found, right in zip(features["looks"].unbind(1), expected, strict=True):
        torch.testing.assert_close(found, right, atol=2e-4, rtol=1e-3)
    torch.testing.assert_close(features["instance"], pooled(u), atol=2e-4, rtol=1e-3)
    torch.testing.assert_close(features["instance_masked"], pooled(m_u * u), atol=2e-4, rtol=1e-3)
    assert [tuple(p.shape) for p in Mask(32).parameters()][::2] == [(2, 32, 1, 1), (32, 2, 1, 1)]


def test_the_specific_half_runs_only_where_somebody_listens(idkl):
    images, count = pictures(2), []
    handle = idkl.specific["layer4"].register_forward_hook(lambda *_: count.append(1))
    with torch.inference_mode():
        alone = idkl(images)
        assert not count
        with Capture(idkl, ["looks"]) as found:
            heard = idkl(images)
        assert len(count) == 1
    handle.remove()
    torch.testing.assert_close(alone, heard)
    torch.testing.assert_close(found["looks"][:, 1], alone)


# --- MixER ------------------------------------------------------------------------------------------------------------


def test_slots_of_mixer_hold_what_is_related_to_each_spectrum(mixer):
    bands = ["VIS", "NIR", "VIS"]
    with torch.inference_mode():
        features = mixer.forward_features(pictures(3), bands)
        lower = features["stage2"]
        visible, infrared = (top(lower).mean((2, 3)) for top in (mixer.visible, mixer.infrared))
        erased = mixer.erase(lower).mean((2, 3))
        nothing = torch.zeros(2048)
        expected = [
            torch.cat([infrared[row], erased[row], nothing] if band != "VIS" else [nothing, erased[row], visible[row]])
            for row, band in enumerate(bands)
        ]
        torch.testing.assert_close(features["mixed"], torch.stack(expected), atol=1e-4, rtol=1e-4)
        necked = torch.cat(
            [mixer.necks["visible" if b == "VIS" else "infrared"](e[None]) for b, e in zip(bands, erased, strict=True)]
        )
        torch.testing.assert_close(mixer(pictures(3), bands), necked, atol=1e-4, rtol=1e-4)
    assert (features["related"][0] - features["erased"][0]).abs().max() > 1e-3


def test_what_is_related_changes_nothing_below(mixer):
    mixer.requires_grad_(True).zero_grad()
    mixer.forward_features(pictures(2), "NIR")["related"].sum().backward()
    moved = {name.split(".")[0] for name, p in mixer.named_parameters() if p.grad is not None}
    assert moved == {"infrared"}
    mixer.zero_grad()


def test_mixed_embeddings_are_the_slots():
    network = empty("mixer_resnet50", compare="mixed").eval()
    assert network(torch.empty(2, 3, 64, 32, device="meta")).shape == (2, 6144)


# --- WRIM-Net ---------------------------------------------------------------------------------------------------------


def test_a_mining_block_is_written_out():
    torch.manual_seed(0)
    block = MIIM(32, 2, 2, (3, 1)).double().eval()
    x = torch.randn(2, 32, 6, 4, generator=random(), dtype=torch.float64)
    small = torch.zeros(2, 16, 3, 2, dtype=torch.float64)
    for row in range(3):
        for column in range(2):
            patch = x[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            small[:, :, row, column] = torch.einsum("ochw,bchw->bo", block.compress.weight, patch) + block.compress.bias

    def normed(v):
        return (v - v.mean()) / (v.var(unbiased=False) + 1e-5).sqrt() * block.norm.weight + block.norm.bias

    gate = torch.zeros(2, 32, 3, 2, dtype=torch.float64)
    for image in range(2):
        regions = [normed(small[image, :, row].mean(1)) for row in range(3)]  # 3 x 1: each row of the map
        for row in range(3):
            for column in range(2):
                place = normed(small[image, :, row, column])
                seen = []
                for h in range(8):
                    part = slice(2 * h, 2 * h + 2)
                    q = (block.q.weight @ place)[part]
                    weights = torch.stack([q @ (block.k.weight @ r)[part] / 2**0.5 for r in regions]).softmax(0)
                    seen.append(sum(w * (block.v.weight @ r)[part] for w, r in zip(weights, regions, strict=True)))
                gate[image, :, row, column] = torch.sigmoid(block.back.weight @ torch.cat(seen) + block.back.bias)
    large = gate.repeat_interleave(2, 2).repeat_interleave(2, 3)
    expected = x + (x * large).clamp(min=0) / (1 + 1e-5) ** 0.5
    torch.testing.assert_close(block(x), expected)


def test_each_kind_of_light_has_its_own_early_blocks(wrim):
    wrim.requires_grad_(True).zero_grad()
    wrim(pictures(2), "LWIR").square().sum().backward()
    quiet = {".".join(name.split(".")[:3]) for name, p in wrim.named_parameters() if p.grad is None}
    wrim.zero_grad()
    assert {name for name in quiet if name.startswith("mining")} == {"mining.layer1.visible", "mining.layer2.visible"}
    with torch.inference_mode():
        mixed = wrim(pictures(3), ["VIS", "NIR", "VIS"])
        for row, band in enumerate(("VIS", "NIR", "VIS")):
            torch.testing.assert_close(mixed[row], wrim(pictures(3), band)[row], atol=1e-3, rtol=1e-3)


def test_heads_read_the_whole_and_both_halves(wrim):
    with torch.inference_mode():
        features = wrim.forward_features(pictures(2))
        last = features["stage3"]
        parts = [last.mean((2, 3)), last[:, :, :2].mean((2, 3)), last[:, :, 2:].mean((2, 3))]
        assert last.shape[2:] == (4, 2)
        necked = [wrim.heads[name].neck(part) for name, part in zip(("whole", "upper", "lower"), parts, strict=True)]
        torch.testing.assert_close(features["embedding"], torch.cat(necked, 1))
        with Capture(wrim, ["heads.third.projection", "heads.whole.projection"]) as found:
            wrim(pictures(2))
    assert found["heads.third.projection"].shape == found["heads.whole.projection"].shape == (2, 128)


# --- IRM --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def irm(tmp_path_factory):
    """A network of the smallest size from a file of PASS."""
    from xzoo.families.irm import model, options

    state = pass_state(width=192, patches=128, depth=3)
    from xzoo.families.irm import convert

    torch.manual_seed(0)
    network = model.build(options.Options("tiny", input_size=SIZE, depth=3)).eval()
    network.load_state_dict(convert.fit(convert.convert(state), network))
    return network, state


def test_a_file_of_pass_gives_the_fusion_its_last_blocks(irm):
    network, state = irm
    own = network.state_dict()
    for place in (0, 1):
        for name in ("attn.qkv.weight", "mlp.fc2.bias", "norm1.weight"):
            assert torch.equal(own[f"fusion.{place}.{name}"], state[f"blocks.{1 + place}.{name}"])
    assert torch.equal(own["encoder.backbone.cls_token"], state["cls_token"])
    assert torch.equal(own["necks.told.weight"], torch.ones(192))


def test_the_first_tokens_of_both_exchanges_make_the_embedding(irm):
    network, _ = irm
    stirred(network, "necks.")
    with torch.inference_mode():
        tokens = network.encoder.tokens(pictures(2))
        words = network.instruction.expand(2, -1, -1)
        asked = torch.cat([tokens[:, :1], words], 1)
        told = torch.cat([words[:, :1], tokens[:, 1:]], 1)
        for block in network.fusion:
            asked, told = block(asked), block(told)
        expected = torch.cat([network.necks["asked"](asked[:, 0]), network.necks["told"](told[:, 0])], 1)
        features = network.forward_features(pictures(2))
        torch.testing.assert_close(network(pictures(2)), expected)
    assert words.shape == (2, 70, 192)
    torch.testing.assert_close(features["embedding"], expected)
    torch.testing.assert_close(features["image"], tokens[:, 0])
    assert features["asked"].shape == features["told"].shape == (2, 192)


def test_weights_with_a_text_encoder_are_refused(irm, tmp_path):
    _, state = irm
    save_file(state | {"text_encoder.weight": torch.zeros(2)}, tmp_path / "irm.safetensors")
    with pytest.raises(errors.WeightsMismatch, match="text_encoder"):
        xzoo.create("irm_vit_base", pretrained=str(tmp_path / "irm.safetensors"), depth=3)


# --- files and training -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", BAND)
def test_an_imagenet_file_starts_a_network_always_alike(name, tmp_path):
    theirs = pytest.importorskip("torchvision").models.resnet50(weights=None).state_dict()
    save_file(theirs, tmp_path / "resnet50.safetensors")
    first, second = (
        xzoo.create(name, pretrained=str(tmp_path / "resnet50.safetensors"), input_size=SIZE) for _ in range(2)
    )
    state = first.state_dict()
    assert all(torch.equal(tensor, second.state_dict()[key]) for key, tensor in state.items())
    places = {
        "deen_resnet50": {"visible.conv1.weight": "conv1.weight", "infrared.conv1.weight": "conv1.weight"},
        "idkl_resnet50": {f"{half}.layer4.2.conv3.weight": "layer4.2.conv3.weight" for half in ("shared", "specific")},
        "mixer_resnet50": {
            f"{top}.2.conv3.weight": "layer4.2.conv3.weight" for top in ("erase", "visible", "infrared")
        },
        "wrim_resnet50": {"stem.conv1.weight": "conv1.weight", "layers.layer4.2.conv3.weight": "layer4.2.conv3.weight"},
    }
    for ours, own in places[name].items():
        assert torch.equal(state[ours], theirs[own])
    with torch.inference_mode():
        bands = {"spectrum": "NIR"} if BAND[name] else {}
        assert first.embed(torch.zeros(1, 3, *SIZE, dtype=torch.uint8), **bands).isfinite().all()


@pytest.mark.slow
def test_an_imagenet_file_starts_the_shorter_network_too(tmp_path):
    theirs = pytest.importorskip("torchvision").models.resnet50(weights=None).state_dict()
    save_file(theirs, tmp_path / "resnet50.safetensors")
    network = xzoo.create("deen_resnet50", pretrained=str(tmp_path / "resnet50.safetensors"), last="layer3")
    assert torch.equal(network.state_dict()["layers.layer3.5.conv3.weight"], theirs["layer3.5.conv3.weight"])


RECIPES = {
    "deen": "deen_resnet50",
    "idkl": "idkl_resnet50",
    "mixer": "mixer_resnet50",
    "wrim_net": "wrim_resnet50",
    "irm": "irm_vit_base",
}


@pytest.mark.parametrize("name", RECIPES)
def test_the_recipe_fits_its_network(name):
    plan = recipes.load(name)
    assert plan.student.name == RECIPES[name]
    fit.check(plan)


def test_the_recipe_of_deen_fits_the_shorter_network():
    fit.check(recipes.load("deen").with_({"student.options.last": "layer3"}))


SMALL = {"deen": (4, 2), "idkl": (4, 2), "mixer": (4, 2), "wrim_net": (4, 2), "irm": (8, 4)}


@pytest.fixture(scope="module")
def llcm(tmp_path_factory) -> Path:
    """Six generated people in the layout of LLCM, four of them to train on."""
    return layouts.write(
        "llcm", tmp_path_factory.mktemp("llcm") / "LLCM", subjects=6, cameras=2, size=SIZE, progress=False
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_the_recipe_trains_its_network_on_the_layout_of_llcm(name, llcm, tmp_path):
    torch.manual_seed(0)
    options = {"depth": 2} if name == "irm" else {}
    student = xzoo.create(RECIPES[name], input_size=SIZE, **options)
    before = {key: tensor.clone() for key, tensor in student.state_dict().items()}
    size, each = SMALL[name]
    plan = recipes.load(name).with_(
        {
            "stages.train.steps": 2,
            "stages.train.batch.size": size,
            "stages.train.batch.per_subject": each,
            "stages.train.optimiser.warmup": 0,
        }
    )
    manifest = readers.read("llcm", llcm)
    run = distill(recipe=plan, student=student, data=manifest, output=tmp_path / "run", evaluate=False)
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    steps = [row["terms"] for row in rows if "loss" in row]
    assert [set(terms) >= {term.key for term in plan.stages[0].losses} for terms in steps] == [True, True]
    after = run.model.state_dict()
    still = [key for key in before if torch.equal(before[key], after[key]) and key.endswith("weight")]
    assert still == [], still[:5]
    raw = torch.randint(0, 256, (2, 3, *SIZE), dtype=torch.uint8, generator=random())
    embedded = run.model.embed(raw, **({"spectrum": ["VIS", "NIR"]} if run.model.banded else {}))
    assert embedded.shape == (2, xzoo.card(RECIPES[name]).facts["output"]["embedding"])
    assert embedded.isfinite().all()


@pytest.mark.slow
def test_deen_for_regdb_trains_on_its_layout(tmp_path):
    layouts.write("regdb", tmp_path / "RegDB", subjects=4, samples=2, trials=1, size=SIZE, progress=False)
    manifest = readers.read("regdb", tmp_path / "RegDB", trials=1)
    student = xzoo.create("deen_resnet50", last="layer3", input_size=SIZE)
    plan = recipes.load("deen").with_(
        {
            "stages.train.steps": 1,
            "stages.train.batch.size": 4,
            "stages.train.batch.per_subject": 2,
        }
    )
    run = distill(recipe=plan, student=student, data=manifest, output=tmp_path / "run", evaluate=False)
    assert run.model.embed(torch.zeros(2, 3, *SIZE, dtype=torch.uint8), spectrum="LWIR").shape == (2, 6144)
