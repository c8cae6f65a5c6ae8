"""Carrying a protocol out: from embeddings and a manifest to figures."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from xzoo import errors
from xzoo.catalog.names import natural_key
from xzoo.data.manifest import Manifest, Row
from xzoo.evaluation.groups import Differential, differential
from xzoo.evaluation.intervals import Interval, wilson
from xzoo.evaluation.protocols import figures
from xzoo.evaluation.protocols.schema import Protocol, Sample, Selection, parse_figure
from xzoo.evaluation.protocols.templates import pooled

if TYPE_CHECKING:
    from xzoo.evaluation.engine import Embeds
    from xzoo.evaluation.ranking import Searched
    from xzoo.evaluation.report_details import Details
    from xzoo.evaluation.roc import Verification

__all__ = ["ProtocolResult", "Repetition", "chosen", "run_protocol"]

Table = npt.NDArray[Any]


@dataclass(frozen=True)
class Repetition:
    """One repetition of a protocol.

    Attributes:
        number: The seed, or the fold.
        figures: By name; ``None`` where these data cannot show the rate.
        counts: Images, templates, subjects and comparisons that took part.
        ranks: For each mated probe (its template's key, or its path) the rank of its mate;
            empty unless the protocol asks for ``hits``.
        points: For each rate at a threshold that ``threshold`` (``None`` where no genuine pair, or no mate, may be
            accepted) and the errors counted there: ``false accepts`` and ``false rejects`` of comparisons, or
            ``false positives`` and ``false negatives`` of an open-set search.
    """

    number: int
    figures: dict[str, float | None]
    counts: dict[str, int]
    ranks: dict[str, int]
    points: dict[str, dict[str, float | int | None]] = field(default_factory=dict)

    @property
    def hits(self) -> dict[str, bool]:
        """For each of ``ranks`` whether the mate came first: two models are compared on it by McNemar's test."""
        return {name: rank == 1 for name, rank in self.ranks.items()}


@dataclass(frozen=True)
class ProtocolResult:
    """What a protocol found. Rates are fractions between 0 and 1.

    Attributes:
        protocol: Its name.
        title: Its title.
        definition: The protocol as carried out, every default spelled out.
        definition_sha256: Of that.
        model: Name of the model; ``embeddings`` where those were given.
        data: Root of the manifest.
        data_sha256: Of the manifest's rows.
        repetitions: Each one.
        mean: Of each figure over the repetitions.
        std: Population standard deviation of each; ``None`` for a single repetition.
        intervals: 95 % intervals. Means over probes draw the subjects again (:func:`figures.intervals`), as do TPIRs of
            one repetition (:attr:`OpenSet.interval`); figures of one repetition over comparisons get those of
            :attr:`Verification.interval`; rates of listed pairs Wilson's, pairs taken for independent.
        warnings: What these data cannot tell, one sentence each.
        groups: Errors of every group of the first repetition at one threshold, where the protocol says ``groups_at``
            and the manifest names groups.
        details: Curves, histograms and worst errors of the first repetition, where they were asked
            for; not part of :meth:`to_dict`.
    """

    protocol: str
    title: str
    definition: dict[str, Any]
    definition_sha256: str
    model: str
    data: str
    data_sha256: str
    repetitions: tuple[Repetition, ...]
    mean: dict[str, float | None]
    std: dict[str, float | None]
    intervals: dict[str, tuple[float, float]]
    warnings: tuple[str, ...]
    groups: Differential | None = None
    details: Details | None = field(default=None, compare=False, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain lists, dicts, numbers and strings, without its details."""
        from dataclasses import asdict

        plain = asdict(replace(self, details=None))
        del plain["details"]
        plain["repetitions"] = [
            {**facts, "hits": one.hits} for facts, one in zip(plain["repetitions"], self.repetitions, strict=True)
        ]
        plain["intervals"] = {name: list(ends) for name, ends in self.intervals.items()}
        plain["warnings"] = list(self.warnings)
        plain["groups"] = None if self.groups is None else self.groups.to_dict()
        return plain

    def to_json(self, indent: int | None = None) -> str:
        """Return the result as one JSON object; what is not known is ``null``."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False, ensure_ascii=False)

    def write(self, folder: str | Path, *, thumbnails: bool = False) -> Path:
        """Write the files of :meth:`xzoo.evaluation.Report.write`; return the page.

        Raises:
            EvaluationError: It has no details: ``run_protocol(..., details=True)``.
            DiskFull, OptionError: The folder cannot be written to.
            ImageError, MissingFile: A thumbnail cannot be made.
        """
        from xzoo.evaluation.report_page import write

        return write(self, folder, thumbnails=thumbnails)

    def __str__(self) -> str:
        many = len(self.repetitions)
        lines = [f"{self.model}, protocol {self.protocol}: {self.title}", f"data {self.data}"]
        for name, value in self.mean.items():
            said = "not supported" if value is None else f"{value:.4f}"
            if (deviation := self.std[name]) is not None:
                said += f" +- {deviation:.4f}"
            if name in self.intervals:
                low, high = self.intervals[name]
                said += f"   95 % {low:.4f} to {high:.4f}"
            lines.append(f"  {name:<18} {said}")
        counts = ", ".join(f"{number} {name}" for name, number in self.repetitions[0].counts.items())
        lines.append(f"  {counts}" + (f" (repetition {self.repetitions[0].number} of {many})" if many > 1 else ""))
        return "\n".join([*lines, *(f"  note: {warning}" for warning in self.warnings)])


def run_protocol(
    protocol: str | Path | Protocol,
    model: Embeds | str | Table,
    data: Manifest | str | Path,
    *,
    options: Mapping[str, Any] | None = None,
    repetitions: Sequence[int] | None = None,
    batch_size: int = 64,
    details: bool = False,
) -> ProtocolResult:
    """Carry out a protocol.

    Each image is embedded once, however many repetitions, folds or templates it takes part in.

    Args:
        protocol: The name of one of the zoo's, a YAML file, or what ``protocols.load`` returned.
        model: A model, a catalogue name (its published weights are used), ``"pixels"``, or embeddings
            ``[N, D]`` in the order of the manifest's rows. For a protocol of landmarks: points
            ``[N, L, 2]`` in pixels of the upright images, in the same order, or a landmark network.
        data: A manifest, or the root of the data set, which the protocol's reader reads.
        options: Further options of the reader.
        repetitions: Numbers of those to carry out; all by default. Needed where each one has its own model.
        batch_size: Images per forward pass.
        details: Also keep what :meth:`ProtocolResult.write` shows.

    Returns:
        Figures of each repetition, their mean and standard deviation, counts and warnings.

    Raises:
        NotFound, EvaluationError: The protocol; a side without images; embeddings that do not fit.
        DataError, MissingFile: The data set.

    Example:
        >>> result = run_protocol("llcm.A.v2i", "hybrid_fr_t2v", "/data/LLCM")  # doctest: +SKIP
    """
    from xzoo.evaluation.protocols import load

    plan = protocol if isinstance(protocol, Protocol) else load(protocol)
    if plan.landmarks is not None:
        from xzoo.evaluation.protocols.points import run_landmarks

        return run_landmarks(plan, model, _manifest(plan, data, options), batch_size=batch_size, details=details)
    if _is_pixels(model):
        return _best_pixels(plan, data, options, repetitions, details)
    numbers = list(plan.repetitions.numbers if repetitions is None else repetitions)
    if stray := [number for number in numbers if number not in plan.repetitions.numbers] or not numbers:
        held = plan.repetitions.numbers
        raise errors.EvaluationError(
            f"repetitions={stray if numbers else []!r} of protocol {plan.protocol!r}",
            why=f"It has {held.start} to {held.stop - 1}.",
        )
    manifest = _manifest(plan, data, options)
    work = [_pair_task(plan, manifest)] if plan.pairs else [_sides(plan, manifest, number) for number in numbers]
    embed = _Embeddings(model, manifest, sorted({place for part in work for side in part for place in side}))
    embed.run(batch_size, flip=plan.flip)
    found = [
        _pairs(plan, manifest, embed, number)
        if plan.pairs
        else _search(plan, manifest, embed, sides, number, alone=len(numbers) == 1)
        for sides, number in zip(work, numbers, strict=True)
    ]
    done = [one.repetition for one in found]
    mean, std = figures.spread([one.figures for one in done])
    # Accuracy has a spread of its own, over folds.
    for name in [name for name in mean if name.endswith("_std")]:
        std[name.removesuffix("_std")] = mean.pop(name)
        del std[name]
    return ProtocolResult(
        **facts_of(plan, manifest),
        model=embed.name,
        repetitions=tuple(
            Repetition(
                one.number,
                {key: value for key, value in one.figures.items() if not key.endswith("_std")},
                one.counts,
                one.ranks,
                one.points,
            )
            for one in done
        ),
        mean=mean,
        std=std,
        intervals=_intervals(plan, found),
        warnings=(
            *_warnings(plan, done),
            *found[0].few,
            *(found[0].groups.warnings if found[0].groups else ()),
            *_without_groups(plan, found[0].groups),
        ),
        groups=found[0].groups,
        details=_explained(plan, manifest, embed, work[0], len(done)) if details else None,
    )


def facts_of(plan: Protocol, manifest: Manifest) -> dict[str, Any]:
    """Return the fields of a result that say what was carried out on which data."""
    definition = plan.model_dump(mode="json", exclude_none=True)
    return {
        "protocol": plan.protocol,
        "title": plan.title,
        "definition": definition,
        "definition_sha256": hashlib.sha256(json.dumps(definition, sort_keys=True).encode()).hexdigest(),
        "data": str(manifest.root),
        "data_sha256": manifest.hash,
    }


def _explained(
    plan: Protocol, manifest: Manifest, embed: _Embeddings, places: tuple[list[int], list[int]], many: int
) -> Details:
    """Return the details of the first repetition."""
    from xzoo.evaluation.protocols.explained import explain_pairs, explain_search, provenance

    facts = provenance(plan, manifest, sorted({*places[0], *places[1]}), embed.network, many)
    if plan.pairs is not None:
        return explain_pairs(manifest, _listed(plan, manifest, embed), facts)
    assert plan.gallery is not None and plan.probe is not None
    known, asked = _side(plan.gallery, manifest, embed, places[0]), _side(plan.probe, manifest, embed, places[1])
    return explain_search(plan, manifest, places, known, asked, facts)


# --- which rows --------------------------------------------------------------------------------


def _manifest(plan: Protocol, data: Manifest | str | Path, options: Mapping[str, Any] | None) -> Manifest:
    if isinstance(data, Manifest):
        if options:
            raise errors.OptionError(
                f"reader options {', '.join(options)} beside a manifest", why="It is read already.", do="give a root"
            )
        return data
    if plan.reader is None:
        return Manifest.read(data)
    from xzoo.data import readers

    return readers.read(plan.reader, data, **{**plan.options, **(options or {})})


def chosen(manifest: Manifest, selection: Selection, repetition: int = 0) -> list[int]:
    """Return the places of the rows that a selection takes, in order.

    Example:
        >>> rows = (Row("a.png", "ann", "VIS"), Row("b.png", "ann", "NIR", index=1))
        >>> chosen(Manifest(rows, Path(".")), Selection(where={"spectrum": "NIR"}))
        [1]
    """
    wanted = {
        column: {
            word.replace("{repetition}", str(repetition)) for word in ([words] if isinstance(words, str) else words)
        }
        for column, words in selection.where.items()
    }
    places = [
        place
        for place, row in enumerate(manifest.rows)
        if all(getattr(row, column) in words for column, words in wanted.items())
    ]
    return places if selection.sample is None else _drawn(manifest.rows, places, selection.sample, repetition)


def _drawn(rows: Sequence[Row], places: list[int], sample: Sample, repetition: int) -> list[int]:
    groups: dict[tuple[str, ...], list[int]] = {}
    for place in places:
        groups.setdefault(tuple(str(getattr(rows[place], column)) for column in sample.per), []).append(place)
    lot = random.Random(repetition if sample.seed is None else sample.seed)
    drawn: list[int] = []
    for key in sorted(groups, key=lambda key: [natural_key(word) for word in key]):
        members = sorted(groups[key], key=lambda place: rows[place].path)
        if sample.share is not None:
            taken = set(lot.sample(members, max(1, round(sample.share * len(members)))))
            drawn += [place for place in members if (place in taken) != sample.rest]
            continue
        # A group of one uses up a draw as well: the public scripts do, and later draws depend on it.
        drawn += [lot.choice(members)] if sample.count == 1 else lot.sample(members, min(sample.count, len(members)))
    return drawn


def _sides(plan: Protocol, manifest: Manifest, number: int) -> tuple[list[int], list[int]]:
    sides: list[list[int]] = []
    for role, selection in (("gallery", plan.gallery), ("probe", plan.probe)):
        assert selection is not None  # the schema sees to it
        places = chosen(manifest, selection, number)
        if not places:
            raise errors.EvaluationError(
                f"{role} of protocol {plan.protocol!r}, repetition {number}",
                why="No image has " + ", ".join(f"{key} {value}" for key, value in selection.where.items()) + ".",
                exists=_held(manifest, selection),
                do="check the reader's options and the manifest's columns",
            )
        sides.append(places)
    return sides[0], sides[1]


def _held(manifest: Manifest, selection: Selection) -> str:
    parts = []
    for column in selection.where:
        values = sorted({str(getattr(row, column)) for row in manifest.rows}, key=natural_key)
        parts.append(f"{column}: {', '.join(values[:4])}{', ...' if len(values) > 4 else ''}")
    return "; ".join(parts)


# --- embeddings --------------------------------------------------------------------------------


class _Embeddings:
    """Embeddings of the rows that take part: given as they are, or made by a model, each image once."""

    def __init__(self, model: Embeds | str | Table, manifest: Manifest, places: Sequence[int]) -> None:
        self.manifest = manifest
        number: dict[object, int] = {}
        self.image = np.full(len(manifest), -1)
        first: list[int] = []
        for place in places:
            row = manifest.rows[place]
            key = (row.path, row.box, row.landmarks)
            if key not in number:
                number[key] = len(number)
                first.append(place)
            self.image[place] = number[key]
        self._first = first
        self._given = _as_table(model)
        self._model = model
        self._table: Table = np.zeros((0, 0))
        self.name = "embeddings"
        self.network: Any = None
        if self._given is not None and (self._given.ndim != 2 or len(self._given) != len(manifest)):
            raise errors.EvaluationError(
                f"embeddings of shape {list(self._given.shape)} for a manifest of {len(manifest)} rows",
                why="They are a table [N, D] with one row for each row of the manifest.",
            )

    def run(self, batch_size: int, *, flip: bool) -> None:
        """Make the embeddings, unless they were given."""
        if self._given is not None:
            return
        from xzoo.evaluation.embedding import embed_images
        from xzoo.evaluation.engine import _name, _resolve

        network: Any = _resolve(cast("Embeds | str", self._model))
        self.name, self.network = _name(network), network
        rows = tuple(self.manifest.rows[place] for place in self._first)
        self._table = embed_images(network, Manifest(rows, self.manifest.root), batch_size, flip=flip)

    def of(self, places: Sequence[int]) -> Table:
        """Return the embeddings of rows, ``[len(places), D]``."""
        return self._given[list(places)] if self._given is not None else self._table[self.image[list(places)]]


def _is_pixels(model: object) -> bool:
    return isinstance(model, str) and model == "pixels"


def _best_pixels(
    plan: Protocol,
    data: Manifest | str | Path,
    options: Mapping[str, Any] | None,
    repetitions: Sequence[int] | None,
    details: bool,
) -> ProtocolResult:
    """Try plain grey values at several sizes and return the result whose first figure is best."""
    from xzoo.evaluation.pixels import SIZES, Pixels

    manifest = _manifest(plan, data, options)
    results = [run_protocol(plan, Pixels(size), manifest, repetitions=repetitions, details=details) for size in SIZES]
    return max(results, key=lambda result: result.mean[plan.figures[0]] or 0.0)


def _as_table(model: object) -> Table | None:
    if isinstance(model, np.ndarray):
        return model
    if hasattr(model, "detach") and hasattr(model, "shape"):
        from xzoo.evaluation.similarity import _array

        return _array(model)
    return None


# --- figures -----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Done:
    """A repetition with what its intervals are made from: outcomes of the probes, and intervals known already."""

    repetition: Repetition
    outcomes: figures.Outcomes | None
    ends: Mapping[str, Interval]
    few: tuple[str, ...] = ()
    groups: Differential | None = None


def _intervals(plan: Protocol, found: Sequence[_Done]) -> dict[str, Interval]:
    known = dict(found[0].ends) if len(found) == 1 else {}
    outcomes = [one.outcomes for one in found if one.outcomes is not None]
    known |= figures.intervals(outcomes) if outcomes else {}
    return {name: known[name] for name in plan.figures if name in known}


@dataclass(frozen=True)
class _Side:
    """Vectors of one side with what is known about each: an image, or a template."""

    vectors: Table
    subject: Table
    camera: Table
    image: Table
    names: list[str]
    group: list[str | None]
    templates: bool
    rows: int


def _side(selection: Selection, manifest: Manifest, embed: _Embeddings, places: list[int]) -> _Side:
    rows = [manifest.rows[place] for place in places]
    vectors, names = embed.of(places), [row.path for row in rows]
    images = embed.image[places]
    if selection.template is not None:
        vectors, keys, rows = pooled(vectors, rows, selection.template)
        names = [" ".join(key) for key in keys]
        images = np.arange(len(rows))
    return _Side(
        vectors,
        np.array([row.subject for row in rows]),
        np.array([row.camera or "" for row in rows]),
        images,
        names,
        [row.group for row in rows],
        selection.template is not None,
        len(places),
    )


def _search(
    plan: Protocol,
    manifest: Manifest,
    embed: _Embeddings,
    places: tuple[list[int], list[int]],
    number: int,
    *,
    alone: bool,
) -> _Done:
    from xzoo.evaluation.identification import open_set_of
    from xzoo.evaluation.ranking import means
    from xzoo.evaluation.roc import every_score, verification

    assert plan.gallery is not None and plan.probe is not None
    known = _side(plan.gallery, manifest, embed, places[0])
    asked = _side(plan.probe, manifest, embed, places[1])
    wanted = [(name, *parse_figure(name)) for name in plan.figures]
    found: dict[str, float | None] = {}
    counts = {
        "gallery images": known.rows,
        "gallery subjects": len(set(known.subject.tolist())),
        "probe images": asked.rows,
        "probe subjects": len(set(asked.subject.tolist())),
    }
    counts |= {
        f"{role} templates": len(side.vectors)
        for role, side in (("gallery", known), ("probe", asked))
        if side.templates
    }
    kinds = {kind for _, kind, _, _ in wanted}
    mated = 0
    outcomes: figures.Outcomes | None = None
    ranks: dict[str, int] = {}
    ends: dict[str, Interval] = {}
    few: list[str] = []
    points: dict[str, dict[str, float | int | None]] = {}
    if kinds & {"rank", "map", "minp", "tpir", "tpir_auc"} or plan.hits:
        depths = sorted({int(at) for _, kind, _, at in wanted if kind == "map" and at})
        searched = search_of(plan, known, asked, others=bool(kinds & {"tpir", "tpir_auc"}), depths=depths)
        has_mate = searched.mated
        mated = int(has_mate.sum())
        if kinds & {"rank", "map", "minp"}:
            deepest = max([rank or 1 for _, kind, rank, _ in wanted if kind == "rank"], default=1)
            figure = means(searched, deepest)
            values: dict[str, Table] = {}
            for name, kind, rank, at in wanted:
                if kind == "rank" and rank:
                    found[name] = float(figure.cmc[rank - 1])
                    values[name] = searched.rank[has_mate] <= rank
                elif kind == "map" and at:
                    values[name] = searched.truncated[int(at)][has_mate]
                    found[name] = float(values[name].mean())
                elif kind in ("map", "minp"):
                    found[name] = figure.mean_ap if kind == "map" else figure.mean_inp
                    each = searched.average_precision if kind == "map" else searched.inverse_penalty
                    values[name] = each[has_mate]
            outcomes = figures.Outcomes(asked.subject[has_mate], values)
        for name, kind, rank, at in wanted:
            if kind == "tpir_auc" and rank:
                whole_set = open_set_of(searched, (), rank) if 0 < mated < len(has_mate) else None
                found[name] = whole_set.auc if whole_set else None
                if alone and whole_set:
                    ends[name] = whole_set.auc_interval
            elif kind == "tpir" and rank and at:
                shown = open_set_of(searched, (at,), rank) if 0 < mated < len(has_mate) else None
                found[name] = shown.tpir[at] if shown else None
                if shown is None or found[name] is None:
                    continue
                few += [word for word in shown.warnings if word not in few]
                points[name] = {
                    "threshold": _finite(shown.thresholds[at]),
                    "false positives": shown.false_positives[at],
                    "false negatives": shown.n_mated - round((found[name] or 0) * shown.n_mated),
                }
                if alone and (interval := shown.interval[at]) is not None:
                    ends[name] = interval
        if plan.hits:
            ranks = {name: rank for name, rank in zip(asked.names, searched.rank.tolist(), strict=True) if rank}
    groups: Differential | None = None
    if kinds & {"auc", "eer", "tar", "tar_nearest"} or plan.groups_at is not None:
        fars = tuple(at for _, kind, _, at in wanted if kind == "tar" and at)
        pooled_side = known.templates or asked.templates
        image_a, image_b = (None, None) if pooled_side else (known.image, asked.image)
        whole = verification(
            known.vectors,
            asked.vectors,
            known.subject,
            asked.subject,
            tuple(dict.fromkeys((*fars, *([] if plan.groups_at is None else [plan.groups_at])))) or (1e-1,),
            image_a=image_a,
            image_b=image_b,
        )
        counts |= {"genuine": whole.n_genuine, "impostor": whole.n_impostor}
        few += whole.few if fars else ()
        for name, kind, _, at in wanted:
            if kind == "tar" and at:
                found[name] = whole.tar[at]
            elif kind in ("auc", "eer"):
                found[name] = float(getattr(whole, kind))
        points |= _points(plan, whole)
        if alone:
            told = whole.interval
            for name, kind, _, at in wanted:
                interval = told.get(at if kind == "tar" and at else kind)
                if interval is not None and found.get(name) is not None:
                    ends[name] = interval
        if plan.groups_at is not None:
            groups = differential(
                known.vectors,
                asked.vectors,
                known.subject,
                asked.subject,
                known.group,
                asked.group,
                plan.groups_at,
                whole.thresholds[plan.groups_at],
                image_a=image_a,
                image_b=image_b,
            )
        if "tar_nearest" in kinds:
            genuine, impostor = every_score(
                known.vectors, asked.vectors, known.subject, asked.subject, image_a=image_a, image_b=image_b
            )
            near = {name: at for name, kind, _, at in wanted if kind == "tar_nearest" and at}
            found |= dict(zip(near, figures.nearest_tar(genuine, impostor, list(near.values())), strict=True))
    counts |= {"mated probes": mated or int(np.isin(asked.subject, known.subject).sum())}
    counts["unmated probes"] = len(asked.vectors) - counts["mated probes"]
    repetition = Repetition(number, {name: found[name] for name in plan.figures}, counts, ranks, points)
    return _Done(repetition, outcomes, ends, tuple(few), groups)


def _points(plan: Protocol, whole: Verification) -> dict[str, dict[str, float | int | None]]:
    """Return threshold and error counts behind each rate of comparisons."""
    points: dict[str, dict[str, float | int | None]] = {}
    for name in plan.figures:
        kind, _, at = parse_figure(name)
        if kind == "tar" and at and whole.tar[at] is not None:
            points[name] = {
                "threshold": _finite(whole.thresholds[at]),
                "false accepts": whole.false_accepts[at],
                "false rejects": whole.false_rejects[at],
            }
        elif kind == "eer":
            points[name] = {"threshold": _finite(whole.eer_threshold)}
    return points


def _finite(threshold: float | None) -> float | None:
    return threshold if threshold is not None and np.isfinite(threshold) else None


def search_of(
    plan: Protocol, known: _Side, asked: _Side, *, others: bool = False, depths: Sequence[int] = ()
) -> Searched:
    """Search the probes in the gallery by the protocol's rule."""
    from xzoo.evaluation.ranking import search

    rule, cameras = _rule(plan, known, asked)
    sides = ("probe", "gallery")
    whose = asked.subject, known.subject
    return search(asked.vectors, known.vectors, *whose, *cameras, rule=rule, others=others, depths=depths, sides=sides)


def _without_groups(plan: Protocol, groups: Differential | None) -> tuple[str, ...]:
    if plan.groups_at is None or groups is not None:
        return ()
    return (f"Groups are not compared at FAR {plan.groups_at:g}: none is named, or the data have no such threshold.",)


def _rule(plan: Protocol, known: _Side, asked: _Side) -> tuple[Any, tuple[Table | None, Table | None]]:
    """Return the rule of ``retrieval`` and the cameras that make it the protocol's."""
    exclusion = plan.exclusions[0] if plan.exclusions else None
    subjects = plan.cmc == "subjects"
    if exclusion == "sysu_same_place":
        return "sysu", (_camera_numbers(asked), _camera_numbers(known))
    if exclusion == "same_subject_same_camera":
        for side in (asked, known):
            if "" in side.camera:
                raise errors.EvaluationError(
                    f"protocol {plan.protocol!r} on {side.names[int(np.argmax(side.camera == ''))]!r}",
                    why="It compares cameras, and this image has none.",
                    do="use a manifest with a camera in every row",
                )
        return "llcm" if subjects else "market", (asked.camera, known.camera)
    if exclusion == "same_image":
        return "llcm" if subjects else "market", (asked.image, known.image)
    if subjects:  # cameras that never agree leave nothing out
        return "llcm", (np.zeros(len(asked.vectors), int), np.ones(len(known.vectors), int))
    return "regdb", (None, None)


def _camera_numbers(side: _Side) -> Table:
    numbers = ["".join(letter for letter in camera if letter.isdigit()) for camera in side.camera.tolist()]
    if "" in numbers:
        raise errors.EvaluationError(
            f"camera {side.camera[numbers.index('')]!r} of {side.names[numbers.index('')]!r}",
            why="The rule of SYSU-MM01 compares camera numbers.",
            do="name cameras 1 to 6",
        )
    return np.array(list(map(int, numbers)))


def _labels(plan: Protocol, known: _Side, asked: _Side) -> tuple[Table, Table] | None:
    if not plan.exclusions:
        return None
    if plan.exclusions[0] == "sysu_same_place":
        q, g = _camera_numbers(asked), _camera_numbers(known)
        return np.where(q == 3, 3, -1), np.where(g == 2, 3, -2)
    if plan.exclusions[0] == "same_image":
        return asked.image, known.image
    return asked.camera, known.camera


def _pair_task(plan: Protocol, manifest: Manifest) -> tuple[list[int], list[int]]:
    if manifest.pairs is None or not len(manifest.pairs):
        raise errors.EvaluationError(
            f"protocol {plan.protocol!r} on {str(manifest.root)!r}",
            why="It compares listed pairs, and the manifest lists none.",
            do="read the data set with a reader that lists pairs, such as pairs_list",
        )
    return list(range(len(manifest))), []


@dataclass(frozen=True)
class _Listed:
    """Listed pairs with their scores.

    Attributes:
        scores: ``[P]`` cosines.
        sides: Two of ``[P]``: places in ``rows``.
        rows: An image, or the first image of a template.
        keys: Names of the templates; empty for images.
    """

    scores: Table
    sides: list[npt.NDArray[np.int64]]
    rows: Sequence[Row]
    keys: list[tuple[str, ...]]


def _listed(plan: Protocol, manifest: Manifest, embed: _Embeddings) -> _Listed:
    """Return the scores of the pairs that the manifest lists."""
    pairs = manifest.pairs
    assert plan.pairs is not None and pairs is not None
    every = list(range(len(manifest)))
    rows: Sequence[Row] = manifest.rows
    keys: list[tuple[str, ...]] = []
    if plan.pairs.template is None:
        place: dict[Any, int] = {row.index: at for at, row in enumerate(manifest.rows)}
        vectors = embed.of(every)
    else:
        vectors, keys, rows = pooled(embed.of(every), manifest.rows, plan.pairs.template)
        place = {key[0] if len(key) == 1 else key: at for at, key in enumerate(keys)}
    try:
        sides = [np.array([place[name] for name in side.tolist()]) for side in (pairs.first, pairs.second)]
    except KeyError as fault:
        raise errors.EvaluationError(
            f"a pair of protocol {plan.protocol!r} names {fault.args[0]!r}",
            why="No row or template of the manifest is called so.",
        ) from fault
    scores = figures.pair_scores(vectors, *sides)
    return _Listed(scores, sides, rows, keys)


def _pairs(plan: Protocol, manifest: Manifest, embed: _Embeddings, number: int) -> _Done:
    from xzoo.evaluation.roc import verification_from_scores

    pairs = manifest.pairs
    assert plan.pairs is not None and pairs is not None
    listed = _listed(plan, manifest, embed)
    scores = listed.scores
    counts = {"images": len(manifest), "pairs": len(pairs)} | ({"templates": len(listed.rows)} if listed.keys else {})
    genuine, impostor = scores[pairs.same], scores[~pairs.same]
    counts |= {"genuine": len(genuine), "impostor": len(impostor), "mated probes": len(genuine)}
    if not len(genuine) or not len(impostor):
        raise errors.EvaluationError(
            f"{len(genuine)} genuine and {len(impostor)} impostor pairs", why="There must be some of each."
        )
    fold = pairs.fold if pairs.fold is not None else figures.folds(len(pairs))
    found: dict[str, float | None] = {}
    near = {name: at for name in plan.figures if name.startswith("tar_nearest") and (at := parse_figure(name)[2])}
    found |= dict(zip(near, figures.nearest_tar(genuine, impostor, list(near.values())), strict=True)) if near else {}
    fars = [at for name in plan.figures if (parsed := parse_figure(name))[0] == "tar" and (at := parsed[2])]
    whole = verification_from_scores(genuine, impostor, fars)
    for name in plan.figures:
        kind, _, at = parse_figure(name)
        if kind == "accuracy":
            found[name], found[f"{name}_std"] = figures.accuracy(scores, pairs.same, fold)
        elif kind == "val" and at:
            found[name], found[f"{name}_std"] = figures.val(scores, pairs.same, fold, at)
        elif kind == "tar" and at:
            found[name] = whole.tar[at]
        elif kind in ("auc", "eer"):
            found[name] = float(getattr(whole, kind))
    trials = {"accuracy": len(scores), "tar": len(genuine), "tar_nearest": len(genuine), "val": len(genuine)}
    ends = {
        name: wilson(round(rate * trials[kind]), trials[kind])
        for name, rate in found.items()
        if (kind := name.partition("@")[0]) in trials and rate is not None
    }
    ordered = {name: rate for key in plan.figures for name, rate in found.items() if name in (key, f"{key}_std")}
    return _Done(Repetition(number, ordered, counts, {}, _points(plan, whole)), None, ends, whole.few)


def _warnings(plan: Protocol, done: Sequence[Repetition]) -> tuple[str, ...]:
    said = list(plan.notes)
    first = done[0].counts
    if first.get("unmated probes") and not any(name.startswith("tpir") for name in plan.figures):
        said.append(f"{first['unmated probes']} probes have no mate in the gallery and count as impostors only.")
    for name in plan.figures:
        kind, rank, at = parse_figure(name)
        if at and any(one.figures[name] is None for one in done):
            said.append(f"{name} is not reported: these data cannot show a rate so small.")
        if kind == "tpir_auc" and any(one.figures[name] is None for one in done):
            said.append(f"{name} is not reported: some probes must have a mate, and some none.")
        held = first.get(
            "gallery templates", first.get("gallery subjects" if plan.cmc == "subjects" else "gallery images")
        )
        if kind == "rank" and rank and held and rank >= held:
            said.append(f"{name} cannot fail: the gallery holds only {held}.")
    return tuple(said)
