"""The ``norms`` kind: the base's own norms, stem and early stages, trained as copies (xEdgeFace).

The adapter owns copies of the parameters of some groups and puts them in the
place of the originals. Training them costs what training those parameters
costs, nothing more; the originals wait untouched.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from torch import nn

from xzoo import errors
from xzoo.adapters.base import Kind, Slot, register_kind
from xzoo.adapters.options import NormsOptions

if TYPE_CHECKING:
    from xzoo.families.base import Embedder

__all__ = ["NORMS", "copies", "parameters_of"]

_LAYERS = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm, nn.InstanceNorm2d)


def parameters_of(model: Embedder, groups: str, option: str) -> list[str]:
    """Return the names of the parameters in ``groups``, each once, in the network's order.

    Args:
        model: A bare base.
        groups: Names of ``model.groups()``, ``norms`` or ``all``, joined by ``+``.
        option: Name of the option that they came from, for the error.

    Raises:
        OptionError: The family has no such group.
    """
    everything = [name for name, _ in model.named_parameters()]
    layers = {path for path, module in model.named_modules() if isinstance(module, _LAYERS)}
    known = {
        "all": everything,
        "norms": [name for name in everything if name.rpartition(".")[0] in layers],
        **model.groups(),
    }
    wanted: set[str] = set()
    for group in groups.split("+"):
        if group not in known:
            raise errors.OptionError(
                f"{option}={groups!r}",
                why=f"{model.card.name} has no group of parameters {group!r}.",
                exists=", ".join(known),
                do=f'join groups by "+", for example {option}="norms+{list(model.groups())[-1]}"',
            )
        wanted.update(known[group])
    return [name for name in everything if name in wanted]


def copies(model: nn.Module, names: Iterable[str]) -> dict[str, Slot]:
    """Return copies of parameters, and of the running statistics of the batch norms among them."""
    slots: dict[str, Slot] = {}
    for name in names:
        slots[name] = nn.Parameter(model.get_parameter(name).detach().clone())
        owner = name.rpartition(".")[0]
        module = model.get_submodule(owner)
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            slots |= {f"{owner}.{key}": buffer.detach().clone() for key, buffer in module.named_buffers(recurse=False)}
    return slots


def _build(model: Embedder, options: NormsOptions, empty: bool) -> dict[str, Slot]:
    return copies(model, parameters_of(model, options.preset, "preset"))


NORMS = Kind(
    name="norms",
    summary="The base's own norms, stem and early stages; no cost at inference",
    options=NormsOptions,
    build=_build,
)
register_kind(NORMS)
