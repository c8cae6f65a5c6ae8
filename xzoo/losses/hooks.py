"""Take features out of networks by module path, and compare any with any."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from xzoo import errors
from xzoo.losses import adapt
from xzoo.losses.adapt import Features, Learned, When, levels

__all__ = ["TRUNK", "Adapted", "Capture", "Pairs", "shapes"]

TRUNK = "trunk"
"""The path of what a network's last layer is given, where that is no module's output."""


class Capture:
    """Keep what chosen modules of a network give out, while the network runs.

    Example:
        >>> from torch import nn, zeros
        >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> with Capture(net, ["0", "2"]) as features:
        ...     _ = net(zeros(5, 4))
        >>> [tuple(features[path].shape) for path in ("0", "2")]
        [(5, 3), (5, 2)]

    A module that runs several times keeps its last output. Networks wrapped for
    several processes or by ``torch.compile`` are looked into.

    Args:
        network: Any module.
        paths: Names as in ``named_modules``, such as ``stages.2``; ``""`` is the network itself, and ``trunk`` what
            the last layer of a network of the zoo is given (its ``trunk(images)``).

    Raises:
        NotFound: The network has no such module; names the nearest.
    """

    def __init__(self, network: nn.Module, paths: Sequence[str]) -> None:
        inner = _unwrapped(network)
        modules = dict(inner.named_modules())
        self._network: Any = inner
        self._trunk = TRUNK in paths and TRUNK not in modules and callable(getattr(inner, TRUNK, None))
        for path in paths:
            if path not in modules and not (path == TRUNK and self._trunk):
                raise errors.NotFound(
                    f"no module {path!r} in {type(inner).__name__}.",
                    exists=", ".join(errors.nearest(path, modules) or [name for name in modules if name][:3]),
                    do="[name for name, _ in network.named_modules()] lists them",
                )
        self._modules = {path: modules[path] for path in paths if path in modules}
        self._found: dict[str, Tensor] = {}
        self._handles: list[Any] = []
        self._before: Any = None

    def __enter__(self) -> Capture:
        for path, module in self._modules.items():
            self._handles.append(module.register_forward_hook(self._keep(path)))
        if self._trunk:
            self._before = self._network.__dict__.get(TRUNK)
            self._network.trunk = self._kept_trunk(self._network.trunk)  # before the method of the class
        return self

    def _kept_trunk(self, trunk: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def run(*images: Any, **more: Any) -> Tensor:
            self._found[TRUNK] = trunk(*images, **more)
            return self._found[TRUNK]

        return run

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the network as it was; what was kept stays."""
        while self._handles:
            self._handles.pop().remove()
        if self._trunk and self._before is not None:
            self._network.trunk = self._before
        elif self._trunk:
            self._network.__dict__.pop(TRUNK, None)

    def _keep(self, path: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, tuple | list) and output:
                output = output[0]
            if not isinstance(output, Tensor):
                raise errors.OptionError(
                    f"module {path!r} gives out a {type(output).__name__}.",
                    why="A feature is one tensor, or the first of several.",
                    do="choose a module inside or behind it",
                )
            self._found[path] = output

        return hook

    def __getitem__(self, path: str) -> Tensor:
        """Return a module's last output.

        Raises:
            NotFound: The path was not asked for, or its module has not run.
        """
        if path in self._found:
            return self._found[path]
        asked = path in self._modules or (path == TRUNK and self._trunk)
        why = "The module has not run." if asked else "It is not among the captured paths."
        raise errors.NotFound(
            f"no feature of {path!r}.", why=why, exists=", ".join(list(self._found)[:3]) or "nothing was captured yet"
        )

    def clear(self) -> None:
        """Forget what was kept, and with it the memory it holds."""
        self._found.clear()


def _unwrapped(network: nn.Module) -> nn.Module:
    for name in ("module", "_orig_mod"):
        inner = network.__dict__.get("_modules", {}).get(name)
        if isinstance(inner, nn.Module) and type(network).__name__ in ("DistributedDataParallel", "OptimizedModule"):
            return _unwrapped(inner)
    return network


