"""Batches depend on seed and step alone, and hold what they promise."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from xzoo.data.manifest import Manifest, Row
from xzoo.data.samplers import BalancedSampler, Batch, DomainSampler, ImageSampler, PairSampler
from xzoo.errors import DataError, OptionError, RunError


def faces(**counts: dict[str, int]) -> Manifest:
    """Subjects with a number of images per spectrum; no files."""
    cells = [
        (subject, spectrum, n) for subject, held in counts.items() for spectrum, k in held.items() for n in range(k)
    ]
    rows = tuple(Row(f"{s}/{b}/{n}", s, b, index=i) for i, (s, b, n) in enumerate(cells))
    return Manifest(rows, Path())


PEOPLE = faces(**{f"s{number}": {"VIS": 3 + number % 3, "LWIR": 1 + number % 4} for number in range(10)})
SAMPLERS = {
    "pairs": lambda **changed: PairSampler(PEOPLE, **{"batch": 7, **changed}),
    "balanced": lambda **changed: BalancedSampler(PEOPLE, **{"subjects": 4, "images": 3, **changed}),
}
each = pytest.mark.parametrize("make", SAMPLERS.values(), ids=SAMPLERS.keys())


def equal(one: Batch, two: Batch) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


@each
def test_an_interrupted_run_sees_the_images_of_an_uninterrupted_one(make) -> None:
    whole = make()
    expected = [whole.next_batch() for _ in range(40)]
    first = make()
    for _ in range(17):
        first.next_batch()
    second = make()
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert all(equal(second.next_batch(), batch) for batch in expected[17:])


@each
def test_any_step_can_be_asked_for_in_any_order(make) -> None:
    sampler = make()
    assert equal(sampler.batch(30), make().batch(30))
    assert equal(sampler.batch(2), make().batch(2))
    assert sampler.step == 0


@each
def test_another_seed_gives_other_batches(make) -> None:
    assert equal(make(seed=1).batch(0), make(seed=1).batch(0))
    assert not equal(make(seed=1).batch(0), make(seed=2).batch(0))


@each
def test_steps_differ(make) -> None:
    assert not equal(make().batch(0), make().batch(1))


@each
def test_both_sides_hold_their_spectrum_and_their_subject(make) -> None:
    for step in range(20):
        batch = make().batch(step)
        for rows, spectrum, subjects in (
            (batch.source, "VIS", batch.source_subject),
            (batch.target, "LWIR", batch.target_subject),
        ):
            assert {PEOPLE.rows[row].spectrum for row in rows} == {spectrum}
            assert [PEOPLE.rows[row].subject for row in rows] == [PEOPLE.subjects[subject] for subject in subjects]


@each
@pytest.mark.parametrize(
    ("change", "word"),
    [({"seed": 1}, "seed"), ({"manifest": "x"}, "manifest"), ({"step": -1}, "step"), ({"step": True}, "step")],
    ids=str,
)
def test_the_state_of_another_sampler_is_refused(make, change: dict[str, object], word: str) -> None:
    with pytest.raises(RunError, match=word):
        make().load_state_dict({**make().state_dict(), **change})


def test_the_state_of_another_batch_size_is_refused() -> None:
    with pytest.raises(RunError, match="settings"):
        SAMPLERS["pairs"](batch=8).load_state_dict(SAMPLERS["pairs"]().state_dict())


def test_every_source_image_comes_once_in_an_epoch() -> None:
    sampler = PairSampler(PEOPLE, batch=7)
    seen = np.concatenate([sampler.batch(step).source for step in range(40)])
    total = sum(row.spectrum == "VIS" for row in PEOPLE.rows)
    assert sampler.steps_per_epoch == -(-total // 7)
    epochs = seen[: total * 6].reshape(6, total)
    assert all(len(set(epoch)) == total for epoch in epochs.tolist())
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 6


def test_a_pair_is_marked_by_whether_its_subjects_agree() -> None:
    sampler = PairSampler(PEOPLE, batch=50)
    batches = [sampler.next_batch() for _ in range(40)]
    assert all(np.array_equal(b.same, b.source_subject == b.target_subject) for b in batches)
    assert np.mean([b.same.mean() for b in batches]) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(("positive", "expected"), [(0.0, 0), (1.0, 50)])
def test_the_share_of_positive_pairs_is_kept_at_its_ends(positive: float, expected: int) -> None:
    assert PairSampler(PEOPLE, batch=50, positive=positive).batch(3).same.sum() == expected


def test_partners_of_negative_pairs_are_uniform_over_the_other_subjects() -> None:
    sampler = PairSampler(PEOPLE, batch=1000, positive=0.0)
    counts = Counter(np.concatenate([sampler.batch(step).target_subject for step in range(20)]).tolist())
    assert set(counts) == set(range(10))
    # A subject is drawn as often as it is not the source itself: 2000 each, give or take.
    assert max(counts.values()) / min(counts.values()) < 1.3


def test_targets_are_pooled_for_pairs_and_separate_for_balanced_batches() -> None:
    people = faces(
        a={"VIS": 2, "NIR": 1}, b={"VIS": 2, "LWIR": 1}, c={"VIS": 2, "NIR": 2, "LWIR": 2}, d={"NIR": 1, "LWIR": 1}
    )
    pairs = PairSampler(people, batch=64)
    assert (pairs.targets, pairs.skipped) == (("NIR", "LWIR"), ("d",))
    balanced = BalancedSampler(people, subjects=1, images=2)
    assert balanced.skipped == ("a", "b", "d")
    batch = balanced.next_batch()
    assert [people.rows[row].spectrum for row in batch.target] == ["NIR", "NIR", "LWIR", "LWIR"]
    assert BalancedSampler(people, targets="NIR", subjects=2).skipped == ("b", "d")


def test_a_balanced_batch_has_p_subjects_with_k_images_on_each_side() -> None:
    sampler = BalancedSampler(PEOPLE, subjects=4, images=3)
    for step in range(12):
        batch = sampler.batch(step)
        assert Counter(Counter(batch.source_subject.tolist()).values()) == {3: 4}
        assert np.array_equal(batch.source_subject, batch.target_subject)
        assert batch.same is None


def test_few_images_are_repeated_evenly() -> None:
    people = faces(a={"VIS": 2, "LWIR": 5})
    batch = BalancedSampler(people, subjects=1, images=5).batch(0)
    assert sorted(Counter(batch.source.tolist()).values()) == [2, 3]
    assert len(set(batch.target.tolist())) == 5


def test_an_epoch_of_balanced_batches_repeats_no_subject() -> None:
    sampler = BalancedSampler(PEOPLE, subjects=3)
    assert sampler.steps_per_epoch == 3
    seen = np.concatenate([sampler.batch(step).source_subject for step in range(3)])
    assert len(set(seen.tolist())) == 9


def test_too_few_subjects_are_counted() -> None:
    with pytest.raises(DataError, match="11 subjects cannot") as caught:
        BalancedSampler(PEOPLE, subjects=11)
    assert "10 of 10 subjects" in str(caught.value)
    assert "subjects=10 or fewer" in str(caught.value)


def test_a_manifest_of_one_spectrum_has_no_pairs() -> None:
    with pytest.raises(DataError, match="any other spectrum"):
        PairSampler(faces(a={"VIS": 3}, b={"VIS": 2}), batch=2)


def test_sides_without_a_common_subject_have_no_pairs() -> None:
    with pytest.raises(DataError, match="no subject has images in VIS and in LWIR"):
        BalancedSampler(faces(a={"VIS": 3}, b={"LWIR": 2}), subjects=1)


def test_one_subject_has_no_negatives() -> None:
    one = faces(a={"VIS": 3, "LWIR": 2})
    with pytest.raises(DataError, match="two subjects"):
        PairSampler(one, batch=2)
    assert PairSampler(one, batch=2, positive=1.0).batch(0).same.all()


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("pairs", {"batch": 0}),
        ("pairs", {"batch": 2.5}),
        ("pairs", {"batch": True}),
        ("pairs", {"positive": 1.5}),
        ("pairs", {"positive": float("nan")}),
        ("pairs", {"seed": -1}),
        ("pairs", {"seed": None}),
        ("pairs", {"source": "vis"}),
        ("pairs", {"targets": "VIS"}),
        ("pairs", {"targets": ["LWIR", "THERMAL"]}),
        ("balanced", {"subjects": 0}),
        ("balanced", {"images": 0}),
    ],
    ids=str,
)
def test_settings_that_cannot_be_meant_are_refused(kind: str, change: dict[str, object]) -> None:
    with pytest.raises(OptionError):
        SAMPLERS[kind](**change)


def test_a_step_before_the_first_is_refused() -> None:
    with pytest.raises(OptionError, match="step"):
        SAMPLERS["pairs"]().batch(-1)


def test_images_of_a_subject_follow_one_another_where_that_is_asked() -> None:
    rows = tuple(Row(f"{index}.png", f"s{index % 6}", "VIS") for index in range(6 * 5))
    manifest = Manifest(rows, Path())
    sampler = ImageSampler(manifest, batch=30, per_subject=2, seed=3)
    batch = sampler.next_batch()
    assert sorted(batch.source.tolist()) == list(range(30))
    runs = np.diff(np.flatnonzero(np.diff(batch.source_subject, prepend=-1, append=-1) != 0))
    assert (runs >= 2).sum() >= 10  # twelve pairs, and a single one of each subject
    assert not np.array_equal(batch.source, sampler.next_batch().source)
    plain, one = (ImageSampler(manifest, batch=30, seed=3, **more).next_batch() for more in ({}, {"per_subject": 1}))
    assert plain.source.tolist() == one.source.tolist()


# --- subjects in every domain ------------------------------------------------------------------

BANDS = ("VIS", "MWIR", "LWIR")
MANY = faces(
    **{f"all{number}": {"VIS": 3, "MWIR": 2, "LWIR": 1 + number} for number in range(5)},
    two={"VIS": 2, "LWIR": 2},
    one={"MWIR": 9},
)


def domains(**changed) -> DomainSampler:
    return DomainSampler(MANY, **{"subjects": 2, "images": 2, **changed})


def test_every_subject_of_a_batch_is_seen_in_every_domain_equally_often() -> None:
    sampler = domains()
    assert sampler.domains == BANDS
    assert sampler.skipped == ("one", "two")
    for step in range(20):
        batch = sampler.batch(step)
        assert len(batch.target) == 0
        subjects = batch.source_subject.reshape(2, 3, 2)
        assert len(set(subjects[:, 0, 0])) == 2
        assert (subjects == subjects[:, :1, :1]).all()
        seen = np.array([MANY.rows[row].spectrum for row in batch.source]).reshape(2, 3, 2)
        assert (seen == np.array(BANDS)[None, :, None]).all()


def test_images_of_a_domain_come_again_only_where_there_are_too_few() -> None:
    few = Counter()
    for step in range(10):
        for row in domains(images=3).batch(step).source.reshape(2, 3, 3)[:, 1]:
            assert len(set(row)) == 2  # two MWIR images for three places
        few.update(len(set(row)) for row in domains(images=3).batch(step).source.reshape(2, 3, 3)[:, 0])
    assert set(few) == {3}


def test_a_round_brings_every_subject_once_and_an_epoch_is_as_long_as_its_images() -> None:
    sampler = domains(subjects=1)
    assert Counter(int(sampler.batch(step).source_subject[0]) for step in range(5)) == dict.fromkeys(range(5), 1)
    rows = sum(row.subject.startswith("all") for row in MANY.rows)
    assert sampler.steps_per_epoch == -(-rows // 6) == 7


def test_resampling_keeps_subjects_with_two_domains_and_fills_the_absent_one_from_the_others() -> None:
    sampler = domains(missing="resample", subjects=6)
    assert sampler.skipped == ("one",)
    batch = sampler.batch(0)
    place = [MANY.subjects[number] for number in batch.source_subject.reshape(6, 6)[:, 0]].index("two")
    assert [MANY.rows[row].spectrum for row in batch.source.reshape(6, 3, 2)[place].flatten()] == [
        *("VIS", "VIS"),
        *("VIS", "VIS"),  # in the place of MWIR
        *("LWIR", "LWIR"),
    ]


def test_domains_are_resumed_and_any_step_can_be_asked_for() -> None:
    whole, first, second = domains(), domains(), domains()
    expected = [whole.next_batch() for _ in range(9)]
    for _ in range(4):
        first.next_batch()
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert all(equal(second.next_batch(), batch) for batch in expected[4:])
    assert equal(domains().batch(8), expected[8])
    assert not equal(domains(seed=1).batch(0), expected[0])
    with pytest.raises(RunError):
        domains(missing="resample").load_state_dict(first.state_dict())


@pytest.mark.parametrize(
    ("changed", "error", "says"),
    [
        ({"domains": "VIS"}, OptionError, "two different"),
        ({"domains": ("VIS", "VIS")}, OptionError, "two different"),
        ({"domains": ("VIS", "UV")}, OptionError, "UV"),
        ({"missing": "ignore"}, OptionError, "resample"),
        ({"subjects": 6}, DataError, "subjects=5 or fewer or missing='resample'"),
        ({"subjects": 7}, DataError, "do: subjects=5 or fewer$"),
        ({"subjects": 7, "missing": "resample"}, DataError, "6 of 7"),
        ({"domains": ("VIS", "NIR")}, DataError, "0 of 7"),
    ],
)
def test_domains_that_cannot_be_drawn_are_refused(changed, error, says) -> None:
    with pytest.raises(error, match=says):
        domains(**changed)
