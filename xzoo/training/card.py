"""The card of a run: what was trained, on what, how well it does, and what it is not for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xzoo.evaluation.report import Report

__all__ = ["student", "text"]

FIGURES = {"rank-1": "rank1", "rank-5": "rank5", "mAP": "map", "AUC": "auc", "EER": "eer"}

_LIMITS = (
    "The figures hold for these data and this number of images only; other cameras, distances and people "
    "have to be measured before use. Not for decisions about a person without human review. "
    "Embeddings of faces are biometric data."
)

_FILES = (
    "",
    "`recipe.yaml` is the whole recipe, `run.json` has seed and versions, `metrics.jsonl` every step.",
    "",
)


def text(facts: Mapping[str, Any], before: Report | None, after: Report | None, reload: str) -> str:
    """Return the card as Markdown, with the front matter that the Hub reads."""
    base, adapter = facts["base"], facts["adapter"]
    recipe = facts["settings"]["recipe"]
    head = [
        "---",
        "library_name: xzoo",
        f"license: {(base['licence'] or 'other').lower()}",
        "base_model_relation: adapter",
        "tags: [face-recognition, cross-spectral, xzoo]",
        "---",
    ]
    lines = [
        f"# {facts['name']}",
        "",
        f"A {adapter['kind']} adapter ({adapter['parameters']:,} numbers) for `{base['name']}` "
        f"(weights `{base['sha256'][:16]}`, from {base['source']}), trained by the recipe "
        f"`{recipe['recipe']}`: {recipe['summary']}",
        "",
        *_origin(recipe, reload),
        *_evidence(facts["data"], before, after),
        f"Licence of the base weights: {base['licence'] or 'not reported'}; an adapter of them inherits its terms. "
        + _LIMITS,
        *_FILES,
    ]
    return "\n".join([*head, *lines])


def student(facts: Mapping[str, Any], before: Report | None, after: Report | None, reload: str) -> str:
    """Return the card of a distilled student as Markdown, with the front matter that the Hub reads."""
    base, recipe = facts["base"], facts["settings"]["recipe"]
    networks = [f"- `{role}`: tensors `{sha256[:16]}`" for role, sha256 in facts["settings"]["networks"].items()]
    lines = [
        "---",
        "library_name: xzoo",
        "license: other",
        "tags: [face-recognition, cross-spectral, xzoo]",
        "---",
        f"# {facts['name']}",
        "",
        f"A `{base['name']}`, trained by the recipe `{recipe['recipe']}`: {recipe['summary']}",
        "",
        *_origin(recipe, reload),
        "## Networks that it came from",
        "",
        *networks,
        "",
        "Their licences bind this student too: not reported here, see their cards (`xzoo show NAME`).",
        "",
        *_evidence(facts["data"], before, after),
        _LIMITS,
        *_FILES,
    ]
    return "\n".join(lines)


def _origin(recipe: Mapping[str, Any], reload: str) -> list[str]:
    """Return the lines that say whose idea the recipe is and how its result is loaded."""
    return [
        f"Source: {recipe['source'] or 'not reported'}.",
        "",
        "```python",
        "import xzoo",
        "",
        f"model = xzoo.create({reload!r})",
        "```",
        "",
    ]


def _evidence(data: Mapping[str, Any], before: Report | None, after: Report | None) -> list[str]:
    """Return the lines on data and figures, down to the head of those on use."""
    return [
        "## Data",
        "",
        f"{data['train_images']} images of {data['train_subjects']} subjects, spectra {' '.join(data['spectra'])} "
        f"(manifest `{data['sha256'][:16]}`). {data['note']} Provenance and consent: not reported.",
        "",
        "## Figures",
        "",
        *_figures(before, after),
        "",
        "## Use",
        "",
    ]


def _figures(before: Report | None, after: Report | None) -> list[str]:
    if before is None or after is None:
        return ["Not evaluated."]
    rows = [f"| {label} | {getattr(before, key):.4f} | {getattr(after, key):.4f} |" for label, key in FIGURES.items()]
    low, high = after.intervals["rank1"]
    where = f"split `{after.split}`" if after.split else "all images"
    return [
        f"Probe {after.probe} in gallery {after.gallery}, {where}; {after.n_probe} probes, "
        f"{after.n_gallery} gallery images, {after.n_genuine} genuine and {after.n_impostor} impostor comparisons.",
        "",
        "| figure | base | adapted |",
        "|---|---|---|",
        *rows,
        "",
        f"95 % interval of rank-1 after: {low:.3f} to {high:.3f} (Wilson). Measured by xzoo at the end of the run.",
    ]
