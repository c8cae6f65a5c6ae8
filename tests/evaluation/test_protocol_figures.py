"""Figures of protocols, against published fixtures, hand-computed cases and slow plain versions."""

from __future__ import annotations

import numpy as np
import pytest

from xzoo import errors
from xzoo.data.manifest import Row
from xzoo.evaluation import verification_from_scores
from xzoo.evaluation.identification import open_set_of
from xzoo.evaluation.protocols import figures
from xzoo.evaluation.protocols.schema import Template
from xzoo.evaluation.protocols.templates import pool, pooled
from xzoo.evaluation.ranking import search


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def published():
    """Continue one generator through both fixtures, as their author did."""
    rng = np.random.RandomState(0)
    same = np.arange(60) % 6 < 3
    a = rng.randn(60, 8)
    b = np.where(same[:, None], a + 0.9 * rng.randn(60, 8), rng.randn(60, 8))
    probe_subject = rng.randint(0, 10, 20)
    gallery_subject = np.r_[np.arange(10), rng.randint(0, 10, 10), np.full(20, -100)]
    centre = rng.randn(10, 8)
    probe = centre[probe_subject] + 1.2 * rng.randn(20, 8)
    gallery = np.concatenate([centre[gallery_subject[:20]] + 0.6 * rng.randn(20, 8), rng.randn(20, 8)])
    return unit(a), unit(b), same, unit(probe), unit(gallery), probe_subject, gallery_subject


def test_accuracy_over_folds_is_that_of_the_published_fixture(published):
    a, b, same, *_ = published
    scores = figures.pair_scores(np.concatenate([a, b]), np.arange(60), np.arange(60, 120))
    assert scores == pytest.approx((a * b).sum(1))
    rates = figures.fold_accuracies(scores, same, figures.folds(60))
    assert rates == pytest.approx([1, 5 / 6, 1, 1, 1, 5 / 6, 1, 1, 1, 5 / 6], abs=1e-12)
    mean, std = figures.accuracy(scores, same, figures.folds(60))
    assert mean == pytest.approx(0.95, abs=1e-12)
    assert std == pytest.approx(0.0763762616, abs=1e-10)


def test_ranks_in_a_gallery_with_distractors_are_those_of_the_published_fixture(published):
    *_, probe, gallery, probe_subject, gallery_subject = published
    found = search(probe, gallery, probe_subject, gallery_subject, rule="regdb")
    rate = [np.mean((found.rank > 0) & (found.rank <= rank)) for rank in (1, 5, 20)]
    assert rate == pytest.approx([0.5, 0.8, 0.9], abs=1e-12)


def test_folds_of_a_number_that_does_not_divide_start_with_the_longer_ones():
    assert np.bincount(figures.folds(23))[1:].tolist() == [3, 3, 3, 2, 2, 2, 2, 2, 2, 2]


def test_val_takes_its_threshold_from_the_other_folds():
    # Genuine distances 0.1 and 0.3; the impostor at 0.2 of fold 2 bounds fold 1 to 0.2, of which 0.1 passes.
    distance = np.array([0.1, 0.3, 1.0, 0.05, 0.1, 0.2])
    same, fold = np.array([1, 1, 0, 1, 1, 0], bool), np.array([1, 1, 1, 2, 2, 2])
    mean, std = figures.val(1 - distance / 2, same, fold, 1e-3)
    assert (mean, std) == pytest.approx((0.75, 0.25))


def test_tar_never_exceeds_its_false_accept_rate_and_none_is_told_where_it_cannot_be_shown():
    genuine, impostor = np.array([0.9, 0.8, 0.5, 0.4]), np.arange(10) / 10.0  # 0.0 ... 0.9
    found = verification_from_scores(genuine, impostor, (0.1, 0.2, 0.05)).tar
    # One impostor may pass: above 0.8 only 0.9. Two: above 0.7 0.9 and 0.8.
    assert found == {0.1: 0.25, 0.2: 0.5, 0.05: None}


def test_nearest_tar_picks_the_nearest_corner_and_of_equal_ones_the_highest():
    # Corners in falling score: (0, .5) (.25, .5) (.25, 1) (1, 1).
    genuine, impostor = np.array([0.9, 0.7]), np.array([0.8, 0.6, 0.5, 0.4])
    assert figures.nearest_tar(genuine, impostor, [0.1, 0.2, 0.25]) == [0.5, 1.0, 1.0]


