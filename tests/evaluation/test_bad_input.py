"""Rows that cannot count: named in the error or counted in the result, at every way in, never dropped in silence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from xzoo.data.manifest import Manifest, Pairs, Row
from xzoo.errors import EvaluationError
from xzoo.evaluation import Pixels, by_group, evaluate, join, open_set, retrieval, run_protocol, verification
from xzoo.evaluation.protocols.schema import Protocol

X = np.eye(6)[:, :4] + 0.1
WHO = np.array(list("abcabd"))  # d is a stranger among the first three


def searched(x: np.ndarray, who: np.ndarray) -> Any:
    return retrieval(x[3:], x[:3], who[3:], who[:3])


def opened(x: np.ndarray, who: np.ndarray) -> Any:
    return open_set(x[3:], x[:3], who[3:], who[:3], fpirs=(1.0,))


def verified(x: np.ndarray, who: np.ndarray) -> Any:
    return verification(x[:3], x[3:], who[:3], who[3:], (0.5,))


def grouped(x: np.ndarray, who: np.ndarray) -> Any:
    return by_group(x[:3], x[3:], who[:3], who[3:], ["f"] * 3, ["f"] * 3, 0.5)


def rows(who: np.ndarray) -> Manifest:
    numbered = enumerate(who.tolist())
    many = tuple(Row(f"{n}.png", s, "VIS", role="gallery" if n < 3 else "probe", index=n) for n, s in numbered)
    pairs = Pairs(np.array([0, 1, 2]), np.array([3, 4, 5]), np.array([True, True, False]))
    return Manifest(many, Path("/nowhere"), pairs)


def carried_out(x: np.ndarray, who: np.ndarray) -> Any:
    return run_protocol(plan(), x, rows(who))


def listed(x: np.ndarray, who: np.ndarray) -> Any:
    return run_protocol("pairs_list", x, rows(who))


def plan(**more: Any) -> Protocol:
    sides = {"gallery": {"where": {"role": "gallery"}}, "probe": {"where": {"role": "probe"}}}
    facts = {"protocol": "mine", "title": "t", "source": "ours", "figures": ["rank1", "auc"], **sides}
    return Protocol.model_validate(facts | more)


WAYS = [searched, opened, verified, grouped, carried_out, listed]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf, -np.inf], ids=["zero", "nan", "inf", "-inf"])
@pytest.mark.parametrize("place", [1, 4], ids=["first side", "second side"])
def test_an_embedding_without_direction_is_named(way: Callable[..., Any], bad: float, place: int) -> None:
    x = X.copy()
    x[place] = bad
    with pytest.raises(EvaluationError, match=r"1 of \d+ unusable"):
        way(x, WHO)


@pytest.mark.parametrize("way", WAYS)
def test_good_rows_pass_every_way(way: Callable[..., Any]) -> None:
    assert way(X, WHO) is not None


@pytest.mark.parametrize("way", [carried_out, listed])
def test_more_or_fewer_embeddings_than_rows_are_refused(way: Callable[..., Any]) -> None:
    for x in (X[:5], np.concatenate([X, X]), X[:, 0]):
        with pytest.raises(EvaluationError, match="for a manifest of 6 rows"):
            way(x, WHO)


@pytest.mark.parametrize(
    "call",
    [
        lambda: retrieval(X, X, WHO[:5], WHO),
        lambda: verification(X, X, WHO, WHO[:5]),
        lambda: open_set(X, X, WHO, WHO[:5]),
        lambda: by_group(X, X, WHO, WHO, WHO[:5], WHO, 0.5),
        lambda: join([X, X[:5]]),
    ],
)
def test_lists_of_another_length_are_refused(call: Callable[[], object]) -> None:
    with pytest.raises(EvaluationError, match="5"):
        call()


def test_a_probe_without_mate_is_counted_at_every_way() -> None:
    assert (searched(X, WHO).n_query, searched(X, WHO).n_unmated) == (2, 1)
    assert (opened(X, WHO).n_mated, opened(X, WHO).n_unmated) == (2, 1)
    assert (verified(X, WHO).n_genuine, verified(X, WHO).n_impostor) == (2, 7)
    result = carried_out(X, WHO)
    counts = result.repetitions[0].counts
    assert (counts["mated probes"], counts["unmated probes"]) == (2, 1)
    assert "1 probes have no mate in the gallery and count as impostors only." in result.warnings


def test_a_gallery_that_an_exclusion_empties_is_one_clear_error() -> None:
    cameras = [{"camera": "2"}] * 3 + [{"camera": "3"}] * 3
    whole = rows(WHO)
    many = tuple(Row(**{**vars_of(row), **more}) for row, more in zip(whole.rows, cameras, strict=True))
    rule = {"exclusions": ["sysu_same_place"], "cmc": "subjects", "figures": ["rank1"]}
    with pytest.raises(EvaluationError, match="No query has a mate in the gallery that it may be compared with"):
        run_protocol(plan(**rule), X, Manifest(many, Path("/nowhere")))
    # Of two probes one is left with its mate: the other is told as unmated, not as failed.
    mixed = tuple(Row(**{**vars_of(row), "camera": "1" if n in (1, 4) else row.camera}) for n, row in enumerate(many))
    result = run_protocol(plan(**rule), X, Manifest(mixed, Path("/nowhere")))
    assert result.repetitions[0].counts["mated probes"] == 1


def vars_of(row: Row) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__dataclass_fields__}


def test_a_subject_with_one_image_is_an_impostor_in_leave_one_out(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = ["path,subject,spectrum"]
    for number, subject in enumerate("aabbccd"):
        Image.fromarray(rng.integers(0, 255, (8, 8), np.uint8)).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{subject},VIS")
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    report = evaluate(Pixels(8), tmp_path, gallery="VIS", probe="VIS")
    assert (report.n_probe, report.n_unmated, report.n_genuine, report.n_impostor) == (7, 1, 3, 18)
    assert any("1 of 7 probes have no mate" in warning for warning in report.warnings)


def test_templates_that_cancel_out_are_named() -> None:
    x = np.concatenate([[[1.0, 0]], [[-1.0, 0]], [[0, 1]], [[1, 0]], [[0, 1]], [[1, 1]]])
    who = np.array(list("aababb"))
    template = {"gallery": {"where": {"role": "gallery"}, "template": {"per": ["subject"]}}}
    with pytest.raises(EvaluationError, match=r"gallery embeddings, 1 of 2 unusable \(rows 0\)"):
        run_protocol(plan(**template), x, rows(who))
