"""How much CPU ``import xzoo; xzoo.list_models()`` takes, beside ``import timm``, in the same run.

    python benchmarks/listing.py [--runs 7]

Each statement runs in fresh interpreters, in turn; CPU seconds (user + system) of the
child less those of an empty interpreter; medians.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys

STATEMENTS = {"empty": "pass", "xzoo": "import xzoo; assert len(xzoo.list_models()) >= 10", "timm": "import timm"}


def cpu_seconds(statement: str) -> float:
    """Return user plus system seconds of one fresh interpreter."""
    before = os.times()
    subprocess.run([sys.executable, "-c", statement], check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def main() -> int:
    """Print the medians and the ratio; exit 1 where the budget is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7)
    runs = parser.parse_args().runs
    seconds: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    for turn in range(runs + 1):
        for name, statement in STATEMENTS.items():
            took = cpu_seconds(statement)
            if turn:  # the first turn warms the file cache and writes byte code
                seconds[name].append(took)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    ours, theirs = (median[name] - median["empty"] for name in ("xzoo", "timm"))
    print(f"import xzoo; list_models()  {ours:.3f} s CPU   (budget 0.100)")
    print(f"import timm                 {theirs:.3f} s CPU")
    print(f"ratio                       {theirs / ours:.0f}x       (at least 40x)")
    return 0 if ours < 0.1 and theirs / ours >= 40 else 1


if __name__ == "__main__":
    sys.exit(main())
