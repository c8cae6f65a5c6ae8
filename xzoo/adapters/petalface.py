"""The ``petalface`` kind: two low-rank changes side by side, mixed for each image by how sharp it is.

Few pixels and many ask for different changes of a network, and a gallery of sharp faces is searched with blurred ones.
So each adapted layer carries two branches, and image ``i`` is given ``(1 - a_i) low(x_i) + a_i high(x_i)`` besides what
the frozen layer says, with ``a_i = 0.5 + (q_i - threshold)`` of its quality ``q_i`` (K. Narayan et al., *PETALface*,
WACV 2025, arXiv 2412.07771; branches, starting values, dropout and the rule for ``a`` as in the authors' code).
As there, what comes after the pooled features has one branch for all.

Their quality is that of a trained assessor (CNN-IQA or BRISQUE), which the zoo does not have: ``sharpness`` stands in
for it, with a threshold and a slope of its own. Whoever has an assessor gives its weights by ``weighted``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xzoo import errors
from xzoo.adapters import base
from xzoo.adapters.base import Kind, Slot, held_class, register_kind
from xzoo.adapters.lora import find_targets
from xzoo.families.base import still

if TYPE_CHECKING:
    from xzoo.families.base import Embedder

__all__ = ["PETALFACE", "PetalfaceOptions", "sharpness", "weighted", "weights_of"]

WINDOW = 9
"""Pixels of the mean that an image is compared with."""


@dataclass(frozen=True)
class PetalfaceOptions:
    """What a ``petalface`` adapter changes, and how its branches are mixed.

    Attributes:
        rank: Rank of each branch.
        scale: Factor of both branches.
        dropout: Share of a branch's outputs that training hides, in [0, 1).
        threshold: Quality of an image for which both branches weigh the same. The default is about that of a face of
            36 pixels enlarged to 112; where every image has few pixels and none is enlarged, all look sharp.
        slope: What one unit of quality adds to the weight of the branch for sharp images; weights stay in 0 to 1.
            1 in the authors' code, whose quality spreads further than ``sharpness``.
        targets: Regular expression over whole module names; ``None`` for the family's own choice.

    Raises:
        OptionError: A value of the wrong type or out of range.
    """

    rank: int = field(default=8, metadata={"help": "rank of each branch; size and cost grow with it", "min": 1})
    scale: float = field(default=1.0, metadata={"help": "factor of both branches"})
    dropout: float = field(
        default=0.1, metadata={"help": "share of a branch's outputs hidden in training", "min": 0, "max": 1}
    )
    threshold: float = field(
        default=0.35, metadata={"help": "quality at which both branches weigh the same", "min": 0, "max": 1}
    )
    slope: float = field(default=2.0, metadata={"help": "what one unit of quality adds to a weight", "min": 0})
    targets: str | None = field(
        default=None, metadata={"help": "regular expression over module names; the family's choice if left out"}
    )

    def __post_init__(self) -> None:
        if isinstance(self.rank, bool) or not isinstance(self.rank, int) or self.rank < 1:
            raise errors.OptionError(f"rank={self.rank!r}", why="A rank is a whole number from 1.")
        for key, least, most in (
            ("scale", 0.0, math.inf),
            ("dropout", 0.0, 1.0),
            ("threshold", 0.0, 1.0),
            ("slope", 0.0, math.inf),
        ):
            value: Any = getattr(self, key)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not least <= value <= most or value == math.inf or (key == "dropout" and value == 1):
                wanted = "a number from 0" if most == math.inf else "a share, 0 to 1"
                raise errors.OptionError(f"{key}={value!r}", why=f"It is {wanted}.")
        if self.targets is not None and not isinstance(self.targets, str):
            raise errors.OptionError(
                f"targets={self.targets!r}", why="Targets are one regular expression.", do=r'targets=r".*\.qkv"'
            )


# --- quality ---------------------------------------------------------------------------------------------------------


def sharpness(images: Tensor) -> Tensor:
    """Return how sharp images are, 0 (flat or blurred) to 1, whatever their brightness and contrast.

    The share of the differences between neighbours that a mean of ``WINDOW`` pixels along the same axis takes away,
    in the axis that has less of it: one less the blur of F. Crete et al., *The Blur Effect*, SPIE 6492, 2007.

    Args:
        images: ``[B, C, H, W]``; channels are averaged.
    """
    grey = images.mean(1, keepdim=True)
    shares = []
    for plane in (grey, grey.transpose(2, 3)):  # along the last axis
        blurred = F.avg_pool2d(F.pad(plane, (WINDOW // 2, WINDOW // 2, 0, 0), "replicate"), (1, WINDOW), 1)
        own, left = plane.diff(dim=3).abs(), blurred.diff(dim=3).abs()
        taken = (own - left).clamp(min=0).sum((1, 2, 3))
        shares.append(taken / own.sum((1, 2, 3)).clamp(min=torch.finfo(own.dtype).tiny))
    return torch.minimum(*shares)


def weights_of(quality: Tensor, options: PetalfaceOptions) -> Tensor:
    """Return the weight ``[B]`` of the branch for sharp images; the other branch has the rest."""
    return (0.5 + options.slope * (quality - options.threshold)).clamp(0, 1)


class _Mixture:
    """The weights of the images at hand: one for all layers of an adapter, set by the first of them."""

    def __init__(self, options: PetalfaceOptions) -> None:
        self.options = options
        self.given: Tensor | None = None
        self.now: Tensor | None = None

    @torch.no_grad()
    def look(self, images: Tensor) -> None:
        """Take a batch in, as the first layer is given it."""
        if self.given is None:
            self.now = weights_of(sharpness(images), self.options)
            return
        if len(self.given) not in (1, len(images)):
            raise errors.OptionError(
                f"{len(self.given)} weights for a batch of {len(images)} images",
                why="Inside weighted() each image has its weight, or one is for all.",
            )
        self.now = self.given.to(images.device).expand(len(images))

    def of(self, x: Tensor) -> Tensor:
        """Return the weight of each row of ``x``, to be multiplied with it; windows of one image are neighbours."""
        if self.now is None or len(x) % len(self.now):
            raise errors.OptionError(
                f"a layer with a petalface adapter sees {len(x)} rows of {0 if self.now is None else len(self.now)} "
                "images",
                why="Rows cannot be told to images, so nothing says how to mix the branches.",
                do="leave that layer out of targets",
            )
        rows = self.now.to(x.device, x.dtype).repeat_interleave(len(x) // len(self.now))
        return rows.view(-1, *(1 for _ in x.shape[1:]))


@contextmanager
def weighted(model: Embedder, weights: Tensor | float) -> Iterator[None]:
    """Mix by these weights inside the block, and not by the sharpness of images.

    Args:
        model: With petalface adapters, all of which follow.
        weights: Of the branch for sharp images, 0 to 1: one for all, or one for each row of every batch in the block
            (``model.embed`` makes batches of ``batch_size``).

    Raises:
        OptionError: The model has no petalface adapter, or a weight is out of range.
    """
    base.zoo_model(model)
    kept = torch.as_tensor(weights, dtype=torch.float32).detach().reshape(-1)
    if not len(kept) or not bool(((kept >= 0) & (kept <= 1)).all()):
        raise errors.OptionError(f"weights={weights!r}", why="They are shares, 0 to 1.")
    found = {id(mixture): mixture for mixture in _mixtures(model)}.values()
    if not found:
        raise errors.OptionError(
            "weighted() on a model without petalface adapters", do='xzoo.adapters.add(model, "petalface")'
        )
    before = [(mixture, mixture.given) for mixture in found]
    try:
        for mixture in found:
            mixture.given = kept
        yield
    finally:
        for mixture, given in before:
            mixture.given = given


def _mixtures(model: Embedder) -> Iterator[_Mixture]:
    for adapter in model.adapters.values():
        if adapter.kind == PETALFACE.name:
            yield from (slot.mixture for _, slot in base.current(model, adapter) if isinstance(slot, _Branches))


# --- layers ----------------------------------------------------------------------------------------------------------


class _Branches(nn.Module):
    """A frozen layer with low-rank branches beside it: ``low`` and ``high``, or ``all`` for every image alike."""

    def __init__(
        self, layer: nn.Linear | nn.Conv2d, options: PetalfaceOptions, mixture: _Mixture, *, mixed: bool, first: bool
    ) -> None:
        super().__init__()
        self.base, self.mixture, self.first = layer, mixture, first
        self.scale = options.scale
        self.branches = nn.ModuleDict({name: _branch(layer, options.rank) for name in _names(mixed)})
        self.lora_dropout = nn.Dropout(options.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return what the layer and its branches say."""
        if self.first:
            self.mixture.look(x)
        out: Tensor = self.base(x)
        for name, pair in self.branches.items():
            down, up = pair.children()
            low = down(x)
            if name != "all":
                share = self.mixture.of(low)
                low = low * (share if name == "high" else 1 - share)
            out = out + self.scale * self.lora_dropout(up(low))
        return out


