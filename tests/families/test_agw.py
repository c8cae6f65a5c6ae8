"""The two-stream baseline: its parts counted and written out, its streams, and files that it starts from."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import xzoo
from xzoo.errors import OptionError, XzooError
from xzoo.families.agw.model import AGW, GeM, NonLocal
from xzoo.families.agw.options import Options

RESNET50 = 25_557_032 - (2048 * 1000 + 1000)  # torchvision's, without its classifier
STEM = 64 * 3 * 49 + 2 * 64
NECK = 2048  # a scale and no offset


def blocks(width_of):
    """Parameters of two blocks of 512 and three of 1024 channels."""
    return sum(
        count * (3 * (c * width_of(c) + width_of(c)) + width_of(c) * c + c + 2 * c)
        for c, count in ((512, 2), (1024, 3))
    )


def random(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(count=4, seed=0, size=(64, 32)):
    return torch.randn(count, 3, *size, generator=random(seed))


@pytest.fixture(scope="module")
def model():
    made = xzoo.create("agw_resnet50", input_size=(64, 32))
    with torch.no_grad():  # as after training: fresh blocks and equal stems would hide mistakes
        for name, parameter in made.named_parameters():
            if name.startswith("non_local") and ".W.1." in name:
                parameter.normal_(0, 0.1, generator=random(1))
    return made.eval()


@pytest.mark.parametrize(
    ("non_local", "more"),
    [("one", blocks(lambda c: 1)), ("half", blocks(lambda c: c // 2)), ("none", 0)],
)
def test_the_parameters_are_those_of_a_resnet_a_second_stem_a_neck_and_the_blocks(non_local, more):
    with torch.device("meta"):
        count = sum(p.numel() for p in AGW(Options(non_local=non_local)).parameters())
    assert count == RESNET50 + STEM + NECK + more
    if non_local == "one":
        assert count == xzoo.card("agw_resnet50").facts["size"]["params"]


def test_the_last_stage_keeps_its_grid_and_an_embedding_has_2048_numbers():
    made = xzoo.create("agw_resnet50")
    with torch.inference_mode():
        features = made.eval().forward_features(torch.zeros(1, 3, 288, 144))
    assert features["stage2"].shape[2:] == features["stage3"].shape[2:] == (18, 9)
    assert features["embedding"].shape == features["pooled"].shape == (1, 2048)


def test_it_is_torchvisions_resnet_where_everything_that_agw_adds_is_off(tmp_path):
    vision = pytest.importorskip("torchvision")
    theirs = vision.models.resnet50(weights=None)
    save_file(theirs.state_dict(), tmp_path / "resnet50.safetensors")
    theirs.layer4[0].conv2.stride = theirs.layer4[0].downsample[0].stride = (1, 1)
    theirs.fc = nn.Identity()
    made = xzoo.create(
        "agw_resnet50",
        pretrained=str(tmp_path / "resnet50.safetensors"),
        input_size=(64, 32),
        non_local="none",
        pooling="mean",
        neck="before",
    )
    images = pictures()
    with torch.inference_mode():
        expected = theirs.eval()(images)
        for band in ("VIS", "LWIR"):
            torch.testing.assert_close(made.eval()(images, band), expected, atol=1e-4, rtol=1e-4)


def test_an_imagenet_file_starts_both_stems_alike_and_always_with_the_same_new_parts(tmp_path):
    theirs = pytest.importorskip("torchvision").models.resnet50(weights=None).state_dict()
    old = {name: tensor for name, tensor in theirs.items() if not name.endswith("num_batches_tracked")}
    save_file(old, tmp_path / "resnet50.safetensors")
    first, second = (
        xzoo.create("agw_resnet50", pretrained=str(tmp_path / "resnet50.safetensors")).state_dict() for _ in range(2)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(first["visible.conv1.weight"], theirs["conv1.weight"])
    assert torch.equal(first["infrared.conv1.weight"], theirs["conv1.weight"])
    assert first["non_local.layer3.2.W.1.weight"].abs().max() == 0
    assert first["non_local.layer3.2.g.weight"].abs().max() > 0
    assert torch.equal(first["neck.weight"], torch.ones(2048))
    assert torch.equal(first["neck.running_var"], torch.ones(2048))


def agw_file(model):
    """The state of a model under the names of AGW's own files, with what they hold besides."""
    state = {"classifier.weight": torch.ones(5, 2048)}
    for name, tensor in model.state_dict().items():
        part, rest = name.split(".", 1)
        if part == "neck":
            state[f"bottleneck.{rest}"] = tensor
        elif part == "layers":
            state[f"base_resnet.base.{rest}"] = tensor
            state[f"visible_module.visible.{rest}"] = tensor + 1  # there, and not used
        elif part == "non_local":
            state["NL_" + rest.replace("layer", "", 1).replace(".g.", ".g.0.")] = tensor
        else:
            word = "visible" if part == "visible" else "thermal"
            state[f"{word}_module.{word}.{rest}"] = tensor
            state[f"base_resnet.base.{rest}"] = tensor + 1
    return state


