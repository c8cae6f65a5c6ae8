"""Retrieval figures against published code, a slow plain version and small cases done by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from xzoo.errors import EvaluationError
from xzoo.evaluation import retrieval

RULES = ("market", "llcm", "sysu", "regdb")


def angles(*degrees: float) -> np.ndarray:
    """Unit vectors in the plane: cosines between them are easy to see."""
    return np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], axis=1)


def crowd(seed: int, q: int = 40, g: int = 90) -> dict[str, np.ndarray]:
    """Draw small embeddings whose cosines are exact in binary and full of ties."""
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1.0, 1.0], (q + g, 4))
    return {
        "query": signs[:q],
        "gallery": signs[q:],
        "query_subject": rng.integers(0, 12, q),
        "gallery_subject": rng.integers(0, 12, g),
        "query_camera": rng.integers(1, 5, q),
        "gallery_camera": rng.integers(1, 5, g),
    }


def plain(sets: dict[str, np.ndarray], rule: str, max_rank: int = 20) -> tuple[np.ndarray, float, float, int]:
    """The same figures by loops and by the definition."""
    cmc, precisions, penalties = np.zeros(max_rank), [], []
    for i, subject in enumerate(sets["query_subject"]):
        kept = []
        for j, other in enumerate(sets["gallery_subject"]):
            cameras = (sets["query_camera"][i], sets["gallery_camera"][j])
            if rule in ("market", "llcm") and subject == other and cameras[0] == cameras[1]:
                continue
            if rule == "sysu" and cameras == (3, 2):
                continue
            kept.append((-(sets["query"][i] @ sets["gallery"][j]), other == subject, other))
        kept.sort(key=lambda item: item[:2])  # best first; of equal scores, mates last
        hits = [position for position, item in enumerate(kept, 1) if item[1]]
        if not hits:
            continue
        precisions.append(np.mean([n / position for n, position in enumerate(hits, 1)]))
        penalties.append(len(hits) / hits[-1])
        first = len({item[2] for item in kept[: hits[0]]}) if rule in ("llcm", "sysu") else hits[0]
        cmc[first - 1 :] += 1
    n = len(precisions)
    return cmc / n, float(np.mean(precisions)), float(np.mean(penalties)), n


@pytest.mark.parametrize("rule", RULES)
def test_published_evaluation_code_gives_the_same_figures(golden: Path, rule: str) -> None:
    from safetensors.numpy import load_file

    sets = load_file(golden / f"metrics_{rule}.safetensors")
    expected = {key: sets.pop(key) for key in ("cmc", "mean_ap", "mean_inp") if key in sets}
    figures = retrieval(**sets, rule=rule, max_rank=20)
    np.testing.assert_allclose(figures.cmc, expected["cmc"], atol=1e-7)
    # torchreid, behind the market file, adds in float32
    np.testing.assert_allclose(figures.mean_ap, expected["mean_ap"][0], atol=5e-7 if rule == "market" else 1e-12)
    if "mean_inp" in expected:
        np.testing.assert_allclose(figures.mean_inp, expected["mean_inp"][0], atol=1e-12)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seed", range(4))
def test_ties_and_exclusions_agree_with_the_slow_plain_version(rule: str, seed: int) -> None:
    sets = crowd(seed)
    cmc, mean_ap, mean_inp, n = plain(sets, rule)
    figures = retrieval(**sets, rule=rule)
    np.testing.assert_allclose(figures.cmc, cmc, atol=1e-12)
    assert (figures.mean_ap, figures.mean_inp) == pytest.approx((mean_ap, mean_inp), abs=1e-12)
    assert figures.n_query == n


def test_a_case_done_by_hand() -> None:
    # The query at 0 degrees sees a(10), b(20), a(30), c(40): mates at ranks 1 and 3.
    # The query at 40 degrees, subject b, sees c(40), a(30), b(20), a(10): its mate at rank 3.
    figures = retrieval(angles(0, 40), angles(10, 20, 30, 40), ["a", "b"], ["a", "b", "a", "c"], max_rank=4)
    assert figures.cmc.tolist() == [0.5, 0.5, 1, 1]
    assert figures.mean_ap == pytest.approx(((1 / 1 + 2 / 3) / 2 + 1 / 3) / 2)
    assert figures.mean_inp == pytest.approx((2 / 3 + 1 / 3) / 2)


def test_subjects_rather_than_images_are_ranked_by_the_llcm_rule() -> None:
    # Two images of b stand before a's: image rank 3, subject rank 2.
    sides = (angles(0), angles(10, 20, 30), ["a"], ["b", "b", "a"])
    assert retrieval(*sides, rule="llcm", max_rank=3).cmc.tolist() == [0, 1, 1]
    assert retrieval(*sides, rule="market", max_rank=3).cmc.tolist() == [0, 0, 1]


def test_a_network_that_gives_everything_one_embedding_never_finds_anyone() -> None:
    same = np.ones((6, 8), np.float32)
    figures = retrieval(same[:3], same, [0, 1, 2], [0, 1, 2, 3, 4, 5], max_rank=6)
    assert figures.cmc.tolist() == [0, 0, 0, 0, 0, 1]


def test_images_numbered_as_cameras_make_leave_one_out() -> None:
    rng = np.random.default_rng(3)
    x, subject = rng.normal(size=(30, 8)), rng.integers(0, 5, 30)
    number = np.arange(30)
    left_out = [
        retrieval(x[i : i + 1], np.delete(x, i, 0), subject[i : i + 1], np.delete(subject, i)).cmc[0] for i in number
    ]
    assert retrieval(x, x, subject, subject, number, number).cmc[0] == pytest.approx(np.mean(left_out))


def test_order_of_the_gallery_does_not_matter_even_with_ties() -> None:
    sets = crowd(7)
    turned = np.random.default_rng(0).permutation(len(sets["gallery"]))
    mixed = sets | {key: sets[key][turned] for key in sets if key.startswith("gallery")}
    first, second = retrieval(**sets), retrieval(**mixed)
    assert first.cmc.tolist() == second.cmc.tolist()
    assert (first.mean_ap, first.mean_inp) == pytest.approx((second.mean_ap, second.mean_inp), abs=1e-14)


@pytest.mark.parametrize("block_scores", [1, 91, 1000, 10**9])
def test_block_size_does_not_matter(block_scores: int) -> None:
    sets = crowd(5)
    whole, blocks = retrieval(**sets), retrieval(**sets, block_scores=block_scores)
    assert whole.cmc.tolist() == blocks.cmc.tolist()
    assert whole.mean_ap == blocks.mean_ap


def test_memory_is_a_block_and_not_the_whole_matrix() -> None:
    import tracemalloc

    rng = np.random.default_rng(0)
    x = rng.normal(size=(3000, 8)).astype(np.float32)
    subject = rng.integers(0, 300, 3000)
    tracemalloc.start()
    retrieval(x[:300], x, subject[:300], subject, block_scores=30_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 300 * 3000 * 4 / 2  # half of what the scores alone would take


def test_a_query_without_mate_is_counted_and_left_out_of_the_means() -> None:
    figures = retrieval(angles(0, 40), angles(10, 20), ["a", "z"], ["a", "b"], max_rank=2)
    assert (figures.n_query, figures.n_unmated, figures.cmc.tolist()) == (1, 1, [1, 1])


def test_tensors_arrays_and_half_precision_are_all_taken() -> None:
    torch = pytest.importorskip("torch")
    sets = crowd(2)
    expected = retrieval(**sets).mean_ap
    tensors = {key: torch.from_numpy(value) for key, value in sets.items()}
    tensors["query"] = tensors["query"].to(torch.bfloat16)
    assert retrieval(**tensors).mean_ap == expected
    assert retrieval(**(sets | {"gallery": sets["gallery"].astype(np.float16)})).mean_ap == expected


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"rule": "markt"}, "market, llcm, sysu, regdb"),
        ({"max_rank": 0}, "max_rank=0"),
        ({"query": np.zeros((2, 2))}, "query embeddings, 2 of 2 unusable"),
        ({"gallery": np.full((2, 2), np.nan)}, "gallery embeddings"),
        ({"gallery": np.ones((2, 3))}, "query embeddings of 2 numbers, gallery of 3"),
        ({"gallery": np.ones(2)}, r"\[N, D\]"),
        ({"query": np.ones((0, 2))}, r"\[N, D\]"),
        ({"query_subject": ["a"]}, "query_subject"),
        ({"gallery_subject": ["x", "y"]}, "No query has a mate"),
        ({"rule": "sysu"}, "without query_camera"),
        ({"query_camera": [1, 2]}, "without gallery_camera"),
    ],
)
def test_sides_that_do_not_fit_are_refused(change: dict[str, object], word: str) -> None:
    sides: dict[str, object] = {
        "query": angles(0, 40),
        "gallery": angles(10, 20),
        "query_subject": ["a", "b"],
        "gallery_subject": ["a", "b"],
    }
    with pytest.raises(EvaluationError, match=word):
        retrieval(**(sides | change))  # type: ignore[arg-type]
