"""Adapters: small changes to a frozen base, bound to the base's weights by hash.

``add`` makes a fresh one to train, ``save`` and ``attach`` bring it to disk and
back, ``detach`` gives the bare base back bit for bit, ``merge`` makes it part
of the base for good. One base can carry an adapter for each spectrum:
``route`` sends every row of a mixed batch through the right one. Kinds are
found by name; ``register_kind`` adds one.

Switching changes the network in place, so one model belongs to one thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from xzoo import errors, hub
from xzoo.adapters import base, facebn, lora, norms, petalface  # noqa: F401  (the kinds register themselves)
from xzoo.adapters import folder as disk
from xzoo.adapters.base import AttachedAdapter, Kind, find, register_kind, switch
from xzoo.adapters.options import PRESETS, LoraOptions, NormsOptions

if TYPE_CHECKING:
    from xzoo.families.base import Embedder

__all__ = [
    "PRESETS",
    "AttachedAdapter",
    "Kind",
    "LoraOptions",
    "NormsOptions",
    "active",
    "add",
    "attach",
    "detach",
    "find",
    "load_state",
    "merge",
    "register_kind",
    "route",
    "save",
    "state",
    "switch",
    "use",
]


def add(
    model: Embedder,
    kind: str = "lora",
    *,
    name: str = "default",
    spectrum: str | None = None,
    options: LoraOptions | NormsOptions | object | None = None,
    **values: object,
) -> AttachedAdapter:
    """Put a fresh adapter on a model, ready to train, and use it.

    Everything else is frozen while it is in use: an optimiser takes the
    parameters of the model that require a gradient. A fresh adapter does not
    change the outputs. Draws from torch's global generator (``lora``).

    Args:
        model: The base.
        kind: ``lora``, ``norms``, or a kind that was registered.
        name: Its name on this model.
        spectrum: The band that it serves; ``None`` for all bands.
        options: The kind's options as one object, instead of ``values``.
        **values: The kind's options by name, e.g. ``rank=4``; checked against the kind.

    Raises:
        NotFound: Nobody offers ``kind``.
        OptionError: An option is unknown or unfit for this model; the name or the spectrum is taken.

    Example:
        >>> model = xzoo.create("edgeface_xxs")
        >>> add(model, "lora", name="thermal", spectrum="LWIR", rank=4).parameters
        54400
    """
    offered = base.find_kind(kind)
    if options is None:
        options = base.make_options(offered, values)
    elif values or not isinstance(options, offered.options):
        raise errors.OptionError(
            f"options={options!r}",
            why="Options are given either as one object or by name."
            if values
            else f"The options of {kind} adapters are {offered.options.__name__}.",
        )
    return base.install(model, offered, options, name=name, spectrum=spectrum, trainable=True)


def attach(
    model: Embedder,
    folder: str | Path,
    *,
    name: str | None = None,
    spectrum: str | None = None,
    trainable: bool = False,
) -> AttachedAdapter:
    """Put a saved adapter on the base that it was trained on, and use it.

    Args:
        model: The base.
        folder: What :func:`save` wrote.
        name: Its name on this model; ``None`` for the one it was saved under.
        spectrum: The band that it serves; ``None`` for the one it was saved with.
        trainable: Whether to go on training it.

    Raises:
        BaseMismatch: It was trained on other weights.
        MissingFile: The folder or a file in it is not there.
        WeightsMismatch: The folder is broken, foreign, or does not fit the network.
        HashMismatch: Its weights were changed after they were saved.
        NotFound: Nobody offers its kind.
        OptionError: The name or the spectrum is taken.
    """
    base.zoo_model(model)
    path = hub.as_path(folder, "folder")
    stored = disk.read(path)
    disk.bind(model, stored, path)
    return base.install(
        model,
        base.find_kind(stored.kind),
        stored.options,
        name=stored.name if name is None else name,
        spectrum=stored.spectrum if spectrum is None else spectrum,
        trainable=trainable,
        weights=lambda adapter: disk.fill(model, adapter, stored, path),
    )


def detach(model: Embedder, name: str) -> None:
    """Take an adapter off a model.

    With the last one gone the model is what it was before the first: the same
    modules, tensors, state keys and trainable flags, hence the same outputs.

    Raises:
        NotFound: No such adapter is attached.
    """
    if find(model, name).on:
        switch(model, None)
    del model.adapters[name]


def merge(model: Embedder, name: str) -> None:
    """Make an adapter part of the base, for good: same outputs to rounding, no adapter left.

    ``model.weights_sha256`` changes, so adapters of the old base are refused from then on.

    Raises:
        NotFound: No such adapter is attached.
        OptionError: Other adapters are attached, and would be left on a base that is not theirs.
        WeightsMismatch: The adapter holds numbers that are not finite; nothing was changed.
    """
    adapter = find(model, name)
    others = sorted(set(model.adapters) - {name})
    if others:
        raise errors.OptionError(
            f"merge(model, {name!r})",
            why="Other adapters on this model belong to the base as it is, and merging changes it.",
            exists=", ".join(others[:3]),
            do=f"xzoo.adapters.detach(model, {others[0]!r})",
        )
    base.merge_into_base(model, adapter)


def save(model: Embedder, name: str, folder: str | Path, *, card_text: str | None = None) -> Path:
    """Write an adapter into a folder; return the folder. Saving twice gives the same bytes.

    Args:
        model: The base with the adapter.
        name: The adapter.
        folder: Made where it does not exist.
        card_text: Its card (``README.md``); by default one that states the facts known here.

    Raises:
        NotFound: No such adapter is attached (a merged one is none any more).
        OptionError: ``folder`` is no path, or a file.
        DiskFull: There was no room.
    """
    path = hub.as_path(folder, "folder")
    disk.write(model, find(model, name), path, card_text)
    return path


def state(model: Embedder, name: str) -> dict[str, Tensor]:
    """Return copies of the tensors of an adapter, under their names in its file."""
    return {key: tensor.detach().clone() for key, tensor in base.owned(model, find(model, name)).items()}


def load_state(model: Embedder, name: str, tensors: Mapping[str, Tensor]) -> None:
    """Set the tensors of an adapter, strictly, e.g. from a checkpoint.

    Raises:
        WeightsMismatch: Names or shapes differ; nothing was changed.
    """
    base.load(model, find(model, name), tensors, asked=f"tensors for adapter {name!r} do not fit.")


def active(model: Embedder) -> str | None:
    """Return the name of the adapter in use, or ``None`` for the bare base."""
    return next((adapter.name for adapter in model.adapters.values() if adapter.on), None)


@contextmanager
def use(model: Embedder, name: str | None) -> Iterator[None]:
    """Use exactly the adapter ``name``, or the bare base for ``None``, inside the block.

    Raises:
        NotFound: No such adapter is attached.
    """
    before = active(model)
    switch(model, name)
    try:
        yield
    finally:
        switch(model, before)


def route(model: Embedder, images: Tensor, spectra: Sequence[str | None]) -> Tensor:
    """Embed a mixed batch, each row through the adapter of its band.

    A row goes through the adapter of its spectrum; without one, through the
    adapter in use if that serves all bands; else through the bare base. A row
    of unknown band (``None``) goes through the adapter in use.

    Rows without an adapter keep the bits that the bare base gives them, alone or in
    company: ``Embedder.infer`` makes a row independent of its batch on the CPU. On an
    accelerator kernels are chosen by batch size, so there the base runs over the whole
    batch and its rows are picked: bit-equal to the bare base on the same batch, for one
    more pass. Adapters see only their own rows.

    Args:
        model: The base with its adapters.
        images: Normalised, ``float32 [B, 3, H, W]``.
        spectra: One band for each row.

    Returns:
        Raw embeddings ``[B, D]``, in the order of ``images``.

    Raises:
        OptionError: Not one band for each row, or an unknown band.
    """
    rows: dict[str | None, list[int]] = {}
    for index, name in enumerate(_serving(model, spectra, len(images))):
        rows.setdefault(name, []).append(index)
    parts = []
    for name, chosen in rows.items():
        with use(model, name):
            whole = len(rows) == 1 or (name is None and images.device.type != "cpu")
            parts.append(model.infer(images)[chosen] if whole else model.infer(images[chosen]))
    order = torch.tensor([index for chosen in rows.values() for index in chosen], device=images.device)
    embeddings: Tensor = torch.cat(parts)[order.argsort()]
    return embeddings


def _serving(model: Embedder, spectra: Sequence[str | None], count: int) -> list[str | None]:
    """Return the name of the adapter for each row, ``None`` for the bare base."""
    from xzoo.catalog.names import SPECTRA

    if isinstance(spectra, str) or len(spectra) != count:
        raise errors.OptionError(
            f"spectra={spectra!r}" if isinstance(spectra, str) else f"{len(spectra)} spectra for {count} images",
            why="route() takes one band for each row.",
            do=f"spectra=[{SPECTRA[0]!r}] * {count}",
        )
    for band in spectra:
        if band is not None and band not in SPECTRA:
            raise errors.OptionError(f"spectrum {band!r}", why="It is not a spectral band.", exists=", ".join(SPECTRA))
    now = active(model)
    general = now if now is not None and model.adapters[now].spectrum is None else None
    own = {adapter.spectrum: adapter.name for adapter in model.adapters.values() if adapter.spectrum is not None}
    return [now if band is None else own.get(band, general) for band in spectra]
