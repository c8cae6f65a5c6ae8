"""Teach a visible-light network another band and keep what it knew: xEdgeFace, on generated people.

    python examples/xedgeface.py out/

draws 48 people in VIS and LWIR, adapts a network that has seen people in VIS alone, once as the method says and once
without its self-distillation, and prints what either is worth. Nobody in the pictures exists; the figures show how the
method works, not how well it works on people.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch.nn import functional as F

import xzoo
from xzoo import recipes
from xzoo.data import Manifest, people
from xzoo.evaluation import embed_images
from xzoo.families.base import Embedder

TEACHER = "hybrid_fr"  # with an EdgeFace of the Hub: "edgeface_xxs", see docs/guides/xedgeface.md
PRESET = "ln+st+s0+s1+s2"
RATE = 4e-4  # the teacher was trained at high rates; EdgeFace's own weights take the recipe's 1e-4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of the people and the runs")
    parser.add_argument("--people", type=int, default=48)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--preset", default=PRESET, help="groups of layers that train, such as ln+st")
    options = parser.parse_args()

    # The pairs: four pictures of everybody in either band, a fifth of the people kept for the test.
    pairs = people.write(options.out / "people", subjects=options.people, samples=4)
    test = Manifest.read(pairs).select(split="test")

    # The teacher is the network as it came; the student starts as its copy.
    teacher = xzoo.create(TEACHER, pretrained=True)
    show("as it came", teacher, teacher, test)

    # The preset says what trains, the weight of "cosine" how strongly visible embeddings are held.
    recipe = recipes.load("xedgeface").with_(
        {"stages.adapt.train.groups": options.preset, "stages.adapt.optimiser.lr": RATE}
    )
    for name, weight in (("xedgeface", 1.0), ("no self-distillation", 0.0)):
        run = xzoo.finetune(
            teacher,
            pairs,
            recipe=recipe.with_({"stages.adapt.losses.cosine.weight": weight}),
            steps=options.steps,
            output=options.out / f"run-{weight:g}",
            resume=(options.out / f"run-{weight:g}").exists(),
            evaluate=False,
        )
        show(name, run.model, teacher, test)


def show(name: str, network: Embedder, teacher: Embedder, test: Manifest) -> None:
    """Print rank-1 of both bands against templates of two visible pictures, and how far VIS has moved."""
    across, inside = (
        xzoo.evaluate(network, test, gallery="VIS:1-2", probe=probe, templates=True) for probe in ("LWIR:3-", "VIS:3-")
    )
    visible = test.select(spectrum="VIS")
    now, then = (torch.from_numpy(embed_images(who, visible)) for who in (network, teacher))
    kept = F.cosine_similarity(now, then).mean()
    print(f"{name:22} LWIR {across.rank1:.3f} (AUC {across.auc:.3f})   VIS {inside.rank1:.3f}   to teacher {kept:.4f}")


if __name__ == "__main__":
    main()
