"""What the loop promises beside the steps: running means, accumulation, precision, masks, heads, curves, compiling."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import xzoo
from xzoo import errors
from xzoo.cli import main
from xzoo.data.manifest import Manifest
from xzoo.families.base import Embedder
from xzoo.losses.reuse import pooled
from xzoo.recipes.schema import Mask, Recipe, Stage, check
from xzoo.training import distill, engine, finetune, fit
from xzoo.training.looks import GREY, World, masked, shown


class Tokens(nn.Module):
    """Patches as tokens, and an embedding of their mean."""

    def __init__(self, width: int, side: int = 16) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, side // 4, side // 4)
        self.tokens = nn.Linear(width, width)
        self.last = nn.Linear(width, 8)

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.last(self.tokens(self.patches(images).flatten(2).transpose(1, 2)).mean(1))
        return out


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XZOO_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def narrow() -> Embedder:
    xzoo.register("narrow", lambda: Tokens(6), input={"size": [3, 16, 16]}, replace=True)
    torch.manual_seed(2)
    return xzoo.create("narrow")


@pytest.fixture
def wide() -> Embedder:
    xzoo.register("wide", lambda: Tokens(10), input={"size": [3, 16, 16]}, replace=True)
    torch.manual_seed(3)
    return xzoo.create("wide")


PLAIN: dict[str, Any] = {
    "name": "only",
    "train": {"groups": "all"},
    "teacher": "given",
    "batch": {"sampler": "images", "size": 8},
    "views": {"flip": 0.0},
    "losses": [{"name": "mse", "on": ["student.source", "teacher.source"]}],
    "optimiser": {"name": "sgd", "lr": 0.1, "momentum": 0.0},
    "steps": 4,
}


def plan(**stage: Any) -> Any:
    return check({"recipe": "test", "summary": "A test.", "stages": [{**PLAIN, **stage}]}, "test")


def begun(stage: Stage, network: Embedder, teacher: Embedder, data: Manifest, **options: Any) -> engine.Progress:
    student = engine.frozen_copy(network).requires_grad_(True)
    images = engine.Images(data, student)
    teachers, given = {"teacher": engine.frozen_copy(teacher)}, engine.Options(**options)
    return engine.begin(stage, student, images, source="VIS", seed=0, teachers=teachers, options=given)


# --- the running mean, and accumulation --------------------------------------------------------------


def test_the_stage_ends_with_the_running_mean_of_the_weights_after_each_step(
    narrow: Embedder, wide: Embedder, manifest: Manifest
) -> None:
    progress = begun(plan(ema=0.75).stages[0], narrow, wide, manifest)
    mean = {name: tensor.detach().clone() for name, tensor in progress.parameters.items()}
    for _ in engine.run(progress):
        for name, tensor in progress.parameters.items():
            mean[name] = 0.75 * mean[name] + 0.25 * tensor.detach()
    last = {name: tensor.detach().clone() for name, tensor in progress.parameters.items()}
    engine.finish(progress)
    for name, tensor in progress.parameters.items():
        torch.testing.assert_close(tensor.detach(), mean[name], rtol=1e-5, atol=1e-7)
        assert not torch.equal(tensor, last[name])


def test_accumulated_batches_move_the_weights_as_one_batch_of_all_their_images(
    narrow: Embedder, wide: Embedder, manifest: Manifest
) -> None:
    parts = begun(plan(batch={"sampler": "images", "size": 4, "accumulate": 3}).stages[0], narrow, wide, manifest)
    whole = begun(plan(batch={"sampler": "images", "size": 12}).stages[0], narrow, wide, manifest)
    for first, second in zip(engine.run(parts), engine.run(whole), strict=True):
        assert first.loss == pytest.approx(second.loss, rel=1e-5)
        assert first.terms == pytest.approx(second.terms, rel=1e-5)
    for name, tensor in whole.parameters.items():
        torch.testing.assert_close(parts.parameters[name], tensor, rtol=1e-5, atol=1e-7)


# --- how teachers run ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "units", "kept", "runs"),
    [
        pytest.param({}, True, False, "float32", id="float32 where nothing is said"),
        pytest.param({"teacher_precision": "auto"}, True, False, "bf16", id="auto on a device with units for it"),
        pytest.param({"teacher_precision": "auto"}, False, False, "float32", id="auto on another"),
        pytest.param({"teacher_precision": "auto"}, True, True, "float32", id="what is kept is kept exactly"),
        pytest.param({"teacher_precision": "bf16"}, False, False, "bf16", id="bf16 is bf16"),
        pytest.param(
            {"teacher_precision": "bf16", "teacher": {"name": "wide", "precision": "float32", "pretrained": False}},
            True, False, "float32", id="a teacher's own word counts more",
        ),
    ],
)  # fmt: skip
def test_teachers_run_in_bf16_where_the_recipe_allows_and_the_device_gains(
    said: dict[str, Any], units: bool, kept: bool, runs: str, narrow: Embedder, wide: Embedder, manifest: Manifest,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(engine, "has_bf16", lambda device, **asked: units and asked == {"units": True})
    stage = plan(**said, cache=kept).stages[0]
    progress = begun(stage, narrow, wide, manifest, cache=tmp_path / "answers" if kept else None)
    assert progress.teachers["teacher"].precision == runs
    seen: list[torch.dtype] = []
    teacher: Any = progress.teachers["teacher"].network
    teacher.network.last.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    step = next(engine.run(progress))
    assert seen == [torch.bfloat16 if runs == "bf16" else torch.float32] and step.loss > 0


@pytest.mark.parametrize(
    ("tiles", "instructions", "units", "found"),
    [
        pytest.param(True, True, True, True, id="tiles"),
        pytest.param(False, True, True, False, id="instructions are no units"),
        pytest.param(False, True, False, True, id="instructions"),
        pytest.param(False, False, False, False, id="neither"),
    ],
)
def test_a_processor_has_bf16_by_tiles_or_by_instructions(
    tiles: bool, instructions: bool, units: bool, found: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: tiles)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: instructions)
    assert engine.has_bf16(torch.device("cpu"), units=units) is found
    assert not engine.has_bf16(torch.device("meta"))


def test_the_run_says_how_its_teachers_ran(narrow: Embedder, wide: Embedder, people: Path, tmp_path: Path) -> None:
    recipe = plan(teacher_precision="bf16", steps=1)
    run = distill(student=narrow, teacher=wide, recipe=recipe, data=people, output=tmp_path / "run", evaluate=False)
    assert run.facts["precision"] == {"only": {"teacher": "bf16"}}


# --- masked views ----------------------------------------------------------------------------------------


def test_a_mask_hides_its_share_of_patches_the_same_on_any_number_of_processes() -> None:
    pixels = torch.randint(0, 100, (6, 3, 16, 18), dtype=torch.uint8)

    def hide(places: Tensor, **mask: Any) -> Tensor:
        random = torch.Generator().manual_seed(5)
        return masked(pixels[places], Mask(patch=4, **mask), random, len(pixels), places)

    everyone = torch.arange(6)
    found = hide(everyone, share=0.5)
    grey = (found == GREY).all(1)
    assert torch.equal(found.permute(0, 2, 3, 1)[~grey], pixels.permute(0, 2, 3, 1)[~grey])
    patches = grey[:, ::4, ::4]
    assert patches.shape == (6, 4, 5) and (patches.flatten(1).sum(1) == 10).all()
    assert torch.equal(patches.repeat_interleave(4, 1).repeat_interleave(4, 2)[..., :18], grey)
    assert len({tuple(row.flatten().tolist()) for row in patches}) > 1
    assert torch.equal(torch.cat([hide(everyone[:3]), hide(everyone[3:])]), hide(everyone))
    assert torch.equal(hide(everyone, probability=0.0), pixels) and (hide(everyone, share=1.0) == GREY).all()


GKD = {
    "views": {"flip": 0.0, "named": {"hidden": {"mask": {"share": 0.5, "patch": 4}}}},
    "losses": [
        {
            "name": "gkd_qsd",
            "on": ["student.source:network.tokens", "teacher.source:network.tokens"],
            "masked": "hidden",
        }
    ],
}


def test_query_based_distillation_is_shown_the_students_masked_tokens(
    narrow: Embedder, wide: Embedder, manifest: Manifest
) -> None:
    recipe = plan(**GKD, optimiser={"lr": 1e-2})
    fit.check(recipe, student=narrow, teacher=wide)
    progress = begun(recipe.stages[0], narrow, wide, manifest)
    loss: Any = progress.terms[0].loss
    patch = [p.detach().clone() for p in loss.patch.parameters()]
    look = shown(progress.looks, progress.sampler.batch(0), 0, World())
    whole, hidden = (look.picture(progress.images, view) for view in ("source", "hidden"))
    with torch.no_grad():
        inputs = [narrow.preprocess.normalise(raw) for raw in (whole, hidden)]
        ours, seen, theirs = (
            net.network.tokens(net.network.patches(x).flatten(2).transpose(1, 2))  # type: ignore[union-attr, operator]
            for net, x in ((narrow, inputs[0]), (narrow, inputs[1]), (wide, inputs[0]))
        )
        wanted = loss(ours, theirs, masked=seen).item()
        assert wanted != pytest.approx(loss(ours, theirs).item())
    step = next(engine.run(progress))
    assert step.loss == pytest.approx(wanted, rel=1e-5)
    assert any(not torch.equal(a, b) for a, b in zip(patch, loss.patch.parameters(), strict=True))


# --- the teacher's head ------------------------------------------------------------------------------------


def test_crosskd_hears_the_teachers_head_on_the_students_aligned_feature(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = xzoo.create("edgeface_xxs")  # its family says where the last layer begins
    on = [f"{who}.source:backbone.stages.3" for who in ("student", "teacher")]
    batch = {"sampler": "images", "size": 2}
    recipe = plan(losses=[{"name": "crosskd", "on": on, "head": True}], batch=batch)
    fit.check(recipe, student=network, teacher=network)
    progress = begun(recipe.stages[0], network, network, manifest)
    seen: list[Tensor] = []
    monkeypatch.setattr(progress.teachers["teacher"].network, "project", lambda x: seen.append(x) or x.sum(1))
    next(engine.run(progress))
    _, ours, goal = seen  # the teacher itself comes first; at the start the student is the teacher
    assert ours.shape == (2, 168) and ours.requires_grad and not goal.requires_grad
    torch.testing.assert_close(ours.detach(), goal, rtol=1e-3, atol=1e-4)
    assert torch.equal(pooled(goal), goal)


# --- curves --------------------------------------------------------------------------------------------------


class Writer:
    """Stands in for tensorboard's."""

    made: list[Writer] = []

    def __init__(self, folder: str, purge_step: int) -> None:
        self.folder, self.purge, self.rows, self.closed = folder, purge_step, [], False  # type: ignore[var-annotated]
        self.made.append(self)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.rows.append((name, value, step))

    def close(self) -> None:
        self.closed = True


