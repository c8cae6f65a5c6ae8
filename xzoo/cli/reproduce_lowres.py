"""``xzoo reproduce bridge`` and ``aird``: faces of few pixels, published figures beside ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from xzoo.cli.shared import emit, table

if TYPE_CHECKING:
    from xzoo.training.lowres_tables import Table

__all__ = ["HOUSE", "PROTOCOLS", "tell"]

HOUSE = {"bridge": "lrfr_bridge_16", "aird": "lrfr_aird_16"}
PROTOCOLS = (
    "tinyface",
    "scface.d1",
    "scface.d2",
    "scface.d3",
    "qmul_survface.open",
    "uccs.closed",
    "uccs.identification",
)
PAIRS = ("lfw", "lfw.bin")

NO_RESULTS = (
    "Result tables of both papers could not be verified: none is printed. What stands here is of their abstracts."
)


def tell(
    method: str,
    which: str,
    *,
    data: str | None,
    model: str | None,
    pretrained: Any,
    protocol: str | None,
    sizes: str | None,
    seeds: int,
    steps: int | None,
    batch: int | None,
    people: int | None,
    as_json: bool,
) -> None:
    """Print one table of ``bridge`` or ``aird``."""
    if which == "protocols":
        _protocol(method, data, model, pretrained, protocol, sizes, as_json)
    elif which == "ablation" and method == "aird":
        _ablation(seeds, steps, batch, people, as_json)
    elif which in ("cost", "ablation"):
        _cost(method, model, pretrained, as_json)
    else:
        raise click.UsageError(f"{method} has the tables {'ablation, ' * (method == 'aird')}cost and protocols.")


def _ablation(seeds: int, steps: int | None, batch: int | None, people: int | None, as_json: bool) -> None:
    from xzoo.training import lowres_tables

    chosen: dict[str, Any] = {"steps": steps, "batch": batch, "people": people}

    def report(row: lowres_tables.Row) -> None:
        found = f"rank-1 {100 * row.rank1:.1f}, rank-10 {100 * row.rank10:.1f}"
        click.echo(f"{row.arm}, FaceBN {row.adapted}, {row.sensor}: {found}", err=True)

    given = {key: value for key, value in chosen.items() if value is not None}
    found = lowres_tables.ablation(seeds=range(seeds), report=report, **given)
    facts = {
        **found.facts,
        "rows": [row._asdict() for row in found.rows],
        "gains": [{**gain._asdict(), "holds": gain.holds} for gain in found.gains],
    }
    emit(facts, as_json=as_json, text=ablation_text(found))


def ablation_text(found: Table) -> str:
    """Return an ablation as text."""
    facts = found.facts
    cells = [
        (
            *(row.arm, row.adapted, row.sensor, f"{100 * row.rank1:.1f}", _ends(row.interval)),
            *(f"{100 * row.rank10:.1f}", _ends(row.interval10), str(row.probes)),
        )
        for row in found.rows
    ]
    said = [
        f"{gain.text}, rank-{gain.rank}: {100 * gain.gain:+.1f} {_ends(gain.interval)}"
        + ("" if gain.holds else " (not told from zero)")
        for gain in found.gains
    ]
    return "\n".join(
        [
            f"ours: bd_student at 16 pixels, taught by {facts['teacher']} on {facts['people']} generated people for "
            f"{facts['steps']} steps, {len(facts['seeds'])} seed(s);",
            f"{facts['strangers']} strangers, ranks in percent, 95 % by subject; the other sensor gives "
            f"{facts['sensor']['gain']:g} x + {facts['sensor']['offset']:g};",
            "the teacher itself, on sharp faces of the sensor of training: "
            + ", ".join(f"rank-{rank} {100 * share:.1f}" for rank, share in facts["teacher_found"].items()),
            "",
            table(("losses", "FaceBN", "sensor", "rank-1", "95 %", "rank-10", "95 %", "probes"), cells),
            "",
            *said,
            "",
            NO_RESULTS,
        ]
    )


def _ends(interval: tuple[float, float]) -> str:
    return f"[{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"


def _cost(method: str, model: str | None, pretrained: Any, as_json: bool) -> None:
    from xzoo import deploy
    from xzoo.models import create
    from xzoo.training.lowres_tables import PUBLISHED

    network = create(model or HOUSE[method], pretrained=True if pretrained is None else pretrained)
    facts = deploy.bench(network, batches=(1, 256), modes=("eager", "channels_last"), seconds=0.3)
    counted = deploy.cost(deploy.fold(network), network.preprocess.size[1:])
    ours = {
        "parameters": counted.parameters,
        "memory_mib": counted.activation_bytes / 2**20,
        "cpu_faces_per_s": facts["best"]["faces_per_s"],
        "threads": facts["threads"],
    }
    names = ("parameters", "memory_mb", "gpu_faces_per_s", "cpu_faces_per_s", "phone_faces_per_s")
    cells = [
        (name, *(f"{figures[key]:,.3f}".rstrip("0").rstrip(".") if key in figures else "-" for key in names))
        for name, figures in PUBLISHED.items()
    ]
    text = [
        f"ours: {network.card.name}, {ours['parameters']:,} parameters, {ours['memory_mib']:.4f} MiB of activations, "
        f"{ours['cpu_faces_per_s']:,.0f} faces/s ({facts['best']['mode']}, batch {facts['best']['batch']}, "
        f"{ours['threads']} threads of this machine)",
        f"every mode: xzoo bench {network.card.name} --device cpu",
        "",
        "published, devices and batches unnamed:",
        table(("method", "parameters", "MB", "GPU faces/s", "CPU faces/s", "phone faces/s"), cells),
        "",
        NO_RESULTS,
    ]
    emit({"ours": ours, "published": PUBLISHED, "bench": facts}, as_json=as_json, text="\n".join(text))


def _protocol(
    method: str,
    data: str | None,
    model: str | None,
    pretrained: Any,
    protocol: str | None,
    sizes: str | None,
    as_json: bool,
) -> None:
    from xzoo.models import create
    from xzoo.training.lowres_tables import PUBLISHED_BOARD

    if data is None or protocol not in (*PROTOCOLS, *PAIRS):
        raise click.UsageError(
            f"--table protocols needs --data DIR and --protocol, one of {', '.join((*PROTOCOLS, *PAIRS))}."
        )
    network = create(model or HOUSE[method], pretrained=True if pretrained is None else pretrained)
    cells: list[tuple[str, ...]] = []
    facts: dict[str, Any] = {"model": network.card.name, "protocol": protocol, "published": PUBLISHED_BOARD}
    if protocol in PAIRS:
        from dataclasses import asdict

        from xzoo.data.readers import read
        from xzoo.evaluation.lowres import lowres_pairs, read_sizes
        from xzoo.evaluation.protocols import load

        manifest = read(load(protocol).reader or protocol, data)
        side = network.preprocess.size[1] if network.preprocess.size[1] < 112 else 16
        found = [lowres_pairs(network, manifest, mode=mode, side=side) for mode in ("lr2lr", "hr2lr")]
        if sizes is not None:
            found.append(lowres_pairs(network, manifest, mode="list", sizes=read_sizes(sizes)))
        facts["ours"] = [asdict(row) for row in found]
        for row in found:
            shown = f"{row.sides[0]}" if row.sides[0] == row.sides[1] else f"{row.sides[0]}-{row.sides[1]}"
            accuracy = f"{100 * row.accuracy:.2f} {_ends(row.interval)}"
            cells.append((f"{row.mode}, {shown} px", accuracy, f"{100 * row.auc:.2f}", str(row.pairs)))
        ours = table(("LFW-LR", "accuracy", "AUC", "pairs"), cells)
    else:
        from xzoo.evaluation import run_protocol

        result = run_protocol(protocol, network, data)
        facts["ours"], ours = result.to_dict(), str(result)
    board = [
        (name, *(f"{figures[key]:.2f}" for key in ("lfw", "tinyface_rank1", "tinyface_rank5")))
        for name, figures in PUBLISHED_BOARD.items()
    ]
    text = [
        f"ours: {network.card.name}, taught on generated people alone",
        ours,
        "",
        "published for networks of 112 pixels, in percent (CVLface at d3d09c9; LFW at full resolution):",
        table(("network", "LFW", "TinyFace rank-1", "rank-5"), board),
        "",
        NO_RESULTS,
    ]
    emit(facts, as_json=as_json, text="\n".join(text))
