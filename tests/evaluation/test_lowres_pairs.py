"""LFW with few pixels, in three ways."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import xzoo
from xzoo import errors
from xzoo.data.manifest import Manifest, Pairs, Row
from xzoo.evaluation.lowres import lowres_pairs, read_sizes


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Forty pairs of twenty subjects, half of them genuine, in ten folds."""
    folder, random = tmp_path_factory.mktemp("pairs"), np.random.default_rng(0)
    rows = []
    for subject in range(20):
        face = random.uniform(40, 215, (6, 6, 3))
        for sample in range(2):
            pixels = (face + random.normal(0, 4, face.shape)).clip(0, 255).astype(np.uint8)
            name = f"{subject}_{sample}.png"
            Image.fromarray(pixels).resize((112, 112), Image.Resampling.BICUBIC).save(folder / name)
            rows.append(Row(name, f"s{subject}", "VIS", index=len(rows)))
    manifest = Manifest(tuple(rows), folder)
    place = [row.index for row in manifest.rows]
    first = np.array([place[2 * n] for n in range(20) for _ in range(2)])
    second = np.array([place[2 * n + 1 if same else (2 * n + 3) % 40] for n in range(20) for same in (1, 0)])
    pairs = Pairs(first, second, np.array([True, False] * 20))
    return Manifest(tuple(rows), folder, pairs)


def test_three_ways_of_few_pixels_are_verified_and_recorded(listed: Manifest) -> None:
    student = xzoo.create("bd_student").eval()
    both = lowres_pairs(student, listed, mode="lr2lr", side=8)
    second = lowres_pairs(student, listed, mode="hr2lr", side=8)
    every = lowres_pairs(student, listed, mode="list", sizes=[112, 8] * 40)
    assert (both.sides, second.sides, both.pairs) == ((8, 8), (8, 8), 40)
    assert every.accuracy == second.accuracy and every.auc == second.auc  # the same sizes, said in another way
    assert lowres_pairs(student, listed, mode="list", sizes=[8, 8] * 40).auc == both.auc
    assert both.auc > 0.9  # faces of 6 x 6 patches keep their means at 8 pixels, whatever the network
    assert both.operator["operator"] == "bicubic_r"
    assert both.interval[0] <= both.accuracy <= both.interval[1]


def test_a_list_of_sizes_is_one_line_of_whole_numbers(tmp_path: Path) -> None:
    (tmp_path / "sizes.csv").write_text("112,8,112,40\n")
    assert read_sizes(tmp_path / "sizes.csv") == [112, 8, 112, 40]
    (tmp_path / "wrong.csv").write_text("112,eight")
    with pytest.raises(errors.DataError, match="no list of sizes"):
        read_sizes(tmp_path / "wrong.csv")
    with pytest.raises(errors.MissingFile):
        read_sizes(tmp_path / "none.csv")


def test_sizes_that_do_not_fit_and_manifests_without_pairs_are_refused(listed: Manifest) -> None:
    student = xzoo.create("bd_student").eval()
    with pytest.raises(errors.OptionError, match="80|two for each"):
        lowres_pairs(student, listed, mode="list", sizes=[8])
    with pytest.raises(errors.OptionError, match="lr2lr"):
        lowres_pairs(student, listed, mode="lr2hr")  # type: ignore[arg-type]
    with pytest.raises(errors.EvaluationError, match="no pairs"):
        lowres_pairs(student, Manifest(listed.rows, listed.root))