@torch.no_grad()
def shapes(network: nn.Module, paths: Sequence[str], example: Tensor) -> dict[str, torch.Size]:
    """Return the shapes of features for an input like ``example``.

    With a network and an example on the meta device nothing is computed. The
    network runs in evaluation mode and is left in the mode it was in.
    """
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with Capture(network, paths) as features:
            network(example)
    finally:
        for module, mode in modes.items():
            module.training = mode
    return {path: features[path].shape for path in paths}


class Adapted(Learned):
    """Any loss of two features of one shape, between features of any shapes.

    Where widths or grids differ an adapter (``adapter``) leads
    from the student's shape to the teacher's, one for each level of a list, whose values are added.

    Args:
        loss: ``loss(student, teacher, ...)`` of two tensors.
        adapter: ``auto``, ``always`` or ``never``.
        seed: Draws the starting values.

    Raises:
        OptionError: The loss has adapters of its own.
    """

    def __init__(self, loss: Callable[..., Tensor], *, adapter: When = "auto", seed: int = 0) -> None:
        super().__init__(seed=seed)
        if isinstance(loss, Learned):
            raise errors.OptionError(
                f"an adapter was asked for around {type(loss).__name__}.",
                why="That loss makes what it needs itself.",
                do="call it as it is, or through xzoo.losses.hooks.Pairs",
            )
        self.loss, self.when = loss, adapter

    def build(self, student: Features, teacher: Features | None) -> None:
        """Make one adapter per level."""
        pairs = zip(levels(student), levels(student if teacher is None else teacher), strict=True)
        self.adapters = nn.ModuleList(adapt.adapter(s.shape, t.shape, when=self.when) for s, t in pairs)

    def forward(self, student: Features, teacher: Features, **tensors: Tensor) -> Tensor:
        """Return the sum over levels; labels and the like are passed on."""
        self.prepare(student, teacher)
        rows = zip(self.adapters, levels(student), levels(teacher), strict=True)
        return torch.stack([self.loss(change(s), t, **tensors) for change, s, t in rows]).sum()


Taken = Capture | Mapping[str, Tensor]


class Pairs(nn.Module):
    """Compare modules of a student with modules of a teacher by one loss.

    ``pairs(student_features, teacher_features)`` takes two ``Capture`` objects or
    mappings from path to tensor, and gives the sum over pairs. Each pair has a
    copy of a loss that learns, and an adapter where a plain loss needs one.

    Args:
        loss: A loss of this registry, or any ``loss(student, teacher)``.
        paths: Student path to teacher path.
        together: Hand all levels to the loss at once (reviewkd, fpn_mimic, at, ckd).
    """

    def __init__(self, loss: Callable[..., Tensor], paths: Mapping[str, str], *, together: bool = False) -> None:
        super().__init__()
        self.paths = dict(paths)
        count = 1 if together else len(self.paths)
        made = loss if isinstance(loss, Learned) or together else Adapted(loss)
        self.plain: tuple[Callable[..., Tensor], ...] = () if isinstance(made, Learned) else (made,)
        self.losses = nn.ModuleList(copy.deepcopy(made) for _ in range(count)) if isinstance(made, Learned) else None

    def _levels(self, student: Taken, teacher: Taken) -> list[tuple[Features, Features]]:
        ours, theirs = [student[p] for p in self.paths], [teacher[p] for p in self.paths.values()]
        if self.losses is None or len(self.losses) < len(ours):
            return [(ours, theirs)]
        return list(zip(ours, theirs, strict=True))

    def prepare(self, student: Taken, teacher: Taken) -> None:
        """Make what the losses learn, from features like these, before an optimiser is built."""
        for loss, (ours, theirs) in zip(self.losses or (), self._levels(student, teacher), strict=False):
            if isinstance(loss, Learned):
                loss.prepare(ours, theirs)

    def forward(self, student: Taken, teacher: Taken, **tensors: Tensor) -> Tensor:
        """Return the loss of one batch."""
        losses: Iterable[Any] = self.plain or self.losses or ()
        pairs = zip(losses, self._levels(student, teacher), strict=True)
        return torch.stack([loss(ours, theirs, **tensors) for loss, (ours, theirs) in pairs]).sum()