def test_a_file_of_agw_itself_is_read(model, tmp_path):
    torch.save({"net": 0, "state_dict": agw_file(model)}, tmp_path / "agw.t")
    made = xzoo.create("agw_resnet50", pretrained=str(tmp_path / "agw.t"), input_size=(64, 32))
    ours = model.state_dict()
    assert all(torch.equal(tensor, ours[name]) for name, tensor in made.state_dict().items())


def test_a_file_with_blocks_does_not_fit_a_network_without(model, tmp_path):
    torch.save(agw_file(model), tmp_path / "agw.pth")
    with pytest.raises(XzooError, match="non_local"):
        xzoo.create("agw_resnet50", pretrained=str(tmp_path / "agw.pth"), non_local="none")


def test_each_band_goes_through_its_own_stem_and_keeps_its_place(model):
    images = pictures(5)
    with torch.inference_mode():
        visible, infrared = model(images, "VIS"), model(images, "MWIR")
        mixed = model(images, ["MWIR", "VIS", "NIR", "VIS", "LWIR"])
        unnamed = model(images)
    assert (visible - infrared).abs().max() > 1e-3
    for row, expected in enumerate((infrared, visible, infrared, visible, infrared)):
        torch.testing.assert_close(mixed[row], expected[row], atol=1e-4, rtol=1e-4)
    assert torch.equal(unnamed, visible)


def test_embed_takes_the_band_of_each_image(model):
    raw = torch.randint(0, 256, (3, 3, 64, 32), dtype=torch.uint8, generator=random())
    bands = ["LWIR", "VIS", "LWIR"]
    mixed = model.embed(raw, spectrum=bands, normalise=False)
    with torch.inference_mode():
        expected = model(model.preprocess.normalise(raw), bands)
    torch.testing.assert_close(mixed, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("spectrum", ["infrared", ["VIS"], ["VIS", "VIS", "VIS", "UV"]])
def test_a_band_that_cannot_be_meant_is_refused(model, spectrum):
    with pytest.raises(OptionError, match="4 images"):
        model(pictures(4), spectrum)


def test_gradients_of_one_band_leave_the_other_stem_alone(model):
    model.zero_grad()
    model(pictures(2), "NIR").square().sum().backward()
    assert model.visible.conv1.weight.grad is None
    assert model.infrared.conv1.weight.grad.abs().max() > 0
    model.zero_grad()


def test_a_block_is_the_mean_over_places_weighed_by_likeness():
    block = NonLocal(6, 3).eval()
    x = torch.randn(2, 6, 4, 3, generator=random())
    assert torch.equal(block(x), x)  # fresh
    nn.init.normal_(block.W[1].weight, generator=random())
    flat = x.flatten(2)
    theta, phi, g = (
        layer.weight[:, :, 0, 0] @ flat + layer.bias[:, None] for layer in (block.theta, block.phi, block.g)
    )
    expected = torch.zeros(2, 3, 12)
    for i in range(12):
        for j in range(12):
            expected[:, :, i] += (theta[:, :, i] * phi[:, :, j]).sum(1, keepdim=True) * g[:, :, j] / 12
    expected = x + block.W(expected.unflatten(2, (4, 3)))
    torch.testing.assert_close(block(x), expected)


def test_the_pooling_is_the_third_root_of_the_mean_cube():
    maps = torch.tensor([1.0, 2.0, 3.0, 0.0]).view(1, 1, 2, 2)
    assert GeM(3.0)(maps).item() == pytest.approx(9 ** (1 / 3))
    assert GeM(1.0)(maps).item() == pytest.approx(1.5)
    assert GeM(3.0)(-maps).item() == pytest.approx(1e-4)  # no root of a negative number


def test_groups_hold_every_parameter_once_and_the_neck_has_no_offset_to_train(model):
    groups = model.groups()
    names = [name for group, members in groups.items() if group != "bn" for name in members]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())
    assert groups["head"] == ["neck.weight"]
    assert any(name.startswith("non_local.layer3") for name in groups["s2"])


def test_a_size_without_pictures_is_refused():
    with pytest.raises(OptionError, match="input_size"):
        Options(input_size=(16, 8))
