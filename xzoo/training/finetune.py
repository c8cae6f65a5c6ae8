"""From a model and a manifest to a run: the front of the engine."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from xzoo import adapters, errors, hub, recipes
from xzoo.data.manifest import Manifest
from xzoo.evaluation.protocols.sides import Side, choose
from xzoo.families.base import Embedder
from xzoo.recipes.schema import Recipe
from xzoo.training import engine, processes
from xzoo.training.board import Board
from xzoo.training.holdout import Parts, hold_out
from xzoo.training.run import Run, open_folder, own_preprocess
from xzoo.training.work import SOURCE, Work, put_adapter

__all__ = ["finetune"]

DEFAULT_RECIPE = "cross_spectral_contrastive"


def finetune(
    model: str | Path | Embedder,
    data: Manifest | str | Path,
    *,
    lora: bool | int = False,
    recipe: str | Path | Recipe | None = None,
    steps: int | None = None,
    epochs: int | None = None,
    batch: int | None = None,
    lr: float | None = None,
    seed: int = 0,
    output: str | Path | None = None,
    resume: bool = False,
    pretrained: bool | str | Path | None = None,
    evaluate: bool = True,
    checkpointing: bool = False,
    compile: bool = False,
    tensorboard: bool = False,
    device: str | torch.device | None = None,
    allow_licences: str | Iterable[str] | None = None,
) -> Run:
    """Adapt a network to the spectra of some images, and measure what it gained.

    The base stays as it is; what trains is an adapter, saved in the run folder.
    The split ``train`` is trained on; figures are taken before and after on
    ``val``, else ``test``, else on a fifth of the subjects that is held out.
    Given the same seed, the run repeats to the last bit on the same machine.

    Args:
        model: A catalogue name (its published weights), a run folder (its adapter is
            trained on), or what ``xzoo.create`` returned (left as it is).
        data: A manifest, or where to read one. ``VIS`` and at least one other spectrum.
        lora: Train low-rank updates as the recipe's ``lora`` part says; a whole number sets their rank.
        recipe: A name, a YAML file, or a checked recipe.
        steps: Steps, in place of the recipe's.
        epochs: Passes over the source images, in place of ``steps``.
        batch: Pairs in a step, in place of the recipe's.
        lr: Learning rate, in place of the recipe's.
        seed: Draws batches, views and initial values.
        output: The run folder; by default a new one in ``runs/``.
        resume: Go on in ``output`` where an interrupted run stopped.
        pretrained: As for ``xzoo.create``, where ``model`` is a name.
        evaluate: Take figures before and after.
        checkpointing: Compute activations again in the backward pass instead of keeping them: less memory, more
            time, the same outcome. For families that can (``part_vit``).
        compile: Run the network through ``torch.compile`` while it trains.
        tensorboard: Write the metrics as curves, too, into the folder ``tensorboard`` of the run.
        device: As for ``xzoo.create``, where ``model`` is a name or a run folder.
        allow_licences: As for ``xzoo.create``.

    Raises:
        NotFound, OptionError: A name or an argument that cannot be meant.
        RecipeError: The recipe has faults; all are listed.
        DataError: The data cannot be trained on.
        RunError: ``output`` is in use, or holds a run with other settings.
        MissingExtra: ``tensorboard`` is not installed.
        TrainingStopped: The loss is no longer a number; names the files of the batch.
        KeyboardInterrupt: Ctrl-C; a checkpoint was written, and the message says how to go on.

    Example:
        >>> run = xzoo.finetune("hybrid_fr_t2v", "faces.csv", lora=True)  # doctest: +SKIP
    """
    if resume and output is None:
        raise errors.OptionError("resume=True without output", why="It is the folder to go on in.", do="output=FOLDER")
    if tensorboard:
        Board.require()
    manifest = _cross_spectral(data if isinstance(data, Manifest) else Manifest.read(data))
    parts = hold_out(manifest)
    plan = _recipe(recipe, lora=lora, steps=steps, epochs=epochs, batch=batch, lr=lr, train=parts.train, seed=seed)
    plan = processes.launched(plan)
    world, place = processes.here()
    student = _student(model, pretrained, device, allow_licences)
    if checkpointing:
        student.set_grad_checkpointing()
    if place is not None and device is None:
        student.to(place)
    if recipe is None and list(student.groups()) == ["all"]:
        # Somebody's own network: it has no stages to choose from.
        plan = plan.with_({"stages.*.train": {**plan.stages[0].train.model_dump(), "groups": "all"}})
    _rehearse(student, plan, parts, seed, evaluate)
    settings = {
        "model": student.origin.name,
        "base_sha256": student.weights_sha256,
        "data_sha256": parts.manifest.hash,
        **own_preprocess(student),
        "seed": seed,
        "recipe": plan.model_dump(mode="json"),
    }

    folder = _free(student, plan) if output is None else hub.as_path(output, "output")
    found = open_folder(folder, settings, resume)
    processes.wait(world)
    if found is not None and found["state"] == "done":
        return Run.open(folder)
    options = engine.Options(world=world, compile=compile)
    work = Work(
        folder, plan, student, parts, settings, options, measured=evaluate, tensorboard=tensorboard, found=found
    )
    # The caller's own random numbers go on as if nothing had happened.
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return work.run()


# --- what to do --------------------------------------------------------------------------------


def _cross_spectral(manifest: Manifest) -> Manifest:
    if SOURCE not in manifest.spectra or len(manifest.spectra) < 2:
        raise errors.DataError(
            f"{str(manifest.root)!r} cannot be fine-tuned on.",
            why=f"Training brings another spectrum to {SOURCE}: both are needed.",
            exists=f"spectra of the manifest: {' '.join(manifest.spectra)}",
        )
    return manifest


def _recipe(
    recipe: str | Path | Recipe | None,
    *,
    lora: bool | int,
    steps: int | None,
    epochs: int | None,
    batch: int | None,
    lr: float | None,
    train: Manifest,
    seed: int,
) -> Recipe:
    """Return the recipe with the caller's wishes in it."""
    plan = recipe if isinstance(recipe, Recipe) else recipes.load(DEFAULT_RECIPE if recipe is None else recipe)
    changes: dict[str, Any] = {}
    if not isinstance(lora, int) or (lora < 1 and lora is not False):
        raise errors.OptionError(f"lora={lora!r}", why="It is True, False, or a rank: a whole number from 1.")
    if lora is not False:
        low_rank = plan.lora.train.model_dump()
        if lora is not True:
            low_rank["lora"] = {**low_rank["lora"], "rank": lora, "alpha": 2.0 * lora}
        changes |= {"stages.*.train": low_rank, "stages.*.optimiser.lr": plan.lora.lr}
    if batch is not None:
        changes["stages.*.batch.size"] = batch
    if lr is not None:
        changes["stages.*.optimiser.lr"] = lr
    plan = plan.with_(changes) if changes else plan
    if steps is None and epochs is None:
        return plan
    if steps is not None and epochs is not None:
        raise errors.OptionError(f"steps={steps!r} and epochs={epochs!r}", why="One of them says how long.")
    if len(plan.stages) > 1:
        raise errors.OptionError(
            f"steps or epochs for recipe {plan.recipe!r}",
            why=f"It has {len(plan.stages)} stages, each with its own.",
            do=f'recipe=recipes.load({plan.recipe!r}).with_({{"stages.{plan.stages[0].name}.steps": 100}})',
        )
    if epochs is not None:
        if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
            raise errors.OptionError(f"epochs={epochs!r}", why="It is a whole number from 1.")
        steps = epochs * engine.draw(plan.stages[0], train, SOURCE, seed).steps_per_epoch
    return plan.with_({"stages.*.steps": steps})


