"""Open-set identification in photographs: score files of one cell a subject, and figures by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from xzoo.data.manifest import Manifest, Row
from xzoo.errors import DataError, EvaluationError, MissingFile
from xzoo.evaluation.uccs import Detection, identification, read_detections


@pytest.fixture
def manifest() -> Manifest:
    """Two known people; photograph p has both and a stranger, q a stranger."""
    faces = [("p", "1", 0), ("p", "2", 20), ("p", "unknown", 40), ("q", "unknown", 0)]
    rows = [Row(f"gallery_images/000{who}/{who}_0.png", who, "VIS", role="gallery") for who in "12"]
    rows += [
        Row(f"validation_images/{file}.jpg", who, "VIS", role="probe", box=(x, 0, 10, 10)) for file, who, x in faces
    ]
    return Manifest(tuple(rows), Path("."))


def detection(file: str, x: float, *scores: float) -> Detection:
    return Detection(file, (x, 0.0, 10.0, 10.0), np.array(scores, np.float32))


FOUND = [
    detection("p", 1, 0.9, 0.1),  # subject 1, right at 0.9
    detection("p", 21, 0.3, 0.5),  # subject 2, right at 0.5
    detection("p", 40, 0.6, 0.2),  # a stranger, alarm at 0.6
    detection("p", 70, 0.4, 0.1),  # background, alarm at 0.4
    detection("q", 2, 0.95, 0.1),  # a stranger, alarm at 0.95
]


def test_rates_by_hand(manifest: Manifest) -> None:
    found = identification(FOUND, manifest, (0.0, 0.5, 1.0, 1.5))
    # Two photographs. No alarm: above 0.95, nobody. One: above 0.6, subject 1. Two: above 0.4, both.
    assert found.tpir == {0.0: 0.0, 0.5: 0.5, 1.0: 1.0, 1.5: 1.0}
    assert found.thresholds[0.5] == pytest.approx(0.9) and found.thresholds[1.5] is None
    assert (found.n_known, found.n_strangers, found.n_background, found.n_images) == (2, 2, 1, 2)
    assert found.intervals[0.5][0] < 0.5 < found.intervals[0.5][1]


def test_an_undetected_face_and_a_tie_are_misses(manifest: Manifest) -> None:
    assert identification(FOUND[:1], manifest, (1.0,)).tpir[1.0] == 0.5
    assert identification([detection("p", 0, 0.9, 0.9)], manifest, (1.0,)).tpir[1.0] == 0


def test_a_face_is_matched_once_by_the_larger_overlap(manifest: Manifest) -> None:
    found = identification([detection("p", 2, 0.9, 0.1), detection("p", 0, 0.1, 0.2)], manifest, (0.0, 1.0))
    # The second detection fits better: it is subject 1, not recognised; the first is background and an alarm.
    assert found.tpir[1.0] == 0 and found.n_background == 1


def test_a_score_file_of_1006_cells_is_read(tmp_path: Path) -> None:
    header = "FILE,DETECTION_SCORE,BB_X,BB_Y,BB_WIDTH,BB_HEIGHT," + ",".join(f"S_{n:04d}" for n in range(1, 1001))
    line = "p,0.99,1.5,2,3,4," + ",".join(str(n / 1000) for n in range(1000))
    (tmp_path / "scores.csv").write_text(f"{header}\n{line}\n")
    (one,) = read_detections(tmp_path / "scores.csv", 1000)
    assert one.file == "p" and one.box == (1.5, 2, 3, 4)
    assert one.scores.shape == (1000,) and one.scores[999] == pytest.approx(0.999)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("p,1,0,0,1,1,0.5\n", "7 cells"),
        ("p,1,0,0,1,1,x,0.5\n", "other than a number"),
        ("p,1,0,0,1,1,nan,1\n", "finite"),
    ],
)
def test_faulty_lines_are_told(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "scores.csv").write_text(text)
    with pytest.raises(DataError, match=words):
        read_detections(tmp_path / "scores.csv", 2)
    with pytest.raises(MissingFile):
        read_detections(tmp_path / "none.csv", 2)


def test_what_does_not_fit_is_refused(manifest: Manifest) -> None:
    with pytest.raises(EvaluationError, match="2 subjects"):
        identification([detection("p", 0, 0.1)], manifest)
    with pytest.raises(EvaluationError, match="'z'"):
        identification([detection("z", 0, 0.1, 0.2)], manifest)
    with pytest.raises(EvaluationError, match="gallery subject"):
        identification([], Manifest(manifest.rows[:2], Path(".")))
    with pytest.raises(EvaluationError, match="below 0"):
        identification(FOUND, manifest, (-1,))
