"""What a set of generated people holds: domains, and which moment each picture shows."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import torch

from xzoo.catalog.names import SPECTRA as ORDER
from xzoo.catalog.names import as_strings
from xzoo.data.people import render
from xzoo.data.people.traits import SESSION
from xzoo.data.samplers import SEEDS
from xzoo.errors import OptionError, nearest

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "KINDS",
    "MOST_SAMPLES",
    "SESSION",
    "Domain",
    "Kind",
    "check",
    "draw",
    "kinds",
    "label",
    "parse",
    "rows",
    "whole",
]

Kind: TypeAlias = Literal["face", "body", "both"]
KINDS = ("face", "body", "both")

MOST_SAMPLES = 999
_BLOCK = 1000  # a multiple of SESSION, above MOST_SAMPLES
_MOMENTS = ("VIS", "LWIR", "NIR", "SWIR", "MWIR")  # the first two came first, and keep their numbers
_FARTHEST = 5000


class Domain(NamedTuple):
    """A band, seen from near or from a distance.

    Args:
        spectrum: One of the bands.
        distance: Metres; None is near.
    """

    spectrum: str
    distance: int | None = None

    @property
    def name(self) -> str:
        """``LWIR`` or ``LWIR-500m``."""
        return self.spectrum if self.distance is None else f"{self.spectrum}-{self.distance}m"

    def moment(self, number: int, *, sessions: bool, frames: bool) -> int:
        """Return the sample of the generator that is picture ``number`` of a person in this domain.

        Without ``sessions`` every picture is a moment of its own. With them, picture ``n`` of all
        domains belongs to session ``n``, and shows another moment of it in every band (at a
        distance: a moment that may be another band's near one).
        A track of frames moves from its moment to the next, which no other track begins with.
        """
        band = _MOMENTS.index(self.spectrum)
        if sessions:
            # The last moment of a session stays free, so that a track never runs into the next one.
            return number * SESSION + (band if self.distance is None else band + len(_MOMENTS)) % (SESSION - 1)
        block = _BLOCK * (band + len(_MOMENTS) * (self.distance or 0))
        return 2 * (block + number) if frames else block + number


def parse(names: str | Iterable[str]) -> tuple[Domain, ...]:
    """Return domains by name, each once, ordered by wavelength and distance.

    Raises:
        OptionError: No name, or one that is not ``BAND`` or ``BAND-DISTANCEm``.
    """
    found = {_one(name) for name in as_strings(names, "domains") or ()}
    if not found:
        raise OptionError(
            "no spectra of generated people", why="nothing would be drawn", exists=", ".join(_bands()), do="name one"
        )
    return tuple(sorted(found, key=lambda each: (ORDER.index(each.spectrum), each.distance or 0)))


def _bands() -> tuple[str, ...]:
    return tuple(band for band in ORDER if band in render.SPECTRA)


def _one(name: str) -> Domain:
    band, dash, far = name.partition("-")
    match = re.fullmatch(r"(\d{1,4})m", far)
    if band not in _bands() or (dash and not match):
        close = nearest(band.upper(), _bands())
        raise OptionError(
            f"domain {name!r} of generated people",
            why="it is neither a band nor BAND-DISTANCEm" if band in _bands() else "the generator has no such band",
            exists=f"{', '.join(_bands())}; each also at a distance, such as LWIR-500m",
            do=f"name {close[0] if close else _bands()[0]!r} instead",
        )
    if match is None:
        return Domain(band)
    metres = int(match[1])
    if not 1 <= metres <= _FARTHEST:
        raise OptionError(
            f"domain {name!r} of generated people",
            why=f"distances are whole metres from 1 to {_FARTHEST}",
            exists="a band alone is near",
            do=f"name {band}-30m or {band}-500m",
        )
    return Domain(band, metres)


def whole(value: object, name: str, least: int, most: int, do: str) -> int:
    """Return a whole number that is within bounds.

    Raises:
        OptionError: It is not; ``do`` says what to write instead.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise OptionError(
            f"{name}={value!r} of generated people", why=f"must be a whole number from {least} to {most}", do=do
        )
    return value


def pair(size: object) -> tuple[int, int]:
    """Return height and width.

    Raises:
        OptionError: They are not two possible numbers.
    """
    match size:
        case (int() as height, int() as width) if 32 <= height <= 1024 and 32 <= width <= 1024:
            return height, width
    raise OptionError(
        f"body_size={size!r} of generated people",
        why="must be height and width, from 32 to 1024 pixels",
        do="body_size=(384, 128)",
    )


def check(
    domains: Iterable[Domain],
    *,
    kind: str,
    size: int,
    body_size: tuple[int, int],
    seed: int,
    camera: str,
    bits: int,
) -> None:
    """Refuse what cannot be drawn, before anything is.

    Raises:
        OptionError: Naming what exists.
    """
    if kind not in KINDS:
        raise OptionError(f"kind={kind!r} of generated people", exists=", ".join(KINDS), do='kind="face"')
    whole(seed, "seed", 0, SEEDS, "seed=0")
    if bits not in (8, 14, 16) or isinstance(bits, bool):
        raise OptionError(
            f"bits={bits!r} of generated people", why="a sensor gives 8, 14 or 16 bits per pixel", do="bits=8"
        )
    if bits != 8 and kind != "face":
        raise OptionError(
            f"bits={bits} of generated bodies",
            why="bodies have 8 bits per pixel",
            exists="faces of 14 and 16",
            do="kind='face'",
        )
    none = torch.empty(0, dtype=torch.int64)
    for domain in domains:
        # Drawing nobody costs nothing, and asks the generator itself.
        for each in kinds(kind):
            draw(each, none, none, domain, size=size, body_size=body_size, seed=seed, camera=camera, bits=bits)


def kinds(kind: str) -> tuple[str, ...]:
    """Return the kinds of picture that each moment is drawn as."""
    return ("face", "body") if kind == "both" else (kind,)


def draw(
    kind: str,
    subjects: Tensor,
    samples: Tensor,
    domain: Domain,
    *,
    size: int,
    body_size: tuple[int, int],
    seed: int,
    camera: str,
    bits: int = 8,
    phase: Tensor | None = None,
    device: str | torch.device | None = None,
) -> Tensor:
    """Draw people of one kind in one domain: uint8 ``[B, 3, H, W]``, or int32 ``[B, 1, H, W]`` counts."""
    more: dict[str, Any] = {} if domain.distance is None else {"distance": domain.distance}
    if phase is not None:
        more["phase"] = phase
    if kind == "body":
        from xzoo.data.people.body import bodies

        return bodies(
            subjects, samples, domain.spectrum, size=body_size, seed=seed, camera=camera, device=device, **more
        )
    if bits != 8 and domain.spectrum != "VIS":  # the colour camera has 8
        more["bits"] = bits
    return render.faces(subjects, samples, domain.spectrum, size=size, seed=seed, camera=camera, device=device, **more)


def label(
    kind: str,
    subjects: Tensor,
    samples: Tensor,
    domain: Domain,
    *,
    size: int,
    body_size: tuple[int, int],
    seed: int,
    phase: Tensor | None = None,
) -> dict[str, Any]:
    """Return what is known about pictures: tensors ``[B, ...]`` by name, and ``groups``, lists of words by name."""
    from xzoo.data.people.labels import face_labels

    view: dict[str, Any] = {"spectrum": domain.spectrum, "seed": seed, "phase": phase}
    if kind == "face":
        return face_labels(subjects, samples, size=size, **view)._asdict()
    from xzoo.data.people.body import body_labels

    known = body_labels(subjects, samples, size=body_size, distance=domain.distance, **view)._asdict()
    # The groups are those of the person, so a small face tells them.
    return {**known, "groups": face_labels(subjects, samples, size=32, **view).groups}


def rows(known: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Return what ``label`` found, one JSON object per picture; lengths in pixels, to a hundredth."""
    found: list[dict[str, Any]] = [{} for _ in range(count)]
    for name, value in known.items():
        if isinstance(value, torch.Tensor):
            listed = (value.double().mul(100).round().div(100) if value.is_floating_point() else value).tolist()
            for row, cell in zip(found, listed, strict=True):
                row[name] = cell
        else:
            for row, place in zip(found, range(count), strict=True):
                row[name] = {key: words[place] for key, words in value.items()}
    return found