def _names(mixed: bool) -> tuple[str, ...]:
    return ("low", "high") if mixed else ("all",)


def _branch(layer: nn.Linear | nn.Conv2d, rank: int) -> nn.Sequential:
    """Return a product of rank ``rank``: normal numbers of deviation ``1 / rank``, then zeros."""
    down: nn.Module
    up: nn.Module
    like: dict[str, Any] = {"bias": False, "dtype": layer.weight.dtype}
    if isinstance(layer, nn.Linear):
        down, up = nn.Linear(layer.in_features, rank, **like), nn.Linear(rank, layer.out_features, **like)
    else:
        shape: dict[str, Any] = {key: getattr(layer, key) for key in ("kernel_size", "stride", "padding", "dilation")}
        down = nn.Conv2d(layer.in_channels, rank, padding_mode=layer.padding_mode, **shape, **like)
        up = nn.Conv2d(rank, layer.out_channels, 1, **like)
    nn.init.normal_(down.weight, std=1 / rank)
    nn.init.zeros_(up.weight)
    return nn.Sequential(down, up)


class _Looking:
    """The first layer of a network: it looks at the images before it does its own work."""

    mixture: _Mixture

    def forward(self, images: Tensor) -> Any:
        self.mixture.look(images)
        return super().forward(images)  # type: ignore[misc]


