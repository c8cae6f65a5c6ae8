"""How long ``xzoo.create`` with weights takes beside timm's ``create_model(checkpoint_path=...)``, in the same run.

    python benchmarks/create.py [--runs 9]

Two sizes: ViT-B/16 (a timm network, registered for the session) and EdgeFace-XS. Both sides read the
same tensors from a safetensors file, warm, in turn; medians. Peak memory: a fresh process creates the
ViT-B, reads every parameter once, and its peak resident size over the one before is set beside the file's.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

VIT, EDGE = "vit_base_patch16_224", "edgenext_x_small"


def seconds(call: Callable[[], object]) -> float:
    """Return wall seconds of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def compare(theirs: Callable[[], object], ours: Callable[[], object], runs: int) -> tuple[float, float]:
    """Return the median seconds of both, run in turn after one warm-up each."""
    theirs(), ours()
    pairs = [(seconds(theirs), seconds(ours)) for _ in range(runs)]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def register_vit() -> None:
    """Offer timm's ViT-B as a session model, as a notebook would."""
    import timm

    import xzoo

    def build() -> object:
        return timm.create_model(VIT)

    xzoo.register("vit_b", build, input={"size": [3, 224, 224]}, replace=True)


def peak_ratio(path: str) -> float:
    """Return peak resident memory of one create over the file's size; call it in a fresh process."""
    import gc

    import xzoo

    register_vit()
    xzoo.create("edgeface_xxs")  # imports and thread pools are not the file's memory
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = _peak()
    model = xzoo.create("vit_b", pretrained=path)
    for parameter in model.parameters():
        parameter.detach().sum()
    return (_peak() - before) / Path(path).stat().st_size


def _peak() -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def main() -> int:
    """Print the table; exit 1 where a figure is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--peak", metavar="FILE", help="print the peak ratio of one file and stop")
    arguments = parser.parse_args()
    if arguments.peak:
        print(peak_ratio(arguments.peak))
        return 0

    import timm
    from safetensors.torch import save_file

    import xzoo

    register_vit()
    with tempfile.TemporaryDirectory() as folder:
        vit, edge, ours = (f"{folder}/{name}.safetensors" for name in ("vit", "edge", "edgeface"))
        save_file(timm.create_model(VIT).state_dict(), vit)
        state = timm.create_model(EDGE, num_classes=512).state_dict()
        save_file(state, edge)
        save_file({f"backbone.{key}": value for key, value in state.items()}, ours)
        rows = [
            (
                "ViT-B/16",
                8.0,
                lambda: timm.create_model(VIT, checkpoint_path=vit),
                lambda: xzoo.create("vit_b", pretrained=vit),
            ),
            (
                "EdgeFace-XS",
                1.3,
                lambda: timm.create_model(EDGE, num_classes=512, checkpoint_path=edge),
                lambda: xzoo.create("edgeface_xs", pretrained=ours),
            ),
        ]
        held = True
        print(f"{'':12} {'timm':>9} {'xzoo':>9} {'ratio':>7} {'due':>6}")
        for label, due, theirs_call, our_call in rows:
            theirs, mine = compare(theirs_call, our_call, arguments.runs)
            held &= theirs / mine >= due
            print(f"{label:12} {theirs:8.3f}s {mine:8.3f}s {theirs / mine:6.1f}x {due:5.1f}x")
        done = subprocess.run([sys.executable, __file__, "--peak", vit], check=True, capture_output=True, text=True)
        peak = float(done.stdout)
        print(f"peak memory over the ViT-B file: {peak:.2f}  (at most 1.15)")
    return 0 if held and peak <= 1.15 else 1


if __name__ == "__main__":
    sys.exit(main())
