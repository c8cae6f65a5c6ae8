"""``xzoo bench``: how fast a network runs here, in every mode that is installed."""

from __future__ import annotations

from typing import Any

import click

from xzoo.cli.shared import as_json, device, emit, is_run, licences, pretrained, settings, table, weights


@click.command()
@click.argument("name")
@pretrained
@device
@click.option("--batch", "batches", type=click.IntRange(min=1), multiple=True, help="Images per call (repeat).")
@click.option("--precision", help="Only modes of this precision: float32, bfloat16, float16 or int8.")
@click.option("--mode", "modes", multiple=True, help="Only this mode, beside eager (repeat).")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads. Default: all that this process may use.")
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), default=1.0, show_default=True)
@click.option("--option", "options", multiple=True, metavar="KEY=VALUE", help="An option of the network (repeat).")
@licences
@as_json
def command(
    name: str,
    pretrained: str | None,
    device: str | None,
    batches: tuple[int, ...],
    precision: str | None,
    modes: tuple[str, ...],
    threads: int | None,
    seconds: float,
    options: tuple[str, ...],
    allow_licences: tuple[str, ...],
    as_json: bool,
) -> None:
    """Time NAME: one image's latency and the best throughput, mode by mode.

    Every mode's embeddings are compared with plain PyTorch's first; one whose
    embeddings differ is never called best. A network without published weights
    is timed with random ones, which takes as long.
    """
    from xzoo import catalog, deploy
    from xzoo.deploy.timing import BATCHES, settle
    from xzoo.models import create

    asked = weights(pretrained)
    if asked is None:
        asked = is_run(name) or catalog.resolve(name)[0].default_tag is not None
    model = create(
        name,
        pretrained=asked,
        device=device,
        allow_licences=allow_licences or None,
        **{key: _value(value) for key, value in settings(options).items()},
    )
    if model.weights is None:
        settle(model)
    facts = deploy.bench(
        model,
        batches=batches or BATCHES,
        modes=modes or None,
        precision=precision,
        threads=threads,
        seconds=seconds,
    )
    emit(facts, as_json=as_json, text=_text(facts))


def _value(value: str | int) -> Any:
    """Return a value as options have it: ``384,128`` is a pair of numbers."""
    if isinstance(value, int) or "," not in value:
        return value
    parts = value.split(",")
    return tuple(int(part) if part.isdigit() else part for part in parts)


def _text(facts: dict[str, Any]) -> str:
    rows = []
    for row in facts["modes"]:
        if "skipped" in row:
            rows.append([row["mode"], "", "", "", "", f"skipped: {row['skipped']}"])
            continue
        note = "" if row["equal"] else "embeddings differ from eager's: not counted"
        cells = [f"{row['latency_ms']:.3f}", f"{row['faces_per_s']:,.0f}", str(row["batch"]), f"{row['cosine']:.5f}"]
        rows.append([row["mode"], *cells, note])
    best, product = facts["best"], facts["product"]
    return "\n".join(
        [
            f"{facts['name']} ({facts['weights']} weights), {'x'.join(map(str, facts['input']))}, "
            f"{facts['parameters']:,} parameters",
            f"{facts['device']}, {facts['threads']} threads, torch {facts['torch']}",
            "",
            table(["mode", "ms, one image", "faces/s", "batch", "cosine", ""], rows),
            "",
            f"best: {best['mode']}, {best['faces_per_s']:,.0f} faces/s at batch {best['batch']}, "
            f"{facts['speedup']:.1f} times eager; one image in {facts['latency_ms']:.3f} ms by {facts['latency_mode']}",
            f"a float32 product of large matrices reaches {product['gmacs_per_s']:,.0f} GMAC/s here: "
            f"{product['faces_per_s']:,.0f} faces/s of {facts['macs'] / 1e6:.1f} MMAC, "
            f"{product['speedup']:.1f} times eager",
        ]
    )
