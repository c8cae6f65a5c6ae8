"""What an adapter is: a table of slots in a frozen base, exchanged to switch it on and off.

A slot is a dotted name in the network and what the adapter puts there: a
module (LoRA around a linear layer) or a tensor (a layer norm's weight).
Exchanging the table with the network switches the adapter on and leaves the
base's own parts in the table; exchanging it again restores the very same
objects. So a base with an adapter detached, or with none in use, is not
*nearly* the base: it is the base. At most one adapter is on at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from xzoo import errors

if TYPE_CHECKING:
    from xzoo.families.base import Embedder

__all__ = [
    "AttachedAdapter",
    "Kind",
    "Slot",
    "current",
    "find",
    "find_kind",
    "free_name",
    "held_class",
    "hold_batch_norms",
    "install",
    "load",
    "make_options",
    "merge_into_base",
    "owned",
    "register_kind",
    "switch",
    "zoo_model",
]

Slot: TypeAlias = nn.Module | Tensor


class Kind(NamedTuple):
    """One way of adapting a base, found by its name.

    Attributes:
        name: What users write, e.g. ``lora``.
        summary: One line for people.
        options: The frozen dataclass of its options; it checks its own values.
        build: ``build(bare model, options, empty) -> slots``. Leaves the model as it found it.
            ``empty`` says that weights follow, so that initialisation may be skipped.
        owned: The tensors of the adapter in one of its modules, by name.
        bake: One of its modules -> the plain module with the adapter's effect in its weights.
        prefix: Put before every key in the file of weights.
        merges: Whether its effect can become part of the base: not where it depends on the image.
        foreign_config: ``foreign_config(adapter, keys of its tensors)``: further keys of
            ``adapter_config.json``, by which another library can read the folder.
    """

    name: str
    summary: str
    options: type[Any]
    build: Callable[[Embedder, Any, bool], dict[str, Slot]]
    owned: Callable[[nn.Module], dict[str, Tensor]] = lambda _: {}
    bake: Callable[[nn.Module], nn.Module] = lambda module: module
    prefix: str = ""
    merges: bool = True
    foreign_config: Callable[[AttachedAdapter, list[str]], dict[str, Any]] = lambda _adapter, _keys: {}


@dataclass
class AttachedAdapter:
    """An adapter on a model, in use or waiting.

    Attributes:
        name: Its name on this model.
        kind: The name of its kind.
        spectrum: The band that it serves; ``None`` for all bands.
        options: The options of its kind.
        base: Name of the base's card.
        base_sha256: Hash of the base's weights that it belongs to.
        parameters: How many numbers it owns.
        on: Whether it is in use.
    """

    name: str
    kind: str
    spectrum: str | None
    options: Any
    base: str
    base_sha256: str
    parameters: int = 0
    on: bool = False
    # While off: the adapter's parts. While on: the parts of the base that they displace.
    slots: dict[str, Slot] = field(default_factory=dict, repr=False)
    # Parameters of the base that were trainable before this adapter froze them.
    thawed: frozenset[str] = field(default=frozenset(), repr=False)


# --- kinds -----------------------------------------------------------------------------------------------------------

_KINDS: dict[str, Kind] = {}


def register_kind(kind: Kind) -> None:
    """Offer another kind of adapter under ``kind.name``.

    Raises:
        OptionError: The name is taken.
    """
    if kind.name in _KINDS:
        raise errors.OptionError(
            f"register_kind({kind.name!r})", why="That kind exists, and kinds are never replaced.", do="choose a name"
        )
    _KINDS[kind.name] = kind


def find_kind(name: str) -> Kind:
    """Return a kind of adapter by name.

    Raises:
        NotFound: Nobody offers it.
    """
    if not isinstance(name, str) or name not in _KINDS:
        close = errors.nearest(str(name), _KINDS)
        raise errors.NotFound(f"no kind of adapter {name!r}.", exists=", ".join(close or sorted(_KINDS)[:3]))
    return _KINDS[name]


def make_options(kind: Kind, values: Mapping[str, object]) -> Any:
    """Return the options of a kind from plain values.

    Raises:
        OptionError: A name that the kind does not have, or a value that it refuses.
    """
    known = [entry.name for entry in fields(kind.options)]
    for name in values:
        if name not in known:
            close = errors.nearest(name, known)
            raise errors.OptionError(
                f"no option {name!r} of {kind.name} adapters.", exists=", ".join(close or known[:3])
            )
    return kind.options(**values)


# --- slots -----------------------------------------------------------------------------------------------------------


def _table(model: nn.Module, path: str) -> tuple[nn.Module, dict[str, Any], str]:
    """Return the module that owns ``path``, its dictionary that holds it, and the key there."""
    parent, _, leaf = path.rpartition(".")
    owner = model.get_submodule(parent)
    tables: tuple[dict[str, Any], ...] = (owner._modules, owner._parameters, owner._buffers)
    return owner, next(table for table in tables if leaf in table), leaf


def current(model: nn.Module, adapter: AttachedAdapter) -> Iterator[tuple[str, Slot]]:
    """Yield the adapter's own parts, wherever they are now."""
    for path, slot in adapter.slots.items():
        if adapter.on:
            _, table, leaf = _table(model, path)
            yield path, table[leaf]
        else:
            yield path, slot


