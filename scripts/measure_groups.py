"""Measure the house weights by groups of generated strangers, each at the one threshold of everybody.

    OMP_NUM_THREADS=1 python scripts/measure_groups.py [NAME ...]

The groups are cuts of the generator's own numbers (``xzoo.data.people.face_labels``): nobody's age, sex or skin is
guessed, and what is found holds for drawn faces alone. Recognition networks: non-match and match rates within each
group at the threshold that lets through one in a hundred impostor pairs of everybody. Landmark networks: errors.
Intervals are 95 %, by drawing the people of the probes again. Rows as the cards have them go to
``scripts/logs/groups.jsonl``; with NAMEs, only those are measured anew and the others keep their lines.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from train_house import ROOT, TAG, WORLD, Log, _resize
from train_landmarks import HOUSES as FINDERS

import xzoo
from xzoo.data.people import face_labels, faces
from xzoo.data.people.traits import SESSION
from xzoo.evaluation import by_group, verification
from xzoo.evaluation.intervals import bootstrap_ratio
from xzoo.evaluation.landmarks import landmark_errors

FIRST, FMR = 1_100_000, 0.01
"""First of the strangers: nobody from here to 2,000,000 was ever learnt from, nor measured before."""
NETWORKS = {
    "hybrid_fr": ("VIS", "VIS"),
    "hybrid_fr_t2v": ("LWIR", "VIS"),
    "hybrid_fr_n2v": ("NIR", "VIS"),
    "hybrid_fr_x2v": ("LWIR", "VIS"),
    "hybrid_fr_t2t": ("LWIR", "LWIR"),
}
"""Band of the probes and of the gallery."""
LASTING = ("presentation", "age", "skin", "beard")
"""Attributes of a person; the others are worn on some days."""


def main() -> None:
    options = _options()
    file = options.logs / "groups.jsonl"
    lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()] if file.is_file() else []
    before = {line["name"]: line for line in lines if line["event"] == "groups"}
    log = Log(file)
    log.write(event="start", first=FIRST, subjects=options.subjects, world=WORLD, torch=torch.__version__)
    began = time.process_time()
    who = torch.arange(FIRST, FIRST + options.subjects)
    kept: dict[tuple[str, int], Tensor] = {}

    def pictures(band: str, days: int) -> Tensor:
        """Return the first day, or two others, of everybody at 112 pixels."""
        if (band, days) not in kept:
            kept[band, days] = faces(*_numbers(who, days), band, seed=WORLD)
        return kept[band, days]

    def of_recogniser(name: str) -> tuple[str, Iterator[dict[str, Any]]]:
        band, enrolled = NETWORKS[name]
        model: Any = xzoo.create(name, pretrained=True)
        side = model.preprocess.size[1]
        probe, known = (model.embed(_resize(pictures(*which), side)).numpy() for which in ((band, 2), (enrolled, 1)))
        return TAG, recognised(probe, known, who, f"{band} probe to {enrolled} gallery")

    def of_finder(name: str) -> tuple[str, Iterator[dict[str, Any]]]:
        house = FINDERS[name]
        model = xzoo.create(f"{name}.{house.tag}", pretrained=True)
        return house.tag, found(model, pictures(house.spectrum, 2), who, house.spectrum)

    for name in (*NETWORKS, *FINDERS):
        if options.names and name not in options.names and name in before:
            log.write(**before[name])
            continue
        tag, rows = of_recogniser(name) if name in NETWORKS else of_finder(name)
        log.write(event="groups", name=name, tag=tag, rows=list(rows), seconds=round(time.process_time() - began))


def recognised(probe: Any, known: Any, who: Tensor, bands: str) -> Iterator[dict[str, Any]]:
    """Give non-match and match rates of each group, at one threshold, as rows of a card."""
    each = who.repeat_interleave(2).numpy()
    everybody = verification(probe, known, each, who.numpy(), fars=(FMR,))
    threshold = everybody.thresholds[FMR]
    assert threshold is not None
    unit_a, unit_b = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (probe, known))
    hit = unit_a @ unit_b.T >= threshold
    mates = each[:, None] == who.numpy()[None]
    told_a, told_b = (face_labels(*_numbers(who, days), seed=WORLD).groups for days in (2, 1))
    protocol = f"{len(who)} other generated strangers, {bands}, one threshold for everybody, at FMR {FMR:g}"
    for attribute in LASTING:
        a, b = np.array(told_a[attribute]), np.array(told_b[attribute])
        for value, counts in by_group(probe, known, each, who.numpy(), a, b, threshold).items():
            within = (a == value)[:, None] & (b == value)[None]
            for metric, rate, pairs, wrong in (
                ("FNMR", counts.fnmr, mates & within, mates & ~hit & within),
                ("FMR", counts.fmr, ~mates & within, ~mates & hit & within),
            ):
                trials = pairs.sum(1)
                there = trials > 0
                ends = bootstrap_ratio(wrong.sum(1)[there, None], trials[there], each[there])[0]
                errors = {"errors": int(wrong.sum()), "comparisons": int(trials.sum()), "subjects": counts.n_subjects}
                yield _row(protocol, metric, f"{attribute}: {value}", rate, ends, errors)
    for attribute in ("glasses", "hat", "mask"):
        a, b = np.array(told_a[attribute]), np.array(told_b[attribute])
        for value in dict.fromkeys(sorted(set(a))[::-1]):
            there = (a == value) & np.repeat(b == "none", 2)
            wrong = (mates & ~hit).sum(1)[there]
            ends = bootstrap_ratio(wrong[:, None], np.ones(len(wrong)), each[there])[0]
            errors = {"errors": int(wrong.sum()), "comparisons": len(wrong), "subjects": len(set(each[there]))}
            said = f"{attribute}: {value} on the day of the probe, none on that of the gallery"
            yield _row(protocol, "FNMR", said, wrong.mean(), ends, errors)


def found(model: Any, pictures: Tensor, who: Tensor, band: str) -> Iterator[dict[str, Any]]:
    """Give errors of 68 points of each group, as rows of a card."""
    numbers = _numbers(who, 2)
    known = face_labels(*numbers, spectrum=band, seed=WORLD)
    told = model.landmarks(list(pictures))
    each = numbers[0].numpy()
    protocol = (
        f"{len(who)} other generated strangers, {band}, pictures at the template, 68 points over the outer eye corners"
    )
    turned = known.pose[:, 0].abs().numpy()
    yaw = np.select([turned < 10, turned < 20], ["below 10 degrees", "10 to 20 degrees"], "20 degrees and more")
    for attribute, column in {**known.groups, "head turned": yaw}.items():
        values = np.array(column)
        for value in dict.fromkeys(column):
            there = values == value
            rows = landmark_errors(told[there], known.points68[there], "outer_eyes", subject=each[there])
            counts = {"images": int(there.sum()), "subjects": len(set(each[there]))}
            ends = rows.interval["nme"][:2]
            note = f"{100 * rows.failure_rate:.1f}% of images above 0.1"
            yield _row(protocol, "NME", f"{attribute}: {value}", rows.nme, ends, counts) | {"notes": note}


def _row(protocol: str, metric: str, group: str, value: Any, ends: Any, counts: dict[str, int]) -> dict[str, Any]:
    """Return a figure about one group as a row of a card; rates of fewer than 30 errors say so."""
    few = "errors" in counts and counts["errors"] < 30
    return {
        "protocol": protocol,
        "metric": metric,
        "group": group,
        "value": round(float(value), 5),
        "ci95": [round(float(end), 5) for end in ends],
        "counts": counts,
        **({"notes": "fewer than 30 errors"} if few else {}),
    }


def _numbers(who: Tensor, days: int) -> tuple[Tensor, Tensor]:
    """Return subjects and samples of the first day (1), or of two others (2)."""
    if days == 1:
        return who, torch.zeros_like(who)
    return who.repeat_interleave(2), torch.tensor([SESSION, 2 * SESSION]).repeat(len(who))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join((*NETWORKS, *FINDERS)))
    parser.add_argument("--subjects", type=int, default=500)
    parser.add_argument("--logs", type=type(ROOT), default=ROOT / "scripts" / "logs")
    options = parser.parse_args()
    unknown = set(options.names) - {*NETWORKS, *FINDERS}
    if unknown:
        parser.error(f"no house network {', '.join(sorted(unknown))}")
    return options


if __name__ == "__main__":
    main()
