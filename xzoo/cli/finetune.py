"""``xzoo finetune``: from a name and a manifest to a run folder."""

from __future__ import annotations

import click

from xzoo.cli.shared import as_json, batch, data, device, emit, licences, pretrained, weights


@click.command()
@click.argument("name")
@data
@pretrained
@click.option("--recipe", metavar="NAME|FILE", help="A recipe of the catalogue, or a YAML file of yours.")
@click.option("--lora", is_flag=True, help="Train a LoRA adapter and leave the base as it is.")
@click.option("--steps", type=click.IntRange(min=1), help="Optimiser steps (or --epochs).")
@click.option("--epochs", type=click.IntRange(min=1), help="Passes over the data (or --steps).")
@batch
@click.option("--lr", type=click.FloatRange(min=0, min_open=True), help="Learning rate, in place of the recipe's.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--output", type=click.Path(file_okay=False), help="The run folder. Default: a new one in runs/.")
@click.option("--resume", is_flag=True, help="Go on from the checkpoint in --output.")
@click.option("--compile", "compiled", is_flag=True, help="Run the network through torch.compile.")
@click.option("--tensorboard", is_flag=True, help="Write the metrics as curves for TensorBoard, too.")
@click.option("--checkpointing", is_flag=True, help="Less memory, more time: compute activations twice (part_vit).")
@device
@licences
@as_json
def command(
    name: str,
    data: str,
    pretrained: str | None,
    recipe: str | None,
    lora: bool,
    steps: int | None,
    epochs: int | None,
    batch: int | None,
    lr: float | None,
    seed: int,
    output: str | None,
    resume: bool,
    compiled: bool,
    tensorboard: bool,
    checkpointing: bool,
    device: str | None,
    allow_licences: tuple[str, ...],
    as_json: bool,
) -> None:
    """Fine-tune NAME (or a run folder) on a manifest of your own."""
    from xzoo.training import finetune

    run = finetune(
        name,
        data,
        lora=lora,
        recipe=recipe,
        steps=steps,
        epochs=epochs,
        batch=batch,
        lr=lr,
        seed=seed,
        output=output,
        resume=resume,
        pretrained=weights(pretrained),
        compile=compiled,
        tensorboard=tensorboard,
        checkpointing=checkpointing,
        device=device,
        allow_licences=allow_licences or None,
    )
    reports = {"before": run.before, "after": run.after}
    facts = {"run": run.folder, **{when: report and report.to_dict() for when, report in reports.items()}}
    text = [f"{when}\n{report or 'not evaluated: no images are held out'}\n" for when, report in reports.items()]
    emit(facts, as_json=as_json, text="\n".join([*text, f"run: {run.folder}"]))
