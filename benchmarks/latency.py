"""CPU latency of every network of the zoo, for the gallery: writes benchmarks/latency.json.

    python benchmarks/latency.py [--threads 1] [--seconds 0.4] [--passes 5] [NAME ...]

Each network is called eager and in float32 on one normalised image: the median of calls repeated for ``--seconds``
after three. All networks are timed in turn, ``--passes`` times; the median of the passes counts, and the least and the
greatest are kept beside it, for they tell how quiet the machine was. Weights are random: they take as long as trained
ones. FLOPs are counted by torch's own counter (attention among them), multiplications and additions apart. With NAMEs,
only those are measured anew; the others keep their figures if machine, threads and PyTorch are the same, else they go.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import time
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

import xzoo
from xzoo.catalog import cards
from xzoo.deploy.timing import processor
from xzoo.families.base import Embedder

OUT = Path(__file__).with_name("latency.json")


def one_pass(model: Embedder, seconds: float) -> float:
    """Return the median milliseconds of one image."""
    image = torch.rand(1, *model.preprocess.size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    times = []
    with torch.inference_mode():
        for _ in range(3):
            model(image)
        end = time.perf_counter() + seconds
        while not times or time.perf_counter() < end:
            start = time.perf_counter()
            model(image)
            times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def mflops(model: Embedder) -> float:
    """Return the millions of multiplications and additions of one image."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, *model.preprocess.size))
    return round(counter.get_total_flops() / 1e6, 2)


def machine_class(device: str) -> str:
    """Return the kind of processor, without marks of trade and clocks."""
    return re.sub(r"\s+", " ", re.sub(r"\((R|TM)\)|@.*| CPU| Processor|\d+-Core", "", device)).strip() or "CPU"


def main() -> None:
    """Measure, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.4)
    parser.add_argument("--passes", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    head = {"machine": machine_class(processor()), "threads": given.threads, "torch": torch.__version__.split("+")[0]}
    every = [card.name for card in cards().values() if card.kind == "backbone" and card.origin == "built-in"]
    models = {name: xzoo.create(name) for name in given.names or every}
    times: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(given.passes):
        for name, model in models.items():
            times[name].append(one_pass(model, given.seconds))
    before = json.loads(OUT.read_text("utf-8")) if OUT.is_file() else {}
    entries = before["entries"] if {key: before.get(key) for key in head} == head else {}
    for name, model in models.items():
        entries[name] = {
            "latency_ms": round(statistics.median(times[name]), 3),
            "range_ms": [round(min(times[name]), 3), round(max(times[name]), 3)],
            "mflops": mflops(model),
            "input": "x".join(map(str, model.preprocess.size)),
        }
        print(name, entries[name])
    facts = {**head, "passes": given.passes, "entries": {name: entries[name] for name in every if name in entries}}
    OUT.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