def _follow(new: Slot, old: Slot, training: bool) -> Slot:
    """Bring ``new`` to the device and type of ``old``, whose place it takes, and to the mode of its owner.

    A model may have been moved, cast or switched to training while the part waited.
    """
    if isinstance(new, nn.Module) and isinstance(old, nn.Module):
        like = next(old.parameters(), None)
        if like is not None and any(p.device != like.device or p.dtype != like.dtype for p in new.parameters()):
            new.to(like.device, like.dtype)
        # Where the modes agree, leave the layers inside alone: their user may have set them one by one.
        return new if new.training == training else new.train(training)
    if isinstance(new, Tensor) and isinstance(old, Tensor) and (new.device != old.device or new.dtype != old.dtype):
        new.data = new.data.to(old.device, old.dtype)
    return new


# Parts may have to follow the base to another device: what is made here must stay trainable.
@torch.inference_mode(False)
@torch.no_grad()
def _exchange(model: nn.Module, slots: dict[str, Slot]) -> None:
    for path, new in slots.items():
        owner, table, leaf = _table(model, path)
        old: Slot = table[leaf]
        table[leaf], slots[path] = _follow(new, old, owner.training), old


def _turn(model: nn.Module, adapter: AttachedAdapter, on: bool) -> None:
    if on:
        trainable = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        for parameter in trainable.values():
            parameter.requires_grad_(False)
        adapter.thawed = frozenset(trainable)
    _exchange(model, adapter.slots)
    if not on:
        _thaw(model, adapter)
    adapter.on = on


def _thaw(model: nn.Module, adapter: AttachedAdapter) -> None:
    if adapter.thawed:
        for name, parameter in model.named_parameters():
            if name in adapter.thawed:
                parameter.requires_grad_(True)


def switch(model: Embedder, name: str | None) -> None:
    """Use exactly the adapter ``name`` from now on, or the bare base for ``None``.

    Raises:
        NotFound: No such adapter is attached.
    """
    wanted = None if name is None else find(model, name)
    for adapter in model.adapters.values():
        if adapter.on and adapter is not wanted:
            _turn(model, adapter, on=False)
    if wanted is not None and not wanted.on:
        _turn(model, wanted, on=True)


def zoo_model(model: object) -> None:
    """Check that adapters can be put on ``model``.

    Raises:
        OptionError: It is something else than a network of the zoo, such as a name.
    """
    if not isinstance(getattr(model, "adapters", None), dict):
        shown = repr(model) if isinstance(model, str) else f"<{type(model).__name__}>"
        raise errors.OptionError(
            f"model={shown}", why="Adapters are put on a network of the zoo.", do="model = xzoo.create(name)"
        )


