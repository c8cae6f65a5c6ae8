"""What a report shows of a protocol beside its figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from xzoo.data.manifest import Manifest, Row
from xzoo.evaluation.report_details import BINS, WORST, Details, Pair, Picture, collect, images_sha256, versions
from xzoo.evaluation.similarity import codes

if TYPE_CHECKING:
    from xzoo.evaluation.protocols.runner import _Listed, _Side
    from xzoo.evaluation.protocols.schema import Protocol, Selection
    from xzoo.evaluation.ranking import Searched

__all__ = ["explain_pairs", "explain_search", "provenance"]

CMC_RANKS = 50
POINTS = 500

Table = npt.NDArray[Any]


def provenance(plan: Protocol, manifest: Manifest, places: Sequence[int], model: object, many: int) -> dict[str, Any]:
    """Return protocol, hashes and versions of what took part.

    Args:
        plan: The protocol as carried out.
        manifest: Of the whole data set.
        places: Rows that took part.
        model: What made the embeddings; ``None`` where they were given.
        many: Repetitions carried out.
    """
    from yaml import safe_dump

    device = getattr(model, "device", None)
    return {
        "protocol": safe_dump(plan.model_dump(mode="json", exclude_none=True), sort_keys=False, allow_unicode=True),
        "images_sha256": images_sha256(manifest.root, [manifest.rows[place].path for place in places]),
        "root": str(manifest.root),
        "versions": versions(None if device is None else str(device)),
        "weights_sha256": getattr(model, "weights_sha256", None),
        "scope": f"Of the first of {many} repetitions." if many > 1 else "",
    }


def explain_search(
    plan: Protocol,
    manifest: Manifest,
    places: tuple[Sequence[int], Sequence[int]],
    known: _Side,
    asked: _Side,
    facts: dict[str, Any],
) -> Details:
    """Return the details of one repetition of a search.

    Args:
        plan: The protocol.
        manifest: Of the whole data set.
        places: Rows of the gallery and of the probes.
        known: The gallery as it was compared.
        asked: The probes.
        facts: What :func:`provenance` returned.
    """
    from xzoo.evaluation.protocols.runner import _labels, search_of
    from xzoo.evaluation.protocols.schema import parse_figure
    from xzoo.evaluation.ranking import means

    ranks = [rank for kind, rank, _ in map(parse_figure, plan.figures) if kind in ("tpir", "tpir_auc") and rank]
    searched = search_of(plan, known, asked, others=bool(ranks))
    search = means(searched, CMC_RANKS)
    assert plan.gallery is not None and plan.probe is not None
    if ranks and 0 < searched.mated.sum() < len(searched.mated):
        facts = {**facts, **_open_set(searched, ranks[0])}
    pooled = known.templates or asked.templates
    return collect(
        asked.vectors,
        known.vectors,
        asked.subject,
        known.subject,
        cmc=search.cmc[: len(known.vectors)].tolist(),
        band=search.band[: len(known.vectors)],
        n_mated=search.n_query,
        probe_picture=_pictures(plan.probe, manifest, places[1], asked),
        gallery_picture=_pictures(plan.gallery, manifest, places[0], known),
        probe_image=None if pooled else asked.image,
        gallery_image=None if pooled else known.image,
        left_out=_left_out(_labels(plan, known, asked), known, asked, whoever=plan.exclusions == ["sysu_same_place"]),
        **facts,
    )


def _open_set(searched: Searched, rank: int) -> dict[str, Any]:
    """Return FNIR by FPIR, at the threshold of each probe without mate."""
    from xzoo.evaluation.identification import open_set_of

    found = open_set_of(searched, (), rank)
    steps = np.unique(found.other)[::-1]
    if len(steps) > POINTS:  # all of the first few, where each alarm counts, then ever fewer
        steps = steps[np.unique(np.geomspace(1, len(steps), POINTS).astype(int)) - 1]
    false, missed = np.sort(found.other), np.sort(found.mate)
    fpir = 1 - np.searchsorted(false, steps, "left") / len(false)
    fnir = np.searchsorted(missed, steps, "left") / len(missed)
    return {
        "open_set": tuple(zip(fpir.tolist(), fnir.tolist(), strict=True)),
        "open_of": f"{found.n_mated} mated probes (rank {rank}), {found.n_unmated} others",
    }


def _left_out(
    labels: tuple[Table, Table] | None, known: _Side, asked: _Side, *, whoever: bool
) -> Callable[[slice], Table] | None:
    """Return which comparisons the search does not make."""
    if labels is None:
        return None
    mine, theirs = codes(*labels)
    who, whose = codes(asked.subject, known.subject)

    def apart(rows: slice) -> Table:
        equal: Table = mine[rows, None] == theirs[None]
        return equal if whoever else equal & (who[rows, None] == whose[None])

    return apart


def _pictures(selection: Selection, manifest: Manifest, places: Sequence[int], side: _Side) -> list[Picture]:
    rows = [manifest.rows[place] for place in places]
    if selection.template is None:
        return [_picture(row) for row in rows]
    held = Counter(tuple(str(getattr(row, column)) for column in selection.template.per) for row in rows)
    first = {tuple(str(getattr(row, column)) for column in selection.template.per): row for row in reversed(rows)}
    counts = {" ".join(key): (number, first[key].spectrum) for key, number in held.items()}
    return [
        Picture(str(who), f"template {name}, {counts[name][0]} images", counts[name][1], template=True)
        for who, name in zip(side.subject.tolist(), side.names, strict=True)
    ]


def _picture(row: Row) -> Picture:
    return Picture(row.subject, row.path, row.spectrum, row.box)


def explain_pairs(manifest: Manifest, listed: _Listed, facts: dict[str, Any], worst: int = WORST) -> Details:
    """Return the details of listed pairs.

    Args:
        manifest: With its pairs.
        listed: Their scores.
        facts: What :func:`provenance` returned.
        worst: Errors of each kind to keep.
    """
    pairs = manifest.pairs
    assert pairs is not None
    bins = np.clip(((listed.scores.astype(np.float64) + 1) * (BINS / 2)).astype(np.int64), 0, BINS - 1)

    def shown(place: int) -> Picture:
        row = listed.rows[place]
        if listed.keys:
            return Picture(row.subject, f"template {' '.join(listed.keys[place])}", row.spectrum, template=True)
        return _picture(row)

    def extreme(wanted: Table, sign: int) -> tuple[Pair, ...]:
        chosen = np.flatnonzero(wanted)
        order = chosen[np.argsort(sign * listed.scores[chosen], kind="stable")][:worst]
        first, second = listed.sides
        return tuple(
            Pair(shown(int(first[at])), shown(int(second[at])), float(listed.scores[at])) for at in order.tolist()
        )

    return Details(
        cmc=(),
        n_mated=0,
        genuine=tuple(np.bincount(bins[pairs.same], minlength=BINS).tolist()),
        impostor=tuple(np.bincount(bins[~pairs.same], minlength=BINS).tolist()),
        false_non_matches=extreme(pairs.same, 1),
        false_matches=extreme(~pairs.same, -1),
        **facts,
    )