_LOOKING: dict[type[nn.Module], type[Any]] = {}


def _looking(layer: nn.Module, mixture: _Mixture) -> nn.Module:
    """Return a stand-in that shares the tables of ``layer``, hence its tensors and its state keys."""
    norm = isinstance(layer, nn.modules.batchnorm._BatchNorm)
    kind = held_class(type(layer)) if norm else type(layer)
    if kind not in _LOOKING:
        _LOOKING[kind] = type(f"Looking{kind.__name__}", (_Looking, kind), {})
    stand_in: nn.Module = object.__new__(_LOOKING[kind])
    stand_in.__dict__.update(layer.__dict__)
    stand_in.__dict__["mixture"] = mixture
    return stand_in


# --- the kind --------------------------------------------------------------------------------------------------------


def _order(model: Embedder) -> tuple[str, set[str]]:
    """Return the first layer that a network runs, and the layers that it runs behind the pooled features."""
    names = {id(module): path for path, module in model.named_modules() if not list(module.children())}
    seen: list[str] = []
    shapes: list[tuple[int, ...]] = []

    def note(module: nn.Module, given: tuple[Any, ...]) -> None:
        seen.append(names[id(module)])
        shapes.append(tuple(given[0].shape) if given and isinstance(given[0], Tensor) else ())

    hooks = [module.register_forward_pre_hook(note) for module in model.modules() if id(module) in names]
    like = next(model.parameters())
    example = torch.zeros(2, *model.preprocess.size, device=like.device, dtype=like.dtype)
    try:
        with still(model):
            features = model.trunk(example)
            before = len(seen)
            model.project(features)
    finally:
        for hook in hooks:
            hook.remove()
    if model.banded or not seen or shapes[0] != tuple(example.shape):
        raise errors.OptionError(
            f"petalface on {model.card.name}",
            why="The images do not reach one first layer, which is where their sharpness is measured.",
            exists="networks of one stream, such as edgeface_base and adaface_ir_50",
        )
    return seen[0], set(seen[before:])


def _build(model: Embedder, options: PetalfaceOptions, empty: bool) -> dict[str, Slot]:
    paths = find_targets(model, options.targets)
    first, last = _order(model)
    mixture = _Mixture(options)
    slots: dict[str, Slot] = {}
    for path in paths:
        layer: Any = model.get_submodule(path)
        with torch.device("meta" if empty else "cpu"):
            made = _Branches(layer, options, mixture, mixed=path not in last, first=path == first)
        slots[path] = made.train(layer.training)
    if first not in slots:
        slots[first] = _looking(model.get_submodule(first), mixture)
    return slots


def _owned(slot: nn.Module) -> dict[str, Tensor]:
    if not isinstance(slot, _Branches):
        return {}
    return {f"branches.{name}": tensor for name, tensor in slot.branches.named_parameters()}


PETALFACE = Kind(
    name="petalface",
    summary="Two low-rank changes, mixed for each image by its sharpness",
    options=PetalfaceOptions,
    build=_build,
    owned=_owned,
    merges=False,
)
register_kind(PETALFACE)
