"""From a card and a weights file to a network, without computing weights that are overwritten.

The network is built on the ``meta`` device, where tensors have shapes and no
memory; the file is mapped; its tensors are assigned. The empty network of a
family is kept, because building one costs more than filling it: as a pickle made
here, since reading that back takes an eighth of the time of ``copy.deepcopy``.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from xzoo import catalog, errors, hub
from xzoo.families.base import Embedder, Plain

if TYPE_CHECKING:
    from xzoo.catalog import Card
    from xzoo.hub import Weights

__all__ = ["Blueprint", "assemble", "device_of", "dtype_of"]

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16, "float64": torch.float64}

_EMPTY: dict[tuple[str | None, Any], bytes] = {}

VALUES = {
    *("add_", "bernoulli_", "clamp_", "clip_", "copy_", "div_", "erfinv_", "exponential_", "fill_", "mul_"),
    *("normal_", "sub_", "uniform_", "zero_"),
}
"""Methods that change a tensor's values and nothing else about it."""


class _Weightless(TorchFunctionMode):
    """Skip arithmetic in place on tensors without memory: initialisation is most of what building costs."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Return the tensor as it is where only its values, which do not exist, would change."""
        if args and isinstance(args[0], Tensor) and args[0].is_meta and getattr(func, "__name__", "") in VALUES:
            return args[0]
        return func(*args, **(kwargs or {}))


class Blueprint(NamedTuple):
    """How to build one network: a callable, its arguments, and whose names its files may use."""

    card: Card
    build: Callable[..., nn.Module]
    arguments: Mapping[str, Any]
    family: str | None

    @classmethod
    def of(cls, card: Card, arguments: Mapping[str, Any]) -> Blueprint:
        """Import the one family, plugin module or session callable that builds ``card``.

        Raises:
            PluginImportError: A plugin's module or function is not to be had.
        """
        if card.build is not None:
            return cls(card, card.build, arguments, None)
        if card.family is not None:
            options = import_module(f"xzoo.families.{card.family}.options").Options(**arguments)
            build = import_module(f"xzoo.families.{card.family}.model").build
            return cls(card, build, {"options": options}, card.family)
        return cls(card, catalog.load_target(card), arguments, None)

    def plain(self) -> Embedder:
        """Build with random weights on the CPU."""
        return _as_embedder(self._call())

    def _call(self) -> nn.Module:
        network = self.build(**self.arguments)
        if not isinstance(network, nn.Module):
            raise errors.OptionError(
                f"building {self.card.name} gave {type(network).__name__}", why="A builder returns a torch module."
            )
        return network

    def empty(self) -> nn.Module | None:
        """Return the network on the ``meta`` device, or None where its builder needs real tensors."""
        key = (self.family, self.arguments.get("options"))
        if key in _EMPTY:
            kept: nn.Module = pickle.loads(_EMPTY[key])
            return kept
        try:
            with torch.device("meta"), _Weightless():
                network = self._call()
        except (NotImplementedError, RuntimeError):
            return None
        if self.family is not None:  # somebody's callable may build another network each time
            _EMPTY[key] = pickle.dumps(network, pickle.HIGHEST_PROTOCOL)
        return network


def assemble(blueprint: Blueprint, weights: Weights) -> Embedder:
    """Build a network and give it the tensors of a file, strictly.

    Raises:
        WeightsMismatch: The file's names or shapes are not the network's.
    """
    network = blueprint.empty()
    wanted = network if network is not None else blueprint._call()
    tensors = _tensors(blueprint, weights, wanted)
    wanted.load_state_dict(tensors, assign=True)
    if any(tensor.is_meta for tensor in _all_tensors(wanted)):
        # A buffer that no file holds was left empty: only the real constructor can compute it.
        wanted = blueprint._call()
        wanted.load_state_dict(tensors, assign=True)
    for parameter in wanted.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    model = _as_embedder(wanted)
    model.weights = weights
    return model


def _tensors(blueprint: Blueprint, weights: Weights, network: nn.Module) -> dict[str, Tensor]:
    expected = network.state_dict()
    native = None if weights.foreign else hub.read(weights.path)
    if native is not None and (native.keys() == expected.keys() or blueprint.family is None):
        tensors = native
    elif blueprint.family is None:
        raise errors.WeightsMismatch(
            f"{str(weights.path)!r} for {blueprint.card.name}",
            why="Only safetensors can be read for a model that brings no converter.",
            do="save the tensors with safetensors.torch.save_file",
        )
    else:
        convert = import_module(f"xzoo.families.{blueprint.family}.convert")

        def fitting(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
            renamed: dict[str, Tensor] = convert.convert(state)
            fitted = _fitted(blueprint, renamed, network)
            _check_fit(blueprint.card.name, weights, fitted, expected)  # what does not fit is not kept
            return renamed

        converted = hub.converted(weights, blueprint.family, convert.VERSION, fitting)
        tensors = hub.read(converted.path)
    tensors = _fitted(blueprint, tensors, network)
    _check_fit(blueprint.card.name, weights, tensors, expected)
    return tensors


def _fitted(blueprint: Blueprint, tensors: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Return tensors as this network needs them, where a family lets its options change their shapes (``fit``)."""
    if blueprint.family is None:
        return tensors
    fit = getattr(import_module(f"xzoo.families.{blueprint.family}.convert"), "fit", None)
    return tensors if fit is None else dict(fit(tensors, network))


def _check_fit(name: str, weights: Weights, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    common = [key for key in expected if key in tensors]
    found = {
        "missing": [key for key in expected if key not in tensors],
        "unknown to it": [key for key in tensors if key not in expected],
        "of another shape": [
            f"{key}, {list(tensors[key].shape)} instead of {list(expected[key].shape)}"
            for key in common
            if tensors[key].shape != expected[key].shape
        ],
        "of another type": [
            f"{key}, {_type(tensors[key])} instead of {_type(expected[key])}"
            for key in common
            if tensors[key].is_floating_point() != expected[key].is_floating_point()
        ],
    }
    faults = [f"{len(keys)} tensors are {what}: {keys[0]}" for what, keys in found.items() if keys]
    if faults:
        raise errors.WeightsMismatch(
            f"{str(weights.path)!r} does not fit {name}.",
            why="\n  ".join(faults),
            do=f"xzoo show {name}  says which files it takes",
        )


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _all_tensors(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]


def _as_embedder(network: nn.Module) -> Embedder:
    return network if isinstance(network, Embedder) else Plain(network)


def device_of(device: str | torch.device | None) -> torch.device:
    """Return a device that exists.

    Raises:
        DeviceError: It does not.
    """
    try:
        found = torch.device("cpu" if device is None else device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, TypeError) as cause:
        have = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
        raise errors.DeviceError(
            f"device={device!r}", why=str(cause).splitlines()[0][:120], exists=", ".join(have)
        ) from cause
    return found


def dtype_of(dtype: str | torch.dtype | None) -> torch.dtype:
    """Return a floating-point type by name.

    Raises:
        OptionError: It is not one that networks run in.
    """
    found = DTYPES.get(str(dtype).removeprefix("torch.")) if dtype is not None else torch.float32
    if found is None:
        raise errors.OptionError(f"dtype={dtype!r}", why="A network runs in none such.", exists=", ".join(DTYPES))
    return found
