"""Runs that are killed, and runs on several processes: both end as if nothing had happened."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

SCRIPT = """
import os, sys, torch
from torch import nn
import xzoo
from xzoo.recipes.schema import parse
from xzoo.training import work

work.CHECKPOINT_SECONDS = 0.02
torch.set_num_threads(1)

def build(width: int = 8, side: int = 16, dropout: float = 0.0) -> nn.Module:
    grid = (side // 4) ** 2
    return nn.Sequential(
        nn.Conv2d(3, width, 3, 2, 1), nn.GELU(), nn.Conv2d(width, width, 3, 2, 1), nn.Flatten(),
        nn.LayerNorm(width * grid), nn.Dropout(dropout), nn.Linear(width * grid, 16),
    )

xzoo.register("big", build, input={"size": [3, 16, 16]})
xzoo.register("little", lambda: build(4, 8, 0.1), input={"size": [3, 8, 8]})

def main(data, output, size, resume, recipe):
    torch.manual_seed(0)
    teacher = xzoo.create("big")
    xzoo.distill(
        teacher=teacher, student="little", pretrained=False, recipe=parse(open(recipe).read(), "recipe"), data=data,
        output=output, resume=resume == "yes", evaluate=False, changes={"stages.*.batch.size": int(size)},
    )

if len(sys.argv) > 1:
    main(*sys.argv[1:])
else:  # import once, then a process for each line of words
    for line in sys.stdin:
        child = os.fork()
        if not child:
            main(*line.rstrip("\\n").split("\\t"))
            sys.stdout.flush()
            os._exit(0)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""

RECIPE = """
recipe: two
summary: Two stages, cached teachers, losses that learn, a running mean.
stages:
  - name: first
    train: {groups: all, mode: MODE}
    teacher: given
    cache: true
    batch: {sampler: images, size: 8}
    views: {flip: 0.5, bank: 2}
    losses:
      - {name: embed_distill, on: [student.source, teacher.source]}
      - {name: crd, on: [student.source, teacher.source], options: {negatives: 8, width: 8}}
    optimiser: {lr: 3e-3, schedule: cosine, warmup: 5}
    ema: 0.9
    steps: STEPS
  - name: second
    train: {groups: all, mode: MODE}
    teachers: {before: stage:first, start: start}
    batch: {sampler: pairs, size: 8, positive: 1.0, accumulate: 2}
    views: {flip: 0.5, gamma: 0.2, named: {low: {pixels: 4}}}
    losses:
      - {name: infonce, on: [student.low, student.target]}
      - {name: rkd, on: [student.low, before.source], weight: 0.1}
      - {name: mse, on: ["student.low:network.0", "start.source:network.0"], schedule: {kind: linear}}
    optimiser: {lr: 1e-3, clip: 1.0}
    steps: STEPS
"""


def prepare(folder: Path, mode: str, steps: int) -> None:
    folder.mkdir()
    (folder / "script.py").write_text(SCRIPT)
    text = RECIPE.replace("MODE", mode).replace("STEPS", str(steps)).replace("start: start", "from_start: start")
    (folder / "recipe.yaml").write_text(text.replace("start.source", "from_start.source"))


def words(folder: Path, people: Path, output: Path, size: int = 8, resume: bool = False) -> list[str]:
    call = [str(folder / "script.py"), str(people), str(output), str(size), "yes" if resume else "no"]
    return [*call, str(folder / "recipe.yaml")]


def settings(folder: Path) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "XZOO_CACHE": str(folder / "cache"), "ACCELERATE_USE_CPU": "true"}


