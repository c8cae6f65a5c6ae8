"""What a protocol may say: closed, typed, and checked as a whole."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import Field, ModelWrapValidatorHandler, model_validator

from xzoo import errors
from xzoo.cards.schema import Closed, Line, Text, all_at_once, load_yaml, validated

__all__ = [
    "FIGURES",
    "Column",
    "Measure",
    "Pairwise",
    "Protocol",
    "Repetitions",
    "Sample",
    "Selection",
    "Template",
    "check",
    "parse_figure",
]

Column = Literal[
    "subject", "spectrum", "domain", "distance", "camera", "session", "split", "role", "fold", "template", "media"
]
Exclusion = Literal["same_subject_same_camera", "sysu_same_place", "same_image"]
Pool = Literal["mean", "mean_normalised", "media", "media_normalised", "norm_softmax", "topk_norm"]
Count = Annotated[int, Field(ge=1)]
Words: TypeAlias = Text | list[Text]

FIGURES: Mapping[str, str] = {
    "rank<k>": "rate of mated probes whose mate is among the first k",
    "map": "mean average precision; map@<k> stops at rank k and divides by all mates",
    "minp": "mean inverse negative penalty",
    "auc": "area under the ROC of all gallery-probe (or listed) comparisons",
    "eer": "equal error rate of the same",
    "tar@<far>": "largest true accept rate whose false accept rate is at most far",
    "tar_nearest@<far>": "true accept rate at the ROC point whose false accept rate is nearest to far",
    "accuracy": "over folds of listed pairs, the threshold from the other folds (LFW)",
    "val@<far>": "true accept rate over folds, the threshold from the other folds at that false accept rate (LFW)",
    "tpir<k>@<fpir>": "true positive identification rate within rank k at a false positive identification rate",
    "tpir_auc<k>": "area under the true positive identification rate within rank k over all false positive ones",
    "nme": "mean over images of the mean distance of landmarks, divided by a size; nme_<part> of one part",
    "failure_rate": "share of images whose error is above the limit",
    "ced_auc": "area under the cumulative error distribution up to the limit, divided by the limit",
}
"""Every figure that a protocol may ask for."""

_FIGURE = re.compile(
    r"(?P<kind>rank|map|minp|auc|eer|tar_nearest|tar|accuracy|val|tpir_auc|tpir|nme(?:_(?:jaw|brows|nose|eyes|mouth))?|failure_rate"
    r"|ced_auc)(?P<rank>[1-9]\d*)?(?:@(?P<at>[0-9.eE+-]+))?"
)
_LISTED = ("accuracy", "val")
_VERIFIES = ("auc", "eer", "tar", "tar_nearest")
_LANDMARKS = ("nme", "failure_rate", "ced_auc")


class Sample(Closed):
    """A seeded choice among the rows of a selection.

    The rows are grouped by ``per``, groups in the order in which people count, rows of
    a group in the code-point order of their paths. For each group ``count`` rows are drawn by
    ``random.Random(seed)`` of the standard library: ``choice`` for one row, ``sample`` for more.
    The seed is the number of the repetition unless given. A group of one row consumes a draw, too.

    With ``share`` that part of each group is drawn instead (rounded, one row at least), and ``rest`` takes
    what the same draw leaves: gallery and probes of one set without a common image.
    """

    count: Count = 1
    share: Annotated[float, Field(gt=0, lt=1)] | None = None
    rest: bool = False
    per: Annotated[list[Column], Field(min_length=1)] = ["subject", "camera"]
    seed: int | None = None


class Template(Closed):
    """How images become one vector.

    Rows that agree in ``per`` form a template. ``mean`` averages raw embeddings,
    ``mean_normalised`` unit ones; ``media`` (``media_normalised``) averages the images of a medium first,
    then the media. ``weighted`` multiplies each embedding by the row's quality. ``norm_softmax`` and
    ``topk_norm`` are ours: unit embeddings weighted by a softmax of ``beta`` times their norm, or
    the ``k`` of largest norm alone.
    """

    per: Annotated[list[Column], Field(min_length=1)] = ["subject"]
    pool: Pool = "mean"
    weighted: bool = False
    beta: Annotated[float, Field(gt=0)] = 1.0
    k: Count = 5


class Selection(Closed):
    """One side: which rows, which of them by lot, and whether they form templates.

    ``where`` maps a column to the value or values wanted; ``{repetition}`` in a value
    stands for the number of the repetition.
    """

    where: dict[Column, Words] = {}
    sample: Sample | None = None
    template: Template | None = None


class Pairwise(Closed):
    """Compare the pairs that the manifest lists, of images or of templates."""

    template: Template | None = None


class Measure(Closed):
    """How landmarks are measured against the manifest's.

    An image's error is the mean distance of its ``points``, divided by ``normalisation`` (see
    :func:`xzoo.evaluation.landmarks.landmark_errors`). ``space`` is where distances are taken: in
    pixels, or after dividing x by the width and y by the height of the face's box (``crop``). An image
    fails above ``limit``; with ``at_limit_fails`` also at it.
    """

    points: Literal[5, 54, 68]
    normalisation: Literal["outer_eyes", "eye_centres", "box", "box_diagonal", "truth_box"] = "outer_eyes"
    space: Literal["pixel", "crop"] = "pixel"
    limit: Annotated[float, Field(gt=0)] = 0.1
    at_limit_fails: bool = False


class Repetitions(Closed):
    """How often, and the number (the seed, or the fold) of the first one."""

    count: Count = 1
    first: Annotated[int, Field(ge=0)] = 0

    @property
    def numbers(self) -> range:
        """The numbers of all repetitions."""
        return range(self.first, self.first + self.count)


class Protocol(Closed):
    """Who is gallery, who is probe, what is not compared, and which figures are reported.

    ``exclusions`` are comparisons that a search does not make: ``same_subject_same_camera`` (Market-1501,
    LLCM), ``sysu_same_place`` (camera 3 with camera 2, whoever is on it), ``same_image``
    (leave-one-out). Verification figures (``auc``, ``eer``, ``tar``) take every comparison of
    gallery and probe but that of an image with itself. ``cmc`` says what a rank counts: images,
    or subjects by their best image.
    With ``groups_at`` errors are also counted within each group of people that the manifest names, at the
    threshold that keeps this false accept rate over everybody.
    ``flip`` adds the embedding of each image's mirror image. With ``landmarks`` nobody is recognised: points
    are compared with those of the manifest, on the images that ``probe`` selects.
    """

    protocol: Annotated[Text, Field(pattern=r"^[a-z0-9_]+(\.[A-Za-z0-9_-]+)*$")]
    title: Line
    source: Line
    reader: Text | None = None
    options: dict[str, Text | int | float | bool] = {}
    gallery: Selection | None = None
    probe: Selection | None = None
    pairs: Pairwise | None = None
    landmarks: Measure | None = None
    exclusions: list[Exclusion] = []
    cmc: Literal["images", "subjects"] = "images"
    repetitions: Repetitions = Repetitions()
    flip: bool = False
    figures: Annotated[list[Text], Field(min_length=1)]
    hits: bool = False
    groups_at: Annotated[float, Field(gt=0, le=1)] | None = None
    notes: list[Line] = []

    @model_validator(mode="wrap")
    @classmethod
    def _all_at_once(cls, data: Any, check: ModelWrapValidatorHandler[Self]) -> Self:
        return all_at_once(cls, data, check, _misfits)


def _misfits(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield key and fault where parts of a protocol do not fit together; wrong types are told elsewhere."""
    if data.get("landmarks") is not None:
        yield from _landmark_misfits(data)
        return
    listed = data.get("pairs") is not None
    for side in ("gallery", "probe"):
        if listed and data.get("groups_at") is not None and side == "gallery":
            yield "groups_at", "groups need a gallery and probes, not pairs"
        if listed and data.get(side) is not None:
            yield side, "not beside pairs, which name both sides"
        if not listed and data.get(side) is None:
            yield side, "missing; name gallery and probe, or pairs"
        sample = side_data.get("sample") if isinstance(side_data := data.get(side), dict) else None
        if isinstance(sample, dict) and sample.get("rest") and sample.get("share") is None:
            yield f"{side}.sample", "rest is what a share leaves: name the share"
        if isinstance(sample, dict) and sample.get("share") is not None and "count" in sample:
            yield f"{side}.sample", "count or share, one of the two"
    exclusions = data.get("exclusions")
    if isinstance(exclusions, list) and len(exclusions) > 1:
        yield "exclusions", "one rule at most"
    if exclusions == ["sysu_same_place"] and data.get("cmc") != "subjects":
        yield "cmc", "sysu_same_place goes with cmc: subjects"
    if data.get("options") and data.get("reader") is None:
        yield "options", "they are the reader's, and there is no reader"
    figures = data.get("figures")
    for figure in figures if isinstance(figures, list) else ():
        if not isinstance(figure, str):
            continue
        try:
            kind = parse_figure(figure)[0]
        except errors.EvaluationError as fault:
            yield "figures", f"{figure!r}: {fault.why} {fault.exists}".strip()
            continue
        if kind.startswith(_LANDMARKS):
            yield "figures", f"{figure!r} needs landmarks"
        elif listed and kind not in (*_LISTED, *_VERIFIES):
            yield "figures", f"{figure!r} needs a gallery and probes, not pairs"
        if not listed and kind in _LISTED:
            yield "figures", f"{figure!r} needs pairs"
    sides = [data.get(side) for side in ("gallery", "probe")]
    pooled = any(isinstance(side, dict) and side.get("template") for side in sides)
    if pooled and exclusions:
        yield "exclusions", "a template has no camera and is no image"


