"""``xzoo landmarks``: pictures in, points drawn on them or told as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from xzoo.cli.shared import as_json, device, emit, licences, model, pretrained
from xzoo.errors import OptionError


@click.command()
@click.argument("image", type=click.Path())
@click.option(
    "--model",
    "name",
    default="thermal_fld_lite",
    show_default=True,
    help="A landmark network; rgb_fld_lite is for visible light.",
)
@click.option("--out", type=click.Path(dir_okay=False), help="Draw the points into this PNG.")
@click.option("--points", type=click.Choice(["5", "54", "68", "70"]), help="Convention; the network's own if left out.")
@click.option("--box", nargs=4, type=int, metavar="X Y W H", help="A detector's box; the whole picture if left out.")
@click.option("--passes", type=click.IntRange(min=1), default=1, help="Looks; each after the first crops anew.")
@click.option("--mirrored", is_flag=True, help="Tell the mean of the crop's points and its mirror image's.")
@pretrained
@device
@licences
@as_json
def command(
    image: str,
    name: str,
    out: str | None,
    points: str | None,
    box: tuple[int, int, int, int] | None,
    passes: int,
    mirrored: bool,
    pretrained: str | None,
    device: str | None,
    allow_licences: tuple[str, ...],
    as_json: bool,
) -> None:
    """Find the landmarks of the face in IMAGE, in its own pixels.

    The picture is a crop of one face, or --box says where the face is.
    """
    if out is not None and Path(out).suffix.lower() != ".png":
        raise OptionError(f"--out {out!r}", why="Points are drawn into a PNG.")
    from xzoo.families.landmark.model import LandmarkNet

    network = model(name, pretrained, device=device, allow_licences=allow_licences)
    if not isinstance(network, LandmarkNet):
        raise OptionError(
            f"landmarks by {name!r}", why="It is no landmark network.", do="xzoo ls --task face-landmarks"
        )
    found = network.find(
        image,
        boxes=[box] if box else None,
        points=int(points) if points else None,
        passes=passes,
        mirrored=mirrored,
    )
    if out is not None:
        _draw(image, found.points[0].tolist(), Path(out))
    told = [[round(x, 2), round(y, 2)] for x, y in found.points[0].tolist()]
    facts: dict[str, Any] = {"image": image, "points": told, "inside": found.inside[0].tolist()}
    if found.deviation is not None:
        facts["deviation"] = [round(value, 2) for value in found.deviation[0].tolist()]
    if out is not None:
        facts["out"] = out
    emit(facts, as_json=as_json, text=_table(facts))


def _table(facts: Mapping[str, Any]) -> str:
    rows: list[tuple[list[float], bool]] = list(zip(facts["points"], facts["inside"], strict=True))
    lines = [f"{n:3d}  {x:8.2f}  {y:8.2f}{'' if seen else '  outside'}" for n, ((x, y), seen) in enumerate(rows)]
    return "\n".join([*lines, *([f"drawn: {facts['out']}"] if "out" in facts else [])])


def _draw(image: str, points: list[list[float]], out: Path) -> None:
    """Draw points on the picture, enlarged to at least 448 pixels so that they can be told apart."""
    from PIL import Image, ImageDraw

    from xzoo.data.images import read_image
    from xzoo.hub import atomic_write

    picture = Image.fromarray(read_image(image))
    scale = max(1, -(-448 // max(picture.size)))
    picture = picture.resize((picture.width * scale, picture.height * scale))
    pen, radius = ImageDraw.Draw(picture), max(2, max(picture.size) // 220)
    for x, y in points:
        across, down = (x + 0.5) * scale, (y + 0.5) * scale
        pen.ellipse([across - radius, down - radius, across + radius, down + radius], fill=(255, 60, 40))
    with atomic_write(out) as partial:
        picture.save(partial, format="PNG")