def finished(call: list[str], folder: Path) -> None:
    done = subprocess.run([sys.executable, *call], capture_output=True, text=True, timeout=900, env=settings(folder))
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_run_killed_at_random_moments_and_resumed_ends_in_the_same_bytes(people: Path, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    prepare(folder, "train", 60)
    draw, kills = random.Random(0), 0
    with (
        (tmp_path / "said").open("w") as said,
        subprocess.Popen(
            [sys.executable, str(folder / "script.py")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True, env=settings(folder),
        ) as forge,
    ):  # fmt: skip
        assert forge.stdin is not None and forge.stdout is not None

        def run(output: Path, resume: bool, goal: int | None) -> int:
            """Return how a run ended; it is killed once it has noted so many steps."""
            print(*words(folder, people, output, resume=resume)[1:], sep="\t", file=forge.stdin, flush=True)
            child, metrics = int(forge.stdout.readline()), output / "metrics.jsonl"
            until = time.monotonic() + 600
            while goal is not None and time.monotonic() < until:
                noted = metrics.read_bytes().count(b"\n") if metrics.is_file() else 0
                if noted >= goal and (output / "run.json").is_file():
                    time.sleep(draw.uniform(0, 0.01))
                    with suppress(ProcessLookupError):
                        os.kill(child, signal.SIGKILL)
                    break
                time.sleep(0.001)
            return int(forge.stdout.readline())

        assert run(tmp_path / "whole", False, None) == 0, (tmp_path / "said").read_text()[-3000:]
        wanted = {name: (tmp_path / "whole" / name).read_bytes() for name in ("student.safetensors", "metrics.jsonl")}
        for number in range(int(os.environ.get("XZOO_KILLS", "20")) // 2):
            output = tmp_path / f"run{number}"
            if number % 2:  # half of them with the teacher's answers still to be found
                subprocess.run(["rm", "-rf", str(folder / "cache")], check=True)
            for part in (0, 60):  # once in each stage
                kills += run(output, part > 0 and output.is_dir(), part + draw.randint(0, 55)) == -signal.SIGKILL
            assert run(output, True, None) == 0, (tmp_path / "said").read_text()[-3000:]
            for name, data in wanted.items():
                assert (output / name).read_bytes() == data, (number, name)
        forge.stdin.close()
    assert kills >= int(os.environ.get("XZOO_KILLS", "20")) - 2


def launched(folder: Path, call: list[str], precision: str = "no") -> None:
    """Run a script on two processes by accelerate's launcher."""
    launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
    launch += ["--mixed_precision", precision, "--dynamo_backend", "no", "--main_process_port", "0"]
    finished([*launch, *call], folder)


def curves(*folders: Path) -> list[list[float]]:
    lines = [(folder / "metrics.jsonl").read_text().splitlines() for folder in folders]
    return [[row["loss"] for row in map(json.loads, found) if "loss" in row] for found in lines]


@pytest.mark.slow
def test_two_processes_train_as_one_with_the_same_global_batch(people: Path, tmp_path: Path) -> None:
    prepare(tmp_path / "work", "eval", 12)
    finished(words(tmp_path / "work", people, tmp_path / "one"), tmp_path / "work")
    subprocess.run(["rm", "-rf", str(tmp_path / "work" / "cache")], check=True)
    launched(tmp_path / "work", words(tmp_path / "work", people, tmp_path / "two"))
    one, two = curves(tmp_path / "one", tmp_path / "two")
    assert len(one) == len(two) == 24
    worst = max(abs(a - b) for a, b in zip(one, two, strict=True))
    assert worst < 1e-5
    ours, theirs = (load_file(tmp_path / name / "student.safetensors") for name in ("one", "two"))
    for name, tensor in ours.items():
        torch.testing.assert_close(theirs[name], tensor, rtol=1e-3, atol=1e-4)


FINETUNE = """
import sys, torch
from torch import nn
import xzoo
from xzoo import recipes

torch.set_num_threads(1)
grid = (16 // 4) ** 2
xzoo.register("big", lambda: nn.Sequential(
    nn.Conv2d(3, 8, 3, 2, 1), nn.GELU(), nn.Conv2d(8, 8, 3, 2, 1), nn.Flatten(),
    nn.LayerNorm(8 * grid), nn.Linear(8 * grid, 16),
), input={"size": [3, 16, 16]})
torch.manual_seed(0)
plan = recipes.load("xedgeface").with_({
    "stages.*.train.groups": "all", "stages.*.batch.size": 8, "stages.*.batch.accumulate": 2,
    "stages.*.steps": 8, "stages.*.optimiser.lr": 1e-3, "stages.*.optimiser.clip": 0.5,
})
xzoo.finetune(xzoo.create("big"), sys.argv[1], recipe=plan, output=sys.argv[2])
"""


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "close"), [("no", 1e-5), ("bf16", 0.01)])
def test_fine_tuning_on_two_processes_is_that_on_one(
    precision: str, close: float, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Accumulated and clipped; figures are taken by both and written by one."""
    (tmp_path / "script.py").write_text(FINETUNE)
    call = [str(tmp_path / "script.py"), str(people)]
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", precision)
    finished([*call, str(tmp_path / "one")], tmp_path)
    launched(tmp_path, [*call, str(tmp_path / "two")], precision)
    one, two = curves(tmp_path / "one", tmp_path / "two")
    assert len(one) == len(two) == 8
    assert max(abs(a - b) for a, b in zip(one, two, strict=True)) < close
    first, second = (json.loads((tmp_path / name / "run.json").read_text()) for name in ("one", "two"))
    assert (first["processes"], second["processes"], second["state"]) == (1, 2, "done")
    stages = [facts["settings"]["recipe"]["stages"] for facts in (first, second)]
    assert stages[0] == stages[1] and stages[1][0]["precision"] == {"no": "float32", "bf16": "bf16"}[precision]
    assert second["after"]["auc"] == pytest.approx(first["after"]["auc"], abs=0.02)
    evaluations = (tmp_path / "two" / "metrics.jsonl").read_text().count('"evaluation"')
    assert evaluations == 2


@pytest.mark.slow
def test_processes_that_mpirun_starts_train_as_one(people: Path, tmp_path: Path) -> None:
    """Its variables alone, as ``accelerate launch --cpu --mpirun_hostfile`` hands them on: no MPI is needed here."""
    (tmp_path / "script.py").write_text(FINETUNE)
    call = [str(tmp_path / "script.py"), str(people)]
    finished([*call, str(tmp_path / "one")], tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meet = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    started = []
    for rank in ("0", "1"):
        told = {"SIZE": "2", "RANK": rank, "LOCAL_SIZE": "2", "LOCAL_RANK": rank}
        env = settings(tmp_path) | meet | {f"OMPI_COMM_WORLD_{key}": value for key, value in told.items()}
        started.append(subprocess.Popen([sys.executable, *call, str(tmp_path / "two")], env=env))
    assert [process.wait(300) for process in started] == [0, 0]
    one, two = curves(tmp_path / "one", tmp_path / "two")
    assert len(one) == len(two) == 8
    assert max(abs(a - b) for a, b in zip(one, two, strict=True)) < 1e-5
    assert json.loads((tmp_path / "two" / "run.json").read_text())["processes"] == 2
