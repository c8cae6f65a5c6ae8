"""``xzoo recipe``: see, check and copy recipes."""

from __future__ import annotations

from pathlib import Path

import click

from xzoo.cli.shared import as_json, emit, table

__all__ = ["command"]


@click.group("recipe", short_help="See, check and copy recipes.")
def command() -> None:
    """See, check and copy recipes."""


@command.command("ls")
@as_json
def _ls(as_json: bool) -> None:
    """List the recipes of the zoo."""
    from xzoo import recipes

    found = [recipes.load(name) for name in recipes.names()]
    rows = [(plan.recipe, " ".join(stage.name for stage in plan.stages), plan.summary) for plan in found]
    facts = [{"recipe": name, "stages": stages.split(), "summary": summary} for name, stages, summary in rows]
    emit(facts, as_json=as_json, text=table(("recipe", "stages", "summary"), rows))


@command.command("show")
@click.argument("recipe")
@as_json
def _show(recipe: str, as_json: bool) -> None:
    """Print RECIPE as it is written; with --json, checked and with every default filled in."""
    from xzoo import recipes

    text = recipes.text(recipe)
    emit(recipes.load(recipe).model_dump(mode="json") if as_json else {}, as_json=as_json, text=text.rstrip("\n"))


@command.command("check")
@click.argument("recipe")
@click.option("--student", metavar="NAME", help="The student that will be given.")
@click.option("--teacher", metavar="NAME", help="The teacher that will be given.")
@as_json
def _check(recipe: str, student: str | None, teacher: str | None, as_json: bool) -> None:
    """Report every fault of RECIPE, shapes of networks and losses included; nothing is run or fetched."""
    from xzoo import recipes
    from xzoo.training import fit

    plan = fit.checked(lambda: recipes.load(recipe), student=student, teacher=teacher, complete=False)
    steps = f"{len(plan.stages)} stage{'s' * (len(plan.stages) > 1)}, {plan.steps} steps"
    emit({"recipe": plan.recipe, "faults": []}, as_json=as_json, text=f"{plan.recipe}: no faults; {steps}")


@command.command("copy")
@click.argument("recipe")
@click.argument("target", type=click.Path(dir_okay=False, path_type=Path))
def _copy(recipe: str, target: Path) -> None:
    """Copy RECIPE to the file TARGET, to be changed there."""
    from xzoo import recipes
    from xzoo.errors import OptionError
    from xzoo.hub import atomic_write

    text = recipes.text(recipe)
    if target.suffix not in (".yaml", ".yml"):
        raise OptionError(f"copy to {str(target)!r}", why="A recipe's file ends in .yaml.", do=f"{target}.yaml")
    if target.exists():
        raise OptionError(f"copy to {str(target)!r}", why="There is such a file already.", do="name a new file")
    with atomic_write(target) as part:
        part.write_text(text, encoding="utf-8")
    click.echo(target)


@command.command("schema")
def _schema() -> None:
    """Print the JSON Schema of recipes, for editors."""
    from xzoo.recipes.schema import json_schema

    emit(json_schema(), as_json=True, text="")
