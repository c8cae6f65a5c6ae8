"""What a report shows beside its figures: curves, histograms, domains and worst errors.

One pass over the scores, a block at a time. Scores are counted in ``BINS`` steps
between -1 and 1, so memory does not grow with the comparisons, and every point
of a curve drawn from the counts is a point of the exact curve: only the steps
between neighbouring thresholds are not resolved.
"""

from __future__ import annotations

import dataclasses
import hashlib
import platform
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from xzoo.catalog.names import SPECTRA
from xzoo.evaluation.intervals import wilson
from xzoo.evaluation.report import intervals_of
from xzoo.evaluation.similarity import codes, each_block, rows_of, twice

if TYPE_CHECKING:
    import torch

    from xzoo.data.manifest import Manifest, Row
    from xzoo.evaluation.protocols.sides import Side
    from xzoo.evaluation.ranking import Retrieval
    from xzoo.evaluation.roc import Verification

__all__ = [
    "BINS",
    "WORST",
    "Cell",
    "Details",
    "Displaced",
    "Miss",
    "Pair",
    "Picture",
    "collect",
    "domain_matrix",
    "explain",
    "versions",
]

BINS = 4096
WORST = 12
BLOCK_SCORES = 1 << 21

Vector: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True)
class Picture:
    """One image, or a template, as it is named in a list of errors.

    Attributes:
        subject: Who.
        path: As in the manifest; for a template what it was made of.
        spectrum: One of the five bands.
        box: ``(x, y, width, height)`` of the crop, or ``None`` for the whole image.
        template: It is a mean of images: there is no file to show.
    """

    subject: str
    path: str
    spectrum: str
    box: tuple[int, int, int, int] | None = None
    template: bool = False


@dataclass(frozen=True)
class Pair:
    """A comparison that went wrong, or nearly so.

    Attributes:
        probe: What was looked for.
        gallery: What it was compared with.
        score: Their cosine.
    """

    probe: Picture
    gallery: Picture
    score: float


@dataclass(frozen=True)
class Miss:
    """A search that did not find its mate first.

    Attributes:
        probe: What was looked for.
        first: What stood first instead.
        first_score: Its cosine.
        mate_score: The best mate's cosine.
        rank: The best mate's place among the images of the gallery, a tie counting against it.
    """

    probe: Picture
    first: Picture
    first_score: float
    mate_score: float
    rank: int


@dataclass(frozen=True)
class Displaced:
    """An image whose landmarks lie far from where they should be.

    Attributes:
        picture: Which.
        error: Mean distance, divided by the size of the face.
    """

    picture: Picture
    error: float


