"""A whole call: what it leaves behind, what it refuses, how it stops."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import xzoo
from xzoo import adapters, errors, recipes
from xzoo.data.manifest import Manifest
from xzoo.families.base import Embedder
from xzoo.recipes.schema import Recipe
from xzoo.training import CollapseWarning, Run, engine, finetune, work
from xzoo.training.holdout import HELD_OUT, hold_out


def steps_of(run: Run) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != "images_per_second"} for row in run.metrics if "loss" in row]


def weights_of(folder: Path) -> bytes:
    return (folder / "adapter" / "adapter_model.safetensors").read_bytes()


# --- what is left behind -----------------------------------------------------------------------


def test_the_folder_holds_recipe_metrics_adapter_card_picture_and_facts(
    painted: None, toy: Embedder, people: Path, recipe: Recipe, tmp_path: Path
) -> None:
    run = finetune(toy, people, recipe=recipe, output=tmp_path / "run")
    names = {path.relative_to(run.folder).as_posix() for path in run.folder.rglob("*") if path.is_file()}
    adapter = {f"adapter/{name}" for name in ("adapter_model.safetensors", "adapter_config.json", "README.md")}
    assert names == adapter | {
        "run.json",
        "recipe.yaml",
        "metrics.jsonl",
        "README.md",
        "picture.png",
        "base.safetensors",
    }
    assert run.facts["state"] == "done"
    assert run.facts["base"]["name"] == "local/toy"
    assert recipes.load(run.folder / "recipe.yaml") == recipe
    assert len(steps_of(run)) == 6
    assert [row["evaluation"] for row in run.metrics if "evaluation" in row] == ["before", "after"]
    assert (run.folder / "picture.png").read_bytes().startswith(b"\x89PNG")
    card = (run.folder / "README.md").read_text()
    assert f"{run.after.rank1:.4f}" in card
    assert "16 images" not in card and "32 images of 8 subjects" in card


def test_training_brings_people_together_across_spectra(toy: Embedder, people: Path, tmp_path: Path) -> None:
    run = finetune(toy, people, steps=60, batch=16, lr=1e-3, output=tmp_path / "run")
    before, after = (
        xzoo.evaluate(model, people, split="train", gallery="VIS", probe="LWIR") for model in (toy, run.model)
    )
    assert before.rank1 < 0.3 and after.rank1 > 0.8


@pytest.mark.parametrize("lora", [False, True, 3], ids=["norms", "lora", "lora of rank 3"])
def test_a_loaded_run_gives_the_very_embeddings_of_the_trained_network(
    lora: bool | int, toy: Embedder, people: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = Manifest.read(people).select(spectrum="LWIR").paths
    trained: list[torch.Tensor] = []
    save = adapters.save

    def watched(model: Embedder, *args: Any, **options: Any) -> Path:
        trained.append(model.embed(images))
        return save(model, *args, **options)

    monkeypatch.setattr(adapters, "save", watched)
    run = finetune(toy, people, recipe=recipe, lora=lora, output=tmp_path / "run")
    assert torch.equal(xzoo.create(run.folder).embed(images), trained[0])
    assert not torch.equal(toy.embed(images), trained[0])
    assert Run.open(run.folder).after == run.after
    if lora == 3:
        trained_with = recipes.load(run.folder / "recipe.yaml").stages[0].train.lora
        assert trained_with is not None and (trained_with.rank, trained_with.alpha) == (3, 6.0)


def test_the_callers_network_and_random_numbers_are_left_as_they_were(
    toy: Embedder, people: Path, recipe: Recipe, tmp_path: Path
) -> None:
    before = {name: tensor.clone() for name, tensor in toy.state_dict().items()}
    random = torch.get_rng_state()
    finetune(toy, people, recipe=recipe, output=tmp_path / "run", evaluate=False)
    assert torch.equal(torch.get_rng_state(), random)
    assert not toy.adapters and toy.weights is None
    assert all(torch.equal(tensor, before[name]) for name, tensor in toy.state_dict().items())
    assert all(parameter.requires_grad for parameter in toy.parameters())


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(
    toy: Embedder, people: Path, recipe: Recipe, tmp_path: Path
) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        finetune(toy, people, recipe=recipe, lora=True, seed=seed, output=tmp_path / name, evaluate=False)
    assert weights_of(tmp_path / "a") == weights_of(tmp_path / "b") != weights_of(tmp_path / "c")


def test_a_run_remembers_how_its_pictures_were_prepared(
    toy: Embedder, people: Path, recipe: Recipe, tmp_path: Path
) -> None:
    toy.preprocess = replace(toy.preprocess, stretch=True, mean=(0.4, 0.5, 0.6), alignment="eyes_112_2pt")
    run = finetune(toy, people, recipe=recipe, steps=1, output=tmp_path / "run")
    assert run.model.preprocess == toy.preprocess
    assert run.facts["base"]["preprocess"] == {
        "mean": [0.4, 0.5, 0.6], "stretch": True, "alignment": "eyes_112_2pt"
    }  # fmt: skip
    again = xzoo.evaluate(run.folder, people, split="test")
    assert again.auc == run.after.auc
    with pytest.raises(errors.RunError, match="stretch: True then, None now"):
        toy.preprocess = replace(toy.preprocess, stretch=False)
        finetune(toy, people, recipe=recipe, steps=1, output=tmp_path / "run", resume=True)
    facts = json.loads((run.folder / "run.json").read_text())
    facts["base"]["preprocess"]["colour"] = "grey"
    (run.folder / "run.json").write_text(json.dumps(facts))
    with pytest.raises(errors.RunError, match="colour='grey'"):
        xzoo.create(run.folder)
    usual = finetune(xzoo.create("toy"), people, recipe=recipe, steps=1, output=tmp_path / "usual", evaluate=False)
    assert "preprocess" not in usual.facts["base"]


def test_a_run_can_be_trained_on(toy: Embedder, people: Path, recipe: Recipe, tmp_path: Path) -> None:
    first = finetune(toy, people, recipe=recipe, output=tmp_path / "first")
    second = finetune(first.folder, people, recipe=recipe, output=tmp_path / "second")
    assert second.before.auc == first.after.auc
    assert second.model.embed(Manifest.read(people).paths).shape == (48, 16)
    assert weights_of(first.folder) != weights_of(second.folder)


def test_training_on_an_adapter_of_another_kind_is_refused(
    toy: Embedder, people: Path, recipe: Recipe, tmp_path: Path
) -> None:
    first = finetune(toy, people, recipe=recipe, output=tmp_path / "first", evaluate=False)
    with pytest.raises(errors.OptionError, match="lora"):
        finetune(first.folder, people, recipe=recipe, lora=True, output=tmp_path / "second")


def test_a_network_without_groups_trains_as_a_whole_by_default(toy: Embedder, people: Path, tmp_path: Path) -> None:
    run = finetune(toy, people, steps=1, batch=4, output=tmp_path / "run", evaluate=False)
    assert run.facts["settings"]["recipe"]["stages"][0]["train"]["groups"] == "all"
    assert run.before is None and run.after is None


def test_epochs_count_source_images(toy: Embedder, people: Path, recipe: Recipe, tmp_path: Path) -> None:
    run = finetune(toy, people, recipe=recipe, epochs=3, output=tmp_path / "run", evaluate=False)
    assert len(steps_of(run)) == 3 * 2  # 16 VIS images to train on, 8 in a batch


def test_without_matplotlib_the_picture_is_skipped_with_a_word(
    painted: None, toy: Embedder, people: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    run = finetune(toy, people, recipe=recipe, output=tmp_path / "run", evaluate=False)
    assert "xzoo[plots]" in run.facts["picture"]
    assert not (run.folder / "picture.png").exists()


def test_without_output_a_new_folder_in_runs_is_made(
    toy: Embedder, people: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = [finetune(toy, people, recipe=recipe, steps=1, evaluate=False).folder for _ in range(2)]
    assert [folder.as_posix() for folder in made] == ["runs/local-toy-xedgeface-001", "runs/local-toy-xedgeface-002"]


# --- which images ------------------------------------------------------------------------------


def test_without_splits_a_fifth_of_the_subjects_is_held_out_whatever_the_order(manifest: Manifest) -> None:
    rows = tuple(replace(row, split=None) for row in manifest.rows)
    parts = hold_out(Manifest(rows, manifest.root))
    turned = hold_out(Manifest(rows[::-1], manifest.root))
    held = parts.manifest.select(split=HELD_OUT).subjects
    assert len(held) == 2
    assert held == turned.manifest.select(split=HELD_OUT).subjects
    assert not set(held) & set(parts.train.subjects)
    assert "2 of 12" in parts.note


@pytest.mark.parametrize(
    ("splits", "evaluated"),
    [(["train", "val", "test"], "val"), (["train", "test"], "test"), (["train"], HELD_OUT)],
    ids=str,
)
def test_val_is_evaluated_before_test_and_test_before_a_part_of_train(
    splits: list[str], evaluated: str, manifest: Manifest
) -> None:
    place = {name: splits[number % len(splits)] for number, name in enumerate(manifest.subjects)}
    rows = tuple(replace(row, split=place[row.subject]) for row in manifest.rows)
    assert hold_out(Manifest(rows, manifest.root)).evaluated == evaluated


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        pytest.param({"model": "toy"}, errors.NotFound, "No published weights", id="no weights to start from"),
        pytest.param({"model": 7}, errors.OptionError, "int", id="model of another type"),
        pytest.param({"model": torch.nn.Linear(2, 2)}, errors.OptionError, "register", id="a bare module"),
        pytest.param({"pretrained": True}, errors.OptionError, "built already", id="pretrained for a network"),
        pytest.param({"recipe": "xedgefaces"}, errors.NotFound, "xedgeface", id="unknown recipe"),
        pytest.param({"recipe": "no.yaml"}, errors.MissingFile, "no.yaml", id="no such recipe file"),
        pytest.param({"recipe": "xedgeface"}, errors.OptionError, "group", id="groups that the network lacks"),
        pytest.param({"steps": 0}, errors.RecipeError, "steps", id="no steps"),
        pytest.param({"steps": 2.5}, errors.RecipeError, "steps", id="half a step"),
        pytest.param({"steps": True}, errors.RecipeError, "steps", id="a bool for steps"),
        pytest.param({"epochs": 0}, errors.OptionError, "epochs", id="no epochs"),
        pytest.param({"steps": 1, "epochs": 1}, errors.OptionError, "One of them", id="steps and epochs"),
        pytest.param({"batch": -1}, errors.RecipeError, "size", id="negative batch"),
        pytest.param({"lr": 0.0}, errors.RecipeError, "lr", id="no learning rate"),
        pytest.param({"lr": float("nan")}, errors.RecipeError, "lr", id="learning rate that is no number"),
        pytest.param({"lora": 0}, errors.OptionError, "lora", id="rank 0"),
        pytest.param({"lora": "yes"}, errors.OptionError, "lora", id="a word for lora"),
        pytest.param({"seed": -1}, errors.OptionError, "seed", id="negative seed"),
        pytest.param({"resume": True}, errors.OptionError, "output", id="resume nowhere"),
        pytest.param({"data": "nowhere.csv"}, errors.MissingFile, "nowhere.csv", id="no manifest"),
    ],
)
def test_a_wrong_call_gives_one_clear_error_and_no_folder(
    call: dict[str, Any],
    error: type[errors.XzooError],
    says: str,
    toy: Embedder,
    people: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    options = {"model": toy, "data": people, **call}
    with pytest.raises(error, match=says):
        finetune(options.pop("model"), options.pop("data"), **options)
    assert not list(tmp_path.iterdir())


def test_data_of_one_spectrum_is_refused(toy: Embedder, manifest: Manifest) -> None:
    with pytest.raises(errors.DataError, match="both are needed"):
        finetune(toy, manifest.select(spectrum="VIS"))


def test_data_without_training_images_is_refused(toy: Embedder, manifest: Manifest) -> None:
    with pytest.raises(errors.DataError, match="no split 'train'"):
        finetune(toy, manifest.select(split="test"))


def test_a_folder_that_is_in_use_is_refused_and_left_alone(
    toy: Embedder, people: Path, recipe: Recipe, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    finetune(toy, people, recipe=recipe, steps=1, output=tmp_path / "done", evaluate=False)
    before = weights_of(tmp_path / "done")
    for name, says in (("file", "a file"), ("other", "other things"), ("done", "that is done")):
        with pytest.raises(errors.RunError, match=says):
            finetune(toy, people, recipe=recipe, output=tmp_path / name)
    assert weights_of(tmp_path / "done") == before


def test_an_unfinished_run_cannot_be_loaded(toy: Embedder, people: Path, recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(errors.TrainingStopped):
        finetune(toy, people, recipe=recipe, lr=1e20, output=tmp_path / "run", evaluate=False)
    assert not (tmp_path / "run" / "adapter").exists()
    for opened in (Run.open, xzoo.create):
        with pytest.raises(errors.RunError, match="failed"):
            opened(tmp_path / "run")


def test_a_network_that_collapses_is_warned_of_and_noted(
    toy: Embedder, people: Path, recipe: Recipe, tmp_path: Path
) -> None:
    with torch.no_grad():
        toy.get_parameter("network.6.bias").fill_(100.0)
    with pytest.warns(CollapseWarning):
        run = finetune(toy, people, recipe=recipe, steps=1, output=tmp_path / "run", evaluate=False)
    assert run.metrics[0]["warning"] == "collapse"


# --- stopping and going on ---------------------------------------------------------------------


def interrupt_after(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Press Ctrl-C during step ``count`` of the next run."""
    plain, seen = engine._step, []

    def step(progress: engine.Progress) -> engine.Step:
        seen.append(1)
        if len(seen) == count:
            os.kill(os.getpid(), signal.SIGINT)
        return plain(progress)

    monkeypatch.setattr(engine, "_step", step)


