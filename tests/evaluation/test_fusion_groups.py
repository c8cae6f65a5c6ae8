"""Fusion of several models, and groups at one threshold."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xzoo.data.manifest import Manifest, Row
from xzoo.errors import EvaluationError
from xzoo.evaluation import (
    Pixels,
    Report,
    by_group,
    evaluate,
    fuse,
    join,
    retrieval,
    run_protocol,
    verification,
    wilson,
)
from xzoo.evaluation.groups import Differential, differential
from xzoo.evaluation.protocols.schema import check
from xzoo.evaluation.report_page import markdown


def test_fusions_by_hand() -> None:
    one, two = np.array([0.0, 2.0]), np.array([10.0, 30.0])
    assert fuse([one, two]).tolist() == [5, 16]
    assert fuse([one, two], "max").tolist() == [10, 30]
    assert fuse([one, two], "z_norm").tolist() == [-1, 1]
    assert fuse([one, two], "z_norm", reference=[[0, 2], [0, 20]]).tolist() == [(-1 + 0) / 2, (1 + 2) / 2]


def test_joined_embeddings_score_the_mean_of_the_cosines() -> None:
    rng = np.random.default_rng(0)
    one, two = rng.normal(size=(9, 4)), 7 * rng.normal(size=(9, 6))

    def cosine(x: np.ndarray) -> np.ndarray:
        return x @ x.T / np.outer(np.linalg.norm(x, axis=1), np.linalg.norm(x, axis=1))

    np.testing.assert_allclose(cosine(join([one, two])), fuse([cosine(one), cosine(two)]), atol=1e-6)
    weighted = (3 * cosine(one) + cosine(two)) / 4
    np.testing.assert_allclose(cosine(join([one, two], [3, 1])), weighted, atol=1e-6)
    assert retrieval(join([one, two]), join([one, two]), np.arange(9), np.arange(9)).cmc[0] == 1


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: fuse([]), "same comparisons"),
        (lambda: fuse([np.ones(2), np.ones(3)]), "same comparisons"),
        (lambda: fuse([np.ones(2)], "sum"), "mean, z_norm, max"),  # type: ignore[arg-type]
        (lambda: fuse([np.ones(2)], "z_norm"), "model 0"),
        (lambda: join([np.ones((2, 3)), np.ones((3, 3))]), "same images"),
        (lambda: join([np.ones((2, 3))], [0]), "same images"),
    ],
)
def test_fusions_that_cannot_be_are_refused(call: object, word: str) -> None:
    with pytest.raises(EvaluationError, match=word):
        call()  # type: ignore[operator]


def test_groups_count_their_own_errors_at_the_threshold_of_all() -> None:
    rng = np.random.default_rng(1)
    x, subject = rng.normal(size=(60, 6)), np.arange(60) % 12
    group = np.where(subject < 5, "p", "q")
    threshold = verification(x, x, subject, subject, fars=(0.1,), same=True).thresholds[0.1]
    assert threshold is not None
    found = by_group(x, x, subject, subject, group, group, threshold, same=True)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    scores = (unit @ unit.T)[np.triu_indices(60, 1)]
    i, j = np.triu_indices(60, 1)
    for name, size in (("p", 5), ("q", 7)):
        inside, mates = (group[i] == name) & (group[j] == name), subject[i] == subject[j]
        rates = found[name]
        assert rates.n_subjects == size
        assert (rates.n_genuine, rates.n_impostor) == ((inside & mates).sum(), (inside & ~mates).sum())
        assert rates.false_rejects == (inside & mates & (scores < threshold)).sum()
        assert rates.false_accepts == (inside & ~mates & (scores >= threshold)).sum()
        assert rates.fmr_interval is not None and rates.fmr is not None
        assert rates.fmr_interval[0] <= rates.fmr <= rates.fmr_interval[1]
    assert any("fewer than 30" in word for word in found["p"].warnings)
    with pytest.raises(EvaluationError, match="threshold=inf"):
        by_group(x, x, subject, subject, group, group, float("inf"))


def test_groups_of_overlapping_sets_count_each_pair_of_images_once() -> None:
    x, subject = np.random.default_rng(1).standard_normal((30, 8)), np.arange(30) // 3
    group, image = np.where(subject < 5, "p", "q"), np.arange(30)
    once = by_group(x, x, subject, subject, group, group, 0.1, same=True)
    order = np.random.default_rng(2).permutation(30)
    again = by_group(
        x, x[order], subject, subject[order], group, group[order], 0.1, image_a=image, image_b=image[order]
    )
    assert again == once


def test_attributes_are_compared_one_by_one_and_untold_ones_left_out() -> None:
    x, subject = np.random.default_rng(1).standard_normal((40, 8)), np.arange(40) // 4
    told = [None if who == 9 else f"gender={'fm'[who % 2]} age={'old' if who > 4 else 'young'}" for who in subject]
    image = np.arange(40)
    found = differential(x, x, subject, subject, told, told, 1e-1, 0.2, image_a=image, image_b=image)
    assert found is not None and list(found.groups) == ["age=old", "age=young", "gender=f", "gender=m"]
    gender = np.array(["" if words is None else words.split()[0] for words in told])
    plain = by_group(x, x, subject, subject, gender, gender, 0.2, same=True)
    assert found.groups["gender=f"] == plain["gender=f"] and found.groups["gender=m"] == plain["gender=m"]
    assert Differential.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    assert found.to_dict()["groups"]["gender=f"]["fnmr_interval"] == list(plain["gender=f"].fnmr_interval or ())
    assert differential(x, x, subject, subject, [None] * 40, [None] * 40, 1e-1, 0.2) is None
    assert differential(x, x, subject, subject, told, told, 1e-1, float("inf")) is None


def test_groups_of_a_manifest_reach_report_and_protocol(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = tuple(
        Row(f"{who}_{shot}.png", f"{who}", "VIS", index=3 * who + shot, group=f"gender={'fm'[who % 2]}")
        for who in range(12)
        for shot in range(3)
    )
    for row in rows:
        Image.fromarray(rng.integers(0, 255, (24, 24, 3), dtype=np.uint8)).save(tmp_path / row.path)
    manifest = Manifest(rows, tmp_path)
    report = evaluate(Pixels(8), manifest, gallery="VIS", probe="VIS", details=True)
    assert report.groups is not None and list(report.groups.groups) == ["gender=f", "gender=m"]
    group = report.groups.groups["gender=f"]
    assert (group.n_subjects, group.n_genuine, group.n_impostor) == (6, 6 * 3, 6 * 5 // 2 * 9)
    assert report.groups.threshold == report.thresholds["1e-2"] and report.groups.far == 1e-2
    assert any(warning.startswith("Of groups") for warning in report.warnings)
    assert Report.from_dict(json.loads(report.to_json())) == report
    report.write(tmp_path / "found")
    told = f"{group.false_rejects} of {group.n_genuine}"
    assert "| gender=f |" in report.to_markdown() and told in report.to_markdown()
    page = (tmp_path / "found" / "report.html").read_text()
    assert "<h2>Groups</h2>" in page and told in page

    plan = {
        "protocol": "mine",
        "title": "Ours.",
        "source": "Made here.",
        "gallery": {},
        "probe": {},
        "exclusions": ["same_image"],
        "figures": ["rank1"],
        "groups_at": 0.01,
    }
    found = run_protocol(check(plan, "mine"), Pixels(8), manifest, details=True)
    assert found.groups == report.groups and "| gender=f |" in markdown(found)
    assert found.to_dict()["groups"]["groups"]["gender=f"]["n_genuine"] == 18
    bare = Manifest(tuple(replace(row, group=None) for row in rows), tmp_path)
    untold = run_protocol(check(plan, "mine"), Pixels(8), bare)
    assert untold.groups is None and any("Groups are not compared" in warning for warning in untold.warnings)
    with pytest.raises(EvaluationError, match="groups_at"):
        check(
            {
                **{key: plan[key] for key in ("protocol", "title", "source")},
                "pairs": {},
                "figures": ["auc"],
                "groups_at": 0.1,
            },
            "mine",
        )


def test_the_band_of_the_cmc_draws_subjects_not_probes() -> None:
    # Ten subjects with ten probes each; half of them always found, half never.
    centre = np.eye(10)
    query = np.repeat(np.where(np.arange(10)[:, None] < 5, centre, np.roll(centre, 1, axis=0)), 10, axis=0)
    found = retrieval(query, centre, np.repeat(np.arange(10), 10), np.arange(10), max_rank=5)
    assert found.cmc[0] == 0.5 and found.band[0] == found.interval["rank1"]
    low, high = found.band[0]
    assert high - low > 2 * np.subtract(*wilson(50, 100)[::-1])  # probes are ten copies of ten draws