def test_open_set_counts_mates_above_the_threshold_within_the_rank():
    # Gallery: axes 0 1 2. Probe 0 is found surely, 1 stands behind another, 2 is weak; two without mate reach 0.6, 0.8.
    gallery = np.eye(4)[:3]
    probe = unit(np.array([[9, 1, 0, 0.0], [0.7, 0.6, 0, 0], [0, 0, 0.5, 1], [0.6, 0, 0, 0.8], [0.8, 0, 0, 0.6]]))
    found = search(probe, gallery, np.array([0, 1, 2, 8, 9]), np.arange(3), others=True)
    assert found.rank.tolist() == [1, 2, 1, 0, 0]
    assert open_set_of(found, (0.5,), 1).tpir[0.5] == pytest.approx(1 / 3)  # above 0.6: probe 0; probe 2 has 0.45
    assert open_set_of(found, (0.5,), 2).tpir[0.5] == pytest.approx(2 / 3)  # probe 1 at 0.65 within rank 2
    assert open_set_of(found, (0.4,), 1).tpir == {0.4: None}


def test_truncated_average_precision_divides_by_all_mates():
    # Mates stand at ranks 1 and 3 of four.
    gallery = unit(np.array([[1, 0.0], [1, 0.1], [1, 0.5], [0, 1.0]]))
    args = (np.array([[1, 0.0]]), gallery, np.array([0]), np.array([0, 1, 0, 1]))
    found = search(*args, depths=(2, 3))
    assert found.average_precision == pytest.approx((1 + 2 / 3) / 2) and found.truncated[3] == found.average_precision
    assert found.truncated[2] == pytest.approx(1 / 2)


def test_searches_leave_out_labels_and_count_ties_against_the_probe():
    gallery = np.array([[1.0, 0], [1, 0], [0, 1]])
    query, subject = np.array([[1.0, 0]]), np.array([0])
    tied = search(query, gallery, subject, np.array([0, 1, 1]), others=True)
    assert tied.rank.tolist() == [2] and tied.other.tolist() == [1.0]
    whose = np.array([0, 1, 0])
    alone = search(query, gallery, subject, whose, np.array(["a"]), np.array(["a", "a", "b"]), others=True)
    assert alone.rank.tolist() == [2] and alone.mate.tolist() == [0.0] and alone.other.tolist() == [1.0]
    whoever = search(query, gallery, subject, whose, np.array([3]), np.array([1, 2, 1]), "sysu", others=True)
    assert whoever.rank.tolist() == [1] and whoever.other.tolist() == [-np.inf]


def test_what_a_search_keeps_agrees_with_a_slow_plain_version():
    rng = np.random.default_rng(4)
    query, gallery = rng.choice([-1.0, 1.0], (30, 4)), rng.choice([-1.0, 1.0], (50, 4))  # full of ties
    who, whose = rng.integers(0, 9, 30), rng.integers(0, 7, 50)  # subjects 7 and 8 have no mate
    found = search(query, gallery, who, whose, others=True, depths=(5,), block_scores=200)
    for row, subject, rank, mate, other, cut in zip(
        query @ gallery.T / 4, who, found.rank, found.mate, found.other, found.truncated[5], strict=True
    ):
        own, rest = sorted(row[whose == subject], reverse=True), row[whose != subject]
        assert other == rest.max() and mate == max(own, default=-np.inf)
        places = [number + int((rest >= score).sum()) for number, score in enumerate(own, 1)]
        assert rank == (places[0] if places else 0)
        if own:
            assert cut == pytest.approx(sum(n / at for n, at in enumerate(places, 1) if at <= 5) / len(own))


@pytest.mark.parametrize("bad", [np.zeros((1, 2)), np.array([[np.nan, 1]])], ids=["zero", "nan"])
def test_an_embedding_without_direction_is_refused(bad):
    with pytest.raises(errors.EvaluationError, match="listed embeddings, 1 of 2 unusable"):
        figures.pair_scores(np.concatenate([np.eye(2)[:1], bad]), np.array([0]), np.array([1]))


