"""What an evaluation found, with everything needed to find it again."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xzoo import errors
from xzoo.evaluation.groups import Differential

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

    from xzoo.evaluation.ranking import Retrieval
    from xzoo.evaluation.report_details import Details
    from xzoo.evaluation.roc import Verification

__all__ = ["Report", "intervals_of"]


@dataclass(frozen=True)
class Report:
    """Figures of one comparison. Rates are fractions between 0 and 1.

    Attributes:
        model: Name of the model in the catalogue.
        weights_sha256: Of its base weights; ``None`` for a model without any.
        adapters: Names of the adapters attached to it.
        data: Where the manifest was read from.
        data_sha256: Of the whole manifest's rows.
        split: The split compared; ``None`` for all images.
        gallery: The known side, ``SPECTRUM[:FIRST-LAST]``.
        probe: The side looked for.
        templates: One template for each gallery subject, the mean of raw embeddings.
        batch_size: Images per forward pass.
        rank1: Rate of mated probes whose best mate stands first; a tie counts against it.
        rank5: The same among the first five.
        rank10: The same among the first ten.
        map: Mean average precision over the mated probes.
        minp: Mean inverse negative penalty over the mated probes.
        auc: Area under the ROC, a tie counting half.
        eer: Mean of false non-match and false match rate where the two are closest.
        eer_threshold: The score there, a cosine.
        tar: True accept rate at each FAR ("1e-1" ...); ``None`` where there are too few impostors.
        thresholds: The score from which a pair is accepted at each FAR; ``None`` where
            the rate is ``None``, or where no genuine pair may be accepted.
        false_accepts: Impostor scores at or above each of these; ``None`` where the rate is.
        n_probe: Probe images.
        n_unmated: Probes without mate in the gallery: impostors only, not in ranks, mAP or mINP.
        n_gallery: Gallery images, or templates.
        n_subjects: Subjects in the gallery.
        n_genuine: Comparisons of one subject with itself, each pair of images once.
        n_impostor: Comparisons of two subjects, each pair of images once.
        intervals: 95 % intervals of every figure (``rank1`` ... ``map``, ``minp``, ``auc``, ``eer``, ``tar@1e-1`` ...),
            from drawing subjects again.
        warnings: What these data cannot tell, one sentence each.
        groups: Errors of every group of people at one threshold, where the manifest names groups.
        details: Curves, histograms, domains and worst errors, where they were asked for; not
            part of :meth:`to_dict`.
    """

    model: str
    weights_sha256: str | None
    adapters: tuple[str, ...]
    data: str
    data_sha256: str
    split: str | None
    gallery: str
    probe: str
    templates: bool
    batch_size: int
    rank1: float
    rank5: float
    rank10: float
    map: float
    minp: float
    auc: float
    eer: float
    eer_threshold: float
    tar: dict[str, float | None]
    thresholds: dict[str, float | None]
    n_probe: int
    n_unmated: int
    n_gallery: int
    n_subjects: int
    n_genuine: int
    n_impostor: int
    intervals: dict[str, tuple[float, float]]
    warnings: tuple[str, ...]
    false_accepts: dict[str, int | None] = field(default_factory=dict)
    groups: Differential | None = None
    details: Details | None = field(default=None, compare=False, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain lists, dicts, numbers and strings, without its details."""
        plain = dataclasses.asdict(dataclasses.replace(self, details=None))
        del plain["details"]
        plain |= {key: list(value) for key, value in plain.items() if isinstance(value, tuple)}
        plain["intervals"] = {key: list(ends) for key, ends in self.intervals.items()}
        plain["groups"] = None if self.groups is None else self.groups.to_dict()
        return plain

    def to_json(self, indent: int | None = None) -> str:
        """Return the report as one JSON object; what is not known is ``null``."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False, ensure_ascii=False)

    def to_markdown(self) -> str:
        """Return the figures as a Markdown table, with intervals and counts."""
        from xzoo.evaluation.report_page import markdown

        return markdown(self)

    def eval_results(self, *, task: str = "face-recognition") -> list[EvalResult]:
        """Return the figures as the Hub's ``EvalResult``, ready for a model card."""
        from xzoo.evaluation.report_page import eval_results

        return eval_results(self, task=task)

    def write(self, folder: str | Path, *, thumbnails: bool = False) -> Path:
        """Write ``report.html``, ``report.json``, ``report.md`` and ``model-index.yaml``; return the page.

        Args:
            folder: Made where it is missing; files of these names are replaced.
            thumbnails: Show the images of the worst errors. Without it the page holds no pixel
                of a person.

        Raises:
            EvaluationError: The report has no details.
            DiskFull, OptionError: The folder cannot be written to.
            ImageError, MissingFile: A thumbnail cannot be made.

        Example:
            >>> evaluate("hybrid_fr_t2v", "faces", details=True).write("found")  # doctest: +SKIP
        """
        from xzoo.evaluation.report_page import write

        return write(self, folder, thumbnails=thumbnails)

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> Report:
        """Build a report from what ``to_dict`` returned.

        Raises:
            EvaluationError: A key is missing or unknown.
        """
        facts = {"groups": None, "false_accepts": {}, **facts}  # runs from before these were told
        names = {item.name for item in dataclasses.fields(cls)} - {"details"}
        if names != facts.keys():
            missing, unknown = sorted(names - facts.keys()), sorted(facts.keys() - names)
            said = [
                f"{word} {', '.join(keys[:3])}" for word, keys in (("missing", missing), ("unknown", unknown)) if keys
            ]
            raise errors.EvaluationError(
                "a stored report", why=f"It was written by another version: {'; '.join(said)}.", do="evaluate again"
            )
        tuples = {key: tuple(facts[key]) for key in ("adapters", "warnings")}
        intervals = {key: (float(low), float(high)) for key, (low, high) in facts["intervals"].items()}
        groups = None if facts["groups"] is None else Differential.from_dict(facts["groups"])
        return cls(**{**facts, **tuples, "intervals": intervals, "groups": groups})

    def __str__(self) -> str:
        known = "templates" if self.templates else "images"
        weights = f", weights {self.weights_sha256[:8]}" if self.weights_sha256 else ""
        adapted = f", adapters {', '.join(self.adapters)}" if self.adapters else ""
        lines = [
            f"{self.model}{weights}{adapted}",
            f"probe {self.probe} in gallery {self.gallery}, {self.split or 'all images'} of {self.data}",
        ]

        def line(label: str, value: float | None, key: str) -> str:
            said = "not supported" if value is None else f"{value:.4f}"
            if value is not None and (ends := self.intervals.get(key)):
                said += f"   95 % {ends[0]:.4f} to {ends[1]:.4f}"
            return f"  {label:<16} {said}"

        shown = [("rank-1", "rank1"), ("rank-5", "rank5"), ("rank-10", "rank10"), ("mAP", "map"), ("mINP", "minp")]
        lines += [line(label, getattr(self, key), key) for label, key in [*shown, ("AUC", "auc"), ("EER", "eer")]]
        lines += [line(f"TAR at FAR {far:<5}", rate, f"tar@{far}") for far, rate in self.tar.items()]
        lines.append(
            f"  {self.n_probe} probes, {self.n_gallery} gallery {known} of {self.n_subjects} subjects, "
            f"{self.n_genuine} genuine and {self.n_impostor} impostor comparisons"
        )
        return "\n".join([*lines, *(f"  note: {warning}" for warning in self.warnings)])


def intervals_of(search: Retrieval, pairs: Verification, fars: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    """Return the intervals of a report by the names of its figures."""
    drawn = pairs.interval
    found = {"auc": drawn.get("auc"), "eer": drawn.get("eer")}
    found |= {f"tar@{name}": drawn.get(far) for name, far in fars.items()}
    found |= {key: search.interval[key] for key in ("rank1", "rank5", "rank10", "map", "minp")}
    known = {key: ends for key, ends in found.items() if ends is not None}
    return {key: (float(ends[0]), float(ends[1])) for key, ends in known.items()}
