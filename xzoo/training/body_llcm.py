"""Table II of arXiv 2503.10931, run again: the body network on LLCM, by every protocol in circulation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from xzoo import hub, recipes
from xzoo.data.readers import read
from xzoo.evaluation import run_protocol
from xzoo.evaluation.intervals import Interval
from xzoo.families.base import Embedder
from xzoo.models import create
from xzoo.training import finetune
from xzoo.training.body_tables import DEFAULTS, LOSSES, WORLD, Settings, optimiser, precision_of

__all__ = ["PROTOCOLS", "LlcmRow", "table_2"]

SHORT = 100
"""Steps at most on generated people, about whom no claim is made here."""
PROTOCOLS = {"A": ("llcm.A.v2i", "llcm.A.i2v"), "B": ("llcm.B", None), "C": ("llcm.C.v2i", "llcm.C.i2v")}
"""Both directions of each; B is published as VIS to IR. D needs lists that are not public."""


class LlcmRow(NamedTuple):
    """One network by one protocol, shares of probes; B has one direction. Intervals are of rank-1, over subjects."""

    protocol: str
    v2i_rank1: float | None
    v2i_map: float | None
    i2v_rank1: float | None
    i2v_map: float | None
    v2i_interval: Interval | None
    i2v_interval: Interval | None


def table_2(
    data: str | Path | None,
    folder: str | Path,
    *,
    settings: Settings = DEFAULTS,
    model: str | Embedder = "body_md_tiny",
    pretrained: bool | str | Path = "vis_v2",
    people: int = 60,
    cameras: int = 4,
    report: Callable[[str], None] = lambda _: None,
) -> dict[str, LlcmRow]:
    """Bring a network to LLCM by the recipe ``body_md``, and search by each protocol before and after.

    Args:
        data: LLCM as its owners ship it; None lays out generated people the same way, other clothes on every camera.
        folder: Where the run, and generated people, are kept.
        settings: Steps, batch and seed; size of pictures where they are generated.
        model: A network of the family ``part_vit``.
        pretrained: Its weights.
        people: How many are generated; a third of them is searched for.
        cameras: How many see each generated person.
        report: Called with a line for each thing done.

    Raises:
        DataError, MissingFile: ``data`` is not LLCM.
    """
    place, steps = hub.as_path(folder, "output"), settings.steps
    if data is None:
        from xzoo.data.people import layouts

        steps = min(steps, SHORT)
        data = place / f"llcm-{people}-{cameras}"
        if not data.exists():
            layouts.write("llcm", data, subjects=people, seed=WORLD, cameras=cameras, size=settings.size)
    base: Any = create(model, pretrained=pretrained) if isinstance(model, str) else model
    plan = recipes.load("body_md").with_(
        {
            "stages.adapt.losses": list(LOSSES),
            "stages.adapt.steps": steps,
            "stages.adapt.batch.size": settings.batch,
            "stages.adapt.batch.per_subject": min(4, settings.batch // 4),
            "stages.adapt.batch.targets": ["NIR"],
            "stages.adapt.train": {"groups": "all"},
            "stages.adapt.optimiser": optimiser(steps),
            "stages.adapt.precision": precision_of(settings, next(base.parameters()).device),
        }
    )
    run = place / f"llcm-full-{settings.seed}"
    trained = finetune(
        base,
        read("llcm", data),
        recipe=plan,
        seed=settings.seed,
        output=run,
        resume=(run / "run.json").is_file(),
        evaluate=False,
    )
    report(f"trained: {run.name}")
    rows = {}
    for name, network in (("ours, as it came", base), ("ours, fine-tuned", trained.model)):
        for protocol, (forth, back) in PROTOCOLS.items():
            there = _searched(forth, network, data)
            return_ = _searched(back, network, data) if back else (None, None, None)
            rows[f"{name}, {protocol}"] = LlcmRow(protocol, *there[:2], *return_[:2], there[2], return_[2])
    return rows


def _searched(protocol: str, network: Any, data: str | Path) -> tuple[float | None, float | None, Interval | None]:
    found = run_protocol(protocol, network, data)
    return found.mean["rank1"], found.mean["map"], found.intervals.get("rank1")
