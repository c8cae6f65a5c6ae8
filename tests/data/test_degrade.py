"""Degradations against OpenCV's and Pillow's figures, and what random ones must keep."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from xzoo import errors
from xzoo.data import degrade
from xzoo.data.augment import generator

ROW = [10, 20, 40, 80, 160, 200, 120, 30]
# cv2.resize of ROW as float32, OpenCV 5.0
BY_OPENCV = {
    ("nearest", 3): [10, 40, 200],
    ("nearest", 13): [10, 10, 20, 20, 40, 80, 80, 160, 160, 200, 120, 120, 30],
    ("linear", 3): [18.333, 120, 105],
    ("linear", 13): [10, 14.231, 20.769, 33.077, 50.769, 75.385, 120, 164.615, 189.231, 172.308, 123.077, 68.077, 30],
    ("area", 3): [21.25, 120, 106.25],
    ("area", 13): [10, 13.75, 20, 35, 45, 80, 120, 160, 195, 180, 120, 63.75, 30],
    ("cubic", 3): [16.829, 120, 100.139],
    ("cubic", 13): [
        9.059,
        12.588,
        20.823,
        29.573,
        48.84,
        70.929,
        120,
        169.954,
        201.944,
        183.428,
        124.837,
        61.036,
        21.532,
    ],
    ("lanczos4", 3): [17.124, 116.55, 100.52],
    ("lanczos4", 13): [
        9.18,
        12.906,
        20.762,
        32.561,
        47.442,
        73.208,
        116.55,
        169.287,
        200.38,
        184.092,
        124.472,
        57.511,
        24.575,
    ],
}


def faces(count=4, height=112, width=112, seed=0):
    draw = torch.Generator().manual_seed(seed)
    smooth = F.interpolate(torch.randn(count, 3, 14, 14, generator=draw), size=(height, width), mode="bicubic")
    return (128 + 60 * smooth).clamp(0, 255).to(torch.uint8)


@pytest.mark.parametrize(("kernel", "after"), BY_OPENCV)
def test_a_row_is_resized_as_opencv_does_it(kernel, after):
    ours = degrade.matrix(kernel, 8, after) @ np.array(ROW, np.float32)
    np.testing.assert_allclose(ours, BY_OPENCV[kernel, after], atol=2e-3)


@pytest.mark.parametrize("after", [16, 20, 112, 150])
def test_the_antialiased_kernel_is_pillows(after):
    pixels = faces(1)
    pillow = Image.fromarray(pixels[0].permute(1, 2, 0).numpy()).resize((after, after), Image.Resampling.BICUBIC)
    ours = degrade.resized(pixels, [(after, after)], ["bicubic_aa"])[0].permute(1, 2, 0)
    assert float((ours - torch.from_numpy(np.array(pillow)).float()).abs().max()) <= 1


@pytest.mark.parametrize(
    ("kernel", "slowly"),
    [
        ("linear", lambda x, n: F.interpolate(x, size=(n, n), mode="bilinear")),
        ("cubic", lambda x, n: F.interpolate(x, size=(n, n), mode="bicubic")),
        ("nearest", lambda x, n: F.interpolate(x, size=(n, n), mode="nearest")),
        ("area", lambda x, n: F.avg_pool2d(x, 112 // n)),
    ],
)
@pytest.mark.parametrize("after", [14, 28, 56])
def test_pictures_are_resized_as_torch_does_it(kernel, slowly, after):
    pixels = faces(2)
    ours = degrade.resized(pixels, [(after, after)] * 2, [kernel] * 2)
    assert float((ours - slowly(pixels.float(), after).round().clamp(0, 255)).abs().max()) <= 1


def test_images_of_a_batch_have_their_own_sizes_and_kernels():
    pixels = faces(3, 60, 40)
    sizes, kernels = [(20, 10), (7, 9), (30, 40)], ["area", "cubic", "linear"]
    together = degrade.resized(pixels, sizes, kernels)
    assert together.shape == (3, 3, 30, 40)
    for index, (height, width) in enumerate(sizes):
        alone = degrade.resized(pixels[index : index + 1], [(height, width)], [kernels[index]])
        assert torch.equal(together[index, :, :height, :width], alone[0])
        assert float(together[index, :, height:].abs().sum() + together[index, :, :, width:].abs().sum()) == 0


def test_halves_go_to_the_even_number_however_near_a_sum_comes_to_them():
    near = torch.tensor([0.5, 1.5, 2.5, 254.5, 3.4, -2.0, 300.0])
    for miss in (-2e-5, 0.0, 2e-5):
        assert degrade._whole(near + miss).tolist() == [0, 2, 2, 254, 3, 0, 255]


def test_native_students_get_small_pictures_and_others_whole_ones():
    pixels = faces()
    assert degrade.create("bicubic_r", size=16)(pixels).shape == (4, 3, 16, 16)
    for name in set(degrade.OPERATORS) - {"bicubic_r"}:
        out = degrade.create(name)(pixels, generator(0, 0))
        assert (out.shape, out.dtype) == (pixels.shape, torch.uint8), name


def test_shrinking_and_enlarging_rounds_between():
    pixels = faces(2)
    small = F.interpolate(pixels.float(), size=(14, 14), mode="bilinear").round()
    slowly = F.interpolate(small, size=(112, 112), mode="bilinear").round()
    ours = degrade.create("bilinear_r_up", size=14)(pixels).float()
    assert float((ours - slowly).abs().max()) <= 1
    assert not torch.equal(ours, pixels.float())


def test_named_kernels_are_used_in_their_directions():
    pixels = faces(1)
    small = F.avg_pool2d(pixels.float(), 4).round()
    ours = degrade.create("area_cubic", size=28, down="area", up="cubic")(pixels).float()
    slowly = F.interpolate(small, size=(112, 112), mode="bicubic").round().clamp(0, 255)
    assert float((ours - slowly).abs().max()) <= 1


@pytest.mark.parametrize(("name", "share"), [("adaface_lowres", 0.2), ("crfr_pow2", 0.1)])
def test_as_many_images_are_degraded_as_the_probability_says(name, share):
    pixels = faces(1, 24, 24).expand(2000, -1, -1, -1)
    operator = degrade.create(name)
    out = operator(pixels, generator(0, 0))
    changed = float((out != pixels).flatten(1).any(1).float().mean())
    # A share of 1 or a side that is enlarged and brought back may change nothing.
    assert 0.4 * share < changed < share + 4 * (share * (1 - share) / 2000) ** 0.5


def test_the_curriculum_grows_with_what_was_seen():
    shares = [degrade.PowerOfTwo(seen).probability for seen in (0, 34_999, 35_000, 350_000)]
    assert shares == pytest.approx([0.1, 0.1, 0.2, 1.0])
    assert degrade.PowerOfTwo(35_000).record()["probability"] == pytest.approx(0.2)


def test_random_kernels_draw_every_size_and_kernel():
    pixels = faces(1, 28, 28).expand(300, -1, -1, -1)
    out = degrade.create("rand5_r_up", sizes=(7, 14))(pixels, generator(0, 0))
    possible = {
        degrade.create("area_cubic", size=size, down=down, up=up)(pixels[:1]).numpy().tobytes()
        for size in (7, 14)
        for down in degrade.KERNELS
        for up in degrade.KERNELS
    }
    drawn = {image.numpy().tobytes() for image in out}
    assert drawn <= possible
    assert len(drawn) > 0.9 * len(possible)


@pytest.mark.parametrize("name", ["rand5_r_up", "adaface_lowres", "fskd_range", "crfr_pow2"])
def test_the_same_seed_gives_the_same_pictures(name):
    pixels = faces()
    before = pixels.clone()
    operator = degrade.create(name)
    assert torch.equal(operator(pixels, generator(1, 2)), operator(pixels, generator(1, 2)))
    assert torch.equal(pixels, before)
    with pytest.raises(errors.OptionError, match="generator"):
        operator(pixels)


def test_every_record_can_be_written_and_names_the_operator():
    for name, kind in degrade.OPERATORS.items():
        record = json.loads(json.dumps(degrade.create(name).record()))
        assert record["operator"] == name == kind.name
        assert record["library"].startswith("xzoo ") and record["source"]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: degrade.create("bicubic"),
        lambda: degrade.create("bicubic_r", side=3),
        lambda: degrade.create("bicubic_r", size=0),
        lambda: degrade.create("bicubic_r", size=8.5),
        lambda: degrade.create("rand5_r_up", sizes=()),
        lambda: degrade.create("adaface_lowres", low=0.0),
        lambda: degrade.create("adaface_lowres", probability=1.5),
        lambda: degrade.create("crfr_pow2", seen=-1),
        lambda: degrade.create("area_cubic", up="lanczos"),
        lambda: degrade.create("bicubic_r")(torch.zeros(1, 3, 8, 8)),
        lambda: degrade.matrix("spline", 3, 3),
        lambda: degrade.matrix("linear", 3, 0),
    ],
)
def test_what_cannot_be_is_refused(wrong):
    with pytest.raises(errors.XzooError):
        wrong()


def test_no_images_are_no_images():
    assert degrade.create("bilinear_r_up")(faces(1)[:0]).shape == (0, 3, 112, 112)


def test_opencv_agrees_wherever_it_is_installed():
    cv2 = pytest.importorskip("cv2")
    flags = {"nearest": 0, "linear": 1, "cubic": 2, "area": 3, "lanczos4": 4}
    pixels = faces(1)
    array = pixels[0].permute(1, 2, 0).numpy()
    for kernel, flag in flags.items():
        for after in (7, 33, 56, 90, 150):
            theirs = cv2.resize(array, (after, after), interpolation=flag)
            ours = degrade.resized(pixels, [(after, after)], [kernel])[0].permute(1, 2, 0).numpy()
            assert np.abs(ours - theirs).max() <= 1, (kernel, after)
