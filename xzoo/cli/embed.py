"""``xzoo embed``: images in, one file of embeddings out."""

from __future__ import annotations

from pathlib import Path

import click

from xzoo.cli.shared import as_json, batch, device, emit, licences, lines, model, pretrained, spectrum
from xzoo.errors import MissingFile, OptionError


@click.command()
@click.argument("name")
@click.argument("images", nargs=-1, type=click.Path())
@click.option("--data", metavar="MANIFEST", help="Embed the rows of a manifest instead of IMAGES.")
@click.option("--output", type=click.Path(dir_okay=False), default="embeddings.npz", show_default=True)
@click.option("--align", metavar="NAME", help="Landmark network that aligns raw crops, such as thermal_fld_lite.")
@spectrum
@pretrained
@batch
@device
@licences
@as_json
def command(
    name: str,
    images: tuple[str, ...],
    data: str | None,
    output: str,
    align: str | None,
    spectrum: str | None,
    pretrained: str | None,
    batch: int | None,
    device: str | None,
    allow_licences: tuple[str, ...],
    as_json: bool,
) -> None:
    """Embed IMAGES (files and folders) with NAME or a run folder.

    Writes ``embeddings`` float32 [N, D], of unit length, and ``paths`` to an
    .npz file that numpy reads without pickle. With --align, faces are moved to
    the network's template by the points that NAME finds; rows of a manifest
    that know five points keep theirs.
    """
    if bool(images) == bool(data):
        raise click.UsageError("Give either IMAGES or --data, one of the two.")
    if data and spectrum:
        raise click.UsageError("A manifest has its own spectra: leave --spectrum out.")
    if not output.endswith(".npz"):
        raise OptionError(f"--output {output!r}", why="Embeddings are written as .npz.")
    import numpy as np

    from xzoo.data.align import finder, located
    from xzoo.data.images import load_raw
    from xzoo.data.manifest import Manifest
    from xzoo.hub import atomic_write

    manifest = Manifest.read(data) if data else None
    paths = [str(path) for path in manifest.paths] if manifest else _files(images)
    network = model(name, pretrained, device=device, allow_licences=allow_licences)
    size = batch or 64
    points = None
    if align is not None:
        points = finder(model(align, None, device=device, allow_licences=allow_licences), network.preprocess)
        manifest = located(manifest, points, batch_size=size) if manifest else None
    embeddings = network.embed(
        paths if points and not manifest else load_raw(manifest or paths, network.preprocess),
        spectrum=[row.spectrum for row in manifest.rows] if manifest else spectrum,
        batch_size=size,
        align=None if manifest else points,
    )
    with atomic_write(Path(output)) as partial, open(partial, "wb") as file:
        np.savez(file, embeddings=embeddings.numpy(), paths=np.array(paths))
    facts = {"output": output, "images": len(paths), "dimensions": embeddings.shape[1]}
    emit(facts, as_json=as_json, text=lines(facts))


def _files(images: tuple[str, ...]) -> list[str]:
    """Return image files in the order given, folders in the order of their names."""
    from xzoo.data.images import SUFFIXES

    found: list[str] = []
    for name in images:
        path = Path(name)
        if not path.exists():
            raise MissingFile(f"no image file {name!r}.")  # said before weights are fetched
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        inside = [file for file in inside if file == path or file.suffix.lower() in SUFFIXES]
        if not inside:
            raise MissingFile(f"no images in {name!r}.", exists=f"files looked for: {' '.join(SUFFIXES)}")
        found += map(str, inside)
    return found