def test_curves_hold_what_the_metrics_hold_and_a_resumed_run_goes_on(
    narrow: Embedder, wide: Embedder, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake: Any = type(sys)("torch.utils.tensorboard")
    fake.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", fake)
    monkeypatch.setattr(Writer, "made", [])
    options: dict[str, Any] = {"student": narrow, "teacher": wide, "recipe": plan(), "data": people, "evaluate": False}
    run = distill(**options, output=tmp_path / "run", tensorboard=True)
    (writer,) = Writer.made
    assert (writer.folder, writer.purge, writer.closed) == (str(tmp_path / "run" / "tensorboard"), 1, True)
    for name, key in (("loss", "loss"), ("lr", "lr"), ("impostor", "impostor")):
        assert [v for n, v, _ in writer.rows if n == name] == [row[key] for row in run.metrics]
    assert [v for n, v, _ in writer.rows if n == "terms/mse"] == [row["terms"]["mse"] for row in run.metrics]
    assert [s for n, _, s in writer.rows if n == "loss"] == [1, 2, 3, 4]

    def stop(progress: engine.Progress) -> None:
        if progress.step == 2:
            raise KeyboardInterrupt
        return plain(progress)  # type: ignore[return-value]

    plain = engine._step
    with monkeypatch.context() as patch:
        patch.setattr(engine, "_step", stop)
        patch.setattr("xzoo.training.work.CHECKPOINT_SECONDS", 0.0)
        with pytest.raises(KeyboardInterrupt):
            distill(**options, output=tmp_path / "stopped", tensorboard=True)
    assert Writer.made[-1].closed
    again = distill(**options, output=tmp_path / "stopped", tensorboard=True, resume=True)
    assert Writer.made[-1].purge == 3 and [row["loss"] for row in again.metrics] == [r["loss"] for r in run.metrics]


def test_fine_tuning_draws_its_curves_too_and_closes_them_however_it_ends(
    toy: Embedder, people: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake: Any = type(sys)("torch.utils.tensorboard")
    fake.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", fake)
    monkeypatch.setattr(Writer, "made", [])
    run = finetune(toy, people, recipe=recipe, output=tmp_path / "run", tensorboard=True)
    (writer,) = Writer.made
    rows = [row for row in run.metrics if "loss" in row]
    assert (writer.folder, writer.purge, writer.closed) == (str(tmp_path / "run" / "tensorboard"), 1, True)
    assert [v for n, v, _ in writer.rows if n == "terms/cosine"] == [row["terms"]["cosine"] for row in rows]
    assert [s for n, _, s in writer.rows if n == "loss"] == [1, 2, 3, 4, 5, 6]
    plain = finetune(toy, people, recipe=recipe, output=tmp_path / "plain")
    assert len(Writer.made) == 1
    assert [row["loss"] for row in plain.metrics if "loss" in row] == [row["loss"] for row in rows]
    with pytest.raises(errors.TrainingStopped):
        finetune(toy, people, recipe=recipe, lr=1e20, output=tmp_path / "ill", evaluate=False, tensorboard=True)
    assert Writer.made[-1].closed


def test_curves_without_tensorboard_are_refused_before_anything_runs(
    narrow: Embedder, wide: Embedder, toy: Embedder, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(errors.MissingExtra, match=r"pip install 'xzoo\[tensorboard\]'"):
        distill(student=narrow, teacher=wide, recipe=plan(), data=people, output=tmp_path / "run", tensorboard=True)
    with pytest.raises(errors.MissingExtra, match=r"pip install 'xzoo\[tensorboard\]'"):
        finetune(toy, people, output=tmp_path / "run", tensorboard=True)
    assert not (tmp_path / "run").exists()
    words = ["run", "kd", "--data", str(people), "--student", "narrow", "--teacher", "wide", "--tensorboard"]
    assert main(words) == 1
    assert main(["finetune", "toy", "--data", str(people), "--pretrained", "no", "--tensorboard"]) == 1


def test_real_event_files_are_read_back(narrow: Embedder, wide: Embedder, people: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    options: dict[str, Any] = {"student": narrow, "teacher": wide, "recipe": plan(), "data": people, "evaluate": False}
    run = distill(**options, output=tmp_path / "run", tensorboard=True)
    events = EventAccumulator(str(run.folder / "tensorboard"))
    events.Reload()
    assert [e.value for e in events.Scalars("loss")] == pytest.approx([row["loss"] for row in run.metrics])


# --- compiling -----------------------------------------------------------------------------------------------


def test_the_compile_switch_compiles_the_student_and_leaves_its_names_alone(
    narrow: Embedder, wide: Embedder, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    plain: Any = torch.compile
    monkeypatch.setattr(torch, "compile", lambda network: asked.append(network) or plain(network, backend="eager"))
    options: dict[str, Any] = {"student": narrow, "teacher": wide, "recipe": plan(), "data": people, "evaluate": False}
    first = distill(**options, output=tmp_path / "plain")
    assert not asked
    second = distill(**options, output=tmp_path / "compiled", compile=True)
    assert len(asked) == 1 and isinstance(asked[0], Embedder)
    assert [row["loss"] for row in first.metrics] == pytest.approx([row["loss"] for row in second.metrics], rel=1e-6)
    assert first.model.state_dict().keys() == second.model.state_dict().keys()


def test_the_compile_switch_compiles_what_is_fine_tuned(
    toy: Embedder, people: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    plain: Any = torch.compile
    monkeypatch.setattr(torch, "compile", lambda network: asked.append(network) or plain(network, backend="eager"))
    first = finetune(toy, people, recipe=recipe, lora=True, output=tmp_path / "plain", evaluate=False)
    assert not asked
    second = finetune(toy, people, recipe=recipe, lora=True, output=tmp_path / "compiled", evaluate=False, compile=True)
    assert len(asked) == 1 and isinstance(asked[0], Embedder)
    assert [row["loss"] for row in first.metrics] == pytest.approx([row["loss"] for row in second.metrics], rel=1e-6)
    assert [path.name for path in (second.folder / "adapter").iterdir()] == [
        path.name for path in (first.folder / "adapter").iterdir()
    ]
    assert second.model.embed(Manifest.read(people).paths[:2]).shape == (2, 16)


@pytest.mark.slow
def test_a_student_compiled_to_machine_code_learns_the_same(
    narrow: Embedder, wide: Embedder, people: Path, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"student": narrow, "teacher": wide, "data": people, "evaluate": False}
    first = distill(**options, recipe=plan(**GKD), output=tmp_path / "plain")
    second = distill(**options, recipe=plan(**GKD), output=tmp_path / "compiled", compile=True)
    assert [row["loss"] for row in first.metrics] == pytest.approx([row["loss"] for row in second.metrics], rel=1e-4)
