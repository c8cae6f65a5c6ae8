"""Where the hardest partners come from: by hand, and at random."""

from __future__ import annotations

import pytest
import torch

from xzoo.losses.metric import mined

VIS, LWIR = 0, 1


def test_shares_of_a_batch_that_can_be_counted_by_hand() -> None:
    # Places on a line; subject and band of each.
    #            a       a       a        b        b       c
    places = [0.0, 1.0, 3.0, 10.0, 14.0, 20.0]
    subjects = [0, 0, 0, 1, 1, 2]
    bands = [VIS, VIS, LWIR, LWIR, LWIR, VIS]
    found = mined(torch.tensor(places)[:, None], torch.tensor(subjects), torch.tensor(bands))
    # Farthest of the same subject: 0 -> 3 (other band), 1 -> 3 (other), 3 -> 0 (other), 10 -> 14, 14 -> 10 (same band);
    # the one of subject c has no partner.
    assert found.cross_positive == pytest.approx(3 / 5)
    # Random: of (1, 3) one is of another band, of (0, 3) one, of (0, 1) both, of b none.
    assert found.cross_positive_chance == pytest.approx((1 / 2 + 1 / 2 + 1 + 0 + 0) / 5)
    # Nearest of another subject: 0, 1 -> 10 (other band), 3 -> 10 (same), 10 -> 3 (same), 14 -> 20 (other), 20 -> 14.
    assert found.same_negative == pytest.approx(2 / 6)
    # Random: a in VIS: c of (b, b, c); a in LWIR: two of three; b: one of four; c: two of five.
    assert found.same_negative_chance == pytest.approx((1 / 3 + 1 / 3 + 2 / 3 + 1 / 4 + 1 / 4 + 2 / 5) / 6)


@pytest.mark.parametrize("images", [1, 2, 4])
def test_random_features_are_at_the_chance_level_of_the_formulas(images: int) -> None:
    domains, people = 4, 8
    subjects = torch.arange(people).repeat_interleave(domains * images)
    bands = torch.arange(domains).repeat_interleave(images).repeat(people)
    random = torch.Generator().manual_seed(images)
    each = [mined(torch.randn(len(bands), 64, generator=random), subjects, bands) for _ in range(400)]
    positive = (domains - 1) * images / (domains * images - 1)
    for name, expected in (("cross_positive", positive), ("same_negative", 1 / domains)):
        assert getattr(each[0], f"{name}_chance") == pytest.approx(expected)
        assert sum(getattr(one, name) for one in each) / len(each) == pytest.approx(expected, abs=0.01)


def test_a_batch_without_partners_has_no_shares() -> None:
    alone = mined(torch.eye(3), torch.arange(3), torch.zeros(3))
    assert (alone.cross_positive, alone.cross_positive_chance) == (None, None)
    assert (alone.same_negative, alone.same_negative_chance) == (1.0, 1.0)
    one = mined(torch.eye(3), torch.zeros(3), torch.arange(3))
    assert (one.same_negative, one.same_negative_chance) == (None, None)
    assert one.cross_positive == 1.0


def test_an_anchor_is_no_partner_of_itself_even_where_all_are_alike() -> None:
    found = mined(torch.zeros(4, 2), torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1]))
    assert found.cross_positive == 1.0