def find(model: Embedder, name: str) -> AttachedAdapter:
    """Return an attached adapter by name.

    Raises:
        NotFound: No such adapter is attached.
    """
    zoo_model(model)
    if not isinstance(name, str) or name not in model.adapters:
        close = errors.nearest(str(name), model.adapters) or sorted(model.adapters)[:3]
        raise errors.NotFound(
            f"no adapter {name!r} on this model.",
            why="" if close else "None is attached; a merged adapter has become part of the base.",
            exists=", ".join(close),
            do="xzoo.adapters.attach(model, folder)",
        )
    return model.adapters[name]


def free_name(model: Embedder, name: str, spectrum: str | None) -> None:
    """Check that ``name`` and ``spectrum`` are fit for another adapter on this model.

    Raises:
        OptionError: Either is malformed or taken.
    """
    from xzoo.catalog.names import SPECTRA

    if not isinstance(name, str) or not name.strip():
        raise errors.OptionError(f"name={name!r}", why="An adapter's name is a string that is not empty.")
    if name in model.adapters:
        raise errors.OptionError(
            f"adapter {name!r} is attached already.",
            exists=", ".join(sorted(model.adapters)[:3]),
            do=f"give another name=, or xzoo.adapters.detach(model, {name!r})",
        )
    if spectrum is None:
        return
    if spectrum not in SPECTRA:
        raise errors.OptionError(f"spectrum={spectrum!r}", why="It is not a spectral band.", exists=", ".join(SPECTRA))
    for other in model.adapters.values():
        if other.spectrum == spectrum:
            raise errors.OptionError(
                f"spectrum={spectrum!r} for adapter {name!r}",
                why=f"Adapter {other.name!r} serves that band, and a band has one adapter.",
                do=f"xzoo.adapters.detach(model, {other.name!r})",
            )


def install(
    model: Embedder,
    kind: Kind,
    options: Any,
    *,
    name: str,
    spectrum: str | None,
    trainable: bool,
    weights: Callable[[AttachedAdapter], None] | None = None,
) -> AttachedAdapter:
    """Build an adapter on the bare base, put it on the model and use it.

    Args:
        model: The base; whatever adapter it uses is switched off.
        kind: What to build.
        options: Its options.
        name: Name of the adapter on this model.
        spectrum: The band that it serves.
        trainable: Whether its parameters take gradients.
        weights: Fills the adapter, which is then built empty. Where it raises, the model is left as it was.
    """
    zoo_model(model)
    free_name(model, name, spectrum)
    before = next((other.name for other in model.adapters.values() if other.on), None)
    switch(model, None)
    try:
        adapter = AttachedAdapter(name, kind.name, spectrum, options, model.card.name, model.weights_sha256)
        adapter.slots = kind.build(model, options, weights is not None)
        if weights is not None:
            weights(adapter)
        for slot in owned(model, adapter).values():
            if isinstance(slot, nn.Parameter):
                slot.requires_grad_(trainable)
                adapter.parameters += slot.numel()
        adapter.slots |= hold_batch_norms(model, adapter.slots)
    except BaseException:
        switch(model, before)
        raise
    model.adapters[name] = adapter
    switch(model, name)
    return adapter


def owned(model: nn.Module, adapter: AttachedAdapter) -> dict[str, Tensor]:
    """Return the tensors that the adapter owns, by their keys in its file."""
    kind = find_kind(adapter.kind)
    tensors: dict[str, Tensor] = {}
    for path, slot in current(model, adapter):
        if isinstance(slot, Tensor):
            tensors[kind.prefix + path] = slot
        elif not isinstance(slot, _Held):
            tensors |= {f"{kind.prefix}{path}.{key}": tensor for key, tensor in kind.owned(slot).items()}
    return tensors


