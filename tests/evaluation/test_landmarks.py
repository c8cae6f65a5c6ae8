"""Landmark errors against hand-computed cases and independently computed golden values."""

from __future__ import annotations

import numpy as np
import pytest

from xzoo.errors import EvaluationError
from xzoo.evaluation import landmark_errors


def ring() -> tuple[np.ndarray, np.ndarray]:
    """Six faces of 68 points on an ellipse, with errors of growing size."""
    angle = 2 * np.pi * np.arange(68) / 68
    face = np.stack([128 + 60 * np.cos(angle), 128 + 80 * np.sin(angle)], 1)
    truth = face[None] + np.arange(6)[:, None, None]
    k = np.arange(408).reshape(6, 68)
    size = np.array([1, 2, 3, 5, 8, 20])[:, None, None]
    return truth + size * np.stack([np.sin(0.9 * k + 0.2), np.sin(0.4 * k + 0.7)], 2), truth


def test_golden_values_are_reproduced() -> None:
    found = landmark_errors(*ring())
    expected = [0.01608667, 0.03183276, 0.04755482, 0.08103637, 0.1265445, 0.32135247]
    np.testing.assert_allclose(found.per_image, expected, atol=5e-9)
    assert found.nme == pytest.approx(0.104067932, abs=5e-10)
    assert found.failure_rate == pytest.approx(1 / 3)
    assert found.auc == pytest.approx(0.3725555556, abs=5e-11)
    assert np.trapezoid(found.ced[1], found.ced[0]) / 0.1 == pytest.approx(0.3725, abs=1e-9)
    assert (found.n_images, found.n_points, found.n_failed) == (6, 408, 2)


SQUARE = np.array([[[0, 0], [6, 0], [3, 3], [1, 6], [5, 6]]], float)  # eyes 6 apart


@pytest.mark.parametrize(
    ("how", "more", "size"),
    [
        ("eye_centres", {}, 6),
        ("outer_eyes", {"eyes": ((3,), (4,))}, 4),
        ("box", {"box": [[0, 0, 4, 9]]}, 6),
        ("box_diagonal", {"box": [[0, 0, 3, 4]]}, 5),
        ("truth_box", {}, 6),
        ("none", {}, 1),
    ],
)
def test_every_normalisation_by_hand(how: str, more: dict[str, object], size: float) -> None:
    off = SQUARE + [3.0, 4.0]  # every point is 5 away
    assert landmark_errors(off, SQUARE, how, **more).nme == pytest.approx(5 / size)  # type: ignore[arg-type]


def test_parts_of_the_face_are_told_apart() -> None:
    off = SQUARE.copy()
    off[0, 2] += [0, 6]
    assert landmark_errors(off, SQUARE, "eye_centres").regions == {"eyes": 0, "nose": 1, "mouth": 0}


def test_a_point_that_is_not_annotated_is_left_out_and_counted() -> None:
    truth, off = SQUARE.copy(), SQUARE + [6.0, 0]
    truth[0, 2] = np.nan
    off[0, 2] = 999
    found = landmark_errors(off, truth, "eye_centres")
    assert (found.nme, found.n_points) == (1, 4)


def test_an_error_at_the_limit_fails_only_where_the_rule_says_so() -> None:
    off = SQUARE + [3.0, 0]
    assert landmark_errors(off, SQUARE, "eye_centres", limit=0.5).n_failed == 0
    assert landmark_errors(off, SQUARE, "eye_centres", limit=0.5, at_limit_fails=True).n_failed == 1


def test_images_of_one_subject_are_drawn_together() -> None:
    rng = np.random.default_rng(0)
    truth = np.repeat(SQUARE, 200, 0)
    subject = np.repeat(np.arange(20), 10)
    off = truth + rng.normal(0, 1, 20)[subject][:, None, None]
    alone, together = (
        landmark_errors(off, truth, "eye_centres", subject=whose).interval["nme"] for whose in (None, subject)
    )
    assert together[1] - together[0] > 2 * (alone[1] - alone[0])


def test_one_subject_leaves_the_error_without_an_interval_but_not_the_rates() -> None:
    off = np.repeat(SQUARE, 4, 0) + [3.0, 0]
    found = landmark_errors(off, np.repeat(SQUARE, 4, 0), "eye_centres", subject=["a"] * 4)
    assert found.interval == {"failure_rate": (0.0, 1.0), "auc": (0.0, 1.0)}


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"truth": SQUARE[:, :4]}, r"\[1, 5, 2\] against \[1, 4, 2\]"),
        ({"predicted": SQUARE * np.nan}, "predicted landmarks of 1 of 1"),
        ({"truth": SQUARE * np.nan}, "No point"),
        ({"truth": SQUARE * 0}, "no such size"),
        ({"normalisation": "outer_eyes"}, "not known here"),
        ({"normalisation": "iod"}, "outer_eyes, eye_centres"),
        ({"normalisation": "box"}, "boxes missing"),
        ({"limit": 0}, "limit=0"),
    ],
)
def test_landmarks_that_cannot_be_measured_are_named(change: dict[str, object], word: str) -> None:
    given: dict[str, object] = {"predicted": SQUARE, "truth": SQUARE, "normalisation": "eye_centres"}
    with pytest.raises(EvaluationError, match=word):
        landmark_errors(**(given | change))  # type: ignore[arg-type]
