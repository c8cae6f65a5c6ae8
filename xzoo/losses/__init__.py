"""The losses that a recipe may name.

Each loss is a plain function of tensors in a file of its own idea. The table
below is the whole registry: recipes name losses from it and from nowhere else,
so a recipe can be checked without running any of its code.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from xzoo import errors

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LOSSES", "Loss", "create", "get", "options"]

Labels = Literal["none", "match", "subject"]


class Loss(NamedTuple):
    """Where a loss lives and which labels it is given.

    ``labels`` is ``"match"`` (``labels`` ``[B]``, 1 where source and target show
    the same subject), ``"subject"`` (``labels`` and ``target_labels``, the number
    of each row's subject) or ``"none"``.
    """

    module: str
    labels: Labels

    def function(self, name: str) -> Callable[..., Tensor]:
        """Import the module and return the function called ``name``."""
        found: Callable[..., Tensor] = getattr(importlib.import_module(self.module), name)
        return found


LOSSES = {
    "contrastive_cosine": Loss("xzoo.losses.contrastive", "match"),
    "cosine": Loss("xzoo.losses.distill", "none"),
    "infonce": Loss("xzoo.losses.contrastive", "subject"),
}


def get(name: str) -> Loss:
    """Return the registry's entry for ``name``.

    Raises:
        NotFound: No loss has that name.
    """
    try:
        return LOSSES[name]
    except KeyError:
        raise errors.NotFound(
            f"no loss {name!r}.", exists=", ".join(errors.nearest(name, LOSSES) or sorted(LOSSES)[:3])
        ) from None


def options(name: str) -> dict[str, float]:
    """Return the options of a loss with their defaults."""
    parameters = inspect.signature(get(name).function(name)).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and not p.name.endswith("labels")}


def create(name: str, **chosen: Any) -> Callable[..., Tensor]:
    """Return the loss ``name`` with its options set.

    The result is called as ``loss(student, teacher)``, with ``labels=`` where
    the loss takes labels, and gives a scalar tensor.

    Example:
        >>> import torch, xzoo.losses
        >>> pull = xzoo.losses.create("contrastive_cosine", margin=0.1)
        >>> x = torch.eye(2)
        >>> float(pull(x, x, labels=torch.tensor([1, 1])))
        0.0

    Raises:
        NotFound: No loss has that name.
        OptionError: The loss has no such option.
    """
    known = options(name)
    for key in chosen:
        if key not in known:
            raise errors.OptionError(
                f"no option {key!r} in loss {name!r}.",
                exists=", ".join(errors.nearest(key, known) or known) or "it has no options",
            )
    return functools.partial(get(name).function(name), **chosen)
