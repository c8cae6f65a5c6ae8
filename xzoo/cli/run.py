"""``xzoo run``: carry out a recipe."""

from __future__ import annotations

import click

from xzoo.cli.shared import as_json, data, device, emit, licences, weights

__all__ = ["command"]


@click.command("run", short_help="Carry out a recipe: teachers, students, stages.")
@click.argument("recipe")
@data
@click.option("--student", metavar="NAME", help="A network of the catalogue or a run folder, in place of the recipe's.")
@click.option("--teacher", metavar="NAME", help="Likewise, for recipes that say 'teacher: given'.")
@click.option("--pretrained", metavar="WHAT", help="Of the student: a tag, a file, or 'no' for random weights.")
@click.option(
    "--set", "changes", multiple=True, metavar="PLACE=VALUE", help="Change the recipe, as in stages.*.steps=50."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--output", type=click.Path(file_okay=False), help="The run folder. Default: a new one in runs/.")
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint in --output.")
@click.option(
    "--cache", type=click.Path(file_okay=False), help="Folder of teachers' answers. Default: in xzoo's cache."
)
@click.option("--no-evaluation", "unmeasured", is_flag=True, help="Take no figures.")
@click.option("--compile", "compiled", is_flag=True, help="Run the student through torch.compile.")
@click.option("--tensorboard", is_flag=True, help="Write the metrics as curves for TensorBoard, too.")
@device
@licences
@as_json
def command(
    recipe: str,
    data: str,
    student: str | None,
    teacher: str | None,
    pretrained: str | None,
    changes: tuple[str, ...],
    seed: int,
    output: str | None,
    resume: bool,
    cache: str | None,
    unmeasured: bool,
    compiled: bool,
    tensorboard: bool,
    device: str | None,
    allow_licences: tuple[str, ...],
    as_json: bool,
) -> None:
    """Carry out RECIPE (a name or a YAML file) on a manifest of your own."""
    from xzoo.cards.schema import load_yaml
    from xzoo.training import distill

    places = {}
    for word in changes:
        place, equals, value = word.partition("=")
        if not place or not equals:
            raise click.UsageError(f"--set {word!r} is not PLACE=VALUE.")
        places[place] = load_yaml(value, f"--set {place}")
    asked = weights(pretrained)
    run = distill(
        recipe=recipe,
        data=data,
        student=student,
        teacher=teacher,
        changes=places,
        seed=seed,
        output=output,
        resume=resume,
        pretrained=True if asked is None else asked,
        cache=cache,
        evaluate=not unmeasured,
        compile=compiled,
        tensorboard=tensorboard,
        device=device,
        allow_licences=allow_licences or None,
    )
    reports = {"before": run.before, "after": run.after}
    facts = {"run": run.folder, **{when: report and report.to_dict() for when, report in reports.items()}}
    text = [f"{when}\n{report or 'not evaluated'}\n" for when, report in reports.items()]
    emit(facts, as_json=as_json, text="\n".join([*text, f"run: {run.folder}"]))
