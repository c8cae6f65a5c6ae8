"""What each part of the generator is worth on real faces: short trainings, each without one part.

    OMP_NUM_THREADS=2 python scripts/ablate_generator.py --orl ORL --out ablation.jsonl

``ORL`` is a folder with a ``manifest.csv`` of real visible faces, which no
training sees; TAR at FAR 1e-3 over all its pairs is the figure. Every variant
trains alike, by the first lesson of ``train_house.py`` in small. Figures are
for comparing the variants with each other, not with the house weights.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import torch
import train_house

from xzoo.data import Manifest
from xzoo.data.images import read_image
from xzoo.data.people import bands, render, traits
from xzoo.evaluation import verification, wilson


@contextlib.contextmanager
def without(part: str) -> Iterator[None]:
    """Draw faces without one part of what makes them differ."""
    still = {name: (mean, 0.0, loading) for name, (mean, _, loading) in list(traits.PERSON.items())[:46]}
    patches = {
        "nothing": [],
        "moments (pose, expression, light, sessions, wear)": [
            mock.patch.object(
                train_house, "faces", lambda *args, **options: render.faces(*args, **options, nuisances=0.0)
            )
        ],
        "poses": [mock.patch.dict(traits.MOMENT, {name: (0.0, 0.0) for name in ("yaw", "pitch", "roll")})],
        "own shape of head and features": [mock.patch.dict(traits.PERSON, still)],
        "own texture of skin and hair": [
            mock.patch.object(bands, "fields", lambda starts, cells: torch.zeros(len(starts), cells, cells))
        ],
    }[part]
    traits._table.cache_clear()
    with contextlib.ExitStack() as stack:
        for patch in patches:
            stack.enter_context(patch)
        yield
    traits._table.cache_clear()


PARTS = (
    "nothing",
    "moments (pose, expression, light, sessions, wear)",
    "poses",
    "own shape of head and features",
    "own texture of skin and hair",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orl", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--parts", type=int, nargs="+", default=range(len(PARTS)), help="which of the parts, from 0")
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--subjects", type=int, default=4000)
    options = parser.parse_args()
    rows = Manifest.read(options.orl).rows
    images = torch.stack([torch.from_numpy(read_image(options.orl / row.path)).permute(2, 0, 1) for row in rows])
    images = train_house._resize(images, 64)
    subjects = [row.subject for row in rows]
    train_house.STAGES = (train_house.Stage(64, 0, options.subjects, 4, options.steps, 96, 1.5e-3),)
    log = train_house.Log(options.out)
    for part in (PARTS[place] for place in options.parts):
        torch.manual_seed(0)
        with without(part):
            model = train_house.teach(train_house.Log(options.out.with_suffix(".steps")), 0, 1.0)
        with torch.inference_mode():
            found = torch.cat([model((part.float() / 255 - 0.5) / 0.5) for part in images.split(64)]).numpy()
        pairs = verification(found, found, subjects, subjects, fars=(1e-3,), same=True)
        hits = round(pairs.tar[1e-3] * pairs.n_genuine)
        log.write(
            without=part,
            tar_at_far_0001=round(pairs.tar[1e-3], 4),
            interval_of_counts=[round(end, 4) for end in wilson(hits, pairs.n_genuine)],
            n_genuine=pairs.n_genuine,
            steps=options.steps,
            subjects=options.subjects,
        )
    print(options.out.read_text())


if __name__ == "__main__":
    main()
