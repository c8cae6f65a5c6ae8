"""``xzoo reproduce landmarks``: what the parts of MLCM-KD are worth, beside published errors of other methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from xzoo.cli.shared import emit, table

if TYPE_CHECKING:
    from xzoo.training.landmark_tables import Row, Table

__all__ = ["tell"]

NO_RESULTS = "Of MLCM-KD itself (arXiv 2510.11128) no figure could be verified: none is printed."


def tell(
    which: str,
    *,
    data: str | None,
    presets: tuple[str, ...],
    seeds: int,
    steps: int | None,
    batch: int | None,
    people: int | None,
    output: str | None,
    as_json: bool,
) -> None:
    """Print the ablation of thermal landmarks."""
    if which != "ablation":
        raise click.UsageError("landmarks has the table ablation.")
    from xzoo.training import landmark_tables

    def report(row: Row) -> None:
        said = "" if row.decay else ", no fading"
        click.echo(f"{row.cell}{said}, {row.network}, seed {row.seed}: NME {100 * row.nme:.2f} %", err=True)

    chosen: dict[str, Any] = {"cells": presets} if presets else {}
    if data is None and people is not None:  # one in five is in both bands, and one in ten of these has landmarks
        pairs = max(2, people // 5)
        chosen |= {"pairs": pairs, "colour": people - pairs, "labelled": max(2, pairs // 10)}
    folder = output or f"runs/landmarks-{which}"
    found = landmark_tables.ablation(
        data, seeds=range(seeds), steps=steps, batch=batch, output=folder, report=report, **chosen
    )
    facts = {
        **found.facts,
        "rows": [row._asdict() for row in found.rows],
        "gains": [{**gain._asdict(), "holds": gain.holds} for gain in found.gains],
        "published": landmark_tables.PUBLISHED,
    }
    emit(facts, as_json=as_json, text=text(found, folder))


def text(found: Table, folder: str) -> str:
    """Return an ablation as text."""
    from xzoo.training.landmark_tables import PUBLISHED

    facts = found.facts
    steps = ", ".join(f"{name} {count}" for name, count in facts["steps"].items())
    where = f"{facts['images']} LWIR pictures of {facts['subjects']} people of the split {facts['split']}"
    cells = [
        (
            row.cell,
            "yes" if row.decay and row.cell != "none" else "no",
            row.network,
            str(row.seed),
            f"{100 * row.nme:.2f}",
            _ends(row.interval),
            f"{100 * row.failure_rate:.1f}",
            f"{row.auc:.3f}",
        )
        for row in found.rows
    ]
    said = [
        f"{gain.text}: {100 * gain.gain:+.2f} {_ends(gain.interval)}"
        + ("" if gain.holds else " (lost)" if gain.interval[1] < 0 else " (not told from zero)")
        for gain in found.gains
    ]
    theirs = [(name, *(f"{value:.2f}" for value in figures.values())) for name, figures in PUBLISHED.items()]
    return "\n".join(
        [
            f"ours: {facts['data']}, {where}; {len(facts['seeds'])} seed(s); steps: {steps}",
            *(["generated people show that the method works here and nothing of its rates"] if _open(facts) else []),
            "NME in percent of the outer eye corners' distance, pixels of the network's input, 95 % by subject",
            "",
            table(("cell", "fades", "network", "seed", "NME", "95 %", "above 10 %", "AUC"), cells),
            "",
            *(["points of NME that are gained, on the same pictures:", *said, ""] if said else []),
            f"curves: {folder}/ced.svg",
            "",
            "published, other data and methods, coordinates as shares of the box (PyraMoT, FG 2024, Table II):",
            table(("method", "D5050 gray", "SF-TL54 gray", "RWTH-Aachen"), theirs),
            "",
            NO_RESULTS,
        ]
    )


def _open(facts: dict[str, Any]) -> bool:
    return bool(facts["data"] == "generated people")


def _ends(interval: tuple[float, float]) -> str:
    return f"[{100 * interval[0]:.2f}, {100 * interval[1]:.2f}]"
