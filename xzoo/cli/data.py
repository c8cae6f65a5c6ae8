"""``xzoo data``: check or write a manifest, cut people out of frames, make a set of people who do not exist."""

from __future__ import annotations

from typing import Any, Literal

import click

from xzoo.catalog.names import natural_key
from xzoo.cli.shared import as_json, emit, lines, reader_options, settings
from xzoo.cli.shared import device as shared_device
from xzoo.cli.shared import spectrum as shared_spectrum
from xzoo.errors import DataError, OptionError, problems


@click.group()
def command() -> None:
    """Look after manifests, and make generated people."""


@command.command()
@click.argument("manifest")
@click.option("--deep", is_flag=True, help="Also decode every image, and report images with equal bytes.")
@click.option(
    "--reader", metavar="NAME", help="MANIFEST is the root of a data set as its owner ships it: llcm, regdb ..."
)
@reader_options
@as_json
def check(manifest: str, deep: bool, reader: str | None, options: tuple[str, ...], as_json: bool) -> None:
    """Check MANIFEST (csv, parquet or folder): every fault at once, with its row.

    With --reader: counts beside the published ones, missing and unreadable files.
    """
    if reader is not None:
        _check_set(reader, manifest, deep, settings(options), as_json)
        return
    if options:
        raise click.UsageError("--option is one of a --reader.")
    from xzoo.data.manifest import Manifest

    found = Manifest.check(manifest, deep=deep)
    facts = {
        "manifest": manifest,
        "images": found.rows,
        "subjects": found.subjects,
        "splits": found.counts,
        "notes": list(found.notes),
        "problems": list(found.problems),
    }
    shown = {key: value for key, value in facts.items() if value and key != "problems"}
    emit(facts, as_json=as_json, text=lines(shown))
    if found.problems:
        faults = f"{len(found.problems)} fault{'s' if len(found.problems) > 1 else ''}"
        raise DataError(
            f"manifest {manifest!r} has {faults}",
            why=problems(found.problems, limit=len(found.problems)),
            do="mend the rows above and check it again",
        )


def _check_set(reader: str, root: str, deep: bool, options: dict[str, str | int], as_json: bool) -> None:
    from xzoo.data import readers

    found = readers.check(reader, root, deep=deep, **options)
    emit(found.to_dict(), as_json=as_json, text=str(found))
    if not found.ok:
        raise DataError(
            f"{reader} in {root!r} is not whole",
            why=f"{len(found.differences)} counts differ from the published ones; {len(found.missing)} files are "
            f"missing, {len(found.unreadable)} cannot be read; the lists have {len(found.faults)} faults",
            do="see above",
        )


@command.command("list")
@click.argument("reader")
@click.argument("root")
@click.argument("out", type=click.Path(dir_okay=False))
@reader_options
@click.option("--fold", help="Only the rows of this division, of a set that has several (regdb).")
@click.option("--split", "renamed", multiple=True, metavar="OLD=NEW", help="Count a split as another one (repeat).")
@as_json
def list_(
    reader: str,
    root: str,
    out: str,
    options: tuple[str, ...],
    fold: str | None,
    renamed: tuple[str, ...],
    as_json: bool,
) -> None:
    """Write what READER reads in ROOT, a data set as its owner ships it, as a manifest OUT.

    \b
    xzoo data list llcm /data/LLCM llcm.csv
    xzoo data list regdb /data/RegDB one.csv --fold 1
    xzoo data list sysu_mm01 /data/SYSU-MM01 sysu.csv --split val=train
    """  # noqa: D301  (\\b tells click to keep the lines)
    from dataclasses import replace

    from xzoo.data import readers
    from xzoo.data.manifest import Manifest

    manifest = readers.read(reader, root, **settings(options))
    if fold is not None:
        rows = tuple(row for row in manifest.rows if row.fold == fold)
        if not rows:
            folds = sorted({row.fold for row in manifest.rows if row.fold is not None}, key=natural_key)
            raise OptionError(
                f"--fold {fold} of {reader} in {root!r}",
                why="no image belongs to it",
                exists=", ".join(folds) or "one division, without a number",
            )
        manifest = Manifest(rows, manifest.root)
    for word in renamed:
        old, equals, new = word.partition("=")
        if not equals or not new or old not in manifest.splits:
            raise OptionError(
                f"--split {word!r} of {reader} in {root!r}",
                why="it is not OLD=NEW with a split that is there",
                exists=", ".join(manifest.splits) or "no splits",
            )
        rows = tuple(replace(row, split=new) if row.split == old else row for row in manifest.rows)
        manifest = Manifest(rows, manifest.root)
    file = manifest.write_csv(out)
    facts = {"manifest": str(file), "images": len(manifest), "subjects": len(manifest.subjects)}
    emit(facts, as_json=as_json, text=lines({**facts, "try": f"xzoo data check {file}"}))


