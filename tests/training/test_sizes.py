"""One network for faces of all sizes, fitted by a formula; real faces against teacher and pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

import xzoo
from xzoo import errors
from xzoo.data.degrade import through
from xzoo.evaluation import Pixels
from xzoo.evaluation.pixels import SIZES
from xzoo.training.sizes import Eye, ManySizes, within_subjects


def test_the_head_makes_scatter_within_subjects_even() -> None:
    draw = torch.Generator().manual_seed(0)
    subjects = torch.arange(40).repeat_interleave(50)
    spread = torch.tensor([5.0, 1.0, 0.2], dtype=torch.float64)
    centres = torch.randn(40, 3, dtype=torch.float64, generator=draw)
    rows = centres[subjects] + spread * torch.randn(2000, 3, dtype=torch.float64, generator=draw)
    mean, head = within_subjects(rows, subjects, shrink=1e-9)
    torch.testing.assert_close(mean, rows.mean(0))
    apart = (rows - torch.stack([rows[subjects == s].mean(0) for s in range(40)])[subjects]) @ head
    torch.testing.assert_close(apart.T @ apart / len(rows), torch.eye(3, dtype=torch.float64), rtol=0, atol=1e-6)


def test_the_head_is_the_inverse_root_also_where_rows_are_fewer_than_entries() -> None:
    draw = torch.Generator().manual_seed(1)
    rows, subjects = torch.randn(8, 20, dtype=torch.float64, generator=draw), torch.arange(8) // 2
    apart = rows - torch.stack([rows[subjects == s].mean(0) for s in range(4)])[subjects]
    scatter = apart.T @ apart / 8
    wanted = torch.linalg.inv(scatter + 3.0 * scatter.trace() / 20 * torch.eye(20, dtype=torch.float64))
    _, head = within_subjects(rows, subjects, shrink=3.0)
    torch.testing.assert_close(head @ head, wanted)


def test_faces_without_a_second_one_and_sizes_of_unlike_length_are_refused() -> None:
    with pytest.raises(errors.DataError, match="two different faces"):
        within_subjects(torch.randn(3, 4), torch.arange(3))
    with pytest.raises(errors.OptionError, match="without looks"):
        ManySizes([])
    eye = ManySizes([Eye(xzoo.create("bd_student").eval(), looks=(0, 8))])
    assert eye.head.shape == (512, 512)
    with pytest.raises(errors.DataError, match="in the order"):
        eye.fit([torch.zeros(3, 3, 112, 112, dtype=torch.uint8)], torch.arange(2))


def test_passing_through_few_pixels_is_pillows_resizing() -> None:
    pixels = torch.randint(256, (2, 3, 40, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = through(pixels, [8, 13], (24, 24))
    for row, side in zip(range(2), (8, 13), strict=True):
        image = Image.fromarray(pixels[row].permute(1, 2, 0).numpy())
        small = image.resize((side, side), Image.Resampling.BICUBIC).resize((24, 24), Image.Resampling.BICUBIC)
        apart = np.abs(found[row].permute(1, 2, 0).numpy().astype(int) - np.asarray(small).astype(int))
        assert apart.max() <= 2 and apart.mean() < 0.1  # a rounding at the small size may fall the other way


SUBJECTS = 40


def orl(folder: Path, side: int) -> Tensor:
    """Return the 400 faces ``uint8 [400, 3, 112, 112]``, through ``side`` pixels unless that is 0."""
    faces = []
    for subject in range(1, SUBJECTS + 1):
        for number in range(1, 11):
            image = Image.open(folder / "orl" / f"s{subject:02d}" / f"{number:02d}.png").convert("L")
            if side:
                image = image.resize((side, side), Image.Resampling.BICUBIC)
                image = image.resize((112, 112), Image.Resampling.BICUBIC)
            faces.append(np.asarray(image.resize((112, 112), Image.Resampling.BILINEAR)))
    return torch.from_numpy(np.stack(faces))[:, None].expand(-1, 3, -1, -1).contiguous()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_real_faces_of_all_sizes_are_found_better_than_by_the_teacher_and_by_pixels(
    real_data: Path, real_weights: Path
) -> None:
    """Fitted on subjects s01 to s25; one sharp mugshot of each of s26 to s40 against probes of few pixels."""
    teacher = xzoo.create("edgeface_xxs", pretrained=real_weights / "edgeface_xxs_q.pt")
    house = xzoo.create("hybrid_fr", pretrained=True)
    sizes = (0, 16, 12, 8, 6)
    faces = {side: orl(real_data, side) for side in sizes}
    who, number = torch.arange(400) // 10, torch.arange(400) % 10
    train, mugshot, probe = who < 25, (who >= 25) & (number == 0), (who >= 25) & (number > 0)
    student = ManySizes(EYES(house, teacher)).fit([faces[side][train] for side in sizes], who[train])

    def rank1(model: object, side: int, resize: int | None = None) -> float:
        def embed(pixels: Tensor) -> Tensor:
            if resize is not None:
                pixels = F.interpolate(pixels.float(), size=resize, mode="bilinear", antialias=True).byte()
            found: Tensor = model.embed(pixels)  # type: ignore[attr-defined]
            return found

        scores = embed(faces[side][probe]) @ embed(faces[0][mugshot]).T
        return float((who[mugshot][scores.argmax(1)] == who[probe]).double().mean())

    found = {side: rank1(student, side) for side in sizes[1:]}
    wise = {side: rank1(teacher, side) for side in sizes[1:]}
    grey = {side: max(rank1(Pixels(size), side, size) for size in SIZES) for side in sizes[1:]}
    assert (wise[16], wise[12], wise[8]) == pytest.approx((0.867, 0.793, 0.422), abs=0.002)
    assert all(found[side] > max(wise[side], grey[side]) for side in found), (found, wise, grey)
    for side, least in {16: 0.84, 8: 0.78, 6: 0.74}.items():
        assert found[side] >= least, found


def EYES(house: object, teacher: object) -> list[Eye]:  # noqa: N802
    """Looks and weights, chosen by five folds of the training subjects alone."""
    return [Eye(house, (0, 10, 6)), Eye(teacher, (0, 10, 6), 0.5)]  # type: ignore[arg-type]