def _student(
    model: str | Path | Embedder,
    pretrained: bool | str | Path | None,
    device: str | torch.device | None,
    allow_licences: str | Iterable[str] | None,
) -> Embedder:
    """Return the network to train, the caller's own left as it is."""
    if isinstance(model, str | Path):
        from xzoo.models import create

        return create(
            model,
            pretrained=True if pretrained is None else pretrained,
            device=device,
            allow_licences=allow_licences,
        )
    if not isinstance(model, Embedder) or not hasattr(model, "origin"):
        raise errors.OptionError(
            f"finetune({type(model).__name__})",
            why="It is a name, a run folder, or what xzoo.create returned.",
            do="xzoo.register(name, build) makes a network of your own known",
        )
    if pretrained is not None:
        raise errors.OptionError(
            f"pretrained={pretrained!r} for a network that is built already", do="xzoo.create(name, pretrained=...)"
        )
    return copy.deepcopy(model)


def _rehearse(student: Embedder, plan: Recipe, parts: Parts, seed: int, measured: bool) -> None:
    """Find what does not fit together before anything is written."""
    if plan.beyond_finetuning:
        raise errors.OptionError(
            f"fine-tuning by recipe {plan.recipe!r}",
            why="; ".join(plan.beyond_finetuning) + ".",
            do="xzoo.distill(student=..., recipe=..., data=...), or xzoo run RECIPE.yaml",
        )
    for stage in plan.stages:
        engine.draw(stage, parts.train, SOURCE, seed)
    probes = parts.probes(SOURCE)
    if measured and not probes:
        raise errors.DataError(
            f"split {parts.evaluated!r} of {str(parts.manifest.root)!r} has {SOURCE} images alone.",
            why="Figures are taken by comparing other spectra with them.",
            do="add images of another spectrum to it, or evaluate=False",
        )
    for spectrum in probes if measured else ():
        choose(parts.manifest, Side(SOURCE), Side(spectrum), parts.evaluated)
    fresh = not student.adapters
    with torch.random.fork_rng():
        adapter = put_adapter(student, plan.stages[0].train)
    if fresh:
        adapters.detach(student, adapter.name)


# --- the folder --------------------------------------------------------------------------------


def _free(student: Embedder, plan: Recipe) -> Path:
    """Return a run folder that does not exist yet."""
    stem = f"{student.card.name.replace('/', '-')}-{plan.recipe}"
    number = 1
    while (folder := Path("runs") / f"{stem}-{number:03d}").exists():
        number += 1
    return folder
