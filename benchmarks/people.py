"""How fast people are drawn, what that takes, and how far the bands are apart.

    OMP_NUM_THREADS=1 python benchmarks/people.py            # speed on all cores, one process each, and memory
    OMP_NUM_THREADS=1 python benchmarks/people.py --bodies   # bodies against faces, as in Table I of arXiv 2503.10931

Speed is of the whole: wear, occluders, light, path and sensor. Prints min,
median and max of the rounds, and fails where a figure that the project
promises is missed.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import multiprocessing.synchronize
import os
import resource
import statistics
import time

import torch
from torch.nn import functional as F

from xzoo.data.people import SPECTRA, faces
from xzoo.data.people.body import bodies, body_labels
from xzoo.evaluation import wilson
from xzoo.evaluation.pixels import edge_histograms

DRAW = {"face": (faces, 112), "body": (bodies, (384, 128))}
PROMISED = {"face": 400, "body": 60}


def worker(kind: str, place: int, count: int, start: multiprocessing.synchronize.Barrier) -> None:
    torch.set_num_threads(1)
    draw, size = DRAW[kind]
    who = torch.arange(16) + 10_000 * place
    draw(who, who, "VIS", size=size)
    start.wait()
    for block in range(count):
        draw(who + 16 * block, who, SPECTRA[block % len(SPECTRA)], size=size)


def speed(kind: str, rounds: int) -> bool:
    cores, count = len(os.sched_getaffinity(0)), 20 if kind == "face" else 10
    rates = []
    for _ in range(rounds):
        start = multiprocessing.Barrier(cores + 1)
        hands = [multiprocessing.Process(target=worker, args=(kind, place, count, start)) for place in range(cores)]
        for hand in hands:
            hand.start()
        start.wait()
        began = time.perf_counter()
        for hand in hands:
            hand.join()
        rates.append(16 * count * cores / (time.perf_counter() - began))
    low, middle, high = min(rates), statistics.median(rates), max(rates)
    print(f"{kind}s/s on {cores} cores, five bands in turn: min {low:.0f}, median {middle:.0f}, max {high:.0f}")
    return middle >= PROMISED[kind]


def memory() -> bool:
    """Draw twice, the second time ten times as many, and compare the peaks."""
    peaks = []
    for count in (64, 640):
        for start in range(0, count, 64):
            who = torch.arange(start, start + 64)
            faces(who, who, "LWIR")
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    print(f"peak memory after 64 faces {peaks[0]:.0f} MB, after 640 {peaks[1]:.0f} MB")
    return peaks[1] < 1.05 * peaks[0]


def person_of(who: torch.Tensor, sample: int, band: str, distance: float) -> dict[str, torch.Tensor]:
    """Return the features of a body, of the face cut out of the same picture, and of the face by a lens of its own."""
    numbers = who, torch.full_like(who, sample)
    seen = bodies(*numbers, band, distance=distance, seed=2)
    left, top, right, bottom = body_labels(*numbers, spectrum=band, distance=distance, seed=2).face_box.T
    high, wide = seen.shape[-2:]
    # A square around the head, as a face detector would cut it.
    half = (torch.maximum(right - left, bottom - top) / 2).clamp(min=4)
    turn = torch.zeros(len(who), 2, 3)
    turn[:, 0, 0], turn[:, 1, 1] = 2 * half / wide, 2 * half / high
    turn[:, 0, 2] = (left + right + 1) / wide - 1
    turn[:, 1, 2] = (top + bottom + 1) / high - 1
    grid = F.affine_grid(turn, [len(who), 3, 112, 112], align_corners=False)
    pictures = {
        "body": F.avg_pool2d(seen.float(), 2),
        "face cut out": F.grid_sample(seen.float(), grid, padding_mode="border", align_corners=False),
        "face alone": faces(*numbers, band, distance=distance, seed=2),
    }
    return {name: F.normalize(edge_histograms(picture)) for name, picture in pictures.items()}


def templates(who: torch.Tensor, band: str, distance: float, samples: tuple[int, ...]) -> dict[str, torch.Tensor]:
    means: dict[str, torch.Tensor] = {}
    for some in who.split(100):
        each = [person_of(some, sample, band, distance) for sample in samples]
        for name in each[0]:
            mean = torch.stack([seen[name] for seen in each]).mean(0)
            means[name] = torch.cat([means[name], mean]) if name in means else mean
    return {name: F.normalize(mean - mean.mean(0)) for name, mean in means.items()}


def against(count: int) -> bool:
    """Heat at 30 m searched among VIS and among LWIR at 500 m, templates of four pictures of one day.

    People walk towards the camera, past it and away. Bodies must beat faces as ``faces`` draws them for the same
    two places, with a lens of their own. The face cut out of the body's picture is printed beside: it has the head's
    outline and the day's light in common with it.
    """
    who, met = torch.arange(count) + 4000, True
    probes = {band: templates(who, band, 30, (1, 3, 5, 7)) for band in ("MWIR", "LWIR")}
    for enrolled in ("VIS", "LWIR"):
        gallery = templates(who, enrolled, 500, (0, 2, 4, 6))
        for band, searched in probes.items():
            hits = {}
            for name, probe in searched.items():
                hits[name] = (probe @ gallery[name].T).argmax(1) == torch.arange(count)
                found = int(hits[name].sum())
                low, high = wilson(found, count)
                rate = f"rank-1 {found / count:.3f} [{low:.3f}, {high:.3f}]"
                print(f"{band}-30m to {enrolled}-500m by {name}: {found}/{count}, {rate}")
            for other in ("face cut out", "face alone"):
                alone = [int((hits[a] & ~hits[b]).sum()) for a, b in (("body", other), (other, "body"))]
                z = (alone[0] - alone[1]) / max(1.0, math.sqrt(sum(alone)))
                print(f"  found by the body alone {alone[0]}, by the {other} {alone[1]}, z {z:.2f} (McNemar)")
                met &= band != "LWIR" or other != "face alone" or z > 1.96
    return met


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bodies", action="store_true")
    parser.add_argument("--subjects", type=int, default=500)
    options = parser.parse_args()
    if options.bodies:
        met = against(options.subjects)
    else:
        met = all([speed("face", options.rounds), speed("body", options.rounds), memory()])
    raise SystemExit(0 if met else "a promised figure was missed")


if __name__ == "__main__":
    main()
