"""Faults found in other evaluators, and the right answer.

``docs/guides/known-faults.md`` lists every one with the test that holds us to it. Those that other files do not
test already are here, with golden cases small enough to check by hand.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from xzoo.data.manifest import Manifest, Row
from xzoo.evaluation import open_set, retrieval, verification_from_scores
from xzoo.evaluation.protocols import figures, load
from xzoo.evaluation.uccs import Detection, identification

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "guides" / "known-faults.md"


def angles(*degrees: float) -> np.ndarray:
    return np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], axis=1)


def test_every_fault_of_the_page_names_tests_that_exist() -> None:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|") and "::" in line]
    named = [found for row in rows for found in re.findall(r"`([\w/]+\.py)::(test_\w+)`", row)]
    assert len(rows) >= 40 and len(named) >= len(rows)
    for file, test in named:
        assert f"def {test}(" in (ROOT / "tests" / file).read_text(encoding="utf-8"), f"{file}::{test}"


# --- searches ------------------------------------------------------------------------------------


def test_every_rule_gives_every_figure() -> None:
    # fast-reid's compiled CUHK03 path returns two values where its caller unpacks three.
    sides = (angles(0, 90), angles(10, 20, 80), ["a", "b"], ["b", "a", "b"], [1, 2], [2, 1, 1])
    for rule in ("market", "llcm", "sysu", "regdb"):
        found = retrieval(*sides, rule=rule, max_rank=3)
        for figure in (found.cmc, found.mean_ap, found.mean_inp, found.n_query):
            assert np.isfinite(figure).all()


def test_no_name_that_numpy_has_removed_is_used() -> None:
    # np.bool, np.object and np.int stop public scripts of LFW and of CUHK03 under NumPy 1.24 and later.
    removed = {"bool", "int", "float", "complex", "object", "str", "bool8", "float_", "in1d", "trapz"}
    files = sorted((ROOT / "xzoo").rglob("*.py"))
    assert len(files) > 100
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "np":
                assert node.attr not in removed, f"{file}:{node.lineno}: np.{node.attr}"


def official_sysu(sets: dict[str, np.ndarray]) -> tuple[np.ndarray, float, int]:
    """CMC over identities and mAP as the owner's MATLAB code defines them: camera 3 is relabelled 2.

    One probe after the other: gallery images of the probe's camera go, the first image of each identity stays.
    """
    cmc, precisions = np.zeros(5), []
    for x, who, camera in zip(sets["query"], sets["query_subject"], sets["query_camera"], strict=True):
        label = 2 if camera == 3 else camera
        kept = [j for j, other in enumerate(sets["gallery_camera"]) if other != label]
        kept.sort(key=lambda j: -float(x @ sets["gallery"][j]))
        names = [int(sets["gallery_subject"][j]) for j in kept]
        if int(who) not in names:
            continue
        identities = list(dict.fromkeys(names))
        cmc[identities.index(int(who)) :] += 1
        places = [place for place, name in enumerate(names, 1) if name == who]
        precisions.append(np.mean([hit / place for hit, place in enumerate(places, 1)]))
    return cmc / len(precisions), float(np.mean(precisions)), len(precisions)


@pytest.mark.parametrize("seed", range(4))
def test_the_sysu_rule_is_that_of_the_owners_relabelled_cameras(seed: int) -> None:
    # AGW drops camera 2 for camera 3; the owner renames camera 3 and drops equal names. With infrared probes
    # and visible galleries both leave out the same images, so one rule serves both.
    rng = np.random.default_rng(seed)
    unit = rng.normal(size=(70, 6))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    sets = {
        "query": unit[:20],
        "gallery": unit[20:],
        "query_subject": rng.integers(0, 8, 20),
        "gallery_subject": rng.integers(0, 7, 50),  # subject 7 has no mate
        "query_camera": rng.choice([3, 6], 20),
        "gallery_camera": rng.choice([1, 2, 4, 5], 50),
    }
    sets["query_subject"][:2], sets["query_camera"][0] = (0, 7), 3
    sets["gallery_camera"][sets["gallery_subject"] == 0] = 2  # camera 3 finds subject 0 nowhere
    cmc, mean_ap, count = official_sysu(sets)
    found = retrieval(**sets, rule="sysu", max_rank=5)
    assert count < 20 and (found.n_query, found.n_unmated) == (count, 20 - count)
    np.testing.assert_allclose(found.cmc, cmc, atol=1e-12)
    assert found.mean_ap == pytest.approx(mean_ap, abs=1e-12)


# Probes a (camera 3), b (6) and z (6, nobody's), all at 0 degrees; a tie at 20 degrees; fewer images than max_rank.
HAND = {
    "query": angles(0, 0, 0),
    "gallery": angles(10, 20, 20, 40),
    "query_subject": ["a", "b", "z"],
    "gallery_subject": ["b", "a", "c", "b"],
    "query_camera": [3, 6, 6],
    "gallery_camera": [2, 1, 1, 6],
}


@pytest.mark.parametrize(
    ("rule", "cmc", "mean_ap", "mean_inp"),
    [
        # a: b, then c before a in the tie: image 3. b: 10 degrees, and the camera takes the other: rank 1.
        ("market", [1 / 2, 1 / 2, 1, 1, 1, 1], (1 / 3 + 1) / 2, (1 / 3 + 1) / 2),
        # Three subjects, a the third of them.
        ("llcm", [1 / 2, 1 / 2, 1, 1, 1, 1], (1 / 3 + 1) / 2, (1 / 3 + 1) / 2),
        # Camera 3 skips camera 2, so b's first image: a is second to c. b: images 1 and 4, its first the best.
        ("sysu", [1 / 2, 1, 1, 1, 1, 1], (1 / 2 + (1 + 2 / 4) / 2) / 2, (1 / 2 + 2 / 4) / 2),
        # Nothing is left out.
        ("regdb", [1 / 2, 1 / 2, 1, 1, 1, 1], (1 / 3 + (1 + 2 / 4) / 2) / 2, (1 / 3 + 2 / 4) / 2),
    ],
)
def test_golden_cases_with_a_tie_an_unmated_probe_and_a_small_gallery(
    rule: str, cmc: list[float], mean_ap: float, mean_inp: float
) -> None:
    found = retrieval(**HAND, rule=rule, max_rank=6)  # type: ignore[arg-type]
    assert (found.n_query, found.n_unmated) == (2, 1)
    assert found.cmc.tolist() == pytest.approx(cmc, abs=1e-12)
    assert (found.mean_ap, found.mean_inp) == pytest.approx((mean_ap, mean_inp), abs=1e-12)


def test_average_precision_by_trapezoids_never_lies_above_ours() -> None:
    # The MATLAB code of Market-1501 and TinyFace averages the precision at a mate with that one rank before.
    rng = np.random.default_rng(0)
    q, g = rng.normal(size=(30, 6)), rng.normal(size=(80, 6))
    who, whose = rng.integers(0, 9, 30), rng.integers(0, 9, 80)
    ours = retrieval(q, g, who, whose, rule="regdb").average_precision
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (q, g)]
    for row, subject, value in zip(unit[0] @ unit[1].T, who, ours, strict=True):
        places = 1 + np.flatnonzero(whose[np.argsort(-row)] == subject)
        hits = np.arange(1, len(places) + 1)
        before = np.where(places > 1, (hits - 1) / np.maximum(places - 1, 1), 1.0)
        assert value == pytest.approx(np.mean(hits / places))
        assert np.mean((hits / places + before) / 2) <= value + 1e-12
    assert "never lies above" in load("tinyface").notes[0]


# --- open sets ------------------------------------------------------------------------------------


def test_a_stranger_raises_one_alarm_however_many_of_the_gallery_are_like_him() -> None:
    # insightface takes the k-th largest impostor comparison: here ten of one stranger, and the threshold of
    # FPIR 0.1 (k = 1 of 10 strangers) would be his tenth look-alike's or his own best, not the next stranger's best.
    look_alikes = angles(*[90 + 0.1 * number for number in range(10)])
    gallery = np.concatenate([angles(0), look_alikes])
    subjects = ["a", *[f"x{number}" for number in range(10)]]
    strangers = angles(91, *[180 + number for number in range(9)])  # nine far from everybody
    probes = np.concatenate([angles(30), strangers])
    found = open_set(probes, gallery, ["a", *[f"u{n}" for n in range(10)]], subjects, fpirs=(0.1, 0.2))
    assert found.n_unmated == 10
    # One alarm is allowed, the first stranger's, though he resembles ten: a at cos 30 stands above all others.
    assert found.tpir[0.1] == 1 and found.false_positives[0.1] == 1
    assert found.thresholds[0.1] == pytest.approx(np.cos(np.radians(30)), abs=1e-6)


def test_thresholds_of_an_open_set_are_no_steps_between_the_extremes() -> None:
    # The SurvFace script tries 1,000 steps between the lowest and highest stranger: here all but one lie in one step.
    strangers = np.r_[-1.0, 0.9 + 1e-6 * np.arange(9)]
    probes = np.stack([strangers, np.sqrt(1 - strangers**2)], 1)
    mates = np.array([0.9 + 4.5e-6, 0.9 + 7.5e-6])
    probes = np.concatenate([np.stack([mates, np.sqrt(1 - mates**2)], 1), probes])
    who = ["a", "a", *[f"u{number}" for number in range(10)]]
    found = open_set(probes, np.array([[1.0, 0.0]]), who, ["a"], fpirs=(0.1, 0.2, 0.4, 0.5))
    # Strangers at or above 0.9 + 7.5e-6: one; above 0.9 + 4.5e-6: four.
    assert found.tpir == {0.1: 0.5, 0.2: 0.5, 0.4: 1.0, 0.5: 1.0}
    assert list(found.false_positives.values()) == [1, 1, 4, 4]


def test_photographs_with_one_detection_and_with_none_are_handled() -> None:
    # compute_TPIR_FPIPI of challenge.uccs sorts before its loop variable exists and never returns.
    rows = [Row(f"gallery_images/000{who}/{who}_0.png", who, "VIS", role="gallery") for who in "12"]
    rows += [Row(f"validation_images/{file}.jpg", "1", "VIS", role="probe", box=(0, 0, 10, 10)) for file in "pqr"]
    one = Detection("p", (0.0, 0.0, 10.0, 10.0), np.array([0.9, 0.1], np.float32))
    other = Detection("q", (50.0, 0.0, 10.0, 10.0), np.array([0.8, 0.1], np.float32))
    found = identification([one, other], Manifest(tuple(rows), Path(".")), (0.0, 1 / 3))
    assert found.tpir == {0.0: pytest.approx(1 / 3), 1 / 3: pytest.approx(1 / 3)}
    assert (found.n_images, found.n_background, found.n_known) == (3, 1, 3)
    assert identification([], Manifest(tuple(rows), Path(".")), (1.0,)).tpir == {1.0: 0.0}


# --- pairs ----------------------------------------------------------------------------------------


def test_val_is_found_where_false_accept_rates_repeat() -> None:
    # The published script interpolates over (FAR, threshold): SciPy 1.17 refuses rates that occur twice, and with a
    # step of 0.001 nearly all do.
    rng = np.random.default_rng(0)
    same = np.arange(600) % 2 == 0
    distance = np.where(same, rng.uniform(0.1, 1.2, 600), rng.uniform(0.9, 2, 600))
    fold = figures.folds(600)
    expected = []
    for number in range(1, 11):
        others = distance[(fold != number) & ~same]
        allowed = [t for t in np.arange(0, 4, 0.001) if np.mean(others < t) <= 0.01]
        expected.append(np.mean(distance[(fold == number) & same] < allowed[-1]))
    mean, std = figures.val(1 - distance / 2, same, fold, 0.01)
    assert (mean, std) == pytest.approx((np.mean(expected), np.std(expected)), abs=1e-12) and 0.5 < mean < 1


def test_of_equally_good_thresholds_the_first_is_taken() -> None:
    # PFE and F-SKD take the mean of all best thresholds. Fold 2 says 0.21 to 0.90; fold 1's genuine pair at 0.5 fails.
    distance = np.array([0.5, 1.0, 0.2, 0.9])
    same, fold = np.array([True, False, True, False]), np.array([1, 1, 2, 2])
    # Fold 1 says 0.51, which suits fold 2.
    assert figures.fold_accuracies(1 - distance / 2, same, fold) == [0.5, 1.0]


# What scikit-learn 1.9.1 gave: roc_auc_score; the highest TPR of roc_curve whose FPR is not above 0.1, 0.05 and 0.0125;
# the TPR at the point of the flipped curve whose FPR is nearest to 0.1, 0.05, 0.013 and 0.001 (the rule of the IJB
# scripts); (FNR + FPR) / 2 where the two are closest, and the threshold there.
SKLEARN = {
    0.0: (0.73328125, [0.35, 0.2, 0.15], [0.35, 0.275, 0.15, 0.125], 0.3, 0.5016241231810408),
    0.25: (0.722578125, [0.325, 0.2, 0.125], [0.325, 0.2, 0.125, 0.125], 0.328125, 0.5),
}


def drawn(step: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.RandomState(7)
    genuine, impostor = rng.randn(40) + 1, rng.randn(160)
    return (np.round(genuine / step) * step, np.round(impostor / step) * step) if step else (genuine, impostor)


@pytest.mark.parametrize("step", SKLEARN, ids=["no ties", "many ties"])
def test_random_scores_give_what_scikit_learn_gives(step: float) -> None:
    genuine, impostor = drawn(step)
    auc, tar, nearest, eer, threshold = SKLEARN[step]
    found = verification_from_scores(genuine, impostor, (0.1, 0.05, 0.0125))
    assert found.auc == pytest.approx(auc, abs=1e-12)
    assert list(found.tar.values()) == pytest.approx(tar, abs=1e-12)
    assert (found.eer, found.eer_threshold) == pytest.approx((eer, threshold), abs=1e-12)
    assert figures.nearest_tar(genuine, impostor, [0.1, 0.05, 0.013, 0.001]) == pytest.approx(nearest, abs=1e-12)


def test_the_nearest_rate_may_lie_above_what_was_asked_for_and_ours_never() -> None:
    genuine, impostor = np.array([0.9, 0.5, 0.4]), np.array([0.6, 0.5, 0.3, 0.2])
    assert figures.nearest_tar(genuine, impostor, [0.4]) == [1.0]  # at a false accept rate of 0.5
    assert verification_from_scores(genuine, impostor, (0.4,)).tar[0.4] == pytest.approx(1 / 3)


# --- data -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("turn", [lambda rows: rows, lambda rows: rows[::-1]], ids=["as listed", "backwards"])
def test_labels_follow_the_subjects_and_not_the_order_of_a_set(turn: Callable[[list[Row]], list[Row]]) -> None:
    # pre_process_sysu.py numbers people by going through a Python set: another build, other labels.
    rows = turn([Row(f"{name}.png", name, "VIS", index=at) for at, name in enumerate(("10", "9", "b", "a", "9"))])
    labels = Manifest(tuple(rows), Path(".")).labels
    assert [int(label) for label in labels] == [{"9": 0, "10": 1, "a": 2, "b": 3}[row.subject] for row in rows]


def test_infrared_probes_of_scface_are_both_cameras_at_all_distances() -> None:
    # The public list says "cma6" and distance 1 alone.
    for group in ("dev", "eval"):
        probe = load(f"scface.ir.{group}").probe
        assert probe is not None
        assert probe.where["camera"] == ["cam6", "cam7"] and len(probe.where["distance"]) == 3
