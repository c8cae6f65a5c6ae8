"""Retrieval figures against published code, a slow plain version and small cases done by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from xzoo.errors import EvaluationError
from xzoo.evaluation import ranking, retrieval, similarity

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


@pytest.mark.parametrize("rule", RULES)
def test_subjects_of_many_images_agree_with_the_slow_plain_version_too(rule: str) -> None:
    sets = crowd(1, q=12, g=400)
    sets["query_subject"], sets["gallery_subject"] = sets["query_subject"] % 2, sets["gallery_subject"] % 2
    cmc, mean_ap, mean_inp, n = plain(sets, rule)
    figures = retrieval(**sets, rule=rule)
    np.testing.assert_allclose(figures.cmc, cmc, atol=1e-12)
    assert (figures.mean_ap, figures.mean_inp) == pytest.approx((mean_ap, mean_inp), abs=1e-12)
    assert figures.n_query == n


def test_counting_and_sorting_find_the_same_ranks(monkeypatch: pytest.MonkeyPatch) -> None:

    rng = np.random.default_rng(0)
    q, g = rng.choice([-1.0, 1.0], (30, 12)), rng.choice([-1.0, 1.0], (17_001, 12))  # three stretches of columns, ties
    who, whose = rng.integers(0, 900, 30), rng.integers(0, 900, 17_001)
    counted = retrieval(q, g, who, whose)
    monkeypatch.setattr(ranking, "COUNTED", -1)
    found = retrieval(q, g, who, whose)
    assert (found.rank == counted.rank).all()
    assert np.array_equal(found.average_precision, counted.average_precision)
    assert np.array_equal(found.inverse_penalty, counted.inverse_penalty)


def test_embeddings_on_disk_are_read_tile_by_tile_with_the_same_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xzoo.evaluation import similarity

    rng = np.random.default_rng(0)
    who, whose = rng.integers(0, 20, 30), rng.integers(0, 20, 200)
    q, g = rng.normal(size=(30, 16)).astype(np.float16), rng.normal(size=(200, 16)).astype(np.float16)
    np.save(tmp_path / "g.npy", g)
    expected = retrieval(q, g, who, whose, rule="llcm")
    monkeypatch.setattr(similarity, "KEPT_BYTES", 0)
    monkeypatch.setattr(similarity, "TILE_BYTES", 64 * 37)
    found = retrieval(q, np.load(tmp_path / "g.npy", mmap_mode="r"), who, whose, rule="llcm")
    assert np.array_equal(found.rank, expected.rank)
    assert found.mean_ap == pytest.approx(expected.mean_ap, abs=1e-9)


def test_interval_surrounds_the_figures_and_is_the_same_each_time() -> None:
    rng = np.random.default_rng(0)
    centre = rng.normal(size=(50, 8))
    who = np.repeat(np.arange(50), 4)
    q = centre[who] + rng.normal(size=(200, 8))
    found = retrieval(q, centre, who, np.arange(50))
    for name, figure in (("rank1", found.cmc[0]), ("rank5", found.cmc[4]), ("map", found.mean_ap)):
        low, high = found.interval[name]
        assert low < figure < high
    assert retrieval(q, centre, who, np.arange(50)).interval == found.interval


# --- faults that were found in other evaluators: the right answer here ---------------------------


def test_a_gallery_smaller_than_max_rank_leaves_the_curve_level() -> None:
    # torchreid's compiled code returns [0.5, 0.5, 0, 0, 0], its Python code fails.
    figures = retrieval(angles(0, 40), angles(10, 44, 60), ["a", "b"], ["a", "c", "b"], [1, 1], [2, 1, 1], max_rank=5)
    assert figures.cmc.tolist() == [1, 1, 1, 1, 1] and figures.n_query == 1
    figures = retrieval(angles(0, 90), angles(10, 20), ["a", "b"], ["a", "b"], max_rank=5)
    assert figures.cmc.tolist() == [1, 1, 1, 1, 1]
    figures = retrieval(angles(0, 30), angles(10, 35), ["a", "a"], ["a", "b"], max_rank=5)
    assert figures.cmc.tolist() == [0.5, 1, 1, 1, 1]


def test_average_precision_sums_in_double_precision() -> None:
    # torchreid's compiled code sums in float32 and is off by up to 4e-7.
    rng = np.random.default_rng(4)
    q, g = rng.normal(size=(300, 6)), rng.normal(size=(700, 6))
    who, whose = rng.integers(0, 30, 300), rng.integers(0, 30, 700)
    scores = (q / np.linalg.norm(q, axis=1)[:, None]) @ (g / np.linalg.norm(g, axis=1)[:, None]).T
    order = np.argsort(-scores, axis=1)
    hit = whose[order] == who[:, None]
    precision = np.cumsum(hit, 1) / np.arange(1, 701)
    expected = ((precision * hit).sum(1) / hit.sum(1)).mean()
    assert retrieval(q, g, who, whose).mean_ap == pytest.approx(expected, abs=1e-13)


def test_counts_are_of_64_bits_on_every_system() -> None:
    # fast-reid and torchreid held them in C's long, which has 32 on Windows.
    assert retrieval(angles(0), angles(10), ["a"], ["a"]).rank.dtype == np.int64


def test_average_precision_goes_on_after_rank_500_and_divides_by_all_mates() -> None:
    # Instruct-ReID stops at rank 500; OML divides by the mates among the first k.
    g = np.concatenate([angles(1), np.repeat(angles(2), 598, 0), angles(3)])
    figures = retrieval(angles(0), g, ["a"], ["a"] + ["b"] * 598 + ["a"])
    assert figures.mean_ap == pytest.approx((1 + 2 / 600) / 2)


def test_a_query_without_mate_neither_lowers_nor_raises_a_mean() -> None:
    # fast-reid put a zero among the APs, the AGW line a zero among the CMCs of SYSU, OML counts it as found.
    sides = (angles(0, 0, 0), angles(10, 20), ["a", "b", "z"], ["a", "b"], [1, 3, 1], [1, 2])
    figures = retrieval(*sides, rule="sysu", max_rank=1)
    assert (figures.cmc.tolist(), figures.mean_ap, figures.n_query, figures.n_unmated) == ([1], 1, 1, 2)
    assert np.isnan(figures.average_precision[1:]).all()


def test_the_tinyface_rule_agrees_with_the_published_fixture() -> None:
    rng = np.random.RandomState(0)
    for _ in range(3):  # the verification pairs that the fixture draws first
        rng.randn(60, 8)
    probe = rng.randint(0, 10, 20)
    gallery = np.r_[np.arange(10), rng.randint(0, 10, 10), np.full(20, -100)]
    centre = rng.randn(10, 8)
    q = centre[probe] + 1.2 * rng.randn(20, 8)
    g = np.concatenate([centre[gallery[:20]] + 0.6 * rng.randn(20, 8), rng.randn(20, 8)])
    cmc = retrieval(q, g, probe, gallery, rule="regdb").cmc
    assert cmc[[0, 4, 19]].tolist() == pytest.approx([0.5, 0.8, 0.9])


# --- what cannot be compared is named -----------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"query_subject": [1, 2]}, "A name never equals a number"),
        ({"query_subject": [1.0, np.nan], "gallery_subject": [1.0, 2.0]}, "query_subject with 1 NaN"),
        ({"query": np.array([[1, 0], [np.inf, 1]])}, r"query embeddings, 1 of 2 unusable \(rows 1\)"),
        ({"query": np.array([["a", "b"], ["c", "d"]])}, "real numbers"),
        ({"query": np.ones((2, 2), complex)}, "real numbers"),
        ({"query_camera": [1, 2], "gallery_camera": [1, 2]}, "what the rule leaves out"),
    ],
)
def test_more_sides_that_do_not_fit_are_refused(change: dict[str, object], word: str) -> None:
    sides: dict[str, object] = {
        "query": angles(0, 40),
        "gallery": angles(10, 20),
        "query_subject": ["a", "b"],
        "gallery_subject": ["a", "b"],
    }
    with pytest.raises(EvaluationError, match=word):
        retrieval(**(sides | change))  # type: ignore[arg-type]


@pytest.mark.parametrize("rule", RULES)
def test_counted_and_sorted_give_the_same_ranks(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    centre = rng.choice([-1.0, 1.0], (100, 32))
    q_who, g_who = rng.integers(0, 100, 60), np.repeat(np.arange(100), 20)
    # Cosines that are exact in binary: ties within mates and with others, some people hard to find.
    flip = np.where(rng.random((60, 32)) < 0.2, -1, 1)
    sets = {
        "query": centre[q_who] * flip,
        "gallery": centre[g_who] * np.where(rng.random((2000, 32)) < 0.1, -1, 1),
        "query_subject": q_who,
        "gallery_subject": g_who,
        "query_camera": rng.integers(1, 5, 60),
        "gallery_camera": rng.integers(1, 5, 2000),
    }
    found = retrieval(**sets, rule=rule)
    monkeypatch.setattr(ranking, "COUNTED", -1)
    ordered = retrieval(**sets, rule=rule)
    assert (found.rank == ordered.rank).all() and found.cmc.tolist() == ordered.cmc.tolist()
    np.testing.assert_array_equal(found.average_precision, ordered.average_precision)
    np.testing.assert_array_equal(found.inverse_penalty, ordered.inverse_penalty)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 8, 11])
def test_scores_that_reach_a_mate_are_counted_one_by_one(width: int, dtype: type) -> None:
    rng = np.random.default_rng(width)
    scores = rng.integers(-6, 7, (9, 301)).astype(dtype) / 4  # ties
    scores[rng.random(scores.shape) < 0.1] = -np.inf
    values = np.sort(rng.integers(-7, 8, (9, width)).astype(dtype) / 4, axis=1)
    many = rng.integers(0, width + 1, 9)
    found = ranking._at_least(torch.from_numpy(scores), torch.from_numpy(values), many).numpy()
    for row in range(9):
        wanted = range(width - many[row], width)
        assert found[row, wanted].tolist() == [int((scores[row] >= values[row, at]).sum()) for at in wanted]


def test_counting_needs_no_folder_to_keep_its_code_in(monkeypatch: pytest.MonkeyPatch) -> None:
    import numba

    plain = numba.njit

    def refuse(*given: object, **options: object) -> object:
        if options.get("cache"):
            raise RuntimeError("cannot cache function '_count': no locator available")
        return plain(*given, **options)

    monkeypatch.setattr(numba, "njit", refuse)
    found = np.zeros((1, 2), np.int64)
    ranking._compiled.__wrapped__()(np.array([[1.0, 2.0, 3.0]]), np.array([[2.0, 3.0]]), np.array([2]), found)
    assert found.tolist() == [[2, 1]]


def test_memory_of_blocks_is_used_again_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    spare = similarity._Spare()
    first = spare.take(1 << 20)
    first[:] = 1
    spare.give([first])
    assert spare.take(1 << 10).base is first  # a part of what is there
    assert spare.take(1 << 10).base is None  # which is one caller's alone
    monkeypatch.setattr(similarity, "SPARE_BYTES", 1 << 20)
    spare.give([np.empty(1 << 21, np.uint8), np.empty(1 << 19, np.uint8), np.empty(1 << 18, np.uint8)])
    assert [len(block) for block in spare._free] == [1 << 19, 1 << 18]