def _landmark_misfits(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key in ("gallery", "pairs", "exclusions", "flip", "hits", "groups_at"):
        if data.get(key):
            yield key, "not beside landmarks, which compare nobody"
    probe = data.get("probe")
    if probe is None:
        yield "probe", "missing; it selects the images"
    elif isinstance(probe, dict) and probe.get("template"):
        yield "probe", "landmarks have no templates"
    figures = data.get("figures")
    for figure in figures if isinstance(figures, list) else ():
        if isinstance(figure, str) and not figure.startswith(_LANDMARKS):
            yield "figures", f"{figure!r} is no figure of landmarks; they are nme, nme_<part>, failure_rate, ced_auc"
        elif isinstance(figure, str) and not _FIGURE.fullmatch(figure):
            yield "figures", f"{figure!r}: parts are jaw, brows, nose, eyes and mouth"
    if data.get("options") and data.get("reader") is None:
        yield "options", "they are the reader's, and there is no reader"


def parse_figure(text: str) -> tuple[str, int | None, float | None]:
    """Return a figure's kind, its rank and its rate: ``tpir20@0.3`` is ``("tpir", 20, 0.3)``.

    Raises:
        EvaluationError: There is no such figure.
    """
    found = _FIGURE.fullmatch(text)
    kind = found["kind"] if found else ""
    rank = int(found["rank"]) if found and found["rank"] else None
    try:
        at = float(found["at"]) if found and found["at"] else None
    except ValueError:
        kind, at = "", None
    wants_rank, wants_rate = kind in ("rank", "tpir", "tpir_auc"), kind in ("tar", "tar_nearest", "val", "tpir")
    if not kind or (rank is not None) != wants_rank or ((at is not None) != wants_rate and kind != "map"):
        raise errors.EvaluationError(
            f"figure {text!r}", why="No such figure.", exists=", ".join(errors.nearest(text, FIGURES) or FIGURES)
        )
    if at is not None and not (at >= 1 and at.is_integer() if kind == "map" else 0 < at < 1):
        raise errors.EvaluationError(
            f"figure {text!r}", why="A rank is a whole number." if kind == "map" else "A rate lies between 0 and 1."
        )
    return kind, rank, at


def check(tree: Any, file: str) -> Protocol:
    """Check a protocol that is a tree of plain values.

    Raises:
        EvaluationError: Listing every fault with its place and the nearest right spelling.
    """
    return validated(Protocol, tree, file, errors.EvaluationError)


def tree_of(text: str, file: str) -> dict[str, Any]:
    """Read the YAML of a protocol, without checking its keys.

    Raises:
        EvaluationError: It is no YAML, or no table.
    """
    tree = load_yaml(text, file, error=errors.EvaluationError)
    if not isinstance(tree, dict):
        raise errors.EvaluationError(f"{file}: not a protocol", why="A protocol is a table of keys.")
    return tree