@command.command()
@click.argument("name")
@click.argument("folder", metavar="OUT", type=click.Path(file_okay=True))
@click.option("--subjects", type=click.IntRange(1, 1_000_000), default=8, show_default=True, help="How many people.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="The world.")
@click.option("--option", "options", multiple=True, metavar="KEY=VALUE", help="An option of the layout (repeat).")
@as_json
def layout(name: str, folder: str, subjects: int, seed: int, options: tuple[str, ...], as_json: bool) -> None:
    """Fill OUT with generated people in the folders and files of data set NAME.

    \b
    xzoo data layout llcm mini --subjects 9 --option cameras=3
    xzoo evaluate pixels --data mini --protocol llcm.A.v2i
    """  # noqa: D301  (\\b tells click to keep the lines)
    from xzoo.data.people import layouts

    further: dict[str, Any] = settings(options)
    if stray := further.keys() & {"draw", "progress"}:
        raise OptionError(f"option {stray.pop()!r} of layout {name!r}", why="it is one of the library alone")
    root = layouts.write(name, folder, subjects=subjects, seed=seed, **further)
    emit({"layout": name, "folder": str(root)}, as_json=as_json, text=f"{name} in {root}")


@command.command()
@click.argument("frames", type=click.Path())
@click.argument("boxes", type=click.Path())
@click.argument("folder", metavar="OUT", type=click.Path(file_okay=True))
@click.option("--faces", type=click.Path(), help="Annotated faces with subjects, in a file like BOXES.")
@click.option("--score", type=float, default=0.25, show_default=True, help="Least confidence of a box.")
@click.option(
    "--overlap",
    type=click.Choice(["face", "iou"]),
    default="face",
    show_default=True,
    help="Of a face with a body: as a share of the face, or over the union.",
)
@shared_spectrum
@click.option("--crops/--no-crops", default=True, show_default=True, help="Cut people out, or name frames and boxes.")
@as_json
def boxes(
    frames: str,
    boxes: str,
    folder: str,
    faces: str | None,
    score: float,
    overlap: Literal["face", "iou"],
    spectrum: str | None,
    crops: bool,
    as_json: bool,
) -> None:
    """Cut the people in BOXES, a detector's, out of the images below FRAMES; write them with a manifest to OUT.

    BOXES is a csv (frame,x,y,w,h,score) or COCO's json. A body belongs to the face that lies in it; bodies with two
    faces, or none, are left out. What is left out is counted.

    \b
    xzoo data boxes frames people.csv walks --faces faces.csv --spectrum LWIR
    """  # noqa: D301  (\\b tells click to keep the lines)
    from xzoo.data.frames import crop_people

    found = crop_people(
        frames, boxes, folder, faces=faces, score=score, overlap=overlap, spectrum=spectrum, crops=crops
    )
    facts = found.to_dict()
    counts = {"manifest": facts["manifest"]} | {key: facts[key] for key in ("people", "subjects", "frames")}
    text = "\n".join([lines(counts), *(f"note: {note}" for note in found.notes)])
    emit(facts, as_json=as_json, text=f"{text}\ntry: xzoo data check {folder}")


class _Several(click.Command):
    """A command whose repeatable options also take several values after one word: ``--domains VIS LWIR``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Repeat the option before each of its values."""
        repeatable = {name for each in self.params if getattr(each, "multiple", False) for name in each.opts}
        spread: list[str] = []
        option, fresh = "", False  # the option whose values these are; whether it still waits for its first
        for word in args:
            if word.startswith("-"):
                option, fresh = (word, True) if word in repeatable else ("", False)
            elif option and not fresh:
                spread.append(option)
            else:
                fresh = False
            spread.append(word)
        try:
            return super().parse_args(ctx, spread)
        except click.MissingParameter as missing:
            if missing.param is not None and missing.param.name == "folder" and spread != args:
                raise click.UsageError("no folder to fill; name it first: xzoo data synth OUT ...", ctx) from missing
            raise


@command.command(cls=_Several)
@click.argument("folder", metavar="OUT", type=click.Path(file_okay=True))
@click.option("--subjects", type=click.IntRange(1, 1_000_000), default=64, show_default=True, help="How many people.")
@click.option(
    "--per-domain", type=click.IntRange(1, 999), default=2, show_default=True, help="Pictures of each in each domain."
)
@click.option(
    "--domains",
    multiple=True,
    metavar="NAME...",
    default=("VIS", "LWIR"),
    show_default=True,
    help="Bands VIS NIR SWIR MWIR LWIR, also at a distance: LWIR-500m.",
)
@click.option(
    "--distance",
    "distances",
    multiple=True,
    metavar="METRES...",
    type=click.IntRange(min=0),
    help="See every band that has no distance of its own from here; 0 is near.",
)
@click.option("--kind", type=click.Choice(["face", "body", "both"]), default="face", show_default=True)
@click.option(
    "--size",
    "sizes",
    multiple=True,
    metavar="SIZE...",
    help="112 for faces, 384x128 (height x width) for bodies.  [default: these]",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="The world; another has other people."
)
@click.option("--camera", default="house", show_default=True, help="The sensors: house, blackhot_lowres.")
@click.option(
    "--bits",
    type=click.Choice(["8", "14", "16"]),
    default="8",
    show_default=True,
    help="14 or 16: raw counts of the sensors.",
)
@click.option("--tracks", type=click.IntRange(2, 999), metavar="FRAMES", help="A video track in place of each picture.")
@click.option("--sessions", is_flag=True, help="Picture n of all domains is taken in session n.")
@click.option(
    "--splits", multiple=True, metavar="NAME=SHARE...", default=("train=0.75", "test=0.25"), show_default=True
)
@click.option("--labels/--no-labels", default=True, show_default=True, help="Write labels.jsonl and what it holds.")
@shared_device
@as_json
def synth(
    folder: str,
    subjects: int,
    per_domain: int,
    domains: tuple[str, ...],
    distances: tuple[int, ...],
    kind: str,
    sizes: tuple[str, ...],
    seed: int,
    camera: str,
    bits: str,
    tracks: int | None,
    sessions: bool,
    splits: tuple[str, ...],
    labels: bool,
    device: str | None,
    as_json: bool,
) -> None:
    """Fill OUT with pictures of people who do not exist, a manifest, and labels.

    A call that was stopped is taken up by the same call, and ends in the same bytes.

    \b
    xzoo data synth people --subjects 100 --per-domain 4 --domains VIS LWIR
    xzoo data synth walks --kind both --size 112 384x128 --domains LWIR --distance 30 500 --tracks 16
    """  # noqa: D301  (\\b tells click to keep the lines)
    from xzoo.data import people

    face, body = _sizes(sizes, kind)
    manifest = people.write(
        folder,
        subjects=subjects,
        samples=per_domain,
        spectra=_at(domains, distances),
        size=face,
        body_size=body,
        seed=seed,
        camera=camera,
        splits=_shares(splits),
        kind=kind,
        bits=int(bits),
        tracks=tracks,
        sessions=sessions,
        labels=labels,
        device=device,
    )
    with open(manifest, encoding="utf-8") as file:
        pictures = sum(1 for _ in file) - 1
    facts = {
        "manifest": manifest,
        "pictures": pictures,
        "labels": manifest.with_name("labels.jsonl") if labels else None,
    }
    shown = {key: value for key, value in facts.items() if value}
    emit(facts, as_json=as_json, text=lines({**shown, "try": f"xzoo data check {folder}"}))


def _at(domains: tuple[str, ...], distances: tuple[int, ...]) -> list[str]:
    """Return the domains, those without a distance at each of the distances."""
    suffixes = [f"-{metres}m" if metres else "" for metres in distances] or [""]
    return [name + suffix for name in domains for suffix in ([""] if "-" in name else suffixes)]


def _sizes(words: tuple[str, ...], kind: str) -> tuple[int, tuple[int, int]]:
    """Return the side of faces, and height and width of bodies."""
    face, body = 112, (384, 128)
    for word in words:
        sides = word.lower().split("x")
        if len(sides) > 2 or not all(side.isdecimal() and len(side) < 6 for side in sides):
            raise _wrong_size(word, "it is neither a side nor HEIGHTxWIDTH")
        if len(sides) == 2 and (kind != "face" or sides[0] != sides[1]):
            if kind == "face":
                raise _wrong_size(word, "faces are square")
            body = (int(sides[0]), int(sides[1]))
        elif kind == "body":
            raise _wrong_size(word, "bodies have a height and a width")
        else:
            face = int(sides[0])
    return face, body


def _wrong_size(word: str, why: str) -> OptionError:
    return OptionError(
        f"--size {word!r} of generated people", why=why, exists="112 for faces, 384x128 for bodies", do="--size 112"
    )


def _shares(words: tuple[str, ...]) -> dict[str, float]:
    shares: dict[str, float] = {}
    for word in words:
        name, _, share = word.partition("=")
        try:
            shares[name] = float(share)
        except ValueError as fault:
            raise OptionError(
                f"--splits {word!r} of generated people",
                why="it is not NAME=SHARE",
                do="--splits train=0.75 test=0.25",
            ) from fault
    return shares
