"""The losses of a stage, made to fit the features that they compare."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from xzoo import errors, losses
from xzoo.losses.adapt import Features
from xzoo.losses.hooks import Adapted
from xzoo.recipes.schema import COUNTS, Decay, Signal

if TYPE_CHECKING:
    from xzoo.recipes.schema import LossTerm

__all__ = ["Counts", "Shapes", "Term", "make"]

Shapes = Mapping[str, Sequence[int]]
"""Of a network's features by module path; the embedding's is that of ``""``."""


@dataclass(frozen=True)
class Counts:
    """How much there is to train on."""

    subjects: int
    images: int


@dataclass(frozen=True)
class Term:
    """One loss at work."""

    key: str
    loss: Callable[..., Tensor]
    labels: str
    needs: tuple[str, ...]
    on: tuple[Signal, ...]
    weight: float
    schedule: Decay | None
    head: bool = False
    masked: str | None = None
    heads: bool = False

    @property
    def module(self) -> nn.Module | None:
        """The loss, where it has state."""
        return self.loss if isinstance(self.loss, nn.Module) else None


def make(term: LossTerm, shapes: Mapping[str, Shapes] | None, counts: Counts, rows: int = 4) -> Term:
    """Return a loss, its own parameters made, with an adapter where unlike features must meet.

    Args:
        term: What the recipe says.
        shapes: Of the features of ``student`` and of each teacher, any batch size; None where
            nothing of the loss depends on shapes.
        counts: Of subjects and images.
        rows: Batch size that the loss is tried with, on the meta device.

    Raises:
        OptionError: The loss cannot compare these features; says which shapes.
    """
    entry, known = losses.get(term.name), losses.options(term.name)
    data = {"classes": counts.subjects, "num_samples": counts.images}
    options: dict[str, Any] = {key: data[key] for key in COUNTS if key in known} | {
        key: value for key, value in term.options.items() if key not in COUNTS or value
    }
    loss = losses.create(term.name, **options)
    if shapes is not None:
        both = [_shapes(part, shapes[part.who], rows) for part in term.signals]
        loss = _fitted(term, loss, options, both)
    return Term(
        key=term.key,
        loss=loss,
        labels=entry.labels,
        needs=entry.needs,
        on=term.signals,
        weight=term.weight,
        schedule=term.schedule,
        head=term.head,
        masked=term.masked,
        heads="student_head" in entry.takes,
    )


def _shapes(part: Signal, known: Shapes, rows: int) -> Any:
    """Return the shape of a signal, or one for each of several levels."""
    found = [(rows, *list(known[path])[1:]) for path in part.paths or ("",)]
    return found if len(part.paths) > 1 else found[0]


def _fitted(term: LossTerm, loss: Callable[..., Tensor], options: dict[str, Any], both: list[Any]) -> Any:
    ours, theirs = both[0], both[1] if len(both) > 1 else None
    try:
        losses.check(term.name, ours, theirs, **options)
    except errors.OptionError as fault:
        unlike = theirs is not None and ours != theirs
        if isinstance(loss, nn.Module) or not unlike or term.adapter == "never":
            raise _misfit(term, ours, theirs, fault) from fault
        loss = Adapted(loss)
    if term.adapter == "always" and not isinstance(loss, nn.Module):
        loss = Adapted(loss, adapter="always")
    if isinstance(loss, nn.Module):
        made: Any = loss
        try:
            made.prepare(_empty(ours), None if theirs is None else _empty(theirs))
        except errors.OptionError as fault:
            raise _misfit(term, ours, theirs, fault) from fault
    return loss


def _empty(shape: Any) -> Features:
    if isinstance(shape, list):
        return [torch.empty(level, device="meta") for level in shape]
    return torch.empty(shape, device="meta")


def _misfit(term: LossTerm, ours: Any, theirs: Any, fault: errors.XzooError) -> errors.OptionError:
    shown = " with ".join(
        f"{text} {[list(x)[1:] for x in shape] if isinstance(shape, list) else list(shape)[1:]}"
        for text, shape in zip(term.on, (ours, theirs), strict=False)
    )
    return errors.OptionError(
        f"loss {term.key!r} does not fit {shown}.", why=fault.why or fault.asked, exists=fault.exists, do=fault.do
    )
