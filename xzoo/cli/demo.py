"""``xzoo demo``: the whole main job, on people who do not exist."""

from __future__ import annotations

import itertools
from functools import partial
from pathlib import Path

import click

from xzoo.cli.shared import as_json, emit, table


@click.command()
@click.option("--output", type=click.Path(file_okay=False), default="demo", show_default=True, help="Folder to fill.")
@click.option("--people", "count", type=click.IntRange(min=8), default=64, show_default=True, help="How many people.")
@click.option("--steps", type=click.IntRange(min=1), default=40, show_default=True, help="Training steps.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@as_json
def command(output: str, count: int, steps: int, seed: int, as_json: bool) -> None:
    """Generate people, fine-tune on their pairs with LoRA, and show what it brought.

    The thermal camera is one that the house weights never saw: white and black
    swapped, and a coarse sensor. Needs no network and a few minutes of CPU.
    """
    from xzoo.data import people
    from xzoo.models import create
    from xzoo.training import finetune

    folder = _free(Path(output))
    say = partial(click.echo, err=True)
    say(f"1/3  generating {count} people, visible and thermal ...")
    manifest = people.write(folder / "people", subjects=count, samples=2, size=112, camera="blackhot_lowres", seed=seed)
    say(f"2/3  fine-tuning hybrid_fr_t2v with LoRA, {steps} steps ...")
    model = create("hybrid_fr_t2v", pretrained=True)
    run = finetune(model, manifest, lora=True, steps=steps, seed=seed, output=folder / "run")
    say("3/3  done.\n")
    before, after = run.facts["before"], run.facts["after"]
    figures = {"rank-1": "rank1", "rank-5": "rank5", "equal error rate": "eer"}
    rows = [(label, f"{before[key]:.1%}", f"{after[key]:.1%}") for label, key in figures.items()]
    picture = run.folder / "picture.png"
    facts = {
        "run": run.folder,
        "before": before,
        "after": after,
        "picture": picture if picture.is_file() else None,
    }
    text = [
        f"LWIR probes against a VIS gallery, {after['n_probe']} probes of people not seen in training:",
        "",
        table(("", "before", "after"), rows),
        "",
        f"picture: {picture}" if picture.is_file() else "no picture: pip install 'xzoo[plots]'",
        f"try:     xzoo show {run.folder}",
    ]
    emit(facts, as_json=as_json, text="\n".join(text))


def _free(folder: Path) -> Path:
    """Return the folder, or the first of folder-2, folder-3 ... that is not there: nothing is overwritten."""
    numbered = (folder.with_name(f"{folder.name}-{number}") for number in itertools.count(2))
    return next(each for each in itertools.chain([folder], numbered) if not each.exists())