@pytest.mark.parametrize("after", [3, 4, 7], ids=lambda n: f"{n} of 8 steps")
def test_an_interrupted_and_resumed_run_ends_in_the_same_bytes(
    after: int, toy: Embedder, people: Path, two_stages: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = finetune(toy, people, recipe=two_stages, output=tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt_after(after, patch)
        with pytest.raises(KeyboardInterrupt, match=f"stopped after {after} of 8 steps.*--resume"):
            finetune(toy, people, recipe=two_stages, output=tmp_path / "run")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["state"] == "interrupted"
    resumed = finetune(toy, people, recipe=two_stages, output=tmp_path / "run", resume=True)
    assert weights_of(resumed.folder) == weights_of(whole.folder)
    assert steps_of(resumed) == steps_of(whole)
    assert resumed.after.to_dict() == whole.after.to_dict()


def test_a_killed_run_goes_on_from_its_last_checkpoint_and_forgets_later_metrics(
    toy: Embedder, people: Path, two_stages: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = finetune(toy, people, recipe=two_stages, output=tmp_path / "whole", evaluate=False)
    with monkeypatch.context() as patch:
        interrupt_after(3, patch)
        with pytest.raises(KeyboardInterrupt):
            finetune(toy, people, recipe=two_stages, output=tmp_path / "run", evaluate=False)
    with (tmp_path / "run" / "metrics.jsonl").open("a") as log:
        log.write(json.dumps({"step": 4, "loss": 9.0}) + '\n{"step": 5, "lo')
    resumed = finetune(toy, people, recipe=two_stages, output=tmp_path / "run", resume=True, evaluate=False)
    assert steps_of(resumed) == steps_of(whole)


def test_resuming_a_finished_run_returns_it(toy: Embedder, people: Path, recipe: Recipe, tmp_path: Path) -> None:
    run = finetune(toy, people, recipe=recipe, output=tmp_path / "run")
    again = finetune(toy, people, recipe=recipe, output=tmp_path / "run", resume=True)
    assert again == run


@pytest.mark.parametrize(
    ("change", "key"),
    [({"seed": 1}, "seed: 0 then, 1 now"), ({"lr": 0.5}, "lr: 0.001 then, 0.5 now"), ({"steps": 9}, "steps: 6 then")],
    ids=["seed", "lr", "steps"],
)
def test_resuming_with_other_settings_says_which(
    change: dict[str, Any], key: str, toy: Embedder, people: Path, recipe: Recipe, tmp_path: Path
) -> None:
    finetune(toy, people, recipe=recipe, output=tmp_path / "run", evaluate=False)
    with pytest.raises(errors.RunError, match=key):
        finetune(toy, people, recipe=recipe, output=tmp_path / "run", resume=True, **change)


def test_a_damaged_checkpoint_is_refused(
    toy: Embedder, people: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        interrupt_after(2, patch)
        with pytest.raises(KeyboardInterrupt):
            finetune(toy, people, recipe=recipe, output=tmp_path / "run", evaluate=False)
    (tmp_path / "run" / "checkpoint" / "state.safetensors").write_bytes(b"half a file")
    with pytest.raises(errors.RunError, match="cannot be read"):
        finetune(toy, people, recipe=recipe, output=tmp_path / "run", resume=True, evaluate=False)


def test_a_checkpoint_is_written_now_and_then(
    toy: Embedder, people: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "CHECKPOINT_SECONDS", 0.0)
    finetune(toy, people, recipe=recipe, output=tmp_path / "run", evaluate=False)
    assert (tmp_path / "run" / "checkpoint" / "state.safetensors").is_file()


SCRIPT = """
import sys
sys.path[:0] = [{tests!r}, {root!r}]
import torch, xzoo
from conftest import SIDE, build_toy
xzoo.register("toy", build_toy, input={{"size": [3, SIDE, SIDE]}})
torch.manual_seed(0)
from xzoo.training import finetune
finetune(xzoo.create("toy"), {people!r}, steps=100000, batch=4, output={output!r}, evaluate=False)
"""


def test_ctrl_c_in_a_terminal_leaves_a_checkpoint_and_a_clear_word(people: Path, tmp_path: Path) -> None:
    here = Path(__file__).parent
    output = tmp_path / "run"
    script = SCRIPT.format(tests=str(here), root=str(here.parents[1]), people=str(people), output=str(output))
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)
    try:
        # Its metrics show that it is past its first step.
        while process.poll() is None and not (output / "metrics.jsonl").exists():
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode != 0
    assert "--resume" in said and "of 100000 steps" in said
    assert "images/s" in said
    assert json.loads((output / "run.json").read_text())["state"] == "interrupted"
    assert (output / "checkpoint" / "state.safetensors").is_file()
