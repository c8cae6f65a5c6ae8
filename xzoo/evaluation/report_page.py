"""A report as files: one page for people, JSON for programs, Markdown and a block for the Hub."""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xzoo import errors
from xzoo.evaluation.report import Report
from xzoo.evaluation.report_svg import Line, chart, heatmap, linear, logarithmic, probit

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

    from xzoo.evaluation.groups import Differential
    from xzoo.evaluation.protocols.runner import ProtocolResult
    from xzoo.evaluation.report_details import Cell, Details, Miss, Pair, Picture

__all__ = ["FILES", "check_folder", "eval_results", "figures", "html", "markdown", "write"]

Interval = tuple[float, float]

FILES = ("report.html", "report.json", "report.md", "model-index.yaml")
THUMBNAIL = 88
GROUPS = ("group", "subjects", "FNMR", "95 %", "false rejects", "FMR", "95 %", "false accepts")

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff;
  max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin: 0 0 .2rem; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; border-bottom: 1px solid #999; }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
p.lead { margin: 0 0 1rem; color: #444; }
table { border-collapse: collapse; margin: .5rem 0; }
th, td { padding: .2rem .9rem .2rem 0; text-align: left; vertical-align: top; }
thead th { border-bottom: 1px solid #1a1a1a; } tbody tr { border-bottom: 1px solid #ddd; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
code, pre { font: 13px/1.45 ui-monospace, monospace; }
pre { white-space: pre-wrap; background: #f4f4f4; padding: .7rem; }
td code { overflow-wrap: anywhere; }
.note { border-left: 4px solid #d55e00; padding: .3rem .8rem; margin: .4rem 0; background: #fdf3ec; }
.plots { display: flex; flex-wrap: wrap; gap: 1rem; } .plots svg { max-width: 100%; height: auto; }
figure { margin: 0; break-inside: avoid; } figcaption { max-width: 460px; font-size: .85rem; color: #444; }
td img { display: block; margin-top: .2rem; }
.wide { overflow-x: auto; } .beside { display: flex; flex-wrap: wrap; gap: 0 3rem; } .beside > * { max-width: 100%; }
@media print {
  :root { font-size: 11px; } body { margin: 0; max-width: none; font-size: 11px; } h2, h3 { break-after: avoid; }
  code, pre { font-size: 9.5px; } .wide { overflow: visible; }
  tr, .note { break-inside: avoid; } .plots figure { width: 48%; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""


@dataclass(frozen=True)
class _Sheet:
    """What the page shows, of whatever kind of evaluation.

    Attributes:
        model: Name of the model.
        title: Of the page.
        lead: The comparison in a sentence.
        rows: The figures as people read them.
        warnings: What these data cannot tell.
        details: What the charts are made of.
        tar: Reported true accept rates to mark on the ROC.
        bands: Their intervals.
        thresholds: Scores to mark on the histogram, with labels.
        eer: To mark on the DET.
        provenance: What took part, with its hash or version.
    """

    model: str
    title: str
    lead: str
    rows: Sequence[tuple[str, str, str, str]]
    warnings: Sequence[str]
    details: Details
    tar: Mapping[float, float]
    bands: Mapping[float, Interval]
    thresholds: Sequence[tuple[float, str]]
    eer: float | None
    provenance: Sequence[tuple[str, str]]

    @property
    def n_genuine(self) -> int:
        """Genuine comparisons counted."""
        return sum(self.details.genuine)

    @property
    def n_impostor(self) -> int:
        """Impostor comparisons counted."""
        return sum(self.details.impostor)


def write(report: Report | ProtocolResult, folder: str | Path, *, thumbnails: bool = False) -> Path:
    """Write ``report.html``, ``report.json``, ``report.md`` and ``model-index.yaml``.

    Args:
        report: With its details (``evaluate`` or ``run_protocol`` with ``details=True``).
        folder: Made where it is missing; files of these names are replaced.
        thumbnails: Show the images of the worst errors in the page. Without it no pixel of a
            person leaves the data.

    Returns:
        The page.

    Raises:
        EvaluationError: The report has no details.
        DiskFull, OptionError: The folder cannot be written to.
        ImageError, MissingFile: A thumbnail cannot be made.
    """
    from huggingface_hub.repocard_data import eval_results_to_model_index
    from yaml import safe_dump

    from xzoo.hub import as_path, atomic_write

    details = _details(report)
    facts = {**report.to_dict(), "details": details.to_dict()}
    index = eval_results_to_model_index(report.model, eval_results(report))
    contents = dict(
        zip(
            FILES,
            (
                html(report, thumbnails=thumbnails),
                json.dumps(facts, indent=1, allow_nan=False, ensure_ascii=False) + "\n",
                markdown(report),
                safe_dump({"model-index": index}, sort_keys=False, allow_unicode=True),
            ),
            strict=True,
        )
    )
    target = as_path(folder, "report")
    for name, text in contents.items():
        with atomic_write(target / name) as partial:
            partial.write_text(text, encoding="utf-8")
    return target / FILES[0]


def check_folder(folder: str | Path) -> None:
    """Refuse a place where no report can be written, before anything long is computed; make nothing.

    Raises:
        OptionError: A file stands in the way, or the nearest folder that exists may not be written to.
    """
    from xzoo.hub import as_path

    target = as_path(folder, "report").absolute()
    nearest = next(place for place in (target, *target.parents) if place.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        why = "It may not be written to." if nearest.is_dir() else "It is a file."
        raise errors.OptionError(f"a report in {str(folder)!r}", why=f"{nearest}: {why}", do="name another folder")


def figures(report: Report | ProtocolResult) -> list[tuple[str, str, str, str]]:
    """Return ``(figure, value, 95 % interval, counted on)`` as people read them."""
    return _report_figures(report) if isinstance(report, Report) else _protocol_figures(report)


def _protocol_figures(result: ProtocolResult) -> list[tuple[str, str, str, str]]:
    first = result.repetitions[0].counts
    mated, genuine, impostor = (first.get(key) for key in ("mated probes", "genuine", "impostor"))
    rows = []
    for name, value in result.mean.items():
        said = "not supported" if value is None else f"{value:.4f}"
        if (deviation := result.std[name]) is not None:
            said += f" ± {deviation:.4f}"
        interval = (
            f"{result.intervals[name][0]:.4f} to {result.intervals[name][1]:.4f}" if name in result.intervals else ""
        )
        if "points" in first:
            rows.append((name, said, interval, f"{first['images']} images, {first['points']} points"))
            continue
        searched = name.startswith(("rank", "map", "minp", "tpir"))
        counted = (
            f"{mated} mated probes"
            if searched or genuine is None
            else f"{genuine} genuine, {impostor} impostor comparisons"
        )
        if name.startswith("tpir"):
            counted += f", {first.get('unmated probes', 0)} others"
        if len(result.repetitions) > 1:
            counted += f", mean of {len(result.repetitions)} repetitions"
        elif point := result.repetitions[0].points.get(name):
            counted = _counted(point, first, counted)
        rows.append((name, said, interval, counted))
    return rows


def _counted(point: Mapping[str, float | int | None], counts: Mapping[str, int], plain: str) -> str:
    """Return what was accepted of what, and from which score on."""
    threshold = point["threshold"]
    at = "nothing genuine may be accepted" if threshold is None else f"threshold {threshold:.4f}"
    if "false accepts" in point:
        accepted = counts["genuine"] - int(point["false rejects"] or 0)
        wrongly = f"{point['false accepts']} of {counts['impostor']} impostor"
        return f"{accepted} of {counts['genuine']} genuine, {wrongly}, {at}"
    if "false positives" in point:
        mated, others = counts["mated probes"], counts["unmated probes"]
        found = mated - int(point["false negatives"] or 0)
        return f"{found} of {mated} mated probes, {point['false positives']} of {others} others, {at}"
    return f"{plain}, {at}"


def _report_figures(report: Report) -> list[tuple[str, str, str, str]]:
    mated = report.n_probe - report.n_unmated
    pairs = f"{report.n_genuine} genuine, {report.n_impostor} impostor comparisons"
    rows = [
        (
            label,
            f"{getattr(report, key):.4f}",
            _interval(report, key),
            f"{round(getattr(report, key) * mated)} of {mated} probes",
        )
        for key, label in (("rank1", "rank-1"), ("rank5", "rank-5"), ("rank10", "rank-10"))
    ]
    rows += [("mAP", f"{report.map:.4f}", _interval(report, "map"), f"{mated} probes")]
    rows += [("mINP", f"{report.minp:.4f}", _interval(report, "minp"), f"{mated} probes")]
    rows += [("AUC", f"{report.auc:.4f}", _interval(report, "auc"), pairs)]
    rows += [("EER", f"{report.eer:.4f}", _interval(report, "eer"), f"{pairs}, threshold {report.eer_threshold:.4f}")]
    for far, rate in report.tar.items():
        value = "not supported" if rate is None else f"{rate:.4f}"
        threshold, accepted = report.thresholds[far], report.false_accepts.get(far)
        counted = (
            f"{report.n_impostor} impostor comparisons"
            if rate is None
            else (
                f"{round(rate * report.n_genuine)} of {report.n_genuine} genuine"
                + (f", {accepted} of {report.n_impostor} impostor" if accepted is not None else "")
                + (f", threshold {threshold:.4f}" if threshold is not None else ", no genuine pair may be accepted")
            )
        )
        rows.append((f"TAR at FAR {far}", value, _interval(report, f"tar@{far}"), counted))
    return rows


def markdown(report: Report | ProtocolResult) -> str:
    """Return the figures as one Markdown table, with the comparison above and the notes below."""
    lines = [f"**{_cell(report.model)}**: {_cell(_lead(report))}.", ""]
    header = ("figure", "value", "95 % interval", "counted on")
    lines += [_row(header), _row(["---", "---:", "---", "---"]), *map(_row, figures(report))]
    if report.details is not None and report.details.matrix:
        lines += ["", "Rank-1 of templates, gallery (rows) by probe (columns):", ""]
        names = report.details.domains
        cells = {(cell.gallery, cell.probe): cell for cell in report.details.matrix}
        lines += [_row(["gallery \\ probe", *names]), _row(["---"] * (len(names) + 1))]
        lines += [_row([known, *(_rank1(cells.get((known, asked))) for asked in names)]) for known in names]
    if report.groups is not None:
        lines += ["", _groups_said(report.groups), "", _row(GROUPS), _row(["---"] * len(GROUPS))]
        lines += map(_row, _group_rows(report.groups))
    if report.warnings:
        lines += ["", *(f"- {_cell(warning)}" for warning in report.warnings)]
    return "\n".join(lines) + "\n"


def eval_results(report: Report | ProtocolResult, *, task: str = "face-recognition") -> list[EvalResult]:
    """Return the figures as the Hub's ``EvalResult``, ready for a model card.

    The path of the data stays out: only the name of its folder is told.

    Args:
        report: What was found.
        task: The Hub's ``task_type``.
    """
    from huggingface_hub import EvalResult

    if not isinstance(report, Report):
        return _protocol_results(report, task)
    name, ends = _folder(report.data), _ends(report)
    values: list[tuple[str, str, float | None, str | None]] = [
        ("rank-1", "rank1", report.rank1, None),
        ("rank-5", "rank5", report.rank5, None),
        ("rank-10", "rank10", report.rank10, None),
        ("mAP", "map", report.map, None),
        ("mINP", "minp", report.minp, None),
        ("AUC", "auc", report.auc, None),
        ("EER", "eer", report.eer, None),
        *((f"TAR at FAR {far}", f"tar@{far}", rate, far) for far, rate in report.tar.items()),
    ]
    results = []
    for metric, key, value, far in values:
        if value is None:
            continue
        facts: dict[str, Any] = {}
        if key in ends:
            facts["interval_95"] = [float(end) for end in ends[key]]
        if far is not None and report.thresholds[far] is not None:
            facts["threshold"] = float(report.thresholds[far] or 0.0)
        if far is not None and report.false_accepts.get(far) is not None:
            facts["false_accepts"] = report.false_accepts[far]
        results.append(
            EvalResult(
                task_type=task,
                dataset_type=name.lower().replace(" ", "-"),
                dataset_name=f"{name}, {report.probe} in {report.gallery}",
                dataset_split=report.split,
                dataset_revision=report.data_sha256,
                dataset_args={
                    "gallery": report.gallery,
                    "probe": report.probe,
                    "templates": report.templates,
                    "n_probe": report.n_probe,
                    "n_genuine": report.n_genuine,
                    "n_impostor": report.n_impostor,
                },
                metric_type=metric.lower().replace(" ", "-"),
                metric_name=metric,
                metric_value=float(value),
                metric_args=facts or None,
            )
        )
    return results


def _protocol_results(result: ProtocolResult, task: str) -> list[EvalResult]:
    from huggingface_hub import EvalResult

    results = []
    for name, value in result.mean.items():
        if value is None:
            continue
        facts: dict[str, Any] = {}
        if name in result.intervals:
            facts["interval_95"] = [float(end) for end in result.intervals[name]]
        if (deviation := result.std[name]) is not None:
            facts |= {"std": float(deviation), "repetitions": len(result.repetitions)}
        elif len(result.repetitions) == 1:
            told = result.repetitions[0].points.get(name, {})
            facts |= {key.replace(" ", "_"): fact for key, fact in told.items() if fact is not None}
        results.append(
            EvalResult(
                task_type=task,
                dataset_type=result.protocol.lower(),
                dataset_name=result.title,
                dataset_revision=result.data_sha256,
                dataset_args={"protocol_sha256": result.definition_sha256, **result.repetitions[0].counts},
                metric_type=name,
                metric_name=name,
                metric_value=float(value),
                metric_args=facts or None,
            )
        )
    return results


def _sheet(report: Report | ProtocolResult) -> _Sheet:
    details = _details(report)
    machine = [("images used, SHA-256", details.images_sha256 or "not computed"), *details.versions.items()]
    if not isinstance(report, Report):
        first = report.repetitions[0].figures
        return _Sheet(
            model=report.model,
            title=f"{report.model}: {report.protocol}",
            lead=_lead(report),
            rows=figures(report),
            warnings=report.warnings,
            details=details,
            tar={
                float(name.partition("@")[2]): rate
                for name, rate in first.items()
                if name.startswith("tar@") and rate is not None
            },
            bands={
                float(name.partition("@")[2]): ends
                for name, ends in report.intervals.items()
                if name.startswith("tar@") and len(report.repetitions) == 1
            },
            thresholds=[
                (point["threshold"], f"FAR {name.partition('@')[2]}")
                for name, point in report.repetitions[0].points.items()
                if name.startswith("tar@") and point["threshold"] is not None
            ],
            eer=first.get("eer"),
            provenance=[
                ("model", report.model),
                ("weights, SHA-256", details.weights_sha256 or "none"),
                ("protocol", report.protocol),
                ("protocol as carried out, SHA-256", report.definition_sha256),
                ("data", _folder(report.data)),
                ("manifest rows, SHA-256", report.data_sha256),
                *machine,
            ],
        )
    ends = _ends(report)
    return _Sheet(
        model=report.model,
        title=f"{report.model}: {report.probe} in {report.gallery}",
        lead=_lead(report),
        rows=figures(report),
        warnings=report.warnings,
        details=details,
        tar={float(far): rate for far, rate in report.tar.items() if rate is not None},
        bands={
            float(far): ends[f"tar@{far}"]
            for far, rate in report.tar.items()
            if rate is not None and f"tar@{far}" in ends
        },
        thresholds=[(value, f"FAR {far}") for far, value in report.thresholds.items() if value is not None],
        eer=report.eer,
        provenance=[
            ("model", report.model),
            ("weights, SHA-256", report.weights_sha256 or "none"),
            ("adapters", ", ".join(report.adapters) or "none"),
            ("data", _folder(report.data)),
            ("manifest rows, SHA-256", report.data_sha256),
            ("images per pass", str(report.batch_size)),
            *machine,
        ],
    )


def html(report: Report | ProtocolResult, *, thumbnails: bool = False) -> str:
    """Return the page: one file that needs nothing else.

    Raises:
        EvaluationError: The report has no details.
        ImageError, MissingFile: A thumbnail cannot be made.
    """
    sheet = _sheet(report)
    details = sheet.details
    show = _Thumbnails(Path(details.root)) if thumbnails else None
    parts = [
        f"<h1>{escape(sheet.model)}</h1>",
        f'<p class="lead">{escape(sheet.lead)}</p>',
        "<h2>Figures</h2>",
        _table(("figure", "value", "95 % interval", "counted on"), sheet.rows, numbers=(1,)),
        *_words(sheet.rows),
        *(f'<p class="note">{escape(warning)}</p>' for warning in sheet.warnings),
        *_groups(report.groups),
        "<h2>Curves</h2>",
        *([f"<p>{escape(details.scope)}</p>"] if details.scope else []),
        '<div class="plots">',
        *_plots(sheet),
        "</div>",
    ]
    if details.matrix:
        parts += ["<h2>Between domains</h2>", '<div class="plots">', *_matrices(details), "</div>"]
    parts += ["<h2>Worst errors</h2>", *_errors(details, show)]
    parts += [
        "<h2>Protocol</h2>",
        f"<pre>{escape(details.protocol)}</pre>",
        "<h2>Provenance</h2>",
        _table(
            ("what", "which"),
            [(escape(key), f"<code>{escape(value)}</code>") for key, value in sheet.provenance],
            raw=True,
        ),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(sheet.title)}</title>\n"
        f"<style>{STYLE}</style>\n</head>\n<body>\n" + "\n".join(parts) + "\n</body>\n</html>\n"
    )


def _words(rows: Sequence[tuple[str, str, str, str]]) -> Iterable[str]:
    """Yield how the names of these rates read in the standard."""
    names = [name.lower() for name, *_ in rows]
    said = []
    if any(name.startswith("tar") for name in names):
        said.append("TAR at FAR is 1 - FNMR at FMR")
    if any(name.startswith("tpir") for name in names):
        said.append("TPIR at FPIR is 1 - FNIR at that FPIR")
    if said:
        yield f'<p class="words">In the words of ISO/IEC 19795-1, {escape(" and ".join(said))}.</p>'


def _groups(found: Differential | None) -> Iterable[str]:
    if found is None:
        return
    yield "<h2>Groups</h2>"
    yield f"<p>{escape(_groups_said(found))}</p>"
    yield _table(GROUPS, _group_rows(found), numbers=(1, 2, 5))


def _groups_said(found: Differential) -> str:
    return (
        f"Errors within each group at one threshold for all, {found.threshold:.4f}, which keeps FAR {found.far:g} over "
        "all comparisons; those across groups are left out. Intervals: Wilson, comparisons taken for independent."
    )


def _group_rows(found: Differential) -> list[tuple[str, ...]]:
    def cells(rate: float | None, ends: Interval | None, errors: int, of: int) -> tuple[str, str, str]:
        if rate is None or ends is None:
            return "", "", "no comparison"
        return f"{rate:.4f}", f"{ends[0]:.4f} to {ends[1]:.4f}", f"{errors} of {of}"

    return [
        (
            name,
            str(group.n_subjects),
            *cells(group.fnmr, group.fnmr_interval, group.false_rejects, group.n_genuine),
            *cells(group.fmr, group.fmr_interval, group.false_accepts, group.n_impostor),
        )
        for name, group in found.groups.items()
    ]


# --- plots -------------------------------------------------------------------------------------


def _plots(sheet: _Sheet) -> Iterable[str]:
    details = sheet.details
    if details.cmc:
        caption = f"Rate of {details.n_mated} mated probes found among the first k; shaded: 95 % interval, by subject."
        yield _figure(_cmc(details), caption)
    if details.open_set:
        yield _figure(
            _open(details),
            f"Searches that miss their mate, by those without mate that raise an alarm: {details.open_of}.",
        )
    if details.ced:
        yield _figure(_ced(details), "Share of images whose landmarks err by no more than this.")
    if not sheet.n_genuine or not sheet.n_impostor:
        return
    thresholds, fmr, fnmr = details.curve()
    yield _figure(
        _roc(sheet, fmr, fnmr),
        f"Every comparison counted: {sheet.n_genuine} genuine, {sheet.n_impostor} impostor; from one false match on.",
    )
    yield _figure(
        _det(sheet, fmr, fnmr),
        "The same errors on normal deviates" + ("." if sheet.eer is None else "; the mark is the EER."),
    )
    yield _figure(
        _histogram(sheet, thresholds),
        "Share of the comparisons of each kind by their cosine."
        + (" Dashed: thresholds of the figures above." if sheet.thresholds else ""),
    )


def _cmc(details: Details) -> str:
    count = len(details.cmc)
    points = [(rank + 1.0, rate) for rank, rate in enumerate(details.cmc)]
    band = [(rank, *ends) for (rank, _), ends in zip(points, details.band, strict=True)] if details.band else []
    x = linear("rank k", 1, max(count, 2))
    x = type(x)(x.label, x.low, x.high, x.scale, ((1.0, "1"), *((mark, text) for mark, text in x.ticks if mark > 1)))
    return chart(
        "CMC",
        x,
        linear("rate found", 0, 1),
        [Line("", points, band=band, markers=count <= 20)],
        description=f"Cumulative match characteristic, {points[0][1]:.4f} at rank 1, {points[-1][1]:.4f} at {count}.",
    )


def _open(details: Details) -> str:
    low = min(max(min((a for a, _ in details.open_set if a > 0), default=0.01), 1e-6), 0.1)
    return chart(
        "Open set",
        logarithmic("false positive identification rate (FPIR)", low, 1),
        linear("false negative identification rate (FNIR)", 0, 1),
        [Line("", [(a, b) for a, b in details.open_set if a > 0])],
        description="False negative by false positive identification rate.",
    )


def _ced(details: Details) -> str:
    limit = details.ced[-1][0]
    return chart(
        "CED",
        linear("error, as a share of the normalising distance", 0, limit),
        linear("share of images", 0, 1),
        [Line("", details.ced)],
        description=f"Cumulative error distribution up to {limit:g}, where it reaches {details.ced[-1][1]:.4f}.",
    )


def _roc(sheet: _Sheet, fmr: Any, fnmr: Any) -> str:
    low = min(1 / sheet.n_impostor, 0.1)
    drawn = fmr > 0
    points = sorted({(float(a), 1 - float(b)) for a, b in zip(fmr[drawn], fnmr[drawn], strict=True)})
    bars = sorted((far, *ends) for far, ends in sheet.bands.items())
    guess = [(10 ** (exponent / 20), 10 ** (exponent / 20)) for exponent in range(int(20 * np.log10(low)) - 20, 1)]
    x = logarithmic("false match rate (FAR)", low, 1)
    lines = [
        Line("chance", [point for point in guess if point[0] >= x.low], style=3),
        Line(sheet.model[:32], points),
    ]
    if sheet.tar:
        marked = sorted(sheet.tar.items())
        lines.append(
            Line("reported TAR" + (", 95 %" if bars else ""), marked, bars=bars, markers=True, joined=False, style=1)
        )
    # The upper left corner is free where few are accepted at low rates.
    upper_left_is_free = max((rate for far, rate in points if far <= 0.03), default=0.0) < 0.6
    return chart(
        "ROC",
        x,
        linear("true match rate (TAR)", 0, 1),
        lines,
        legend="top left" if upper_left_is_free else "bottom right",
        description=f"Receiver operating characteristic of {sheet.n_genuine + sheet.n_impostor} comparisons.",
    )


def _det(sheet: _Sheet, fmr: Any, fnmr: Any) -> str:
    low_x = min(max(1 / sheet.n_impostor, 1e-6), 0.01)
    low_y = min(max(1 / sheet.n_genuine, 1e-6), 0.01)
    inside = (fmr > 0) & (fnmr > 0) & (fmr < 1) & (fnmr < 1)
    points = sorted({(float(a), -float(b)) for a, b in zip(fmr[inside], fnmr[inside], strict=True)})
    lines = [
        Line("FMR = FNMR", [(rate, rate) for rate in (max(low_x, low_y), 0.99)], style=3),
        Line(sheet.model[:32], [(a, -b) for a, b in points]),
    ]
    if sheet.eer:
        lines.append(Line(f"EER {sheet.eer:.4f}", [(sheet.eer, sheet.eer)], markers=True, joined=False, style=1))
    return chart(
        "DET",
        probit("false match rate (FMR)", low_x, 0.99),
        probit("false non-match rate (FNMR)", low_y, 0.99),
        lines,
        legend="top right",
        description="Detection error trade-off.",
    )


def _histogram(sheet: _Sheet, thresholds: Any) -> str:
    counts = [np.asarray(sheet.details.genuine), np.asarray(sheet.details.impostor)]
    used = np.flatnonzero(counts[0] + counts[1])
    first, last = int(used[0]), int(used[-1]) + 1
    # Some 60 steps over the scores that occur, all edges being edges of the fine counts.
    step = max(1, -(-(last - first) // 60))
    edges = np.arange(first, last + step, step)
    cosine = edges * (thresholds[1] - thresholds[0]) - 1
    lines, top = [], 0.0
    for style, (label, fine) in enumerate(zip(("genuine", "impostor"), counts, strict=True)):
        padded = np.r_[fine, np.zeros(step, np.int64)]
        share = np.add.reduceat(padded[: edges[-1]], edges[:-1]) / fine.sum()
        points = [
            (float(a), float(b))
            for left, right, b in zip(cosine[:-1], cosine[1:], share, strict=True)
            for a in (left, right)
        ]
        lines.append(Line(f"{label} ({int(fine.sum())})", points, steps=True, style=style))
        top = max(top, float(share.max()))
    low, high = float(cosine[0]), float(cosine[-1])
    # The legend stands where fewer thresholds are, then fewer scores: it must hide neither.
    middle = (low + high) / 2
    marks = [mark for mark in sheet.thresholds if low <= mark[0] <= high]
    left, right = (
        (
            sum((value <= middle) == before for value, _ in marks),
            sum(b for line in lines for a, b in line.points if (a <= middle) == before),
        )
        for before in (True, False)
    )
    return chart(
        "Scores",
        linear("cosine", low, high),
        linear("share of comparisons", 0, top * 1.25),
        lines[::-1],
        verticals=marks,
        legend="top left" if left < right else "top right",
        description="Histograms of genuine and impostor scores.",
    )


def _matrices(details: Details) -> Iterable[str]:
    cells = {(cell.gallery, cell.probe): cell for cell in details.matrix}
    names = details.domains

    def ranks(cell: Cell | None) -> tuple[float, str, str] | None:
        if cell is None or not cell.n_probe:
            return None
        rate = cell.hits / cell.n_probe
        return rate, f"{100 * rate:.1f} %", f"{cell.hits} of {cell.n_probe}, gallery {cell.n_gallery}"

    apart = [
        cell.genuine - cell.impostor
        for cell in details.matrix
        if cell.genuine is not None and cell.impostor is not None
    ]
    most = max([*apart, 1e-9])

    def cosines(cell: Cell | None) -> tuple[float, str, str] | None:
        if cell is None or cell.genuine is None or cell.impostor is None:
            return None
        shade = max(0.0, cell.genuine - cell.impostor) / most
        return shade, f"{cell.genuine:z.3f}", f"others {cell.impostor:z.3f}"

    for title, values, caption in (
        (
            "Rank-1 between domains",
            ranks,
            "Closed-set search of templates, each the mean of a subject's raw embeddings in a domain; a tie is a miss.",
        ),
        (
            "Mean cosine between domains",
            cosines,
            "A subject's template with its own in the other domain; below, with others'. Darker: further apart.",
        ),
    ):
        drawn = heatmap(
            title,
            names,
            names,
            [[values(cells.get((known, asked))) for asked in names] for known in names],
            row_label="gallery",
            column_label="probe",
            description=caption,
        )
        yield _figure(drawn, caption)


# --- tables ------------------------------------------------------------------------------------


class _Thumbnails:
    """Small pictures as text, each made once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.made: dict[Picture, str] = {}

    def __call__(self, picture: Picture) -> str:
        if picture.template:
            return ""
        if picture not in self.made:
            self.made[picture] = self._make(picture)
        return f'<img alt="" width="{THUMBNAIL}" src="data:image/png;base64,{self.made[picture]}">'

    def _make(self, picture: Picture) -> str:
        from PIL import Image

        from xzoo.data.images import read_image

        pixels = read_image(self.root / picture.path)
        if picture.box is not None:
            x, y, width, height = picture.box
            pixels = pixels[y : y + height, x : x + width]
        image = Image.fromarray(np.ascontiguousarray(pixels))
        image.thumbnail((THUMBNAIL, THUMBNAIL))
        file = io.BytesIO()
        image.save(file, "png")
        return base64.b64encode(file.getvalue()).decode()


def _errors(details: Details, show: _Thumbnails | None) -> Iterable[str]:
    def picture(item: Picture) -> str:
        shown = show(item) if show else ""
        return f"{escape(item.subject)}, {escape(item.spectrum)}<br><code>{escape(item.path)}</code>{shown}"

    def pairs(items: Sequence[Pair]) -> str:
        return _table(
            ("score", "probe", "gallery"),
            [(f"{item.score:.4f}", picture(item.probe), picture(item.gallery)) for item in items],
            numbers=(0,),
            raw=True,
        )

    def misses(items: Sequence[Miss]) -> str:
        return _table(
            ("rank", "mate's score", "probe", "stood first", "its score"),
            [
                (
                    str(item.rank),
                    f"{item.mate_score:.4f}",
                    picture(item.probe),
                    picture(item.first),
                    f"{item.first_score:.4f}",
                )
                for item in items
            ],
            numbers=(0, 1, 4),
            raw=True,
        )

    if details.ced:
        yield _table(
            ("error", "image"),
            [(f"{item.error:.4f}", picture(item.picture)) for item in details.displaced],
            numbers=(0,),
            raw=True,
        )
        if show is None:
            yield "<p>Images are left out unless they are asked for.</p>"
        return
    yield "<h3>Searches whose mate stood furthest behind</h3>"
    yield misses(details.misses) if details.misses else "<p>None: every mate stood first.</p>"
    yield '<div class="beside">'
    for title, items in (
        ("Impostor comparisons with the highest scores", details.false_matches),
        ("Genuine comparisons with the lowest scores", details.false_non_matches),
    ):
        yield f"<div>\n<h3>{title}</h3>\n{pairs(items)}\n</div>"
    yield "</div>"
    if show is None:
        yield "<p>Images are left out unless they are asked for.</p>"


def _table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Sequence[int] = (), raw: bool = False
) -> str:
    def cells(row: Sequence[str], tag: str, plain: bool) -> str:
        return "".join(
            f"<{tag}{' class=n' if place in numbers else ''}>{text if plain else escape(text)}</{tag}>"
            for place, text in enumerate(row)
        )

    body = "\n".join(f"<tr>{cells(row, 'td', raw)}</tr>" for row in rows)
    head = f"<thead><tr>{cells(header, 'th', False)}</tr></thead>"
    return f'<div class="wide">\n<table>\n{head}\n<tbody>\n{body}\n</tbody>\n</table>\n</div>'


def _figure(drawn: str, caption: str) -> str:
    return f"<figure>\n{drawn}\n<figcaption>{escape(caption)}</figcaption>\n</figure>"


def _lead(report: Report | ProtocolResult) -> str:
    if not isinstance(report, Report):
        first = report.repetitions[0]
        counts = ", ".join(f"{number} {name}" for name, number in first.counts.items())
        return f"protocol {report.protocol}, {report.title}, on {_folder(report.data)}: {counts}"
    known = "templates" if report.templates else "images"
    return (
        f"probe {report.probe} in gallery {report.gallery}, {report.split or 'all images'} of {_folder(report.data)}: "
        f"{report.n_probe} probes, {report.n_gallery} gallery {known} of {report.n_subjects} subjects"
    )


def _folder(data: str) -> str:
    """Return the name of the data without the path to it, which is a matter of one machine."""
    path = Path(data)
    return (path.parent.name if path.name == "manifest.csv" else path.stem) or "manifest"


def _interval(report: Report, key: str) -> str:
    ends = _ends(report).get(key)
    return "" if ends is None else f"{ends[0]:.4f} to {ends[1]:.4f}"


def _ends(report: Report) -> dict[str, Interval]:
    """Return the intervals by subject where the details have them, else those of the report."""
    return {**report.intervals, **(report.details.intervals if report.details is not None else {})}


def _rank1(cell: Cell | None) -> str:
    return (
        "" if cell is None or not cell.n_probe else f"{100 * cell.hits / cell.n_probe:.2f} ({cell.hits}/{cell.n_probe})"
    )


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(map(_cell, cells)) + " |"


def _cell(text: str) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ")


def _details(report: Report | ProtocolResult) -> Details:
    if report.details is None:
        raise errors.EvaluationError(
            f"a written report of {report.model!r}",
            why="Its details were not kept: curves, histograms and worst errors need a second look at the scores.",
            do="give details=True to xzoo.evaluate or run_protocol",
        )
    return report.details
