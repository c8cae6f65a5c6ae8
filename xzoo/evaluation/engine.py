"""From a model and a manifest to a report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from xzoo import errors
from xzoo.data.manifest import Manifest
from xzoo.evaluation.embedding import embed_images
from xzoo.evaluation.groups import differential
from xzoo.evaluation.pixels import SIZES, Pixels
from xzoo.evaluation.protocols.sides import Side, choose
from xzoo.evaluation.ranking import retrieval
from xzoo.evaluation.report import Report, intervals_of
from xzoo.evaluation.roc import verification

if TYPE_CHECKING:
    from torch import Tensor

    from xzoo.data.preprocess import Preprocess

__all__ = ["Embeds", "evaluate", "pixel_baseline"]

FARS = {"1e-1": 1e-1, "1e-2": 1e-2, "1e-3": 1e-3}
RANKS = {"rank1": 1, "rank5": 5, "rank10": 10}
CMC_RANKS = 50  # as far as a report with details draws the curve


class Embeds(Protocol):
    """What can be evaluated: anything with a preprocessing that gives embeddings."""

    @property
    def preprocess(self) -> Preprocess:
        """From an image file to the pixels that ``embed`` takes."""

    def embed(
        self,
        images: Tensor,
        *,
        spectrum: Sequence[str | None] | None,
        batch_size: int,
        normalise: bool,
    ) -> Tensor:
        """Return embeddings ``[N, D]`` of ``uint8 [N, 3, H, W]``."""


def evaluate(
    model: Embeds | str | Path,
    data: Manifest | str | Path,
    *,
    gallery: str = "VIS",
    probe: str = "LWIR",
    split: str | None = None,
    templates: bool = False,
    batch_size: int = 64,
    details: bool = False,
) -> Report:
    """Measure how well a model tells people apart.

    Each image is embedded once. An image is never compared with itself, so a
    gallery and a probe that overlap make a leave-one-out test.

    Args:
        model: A model, a catalogue name (its published weights are used), a run
            folder, or ``"pixels"`` for :func:`pixel_baseline`.
        data: A manifest, or where to read one.
        gallery: The known side: ``SPECTRUM[:FIRST-LAST]``, ``VIS:1-2`` being the first
            two visible images of each subject.
        probe: The side looked for, written alike.
        split: Only the images of this split.
        templates: Compare with one template for each gallery subject, the mean of its
            raw embeddings, instead of with each image.
        batch_size: Images per forward pass.
        details: Also keep what :meth:`Report.write` shows: curves, histograms, worst errors
            and the search between all bands of the split, whose images are embedded too.

    Returns:
        The figures, with counts, intervals and what the data cannot tell.

    Raises:
        EvaluationError: A side that does not parse or is empty, an unknown split, no
            genuine pair, templates that contain a probe, or unusable embeddings.
        DataError, MissingFile: The manifest cannot be read.

    Example:
        >>> print(evaluate("hybrid_fr_t2v", "faces", split="test"))  # doctest: +SKIP
    """
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise errors.EvaluationError(f"batch_size={batch_size!r}", why="A batch holds at least one image.")
    if model == "pixels":
        return pixel_baseline(data, gallery=gallery, probe=probe, split=split, templates=templates, details=details)
    manifest = data if isinstance(data, Manifest) else Manifest.read(data)
    sides = Side.parse(gallery, "gallery"), Side.parse(probe, "probe")
    # What the data cannot support is found before a model is loaded.
    known, asked = choose(manifest, *sides, split)
    within = manifest if split is None else manifest.select(split=split)
    used = (*known.rows, *asked.rows, *(within.rows if details else ()))
    number = {key: place for place, key in enumerate(dict.fromkeys(map(_image, used)))}
    known_number = np.array([number[_image(row)] for row in known.rows])
    asked_number = np.array([number[_image(row)] for row in asked.rows])
    if templates and (shared := np.intersect1d(known_number, asked_number)).size:
        raise errors.EvaluationError(
            f"templates of gallery {gallery!r} for probe {probe!r}",
            why=f"{len(shared)} probe images would be part of the template that they are compared with.",
            do=f'choose other samples: gallery="{sides[0].spectrum}:1-2", probe="{sides[1].spectrum}:3-"',
        )
    network = _resolve(model)

    distinct = {number[_image(row)]: row for row in used}
    raw = embed_images(
        network, Manifest(tuple(distinct[place] for place in range(len(distinct))), manifest.root), batch_size
    )
    probes, probe_subject = raw[asked_number], np.array([row.subject for row in asked.rows])
    members, member_subject = raw[known_number], np.array([row.subject for row in known.rows])
    ranks_shown = CMC_RANKS if details else max(RANKS.values())
    if templates:
        subjects, owner = np.unique(member_subject, return_inverse=True)
        means = np.stack([members[owner == place].mean(0, dtype=np.float64) for place in range(len(subjects))])
        members, member_subject = means.astype(np.float32), subjects
        search = retrieval(probes, members, probe_subject, member_subject, max_rank=ranks_shown)
        pairs = verification(members, probes, member_subject, probe_subject, tuple(FARS.values()))
    else:
        # With its own number as its camera, a probe is left out of the gallery it is searched in.
        search = retrieval(
            probes, members, probe_subject, member_subject, asked_number, known_number, max_rank=ranks_shown
        )
        pairs = verification(
            members,
            probes,
            member_subject,
            probe_subject,
            tuple(FARS.values()),
            image_a=known_number,
            image_b=asked_number,
        )

    ranks = {key: float(search.cmc[rank - 1]) for key, rank in RANKS.items()}
    # Groups are compared at the finest rate that these data support.
    finest = min((far for far in FARS.values() if pairs.thresholds[far] is not None), default=None)
    groups = None
    if finest is not None:
        groups = differential(
            members,
            probes,
            member_subject,
            probe_subject,
            [_one_group(known, who) for who in member_subject] if templates else [row.group for row in known.rows],
            [row.group for row in asked.rows],
            finest,
            pairs.thresholds[finest],
            image_a=None if templates else known_number,
            image_b=None if templates else asked_number,
        )
    said = (*pairs.warnings, *(groups.warnings if groups else ()))
    kept = None
    if details:
        from xzoo.evaluation.report_details import explain

        kept = explain(
            manifest=manifest,
            within=within,
            known=known,
            asked=asked,
            sides=sides,
            split=split,
            templates=templates,
            embeddings=raw,
            place=lambda row: number[_image(row)],
            members=members,
            search=search,
            pairs=pairs,
            fars=FARS,
            device=getattr(network, "device", None),
        )
    return Report(
        details=kept,
        model=_name(network),
        weights_sha256=getattr(network, "weights_sha256", None),
        adapters=tuple(getattr(network, "adapters", ())),
        data=str(manifest.root if isinstance(data, Manifest) else data),
        data_sha256=manifest.hash,
        split=split,
        gallery=str(sides[0]),
        probe=str(sides[1]),
        templates=templates,
        batch_size=batch_size,
        **ranks,
        map=search.mean_ap,
        minp=search.mean_inp,
        auc=pairs.auc,
        eer=pairs.eer,
        eer_threshold=pairs.eer_threshold,
        tar={name: pairs.tar[far] for name, far in FARS.items()},
        thresholds={name: _finite(pairs.thresholds[far]) for name, far in FARS.items()},
        false_accepts={name: pairs.false_accepts[far] for name, far in FARS.items()},
        n_probe=len(probes),
        n_unmated=search.n_unmated,
        n_gallery=len(members),
        n_subjects=len(known.subjects),
        n_genuine=pairs.n_genuine,
        n_impostor=pairs.n_impostor,
        intervals=intervals_of(search, pairs, FARS),
        groups=groups,
        warnings=_warnings(said, search.n_unmated, len(probes), len(members)),
    )


def pixel_baseline(
    data: Manifest | str | Path,
    *,
    gallery: str = "VIS",
    probe: str = "LWIR",
    split: str | None = None,
    templates: bool = False,
    sizes: Sequence[int] = SIZES,
    details: bool = False,
) -> Report:
    """Evaluate plain grey values at several sizes and return the best report.

    The size is chosen on the very images that are reported, which favours the
    baseline: a network should beat it nevertheless. Arguments and errors are
    those of :func:`evaluate`.

    Args:
        data: A manifest, or where to read one.
        gallery: The known side.
        probe: The side looked for.
        split: Only the images of this split.
        templates: One mean template for each gallery subject.
        sizes: Widths, in pixels, to try; best is the highest rank-1, then AUC.
        details: As for :func:`evaluate`.
    """
    manifest = data if isinstance(data, Manifest) else Manifest.read(data)
    reports = [
        evaluate(
            Pixels(size), manifest, gallery=gallery, probe=probe, split=split, templates=templates, details=details
        )
        for size in sizes
    ]
    return max(reports, key=lambda report: (report.rank1, report.auc))


def _resolve(model: Embeds | str | Path) -> Embeds:
    if isinstance(model, (str, Path)):
        from xzoo.models import create

        return create(model, pretrained=True)
    if not (hasattr(model, "embed") and hasattr(model, "preprocess")):
        raise errors.EvaluationError(
            f"evaluate() of {type(model).__name__!r}",
            why="It has no .embed and .preprocess.",
            exists="a name, a run folder, or what xzoo.create returns",
        )
    return model


def _one_group(known: Manifest, subject: str) -> str | None:
    """Return the attributes that the gallery's rows of a subject first tell."""
    return next((row.group for row in known.rows if row.subject == subject and row.group), None)


def _image(row: Any) -> tuple[str, Any]:
    """Return what makes two rows the same image: the file and the crop."""
    return row.path, row.box


def _name(model: Embeds) -> str:
    card = getattr(model, "card", None)
    return str(card.name if card is not None else getattr(model, "name", type(model).__name__))


def _finite(threshold: float | None) -> float | None:
    return threshold if threshold is not None and np.isfinite(threshold) else None


def _warnings(said: tuple[str, ...], n_unmated: int, n_probe: int, n_gallery: int) -> tuple[str, ...]:
    found = list(said)
    if n_unmated:
        found.append(f"{n_unmated} of {n_probe} probes have no mate in the gallery and count as impostors only.")
    trivial = [f"rank-{rank}" for rank in RANKS.values() if rank >= n_gallery]
    if trivial:
        found.append(f"{' and '.join(trivial)} cannot fail: the gallery holds only {n_gallery}.")
    return tuple(found)
