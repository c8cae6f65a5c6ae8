"""What several verbs share: their common options, and how facts are printed."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from xzoo.catalog.names import SPECTRA

if TYPE_CHECKING:
    from xzoo.families.base import Embedder

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else on stdout.")
spectrum = click.option("--spectrum", type=click.Choice(SPECTRA), help="Spectral band.")
pretrained = click.option(
    "--pretrained",
    metavar="WHAT",
    help="A tag, a file, hf-hub:org/repo, or 'no' for random weights. Default: the card's default tag.",
)
licences = click.option(
    "--allow-licence", "allow_licences", multiple=True, metavar="ID", help="Allow only these licences (repeat)."
)
device = click.option("--device", help="cpu, cuda, cuda:1, mps ... Default: cpu.")
batch = click.option("--batch", type=click.IntRange(min=1), help="Images (evaluate, embed) or pairs (finetune) a step.")
reader_options = click.option(
    "--option", "options", multiple=True, metavar="KEY=VALUE", help="An option of the data set's reader (repeat)."
)
GENERATED = "generated people, who show that the method works and nothing of its rates"
"""What a published table was run on where no data are given."""

data = click.option("--data", required=True, metavar="MANIFEST", help="A csv, a parquet or a folder.")


def settings(words: Sequence[str]) -> dict[str, str | int]:
    """Return ``KEY=VALUE`` words as options; whole numbers as such."""
    found: dict[str, str | int] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not key or not equals:
            raise click.UsageError(f"--option {word!r} is not KEY=VALUE.")
        found[key] = int(value) if value.isdigit() else value
    return found


def emit(facts: Mapping[str, object] | Sequence[object], *, as_json: bool, text: str) -> None:
    """Print facts once: as JSON for programs, or as text for people."""
    click.echo(json.dumps(facts, indent=2, ensure_ascii=False, default=str) if as_json else text)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows in aligned columns; the last is ragged, and cut where a terminal ends."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header) - 1)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=True)), row[-1]]).rstrip()
        for row in [header, *rows]
    ]
    if sys.stdout.isatty():
        room = shutil.get_terminal_size().columns
        lines = [line if len(line) <= room else f"{line[: room - 3]}..." for line in lines]
    return "\n".join(lines)


def lines(facts: Mapping[str, object], indent: str = "") -> str:
    """Return nested facts as ``key: value`` lines."""
    out: list[str] = []
    for key, value in facts.items():
        if isinstance(value, Mapping) and value:
            out += [f"{indent}{key}:", lines(value, indent + "  ")]
        elif isinstance(value, (list, tuple)) and value and isinstance(value[0], Mapping):
            out.append(f"{indent}{key}:")
            for item in value:
                first, *rest = lines(item, indent + "    ").splitlines()
                out += [f"{indent}  - {first.strip()}", *rest]
        else:
            shown = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
            out.append(f"{indent}{key}: {'not reported' if shown is None or shown == '' else shown}")
    return "\n".join(out)


def megabytes(count: int | None) -> str:
    """Return a number of bytes as people read it."""
    if count is None:
        return "?"
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def is_run(name: str) -> bool:
    """Tell whether a name given on the command line is the folder of a run."""
    return (Path(name) / "run.json").is_file()


def weights(pretrained: str | None) -> bool | str | None:
    """Return what ``--pretrained`` means: None where it was left out, False for 'no'."""
    return False if pretrained == "no" else pretrained


def model(
    name: str, pretrained: str | None, *, device: str | None = None, allow_licences: Sequence[str] = ()
) -> Embedder:
    """Create the model that a verb works on: a catalogue name with its published weights, or a run folder."""
    from xzoo.models import create

    asked = weights(pretrained)
    return create(
        name,
        pretrained=True if asked is None else asked,
        device=device,
        allow_licences=allow_licences or None,
    )
