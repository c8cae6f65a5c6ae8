"""What a launcher says in the environment, and what comes of it."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from xzoo import errors, recipes
from xzoo.families.base import Embedder
from xzoo.recipes.schema import Recipe
from xzoo.training import finetune, processes
from xzoo.training.looks import ALONE


def test_without_a_launcher_a_run_is_alone_and_its_recipe_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "ACCELERATE_MIXED_PRECISION"):
        monkeypatch.delenv(name, raising=False)
    plan = recipes.load("xedgeface")
    assert processes.here() == (ALONE, None) and processes.launched(plan) is plan


def test_a_launcher_that_starts_one_process_of_several_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment is what ``accelerate launch --cpu`` makes of both calls."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_simple_launcher_cmd_env

    for name in (*processes.SIZES, "MASTER_ADDR", "ACCELERATE_MIXED_PRECISION"):
        monkeypatch.delenv(name, raising=False)
    for count in (1, 2):
        words = ["--cpu", "--num_processes", str(count), "--num_machines", "1", "--mixed_precision", "no", "-m", "xzoo"]
        args, *_ = _validate_launch_command(launch_command_parser().parse_args([*words, "--dynamo_backend", "no"]))
        _, made = prepare_simple_launcher_cmd_env(args)
        with monkeypatch.context() as inside, warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            for name in ("MASTER_ADDR", "ACCELERATE_MIXED_PRECISION"):
                if name in made:
                    inside.setenv(name, made[name])
            assert processes.here() == (ALONE, None)
        assert [kind.category for kind in told] == [processes.LauncherWarning] * (count - 1)


@pytest.mark.parametrize("said", ["no", "NO", ""])
def test_a_launcher_that_asks_for_no_precision_leaves_that_of_the_recipe(
    said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", said)
    plan = recipes.load("xedgeface").with_({"stages.*.precision": "bf16"})
    assert processes.launched(plan) is plan


def test_the_precision_of_the_launcher_is_that_of_every_stage_and_in_the_resolved_recipe(
    toy: Embedder, people: Path, recipe: Recipe, two_stages: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = finetune(toy, people, recipe=recipe, steps=2, output=tmp_path / "plain", evaluate=False)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert [stage.precision for stage in processes.launched(two_stages).stages] == ["bf16", "bf16"]
    run = finetune(toy, people, recipe=recipe, steps=2, output=tmp_path / "run", evaluate=False)
    assert recipes.load(run.folder / "recipe.yaml").stages[0].precision == "bf16"
    ours, theirs = (found.metrics[-1]["loss"] for found in (run, plain))
    assert ours != theirs and ours == pytest.approx(theirs, rel=0.05)


def test_a_precision_that_needs_a_scaler_is_refused_before_anything_is_written(
    toy: Embedder, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    with pytest.raises(errors.OptionError, match=r"--mixed_precision fp16[\s\S]*do: --mixed_precision bf16, or no"):
        finetune(toy, people, output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_launchers_may_start_the_package_as_a_module() -> None:
    call = [sys.executable, "-m", "xzoo", "--version"]
    done = subprocess.run(call, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout.startswith("xzoo"), done.stderr
