"""How fast a network is, in every mode, and whether it still says the same."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xzoo import errors
from xzoo.deploy.counting import cost
from xzoo.deploy.modes import MODES, Call, Job, Unavailable

if TYPE_CHECKING:
    from xzoo.families.base import Embedder

__all__ = ["BATCHES", "bench", "processor", "settle", "bench_images", "usable_threads"]

Key = TypeVar("Key", bound=Hashable)

BATCHES = (1, 64, 256)
PRODUCT = 1024
"""Side of the matrices whose product shows what arithmetic the machine has."""

CHECKED = 64
"""Images whose embeddings are compared with the eager ones."""

WARM_UP = 3

TURNS = 20
"""Times that every mode and batch comes back: a machine that is slower for a while is slower for all of them."""


def bench(
    model: Embedder,
    *,
    batches: Sequence[int] = BATCHES,
    modes: Sequence[str] | None = None,
    precision: str | None = None,
    threads: int | None = None,
    seconds: float = 1.0,
    seed: int = 0,
) -> dict[str, Any]:
    """Time a network in every mode that runs here; each is checked against the eager embeddings first.

    A call is timed from a normalised batch in the mode's own layout and type to its embeddings. Three calls warm up;
    then modes and batches take turns, so that ratios between them are of the same moments: in each turn calls are
    repeated for a part of ``seconds``, and the median of all counts. Reading and resizing images is not part of it.

    Args:
        model: The network, on the device to measure.
        batches: Images per call. Batch 1, whether asked for or not, gives the latency.
        modes: Names of ``MODES``; all of the device when None. Eager always runs, for the comparison.
        precision: Only modes of this precision (and eager).
        threads: CPU threads; those that this process may use when None.
        seconds: Time spent on each mode and batch.
        seed: Draws the images.

    Returns:
        ``latency_ms`` (the least of the modes, one image) and ``latency_mode``; ``best`` (mode, batch and
        ``faces_per_s``); ``speedup`` of the best over eager at its best; ``modes``, a row each, with the
        reason where one was skipped or its embeddings differ; ``product``, what a float32 product of large
        matrices reaches in the same turns (``gmacs_per_s``), how many faces a network would take that computes as
        fast from its first to its last layer (``faces_per_s``), and how many times eager that is (``speedup``):
        more than that is not to be had from float32 by products; and where it was measured.

    Raises:
        OptionError: An unknown mode or precision, or no batch.
    """
    chosen = _chosen(modes, precision, _kind(model))
    sizes = sorted({1, *batches})
    if min(sizes) < 1 or seconds <= 0:
        raise errors.OptionError(f"batches={batches!r}, seconds={seconds!r}", why="Both are above zero.")
    threads = usable_threads() if threads is None else threads
    with _threads(threads), torch.inference_mode():
        model.eval()
        images = bench_images(max(CHECKED, *sizes), model.preprocess.size[1:], seed)
        job = Job(model, images, threads)
        rows, product = _measure(chosen, job, sizes, seconds)
    return _summary(model, rows, product, threads, seconds)


def _chosen(modes: Sequence[str] | None, precision: str | None, device: str) -> list[str]:
    for name in modes or ():
        if name not in MODES:
            close = errors.nearest(name, MODES) or list(MODES)[:3]
            raise errors.OptionError(f"mode {name!r}", why="There is none such.", exists=", ".join(close))
    precisions = sorted({mode.precision for mode in MODES.values()})
    if precision is not None and precision not in precisions:
        raise errors.OptionError(f"precision={precision!r}", exists=", ".join(precisions))
    wanted = [name for name in MODES if (modes is None or name in modes)]
    wanted = [name for name in wanted if precision in (None, MODES[name].precision)]
    return ["eager", *(name for name in wanted if name != "eager" and device in MODES[name].devices)]


def _measure(
    names: Sequence[str], job: Job, sizes: Sequence[int], seconds: float
) -> tuple[list[dict[str, Any]], float]:
    """Return a row for each mode, and the seconds of a float32 product of matrices."""
    rows: list[dict[str, Any]] = []
    calls: dict[tuple[int, int], Call] = {}
    matrix = torch.rand(PRODUCT, PRODUCT, device=job.device)
    product: tuple[int, int] = (len(names), PRODUCT)
    calls[product] = lambda: matrix @ matrix
    for place, name in enumerate(names):
        mode = MODES[name]
        row: dict[str, Any] = {"mode": name, "summary": mode.summary, "precision": mode.precision}
        try:
            prepare = mode.make(job)
            ours = _embeddings(prepare(job.images[:CHECKED])())
            theirs = _embeddings(job.network(job.images[:CHECKED].to(job.device)))
            row["cosine"] = round(float(F.cosine_similarity(ours, theirs).min()), 6)
            row["equal"] = row["cosine"] >= mode.least
            calls.update({(place, size): prepare(job.images[:size]) for size in sizes})
        except Unavailable as reason:
            row["skipped"] = str(reason)
        rows.append(row)
    medians = _medians(calls, job.device, seconds)
    product_took = medians.pop(product)
    for (place, size), took in medians.items():
        measured = {"batch": size, "ms": round(1e3 * took, 4), "faces_per_s": round(size / took, 1)}
        rows[place].setdefault("batches", []).append(measured)
    for row in rows:
        if "batches" in row:
            best = max(row["batches"], key=lambda each: float(each["faces_per_s"]))
            row.update(latency_ms=row["batches"][0]["ms"], batch=best["batch"], faces_per_s=best["faces_per_s"])
    return rows, product_took


def _kind(model: nn.Module) -> str:
    return next(model.parameters()).device.type


def _embeddings(out: Tensor) -> Tensor:
    return out.detach().float().cpu()


def _medians(calls: Mapping[Key, Call], device: torch.device, seconds: float) -> dict[Key, float]:
    """Return the median time of each call in seconds: they take turns until each has had its ``seconds``."""

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    def run(call: Call) -> float:
        start = time.perf_counter()
        call()
        wait()
        return time.perf_counter() - start

    times: dict[Key, list[float]] = {key: [] for key in calls}
    spent = dict.fromkeys(calls, 0.0)
    for turn in range(TURNS):
        for key, call in calls.items():
            due = seconds * (turn + 1) / TURNS
            if spent[key] >= due:  # a slow call may have had its time
                continue
            for _ in range(1 if turn else WARM_UP):
                run(call)
            while spent[key] < due:
                times[key].append(run(call))
                spent[key] += times[key][-1]
    return {key: statistics.median(values) for key, values in times.items()}


def _summary(
    model: Embedder, rows: list[dict[str, Any]], product: float, threads: int, seconds: float
) -> dict[str, Any]:
    ran = [row for row in rows if row.get("equal")]
    quick = min(ran, key=lambda row: float(row["latency_ms"]))
    best = max(ran, key=lambda row: float(row["faces_per_s"]))
    size = model.preprocess.size
    counted = cost(model, (size[1], size[2]))
    eager, arithmetic = rows[0]["faces_per_s"], PRODUCT**3 / product
    return {
        "name": model.card.name,
        "weights": "random" if model.weights is None else str(model.origin.pretrained),
        "input": list(size),
        "parameters": counted.parameters,
        "activation_bytes": counted.activation_bytes,
        "macs": counted.macs,
        "device": processor() if _kind(model) == "cpu" else torch.cuda.get_device_name(),
        "threads": threads,
        "torch": torch.__version__,
        "timing": f"median of calls repeated for {seconds} s in {TURNS} turns with the other modes, after {WARM_UP}, "
        "normalised batch to embeddings",
        "latency_ms": quick["latency_ms"],
        "latency_mode": quick["mode"],
        "best": {key: best[key] for key in ("mode", "batch", "faces_per_s", "cosine")},
        "speedup": round(best["faces_per_s"] / eager, 2),
        "product": {
            "gmacs_per_s": round(arithmetic / 1e9, 1),
            "faces_per_s": round(arithmetic / counted.macs, 1),
            "speedup": round(arithmetic / counted.macs / eager, 2),
        },
        "modes": rows,
    }


def bench_images(count: int, size: Sequence[int], seed: int = 0) -> Tensor:
    """Return normalised pictures ``[count, 3, H, W]`` in -1..1: smooth shapes with some noise, grey but for it."""
    random = torch.Generator().manual_seed(seed)
    shapes = torch.randn(count, 1, 5, 5, generator=random)
    smooth = F.interpolate(shapes, size=tuple(size), mode="bicubic", align_corners=False)
    noise = torch.randn(count, 3, *size, generator=random)
    return (0.5 * smooth + 0.1 * noise).clamp(-1, 1)


@torch.no_grad()
def settle(model: Embedder, seed: int = 1) -> None:
    """Give the batch norms of a network with random weights statistics of what it sees.

    Without them its embeddings hardly differ between images, and comparing modes would show nothing.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    where = next(model.parameters())
    images = bench_images(CHECKED, model.preprocess.size[1:], seed)
    model(images.to(where.device, where.dtype))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


def usable_threads() -> int:
    """Return how many CPUs this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor() -> str:
    """Return the processor's name as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
