"""What several processes are shown is what one would have been shown."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from xzoo.data.samplers import Batch
from xzoo.recipes.schema import Views
from xzoo.training.looks import ALONE, Looks, World, shown

PIXELS = torch.randint(256, (16, 3, 64, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


class _Raw:
    def __getitem__(self, rows: Tensor) -> Tensor:
        return PIXELS[rows]


def looked(view: dict[str, Any], world: World, *, targets: bool = True, index: int = 3) -> Tensor:
    rows, none = np.arange(8), np.empty(0, np.int64)
    every = np.arange(16)
    batch = Batch(rows, rows + 8, rows, rows, None) if targets else Batch(every, none, every, none, None)
    looks = Looks(Views.model_validate({"flip": 0.5, "named": {"low": view}}), 0)
    return shown(looks, batch, index, world).picture(_Raw(), "low")


@pytest.mark.parametrize("of", ["source", "target"])
@pytest.mark.parametrize(
    "operator",
    [
        {"name": "rand5_r_up", "options": {"sizes": [7, 14, 28]}},
        {"name": "adaface_lowres", "options": {"probability": 0.7}},
        {"name": "fskd_range"},
        {"name": "crfr_pow2", "options": {"seen": 140_000}},
    ],
    ids=lambda operator: operator["name"],
)
def test_each_of_two_processes_degrades_its_share_as_one_process_would(operator: dict[str, Any], of: str) -> None:
    view = {"of": of, "degrade": operator}
    alone = looked(view, ALONE)
    assert torch.equal(torch.cat([looked(view, World(rank, 2)) for rank in (0, 1)]), alone)
    assert torch.equal(torch.cat([looked(view, World(rank, 4)) for rank in range(4)]), alone)
    assert not torch.equal(looked(view, ALONE, index=4), alone)


def test_a_mask_over_a_degraded_view_is_shared_out_likewise() -> None:
    view = {"degrade": {"name": "fskd_range"}, "mask": {"patch": 8}, "crop": [0.7, 1.0]}
    alone = looked(view, ALONE, targets=False)
    assert torch.equal(torch.cat([looked(view, World(rank, 2), targets=False) for rank in (0, 1)]), alone)