POOLS = {
    "mean": ([2.0, 1.0], {}),
    "mean_normalised": ([0.5, 0.5], {}),
    "media": ([1.5, 1.5], {}),  # media a holds rows 0 and 1: mean (3, 0); b: (0, 3)
    "media_normalised": ([0.5, 0.5], {}),
    "topk_norm": ([1.0, 0.0], {"k": 1}),
}


@pytest.mark.parametrize("name", POOLS)
def test_each_rule_of_templates_gives_what_the_formula_says(name):
    rows = {
        "mean": [[3, 0], [3, 0], [0, 3]],
        "mean_normalised": [[4, 0], [0, 1]],
        "media": [[2, 0], [4, 0], [0, 3]],
        "media_normalised": [[2, 0], [4, 0], [0, 3]],
        "topk_norm": [[4, 0], [0, 1]],
    }[name]
    expected, further = POOLS[name]
    media = ["a", "a", "b"][: len(rows)]
    found = pool(np.array(rows, np.float32), Template(pool=name, **further), media, [None] * len(rows))
    assert found.tolist() == pytest.approx(expected)


def test_norm_softmax_weighs_unit_vectors_by_the_exponential_of_their_norm():
    found = pool(np.array([[2.0, 0], [0, 1]]), Template(pool="norm_softmax"), [None] * 2, [None] * 2)
    weight = np.exp([2.0, 1.0]) / np.exp([2.0, 1.0]).sum()
    assert found == pytest.approx(weight)


def test_weighted_templates_multiply_by_the_quality_and_refuse_a_row_without():
    table = np.array([[1.0, 0], [0, 1]])
    assert pool(table, Template(weighted=True), [None] * 2, [0.5, 1.0]).tolist() == [0.25, 0.5]
    with pytest.raises(errors.EvaluationError, match="no quality"):
        pool(table, Template(weighted=True), [None] * 2, [0.5, None])


def test_templates_are_formed_by_columns_and_refuse_two_subjects():
    rows = [Row("a", "ann", "VIS", template="t1"), Row("b", "ann", "VIS", template="t2"), Row("c", "bob", "VIS")]
    vectors, keys, first = pooled(np.eye(3)[:2], rows[:2], Template(per=["template"]))
    assert keys == [("t1",), ("t2",)] and [row.path for row in first] == ["a", "b"] and vectors.shape == (2, 3)
    with pytest.raises(errors.EvaluationError, match="'c' has no template"):
        pooled(np.eye(3), rows, Template(per=["template"]))
    with pytest.raises(errors.EvaluationError, match="several subjects"):
        pooled(np.eye(3), rows, Template(per=["spectrum"]))


def test_the_spread_over_repetitions_is_of_the_population_and_unknown_with_one_unknown():
    means, deviations = figures.spread([{"a": 0.0, "b": None}, {"a": 1.0, "b": 0.5}])
    assert means == {"a": 0.5, "b": None} and deviations == {"a": 0.5, "b": None}


def outcomes(subject, **values):
    return figures.Outcomes(np.array(subject), {name: np.array(each, float) for name, each in values.items()})


def test_one_probe_for_each_subject_has_wilsons_interval():
    ends = figures.intervals([outcomes(range(63), rank1=[1] * 49 + [0] * 14)])
    assert ends["rank1"] == pytest.approx((0.661, 0.863), abs=5e-4)  # 49 of 63, as published for IJB-MDF


def test_probes_of_one_subject_are_drawn_together_over_all_repetitions():
    rng = np.random.default_rng(0)
    subject = np.repeat(np.arange(30), 10)
    hits = np.repeat(rng.random(30) < 0.5, 10)  # all probes of a subject fail or succeed together
    many = figures.intervals([outcomes(subject, rank1=hits, map=hits * 0.5)] * 3)
    low, high = many["rank1"]
    plain = [np.mean(hits[::10][rng.integers(0, 30, 30)]) for _ in range(4000)]
    assert (low, high) == pytest.approx(tuple(np.quantile(plain, [0.025, 0.975])), abs=0.035)
    assert many["map"] == pytest.approx((low / 2, high / 2))


def test_no_error_at_all_leaves_an_interval_over_the_subjects():
    low, high = figures.intervals([outcomes([0, 0, 1, 1], rank1=[1, 1, 1, 1])])["rank1"]
    assert high == 1.0 and low == pytest.approx(2 / (2 + 1.959964**2), abs=1e-6)