def load(model: nn.Module, adapter: AttachedAdapter, tensors: Mapping[str, Tensor], *, asked: str) -> None:
    """Set the tensors that the adapter owns, all or none.

    Args:
        model: The network that it is on.
        adapter: The adapter; one that was built empty is made real.
        tensors: New values, by their keys in the adapter's file.
        asked: First line of the error.

    Raises:
        WeightsMismatch: Names or shapes differ.
    """
    own = owned(model, adapter)
    faults = [f"{key}: missing" for key in own if key not in tensors]
    faults += [f"{key}: unknown" for key in tensors if key not in own]
    faults += [
        f"{key}: {list(tensors[key].shape)}, needed is {list(tensor.shape)}"
        for key, tensor in own.items()
        if key in tensors and tensors[key].shape != tensor.shape
    ]
    if faults:
        raise errors.WeightsMismatch(asked, why=errors.problems(faults, limit=3))
    with torch.no_grad():
        for key, tensor in own.items():
            if tensor.is_meta:
                swap: Callable[[Tensor, Tensor], None] = torch.utils.swap_tensors
                swap(tensor, nn.Parameter(tensors[key].to(tensor.dtype, copy=True)))
            else:
                tensor.copy_(tensors[key])


def merge_into_base(model: Embedder, adapter: AttachedAdapter) -> None:
    """Make the adapter's effect part of the base, for good.

    The base's weights are no longer those of the file that they came from: the
    model drops that claim and is known by the hash of its tensors.
    """
    kind = find_kind(adapter.kind)
    if not kind.merges:
        raise errors.OptionError(
            f"adapter {adapter.name!r} cannot be merged.",
            why=f"What a {kind.name} adapter changes depends on the image, and weights do not.",
            do=f"keep it beside the base: xzoo.adapters.save(model, {adapter.name!r}, folder)",
        )
    broken = [key for key, tensor in owned(model, adapter).items() if not tensor.isfinite().all()]
    if broken:
        raise errors.WeightsMismatch(
            f"adapter {adapter.name!r} cannot be merged.", why=f"{broken[0]} holds numbers that are not finite."
        )
    switch(model, adapter.name)
    for path, slot in list(current(model, adapter)):
        if isinstance(slot, nn.Module):
            _, table, leaf = _table(model, path)
            table[leaf] = adapter.slots[path] if isinstance(slot, _Held) else kind.bake(slot)
    del model.adapters[adapter.name]
    model.requires_grad_(False)
    _thaw(model, adapter)
    model.train(model.training)  # what was put back has to take the mode of the rest
    model.weights = None
    model._fingerprint = None


# --- batch norms -----------------------------------------------------------------------------------------------------


class _Held:
    """A batch norm of the frozen base: it keeps its statistics in training, too."""

    def train(self, mode: bool = True) -> Any:
        return super().train(False)  # type: ignore[misc]


_HELD_CLASSES: dict[type[nn.Module], type[Any]] = {}


def held_class(kind: type[nn.Module]) -> type[Any]:
    """Return the class of batch norm that stands in for ``kind`` and keeps still."""
    if kind not in _HELD_CLASSES:
        _HELD_CLASSES[kind] = type(f"Held{kind.__name__}", (_Held, kind), {})
    return _HELD_CLASSES[kind]


def hold_batch_norms(model: nn.Module, slots: Mapping[str, Slot]) -> dict[str, Slot]:
    """Return slots that keep every batch norm of the base still, except those that the adapter trains.

    A batch norm in training mode normalises by its batch and moves its running
    statistics: it would change the base under a frozen name. The stand-in
    shares the tables of the original, hence its tensors and its state keys.
    """
    held: dict[str, Slot] = {}
    for path, module in model.named_modules():
        if not isinstance(module, nn.modules.batchnorm._BatchNorm):
            continue
        if path in slots or any(name.rpartition(".")[0] == path for name in slots):
            continue
        stand_in = object.__new__(held_class(type(module)))
        stand_in.__dict__.update(module.__dict__)
        held[path] = stand_in
    return held
