"""Face, body, and both together, on the protocol of IJB-MDF: who was seen at 30 m in three infrared bands?

    python examples/fusion_body_face.py out/

lays generated people out as the data set's reader expects it, embeds face and body of each of them in every frame, and
searches SWIR, MWIR and LWIR templates of the people of gallery 2 in their visible ones from 500 m. Beside either model
alone stand their fusions: unit features side by side before templates are formed, and the scores of templates by mean,
by mean after normalisation with the people of gallery 1, and by maximum. All columns of a band are of the same people
and frames: those in which face and body are both known.

Of a real set: --data ROOT. The baseline of the paper's first table: --face adaface_ir_101 --face-weights FILE, and as a
command of its own

    xzoo evaluate adaface_ir_101 --pretrained FILE --data ROOT --protocol ijb_mdf.g2.VIS-LWIR --option kind=face

Faces are cut out by their box and not aligned: the set names no landmarks. Nobody in the generated pictures exists;
their figures show how the fusion works, not how well it works on people.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt

import xzoo
from xzoo.data import Manifest, readers
from xzoo.data.people import layouts
from xzoo.evaluation import embed_images, run_protocol, wilson
from xzoo.evaluation.protocols import ProtocolResult
from xzoo.evaluation.protocols.fused import paired, run_fused

BANDS = ("SWIR", "MWIR", "LWIR")
FUSIONS = ("feature", "mean", "z_norm", "max")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of the generated people")
    parser.add_argument("--data", type=Path, help="root of IJB-MDF as its reader takes it")
    parser.add_argument("--people", type=int, default=64, help="half of them are of gallery 2")
    parser.add_argument("--frames", type=int, default=2)
    parser.add_argument("--face", default="hybrid_fr_x2v")
    parser.add_argument("--face-weights", default=None, help="a tag or a file; by default the card's")
    parser.add_argument("--body", default="body_md_tiny")
    parser.add_argument("--body-weights", default=None)
    options = parser.parse_args()

    root = options.data or options.out / "ijb_mdf"
    if not root.exists():
        layouts.write("ijb_mdf", root, subjects=options.people, frames=options.frames)
    faces, bodies = paired(readers.read("ijb_mdf", root, kind="face"), readers.read("ijb_mdf", root, kind="body"))
    print(f"{len(bodies)} frames of {len(bodies.subjects)} people with face and body")

    tables = [
        embed_images(xzoo.create(name, pretrained=True if weights is None else weights), manifest)
        for name, weights, manifest in (
            (options.face, options.face_weights, faces),
            (options.body, options.body_weights, bodies),
        )
    ]
    print(f"{'':8}{options.face[:14]:>16}{options.body[:14]:>16}" + "".join(f"{how:>16}" for how in FUSIONS))
    for band in BANDS:
        found = compare(band, tables, (faces, bodies))
        print(f"{band:8}" + "".join(f"{cell(result):>16}" for result in found))


def compare(
    band: str, tables: list[npt.NDArray[np.float32]], manifests: tuple[Manifest, Manifest]
) -> list[ProtocolResult]:
    """Return what face, body and each fusion find of one band."""
    protocol = f"ijb_mdf.g2.VIS-{band}"
    single = [run_protocol(protocol, table, data) for table, data in zip(tables, manifests, strict=True)]
    return [*single, *(run_fused(protocol, tables, manifests[1], how=how) for how in FUSIONS)]


def cell(result: ProtocolResult) -> str:
    """Return the templates whose own subject came first, of how many, with Wilson's interval in per cent."""
    hits = result.repetitions[0].hits
    low, high = wilson(sum(hits.values()), len(hits))
    return f"{sum(hits.values())}/{len(hits)} {100 * low:.0f}-{100 * high:.0f} %"


if __name__ == "__main__":
    main()