@dataclass(frozen=True)
class Cell:
    """Closed-set search between the templates of two domains (one mean of raw embeddings a subject).

    Attributes:
        gallery: Domain of the gallery.
        probe: Domain of the probes.
        hits: Probe templates whose mate stands first; a tie counts against it.
        n_probe: Probe templates with a mate.
        n_gallery: Gallery templates.
        genuine: Mean cosine of a subject with itself; ``None`` where there is no such pair.
        impostor: Mean cosine of two subjects; ``None`` where there is no such pair.
        interval: 95 % Wilson interval of ``hits / n_probe``; ``None`` without probes.
    """

    gallery: str
    probe: str
    hits: int
    n_probe: int
    n_gallery: int
    genuine: float | None
    impostor: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Details:
    """What the curves, tables and provenance of a report are made of.

    Attributes:
        cmc: Entry k-1 is the rate of mated probes found among the first k.
        n_mated: Probes behind ``cmc``.
        band: 95 % intervals of each entry of ``cmc``, from drawing subjects again.
        genuine: ``[BINS]`` genuine comparisons by cosine, in equal steps from -1 to 1.
        impostor: ``[BINS]`` the same of impostors.
        domains: The bands compared with each other.
        matrix: One cell for each ordered pair of different domains.
        false_non_matches: Genuine comparisons with the lowest scores, lowest first.
        false_matches: Impostor comparisons with the highest scores, highest first.
        misses: Searches whose mate stood furthest behind, worst first.
        protocol: What was compared with what, in words or as the protocol's file.
        images_sha256: Over the names and bytes of all images used, in order of name.
        root: Folder to which the paths of pictures are relative.
        versions: Of the software that took part.
        weights_sha256: Of the model's weights, where the figures do not tell it.
        scope: Which part of the evaluation the curves show, where it is not the whole.
        intervals: 95 % intervals by figure, from drawing subjects again.
        ced: ``(error, share of images at or below it)``, for landmarks.
        displaced: Images with the largest errors of landmarks, worst first.
        open_set: ``(FPIR, FNIR)`` at falling thresholds, where the search is of an open set.
        open_of: What these were counted on.
    """

    cmc: tuple[float, ...]
    n_mated: int
    genuine: tuple[int, ...]
    impostor: tuple[int, ...]
    domains: tuple[str, ...] = ()
    matrix: tuple[Cell, ...] = ()
    false_non_matches: tuple[Pair, ...] = ()
    false_matches: tuple[Pair, ...] = ()
    misses: tuple[Miss, ...] = ()
    protocol: str = ""
    images_sha256: str | None = None
    root: str = "."
    versions: Mapping[str, str] = field(default_factory=dict)
    weights_sha256: str | None = None
    scope: str = ""
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    band: tuple[tuple[float, float], ...] = ()
    ced: tuple[tuple[float, float], ...] = ()
    displaced: tuple[Displaced, ...] = ()
    open_set: tuple[tuple[float, float], ...] = ()
    open_of: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists, dicts, numbers and strings; ``root`` stays out, being a place on one machine."""
        plain = dataclasses.asdict(self)
        del plain["root"]
        plain["versions"] = dict(self.versions)
        plain["intervals"] = {key: list(ends) for key, ends in self.intervals.items()}
        return plain

    def curve(self) -> tuple[Vector, Vector, Vector]:
        """Return thresholds, false match rates and false non-match rates, ``[BINS + 1]`` each.

        At threshold t a score of t or more is a match, so the first point accepts
        everything and the last nothing.
        """
        thresholds = np.linspace(-1, 1, BINS + 1)
        genuine, impostor = (np.asarray(counts, np.int64) for counts in (self.genuine, self.impostor))
        missed = np.r_[0, np.cumsum(genuine)] / genuine.sum()
        accepted = np.r_[np.cumsum(impostor[::-1])[::-1], 0] / impostor.sum()
        return thresholds, accepted, missed


def collect(
    probe: Vector,
    gallery: Vector,
    probe_subject: Vector,
    gallery_subject: Vector,
    *,
    cmc: Sequence[float],
    n_mated: int,
    probe_picture: Sequence[Picture],
    gallery_picture: Sequence[Picture],
    probe_image: Vector | None = None,
    gallery_image: Vector | None = None,
    left_out: Callable[[slice], Vector] | None = None,
    worst: int = WORST,
    **facts: Any,
) -> Details:
    """Count all comparisons by score, and keep the worst of each kind.

    Args:
        probe: ``[P, D]`` embeddings.
        gallery: ``[G, D]`` embeddings or templates.
        probe_subject: ``[P]``.
        gallery_subject: ``[G]``.
        cmc: The curve as the search counted it.
        n_mated: Probes behind it.
        probe_picture: ``[P]`` what each row shows.
        gallery_picture: ``[G]`` the same.
        probe_image: ``[P]`` what image a row shows, where the sides overlap: no image
            meets itself, and a pair of images counts once.
        gallery_image: ``[G]``.
        left_out: For rows of probes ``[rows, G]`` what the search does not compare; such
            comparisons are counted as scores all the same.
        worst: Errors of each kind to keep.
        facts: Further fields of :class:`Details`.
    """
    p, g = rows_of(probe, gallery, ("probe", "gallery"), None)
    who, whose = codes(np.asarray(probe_subject), np.asarray(gallery_subject))
    # The gallery comes first in the figures, so of two comparisons of one pair the same one counts here.
    overlap = probe_image is not None and gallery_image is not None
    again = twice(np.asarray(probe_image), np.asarray(gallery_image), upper=True) if overlap else None
    genuine, impostor = np.zeros(BINS, np.int64), np.zeros(BINS, np.int64)
    low: list[tuple[float, int, int]] = []
    high: list[tuple[float, int, int]] = []
    missed: list[tuple[int, float, int, int, float]] = []

    def work(rows: slice, _: int, block: torch.Tensor) -> tuple[Any, ...]:
        scores = block.cpu().numpy()
        same = who[rows, None] == whose[None]
        mine, theirs = same, ~same
        if again is not None:
            wanted = ~again(rows, 0)
            mine, theirs = same & wanted, theirs & wanted
        apart = left_out(rows) if left_out is not None else _itself(probe_image, gallery_image, rows)
        return (
            _counts(scores[mine]),
            _counts(scores[theirs]),
            _extreme(scores, mine, rows.start, worst, lowest=True),
            _extreme(scores, theirs, rows.start, worst, lowest=False),
            _misses(scores, same, apart, rows.start),
        )

    for own, others, lowest, highest, failed in each_block(p, g, work, BLOCK_SCORES):
        genuine += own
        impostor += others
        low = sorted([*low, *lowest])[:worst]
        high = sorted([*high, *highest], key=lambda item: (-item[0], *item[1:]))[:worst]
        missed = sorted([*missed, *failed], key=lambda item: (-item[0], item[1], item[2]))[:worst]

    def pair(score: float, row: int, column: int) -> Pair:
        return Pair(probe_picture[row], gallery_picture[column], score)

    return Details(
        cmc=tuple(float(rate) for rate in cmc),
        n_mated=n_mated,
        genuine=tuple(genuine.tolist()),
        impostor=tuple(impostor.tolist()),
        false_non_matches=tuple(pair(*item) for item in low),
        false_matches=tuple(pair(*item) for item in high),
        misses=tuple(
            Miss(probe_picture[row], gallery_picture[column], first, mate, rank)
            for rank, mate, row, column, first in missed
        ),
        **facts,
    )


def _unit(rows: Vector) -> Vector:
    """Return rows of unit length; the figures were made of them, so all have a direction."""
    rows = np.asarray(rows)
    rows = rows.astype(np.float64 if rows.dtype == np.float64 else np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def _counts(scores: Vector) -> Vector:
    bins = ((scores + scores.dtype.type(1)) * scores.dtype.type(BINS / 2)).astype(np.int64)
    return np.bincount(np.clip(bins, 0, BINS - 1, out=bins), minlength=BINS)


def _extreme(
    scores: Vector,
    wanted: Vector,
    offset: int,
    count: int,
    *,
    lowest: bool,
) -> list[tuple[float, int, int]]:
    """Return ``(score, row, column)`` of the lowest or highest wanted scores of a block."""
    places = np.flatnonzero(wanted)
    if not len(places) or not count:
        return []
    values = scores.reshape(-1)[places]
    keys = values if lowest else -values
    if len(keys) > count:
        # All at the border, so that equal scores are told apart by their place, not by chance.
        border = np.partition(keys, count - 1)[count - 1]
        chosen = np.flatnonzero(keys <= border)
        chosen = chosen[np.argsort(keys[chosen], kind="stable")][:count]
        places, values = places[chosen], values[chosen]
    rows, columns = np.divmod(places, scores.shape[1])
    return [
        (float(value), int(row) + offset, int(column)) for value, row, column in zip(values, rows, columns, strict=True)
    ]


def _misses(
    scores: Vector, same: Vector, apart: Vector | None, offset: int
) -> list[tuple[int, float, int, int, float]]:
    """Return ``(rank, mate's score, row, column of the first, its score)`` of each search that failed."""
    if apart is not None:
        scores = np.where(apart, -np.inf, scores)
    mate = np.where(same, scores, -np.inf).max(1)
    other = np.where(same, -np.inf, scores)
    first = other.argmax(1)
    lead = other[np.arange(len(other)), first]
    failed = np.flatnonzero((mate > -np.inf) & (lead >= mate))
    rank = 1 + np.count_nonzero(other[failed] >= mate[failed, None], axis=1)
    return [
        (int(place), float(mate[row]), int(row) + offset, int(first[row]), float(lead[row]))
        for place, row in zip(rank, failed, strict=True)
    ]


def _itself(a: Vector | None, b: Vector | None, rows: slice) -> Vector | None:
    return None if a is None or b is None else np.asarray(a)[rows, None] == np.asarray(b)[None]


def domain_matrix(embeddings: Vector, subject: Vector, domain: Vector) -> tuple[tuple[str, ...], tuple[Cell, ...]]:
    """Search the templates of every domain among those of every other.

    Templates are means of raw embeddings and scores cosines (Table IV of "Multi-Domain
    Biometric Recognition using Body Embeddings"). A domain is not compared with itself:
    it has one template a subject.

    Args:
        embeddings: ``[N, D]``, not normalised.
        subject: ``[N]``.
        domain: ``[N]`` bands.

    Returns:
        The domains by wavelength (others after them, by name), and the cells row by row
        of galleries.
    """
    subject, domain = np.asarray(subject), np.asarray(domain)
    present = set(domain.tolist())
    names = tuple([band for band in SPECTRA if band in present] + sorted(present - set(SPECTRA)))
    people: dict[str, Vector] = {}
    templates: dict[str, Vector] = {}
    for name in names:
        inside = domain == name
        people[name], owner = np.unique(subject[inside], return_inverse=True)
        total = np.zeros((len(people[name]), embeddings.shape[1]))
        np.add.at(total, owner, embeddings[inside])
        templates[name] = _unit(total / np.bincount(owner)[:, None])
    cells = []
    for gallery in names:
        for probe in names:
            if gallery == probe:
                continue
            same = people[probe][:, None] == people[gallery][None]
            scores = templates[probe] @ templates[gallery].T
            mated = same.any(1)
            mate = np.where(same, scores, -np.inf).max(1)
            others = np.where(same, -np.inf, scores).max(1)
            hits, trials = int(np.count_nonzero(mated & (mate > others))), int(mated.sum())
            cells.append(
                Cell(
                    gallery,
                    probe,
                    hits,
                    trials,
                    len(people[gallery]),
                    float(scores[same].mean()) if trials else None,
                    float(scores[~same].mean()) if (~same).any() else None,
                    wilson(hits, trials) if trials else None,
                )
            )
    return names, tuple(cells)


def explain(
    *,
    manifest: Manifest,
    within: Manifest,
    known: Manifest,
    asked: Manifest,
    sides: tuple[Side, Side],
    split: str | None,
    templates: bool,
    embeddings: Vector,
    place: Callable[[Row], int],
    members: Vector,
    search: Retrieval,
    pairs: Verification,
    fars: Mapping[str, float],
    device: object = None,
) -> Details:
    """Return the details of one evaluation of a manifest.

    Args:
        manifest: The whole.
        within: The part of it that the split names.
        known: The gallery's images.
        asked: The probes.
        sides: Gallery and probe as they were asked for.
        split: As it was asked for.
        templates: The gallery is one mean for each subject, in order of its name.
        embeddings: ``[N, D]`` raw embeddings.
        place: Where in ``embeddings`` a row of the manifest is.
        members: ``[G, D]`` the gallery as it was compared.
        search: The search as it was counted.
        pairs: The comparisons as they were counted.
        fars: The rates reported, by name.
        device: Where the embeddings were made.
    """
    bands = np.array([row.spectrum for row in within.rows])
    places = np.array([place(row) for row in within.rows])
    # An image may be listed twice; it is one image in a template.
    _, once = np.unique(places, return_index=True)
    domains, matrix = domain_matrix(
        embeddings[places[once]], np.array([row.subject for row in within.rows])[once], bands[once]
    )
    asked_place = np.array([place(row) for row in asked.rows])
    images: dict[str, Any] = {}
    if templates:
        many = Counter(row.subject for row in known.rows)
        shown = [
            Picture(who, f"mean of {count} images", sides[0].spectrum, template=True)
            for who, count in sorted(many.items())
        ]
    else:
        shown = [_picture(row) for row in known.rows]
        images = {"probe_image": asked_place, "gallery_image": np.array([place(row) for row in known.rows])}
    used = {row.path for row in (*known.rows, *asked.rows, *within.rows)}
    return collect(
        embeddings[asked_place],
        members,
        np.array([row.subject for row in asked.rows]),
        np.array([picture.subject for picture in shown]),
        cmc=search.cmc[: len(members)].tolist(),
        band=search.band[: len(members)],
        n_mated=search.n_query,
        probe_picture=[_picture(row) for row in asked.rows],
        gallery_picture=shown,
        **images,
        domains=domains,
        matrix=matrix,
        protocol=_protocol(sides, split, templates),
        images_sha256=images_sha256(manifest.root, sorted(used)),
        root=str(manifest.root),
        versions=versions(None if device is None else str(device)),
        intervals=intervals_of(search, pairs, fars),
    )


def _picture(row: Row) -> Picture:
    return Picture(row.subject, row.path, row.spectrum, row.box)


def _protocol(sides: tuple[Side, Side], split: str | None, templates: bool) -> str:
    """Return what was compared with what, as a person would write it down."""
    gallery, probe = sides
    against = (
        "one template for each gallery subject, the mean of its raw embeddings"
        if templates
        else "every image of the gallery; no image meets itself, and each pair of images counts once"
    )
    return "\n".join(
        [
            f"gallery: {gallery}",
            f"probe: {probe}",
            f"split: {split or 'all images'}",
            f"compared with: {against}",
            "score: cosine; a pair is accepted at or above the threshold",
            "search: closed set, over the probes that have a mate in the gallery; a tie counts against the probe",
            "verification: every comparison counted, none sampled",
            "TAR at FAR: the largest true accept rate whose false accept rate is not above FAR",
            "EER: the mean of both error rates where they are closest",
            "intervals: 95 %, subjects drawn again with replacement 2,000 times",
        ]
    )


def versions(device: str | None = None) -> dict[str, str]:
    """Return the versions of what takes part in an evaluation, and the machine's kind."""
    from importlib.metadata import PackageNotFoundError, version

    import xzoo

    found = {"xzoo": xzoo.__version__, "python": platform.python_version()}
    for name in ("torch", "timm", "numpy", "pillow"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    found["system"] = f"{platform.system()} {platform.machine()}"
    return found | ({"device": device} if device else {})


def images_sha256(root: Path, paths: Sequence[str]) -> str:
    """Return one SHA-256 over the names and bytes of images, in order of name, each once."""
    from xzoo.data.readers.bins import image_bytes, names_image
    from xzoo.hub import sha256_of

    digest = hashlib.sha256()
    for path in sorted(set(paths)):
        file = root / path
        own = hashlib.sha256(image_bytes(file)).hexdigest() if names_image(file) else sha256_of(file)
        digest.update(f"{path}\0{own}\n".encode())
    return digest.hexdigest()
