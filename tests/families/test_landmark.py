"""Landmark networks: their structure counted, points of one convention told in another, pixels of the given picture."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import xzoo
from xzoo import errors, loading
from xzoo.data.people.landmarks import five
from xzoo.data.preprocess import Preprocess
from xzoo.families.landmark.model import Heatmaps, LandmarkNet, Pooled, build, soft_argmax, square
from xzoo.families.landmark.options import BACKBONES, Options
from xzoo.families.landmark.points import FLIPS, convert, mirror

WHOLE = {  # millions of parameters without any head, as timm counts them; those after the last map are dropped here
    "mobilenetv2_050": 687_680,
    "mobilenetv2_100": 2_223_872,
    "resnet50": 23_508_032,
    "hrnet_w18": 19_250_004,
}
LINEAR = {5: 19_215, 54: 207_522, 68: 261_324, 70: 269_010, 478: 1_836_954}


@functools.cache
def empty(**options) -> LandmarkNet:
    with torch.device("meta"), loading._Weightless():
        return build(Options(**options))


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_backbone_ends_in_a_map_that_every_head_reads(backbone):
    model = empty(backbone=backbone, head="coord").eval()
    features = model.forward_features(torch.empty(2, 3, 64, 64, device="meta"))
    last = features["map"]
    assert (features["points"].shape, last.shape[2:]) == ((2, 68, 2), (2, 2))
    with torch.device("meta"):
        assert Pooled(last.shape[1], 54, 3)(last).shape == (2, 54, 3)
        assert Heatmaps(last.shape[1], 54).eval()(last).shape == (2, 54, 3)
    names = [name for group in model.groups().values() for name in group]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())


@pytest.mark.parametrize("backbone", ["mobilenetv3_small_050", "lcnet_050", "edgenext_xx_small"])
def test_every_parameter_has_a_part_in_the_points(backbone):
    model = build(Options(backbone=backbone, input_size=64))
    model(torch.randn(2, 3, 64, 64)).sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("backbone", WHOLE)
def test_backbones_are_as_large_as_timm_says(backbone):
    assert parameters(empty(backbone=backbone, head="coord").backbone) == WHOLE[backbone]


@pytest.mark.parametrize("points", LINEAR)
def test_three_numbers_a_point_on_mobilenetv2_is_the_layout_of_the_t_fake_landmarker(points):
    head = empty(backbone="mobilenetv2_100", head="gaussian", points=points).head
    assert parameters(head) == LINEAR[points]


def test_soft_argmax_finds_the_middle_of_a_gaussian_to_a_thousandth_of_the_side():
    y, x = torch.meshgrid(*[(torch.arange(22) - 2.5) / 16] * 2, indexing="ij")
    maps = torch.stack([-((x - a) ** 2 + (y - b) ** 2) / (2 * 0.08**2) for a, b in ((0.3, 0.71), (1.02, 0.5))])
    told = soft_argmax(maps[None], (4, 4))[0]
    assert torch.allclose(told[0, :2], torch.tensor([0.3, 0.71]), atol=1e-3)
    assert told[0, 2].exp().item() == pytest.approx(0.08, rel=0.01)
    assert told[1, 0] > 1  # beyond the picture


def test_a_single_hot_cell_is_a_place_of_the_crop():
    maps = torch.full((1, 1, 22, 22), -1e4)
    maps[0, 0, 3, 18] = 0.0  # cells of a sixteenth of the side; the first three are outside
    assert torch.allclose(soft_argmax(maps, (4, 4))[0, 0, :2], torch.tensor([15.5 / 16, 0.5 / 16]))


# --- conventions ---


def test_smaller_conventions_are_contained_in_larger_ones():
    points = torch.rand(2, 70, 2)
    assert torch.equal(convert(points, 68), points[:, :68])
    assert torch.equal(convert(points, 54)[:, 49:], points[:, [51, 54, 57, 62, 66]])
    assert torch.allclose(convert(points, 5), five(points[:, :68]))
    assert torch.allclose(convert(convert(points, 54), 5), convert(points, 5))
    assert convert(points, 70) is points


@pytest.mark.parametrize(("count", "to"), [(54, 68), (5, 54), (478, 68), (68, 6)])
def test_what_a_convention_does_not_contain_is_refused(count, to):
    with pytest.raises(errors.OptionError, match=f"{to} landmarks from {count}"):
        convert(torch.zeros(count, 2), to)


@pytest.mark.parametrize("count", FLIPS)
def test_mirroring_twice_changes_nothing_and_commutes_with_every_smaller_convention(count):
    points = torch.rand(3, count, 2, dtype=torch.float64) * 100
    assert torch.allclose(mirror(mirror(points, 112), 112), points)
    for to in [to for to in FLIPS if to < count]:
        assert torch.allclose(convert(mirror(points, 112), to), mirror(convert(points, to), 112))


# --- pixels of the picture that was given ---


class Spot(nn.Module):
    """Tells where a picture is bright, as shares of its side: a network whose answer is known."""

    def forward_features(self, images):
        return images[:, :1]

    def forward(self, last):
        side = last.shape[2]
        heat = last.clamp(min=0) / last.clamp(min=0).sum((2, 3), keepdim=True)
        places = (torch.arange(side) + 0.5) / side
        x, y = (heat.sum(2)[:, 0] * places).sum(1), (heat.sum(3)[:, 0] * places).sum(1)
        return torch.stack([x, y, torch.full_like(x, 0.1).log()], 1)[:, None]


def spotter(size=64):
    model = LandmarkNet(Spot(), Spot(), 1, size)
    model.register_parameter("one", nn.Parameter(torch.ones(())))
    model.preprocess = Preprocess(size=(3, size, size), interpolation="bilinear")
    return model


def spot(width, height, x, y):
    picture = np.zeros((height, width, 3), np.uint8)
    picture[y - 2 : y + 3, x - 2 : x + 3] = 255
    return picture


def test_points_are_in_pixels_of_each_picture_whatever_its_shape():
    pictures = [spot(128, 160, 30, 100), Image.fromarray(spot(90, 40, 70, 20)), spot(64, 64, 3, 3)]
    found = spotter().find(pictures, batch_size=2)
    wanted = torch.tensor([[30.0, 100.0], [70.0, 20.0], [3.0, 3.0]])
    assert torch.allclose(found.points[:, 0], wanted, atol=0.6)
    assert torch.allclose(found.deviation[:, 0], torch.tensor([16.0, 9.0, 6.4]), atol=1e-3)
    assert found.inside.all()


def test_a_box_is_enlarged_by_a_quarter_and_may_leave_the_picture():
    picture = spot(200, 100, 20, 30)
    found = spotter().find([picture], boxes=[(-10, 0, 60, 50)])
    assert torch.allclose(found.points[0, 0], torch.tensor([20.0, 30.0]), atol=0.8)
    crop, frame = square(picture, (-10, 0, 60, 50))
    assert (crop.shape, frame) == ((75, 75, 3), (-18.0, -12.0, 75.0))
    assert not crop[:12].any() and not crop[:, :18].any()


class Corners(LandmarkNet):
    """Tells 54 points on the edge of the part of each crop that is bright, and remembers the crops."""

    def __init__(self, size=64):
        super().__init__(Spot(), Spot(), 54, size)
        self.register_parameter("one", nn.Parameter(torch.ones(())))
        self.preprocess = Preprocess(size=(3, size, size), interpolation="bilinear")
        self.crops = []

    def forward(self, images):
        self.crops.append(images)
        told = []
        for image in images[:, 0]:
            bright = (image > 0).nonzero().float()
            low, high = (bright.amin(0) / 64).flip(0), ((bright.amax(0) + 1) / 64).flip(0)
            told.append(torch.stack([low, high]).repeat(27, 1))
        return torch.cat([torch.stack(told), torch.full((len(images), 54, 1), 0.1).log()], 2)


def test_a_second_look_is_at_what_the_first_enclosed():
    picture = np.zeros((200, 160, 3), np.uint8)
    picture[100:150, 20:60] = 255
    model = Corners()
    first, second = model.landmarks(picture), model.landmarks(picture, passes=2)
    for told, off in ((first, 3.2), (second, 1.1)):  # a pixel of each crop: 200 / 64 and 62 / 64
        assert torch.allclose(told[0, :2], torch.tensor([[19.5, 99.5], [59.5, 149.5]]), atol=off)
    share = (model.crops[-1] > 0).float().mean().item()
    assert share == pytest.approx(40 * 50 / (50 * 1.25) ** 2, abs=0.07)


def test_the_mirror_image_is_looked_at_and_told_as_if_it_were_not_mirrored():
    class Leaning(Corners):
        """Sees every point a tenth of the crop further to the left than it is."""

        def forward(self, images):
            return super().forward(images) - torch.tensor([0.1, 0.0, 0.0])

    picture = np.zeros((64, 64, 3), np.uint8)
    picture[10:30, 40:50] = 255
    straight, leaning = Corners(), Leaning()
    assert torch.allclose(leaning.landmarks(picture)[0, :, 0], straight.landmarks(picture)[0, :, 0] - 6.4, atol=1e-4)
    ends = {round(x, 3) for x in leaning.landmarks(picture, mirrored=True)[0, :, 0].tolist()}
    assert ends <= {39.5, 44.5, 49.5}  # no lean is left; which end is which is not the same in the mirror


def test_what_cannot_be_looked_at_again_is_refused():
    model = spotter()
    with pytest.raises(errors.OptionError, match="passes=2 of a network of 1 points"):
        model.landmarks(spot(64, 64, 9, 9), passes=2)
    with pytest.raises(errors.OptionError, match="passes=0"):
        model.landmarks(spot(64, 64, 9, 9), passes=0)
    with pytest.raises(errors.OptionError, match="mirror image of 1 landmarks"):
        model.landmarks(spot(64, 64, 9, 9), mirrored=True)


@pytest.mark.parametrize("backbone", ["mobilenetv3_small_050", "lcnet_050", "mobilenetv2_050"])
def test_a_stride_of_16_has_a_map_twice_as_fine_and_heat_as_fine_as_before(backbone):
    coarse, fine = empty(backbone=backbone).eval(), empty(backbone=backbone, stride=16).eval()
    picture = torch.empty(1, 3, 64, 64, device="meta")
    assert (coarse.trunk(picture).shape[2:], fine.trunk(picture).shape[2:]) == ((2, 2), (4, 4))
    heat = [net.head.maps(net.head.enlarge(net.trunk(picture))).shape[2:] for net in (coarse, fine)]
    assert heat == [(14, 14), (10, 10)]  # cells of eight pixels; three and one beyond each edge
    assert parameters(coarse.backbone) == parameters(fine.backbone)


def test_a_hot_cell_of_a_map_enlarged_twice_is_where_it_is():
    maps = torch.full((1, 1, 16, 16), -1e4)
    maps[0, 0, 1, 14] = 0.0  # the first and last of seven cells, each halved; one is beyond each edge
    assert torch.allclose(soft_argmax(maps, (7, 7), 2)[0, 0, :2], torch.tensor([13.5 / 14, 0.5 / 14]))


@pytest.mark.parametrize("backbone", ["resnet50", "hrnet_w18", "edgenext_xx_small"])
def test_a_stride_of_16_is_refused_where_the_layers_are_not_known(backbone):
    with pytest.raises(errors.OptionError, match="MobileNets and LCNets"):
        empty(backbone=backbone, stride=16)


def test_wrong_calls_say_what_is_wrong():
    model, picture = spotter(), spot(64, 64, 9, 9)
    with pytest.raises(errors.OptionError, match="2 boxes for 1 images"):
        model.landmarks(picture, boxes=[None, None])
    with pytest.raises(errors.OptionError, match="There is no picture in it"):
        model.landmarks(picture, boxes=[(70, 0, 5, 5)])
    with pytest.raises(errors.OptionError, match="68 landmarks from 1"):
        model.landmarks(picture, points=68)
    with pytest.raises(errors.ImageError, match="no images given"):
        model.landmarks([])
    with pytest.raises(errors.MissingFile):
        model.landmarks("nowhere.png")


def test_a_card_makes_a_network_that_finds_points_and_embeds_nothing():
    model = xzoo.create("landmarker", backbone="mobilenetv3_small_050", points=54, input_size=64)
    found = model.find(np.zeros((80, 60), np.uint8), points=5)
    assert (found.points.shape, found.deviation.shape, found.inside.shape) == ((1, 5, 2), (1, 5), (1, 5))
    with pytest.raises(errors.OptionError, match="landmarks\\(images\\)"):
        model.embed(np.zeros((80, 60), np.uint8))


def test_a_card_tells_points_or_an_embedding_and_never_half_of_one():
    from pathlib import Path

    from xzoo.cards.schema import parse_card

    text = (Path(__file__).parents[2] / "cards" / "landmarker.md").read_text()
    parse_card(text, "landmarker.md")
    for output in ("{points: 68, embedding: 512}", "{embedding: 512}", "{points: 0}", "{}"):
        with pytest.raises(errors.CardError, match="output"):
            parse_card(text.replace("{points: 68}", output), "landmarker.md")
    from xzoo.cards import draw, render

    card = xzoo.card("landmarker")
    assert "68 landmarks" in draw.contract_svg(card)
    assert "68 landmarks" in render.page(card)


@pytest.mark.parametrize("count", [1, 3])
def test_few_pictures_go_through_as_many_do(count: int) -> None:
    model = xzoo.create("thermal_fld_lite", pretrained=True).eval()
    images = torch.rand(20, 3, *model.input_size, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        assert torch.allclose(model.infer(images[:count]), model(images)[:count], atol=1e-5)
