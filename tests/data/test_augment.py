"""Augmentation is seeded, per image, and does what it says."""

from __future__ import annotations

import pytest
import torch

from xzoo.data.augment import Augment, generator
from xzoo.errors import ImageError, OptionError

PIXELS = torch.randint(0, 256, (64, 3, 16, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
FULL = Augment(flip=0.5, crop=(0.5, 0.9), brightness=0.2, contrast=0.3, gamma=0.4)


def test_the_same_seed_and_step_give_the_same_pixels() -> None:
    assert torch.equal(FULL(PIXELS, generator(3, 5)), FULL(PIXELS, generator(3, 5)))


@pytest.mark.parametrize("other", [(4, 5, 0), (3, 6, 0), (3, 5, 1), (5, 3, 0)], ids=str)
def test_seed_step_and_stream_all_count(other: tuple[int, int, int]) -> None:
    assert not torch.equal(FULL(PIXELS, generator(3, 5)), FULL(PIXELS, generator(*other)))


def test_type_shape_and_input_are_kept() -> None:
    before = PIXELS.clone()
    out = FULL(PIXELS, generator(0, 0))
    assert (out.dtype, out.shape, out.device) == (PIXELS.dtype, PIXELS.shape, PIXELS.device)
    assert torch.equal(PIXELS, before)


def test_nothing_asked_changes_nothing() -> None:
    assert torch.equal(Augment(flip=0)(PIXELS, generator(0, 0)), PIXELS)


@pytest.mark.parametrize("crop", [(1.0, 1.0), (0.999999, 1.0)], ids=["plain", "through the sampler"])
def test_a_flip_mirrors_whole_images_and_about_the_asked_share(crop: tuple[float, float]) -> None:
    out = Augment(flip=0.5, crop=crop)(PIXELS, generator(0, 0))
    kept = (out == PIXELS).flatten(1).all(1)
    mirrored = (out == PIXELS.flip(3)).flatten(1).all(1)
    assert (kept ^ mirrored).all()
    assert 16 < mirrored.sum() < 48
    assert torch.equal(Augment(flip=1)(PIXELS, generator(0, 0)), PIXELS.flip(3))


def test_the_flips_stay_when_other_changes_are_switched_on() -> None:
    plain = Augment(flip=0.5)(PIXELS, generator(1, 1))
    both = Augment(flip=0.5, crop=(0.999999, 1.0), brightness=1e-9)(PIXELS, generator(1, 1))
    assert torch.equal(plain, both)


def test_a_crop_is_a_window_of_the_image() -> None:
    ramp = torch.arange(64, dtype=torch.uint8).mul(4).expand(50, 3, 64, 64).contiguous()
    out = Augment(flip=0, crop=(0.25, 0.25))(ramp, generator(0, 0)).float()
    assert torch.equal(out[:, :, :1], out[:, :, -1:])  # constant down the columns, as the ramp is
    spans = out[:, 0, 0, -1] - out[:, 0, 0, 0]
    assert ((spans - 126).abs() < 6).all()  # half the side, so half of the 252 grey values
    lefts = out[:, 0, 0, 0]
    assert lefts.min() < 30 and lefts.max() > 96  # every place between the left edge and the middle


def test_crop_and_light_differ_between_images() -> None:
    same = PIXELS[:1].expand(8, -1, -1, -1).contiguous()
    for augment in (Augment(flip=0, crop=(0.3, 0.9)), Augment(flip=0, brightness=0.3), Augment(flip=0, gamma=0.5)):
        out = augment(same, generator(0, 0))
        assert len({tuple(row.flatten().tolist()) for row in out}) == 8


def test_light_changes_all_channels_alike() -> None:
    grey = PIXELS[:, :1].expand(-1, 3, -1, -1).contiguous()
    out = FULL(grey, generator(0, 0))
    assert torch.equal(out[:, 0], out[:, 1])
    assert torch.equal(out[:, 0], out[:, 2])


def test_brightness_shifts_by_at_most_its_share() -> None:
    mid = torch.full((200, 3, 4, 4), 128, dtype=torch.uint8)
    shift = Augment(flip=0, brightness=0.2)(mid, generator(0, 0))[:, 0, 0, 0].float() - 128
    assert shift.abs().max() <= 52
    assert shift.min() < -40 and shift.max() > 40


def test_gamma_keeps_black_and_white() -> None:
    ends = torch.tensor([0, 255], dtype=torch.uint8).view(1, 1, 1, 2).expand(20, 3, 2, 2).contiguous()
    assert torch.equal(Augment(flip=0, gamma=0.5)(ends, generator(0, 0)), ends)


@pytest.mark.gpu
def test_the_device_does_not_change_the_picture() -> None:
    on_device = FULL(PIXELS.cuda(), generator(0, 0)).cpu().int()
    assert (on_device - FULL(PIXELS, generator(0, 0)).int()).abs().max() <= 1


@pytest.mark.parametrize("pixels", [PIXELS.float(), PIXELS[0]], ids=["float", "no batch axis"])
def test_only_raw_batches_are_taken(pixels: torch.Tensor) -> None:
    with pytest.raises(ImageError, match="uint8"):
        FULL(pixels, generator(0, 0))


@pytest.mark.parametrize(
    "change",
    [
        {"flip": 1.1},
        {"flip": float("nan")},
        {"crop": (0.0, 1.0)},
        {"crop": (0.9, 0.8)},
        {"crop": (0.5, 1.5)},
        {"crop": (0.5,)},
        {"brightness": -0.1},
        {"contrast": 1.0},
        {"gamma": 2.0},
    ],
    ids=str,
)
def test_impossible_ranges_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(OptionError, match=next(iter(change))):
        Augment(**change)
