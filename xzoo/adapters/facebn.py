"""The ``facebn`` kind: batch-norm statistics of the faces at hand, in place of those of training.

A network that was trained on one camera normalises the next one's faces by numbers that are not theirs. FaceBN takes
new ones from unlabelled faces of that camera (the adaptation step of R. Shi, W. Guo, S. Ge, *Low-Resolution Face
Recognition via Adaptable Instance-Relation Distillation*, arXiv 2409.02049). That text is known to us by its abstract:
what is mixed and how is a choice of this project, and each published way of doing it is a mode of its own.

``collect`` looks at faces once and leaves an adapter: saved, attached, routed by spectrum and taken off as any other.
``online`` goes on looking while it embeds, and puts everything back at the end. Labels are never asked for.

Statistics of deep layers are taken of inputs that are adapted already. Taking those of all layers at once, each below
unadapted ones, describes inputs that no adapted network will ever see: identification falls to chance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from xzoo import errors
from xzoo.adapters import base
from xzoo.adapters.base import AttachedAdapter, Kind, Slot, register_kind
from xzoo.families.base import check_batch_size, still

if TYPE_CHECKING:
    from xzoo.families.base import Embedder

__all__ = ["FACEBN", "FacebnOptions", "Statistics", "collect", "merged", "mixed", "online"]

MODES = ("prior_count", "alpha", "bayes", "ema", "adabn")
LAST_MIN_FACES = 256
"""Faces from which on a norm over the embedding itself, ``[B, C]``, is adapted: it has one number of each face."""

Norm = nn.modules.batchnorm._BatchNorm


@dataclass(frozen=True)
class FacebnOptions:
    """How statistics of new faces replace those of training.

    Attributes:
        mode: ``prior_count`` merges all batches and weights them ``N / (N + prior)`` against training's, ``N`` faces
            seen (training as a prior: Schneider et al., arXiv 2006.16971). ``alpha`` mixes the share ``share`` of the
            current batch alone (alpha-BN, arXiv 2110.04065). ``bayes`` the same with the unbiased variance
            (``bethgelab/robustness``, its ``prior`` is ``1 - share``). ``ema`` follows the batches by ``rho``.
            ``adabn`` takes what all batches say and nothing of training (AdaBN, arXiv 1603.04779).
        collect: ``batch`` takes one pass, in which each layer already normalises by its mixture with the batch.
            ``sequential`` takes a pass for each layer above adapted ones, and does not depend on the order of faces.
        prior: Faces that training's statistics count for, in ``prior_count``.
        share: Of the batch, in ``alpha`` and ``bayes``.
        rho: Of each batch, in ``ema``.
        moment: Add ``w (1 - w) (m_s - m_t)^2`` to the variance, as a mixture of two populations has it.
        min_faces: Fewer leave everything as it was.

    Raises:
        OptionError: A value of the wrong type or out of range.
    """

    mode: Literal["prior_count", "alpha", "bayes", "ema", "adabn"] = field(
        default="prior_count", metadata={"choices": MODES, "help": "how new statistics are mixed with training's"}
    )
    collect: Literal["batch", "sequential"] = field(
        default="batch", metadata={"choices": ("batch", "sequential"), "help": "one pass, or one for each layer"}
    )
    prior: float = field(
        default=256.0, metadata={"min": 0, "help": "faces that training's statistics count for (prior_count)"}
    )
    share: float = field(
        default=0.5, metadata={"min": 0, "max": 1, "help": "weight of the current batch (alpha, bayes)"}
    )
    rho: float = field(default=0.1, metadata={"min": 0, "max": 1, "help": "weight of each next batch (ema)"})
    moment: bool = field(default=False, metadata={"help": "add the variance between the two means"})
    min_faces: int = field(default=2, metadata={"min": 1, "help": "fewer leave everything as it was"})

    def __post_init__(self) -> None:
        for key, words in (("mode", MODES), ("collect", ("batch", "sequential"))):
            if getattr(self, key) not in words:
                raise errors.OptionError(f"{key}={getattr(self, key)!r}", exists=", ".join(words))
        for key, most in (("prior", math.inf), ("share", 1.0), ("rho", 1.0)):
            value: Any = getattr(self, key)
            if (
                isinstance(value, bool)
                or not isinstance(value, int | float)
                or not 0 <= value <= most
                or value == math.inf
            ):
                wanted = "a number from 0" if most == math.inf else "a share, 0 to 1"
                raise errors.OptionError(f"{key}={value!r}", why=f"It is {wanted}.")
        if not isinstance(self.moment, bool):
            raise errors.OptionError(f"moment={self.moment!r}", why="It is true or false.")
        if isinstance(self.min_faces, bool) or not isinstance(self.min_faces, int) or self.min_faces < 1:
            raise errors.OptionError(f"min_faces={self.min_faces!r}", why="It counts faces, from 1.")

    def weight(self, faces: int) -> float:
        """Return what the statistics of ``faces`` new faces weigh against those of training."""
        if self.mode == "prior_count":
            return faces / (faces + self.prior) if faces else 0.0
        return self.share if self.mode in ("alpha", "bayes") else 1.0


class Statistics(NamedTuple):
    """How many elements of each channel were seen, their means and their variances (biased), ``float64 [C]``."""

    elements: int
    mean: Tensor
    variance: Tensor

    @classmethod
    def of(cls, x: Tensor) -> Statistics:
        """Return those of ``[B, C, ...]``, over all axes but the second."""
        rows = x.detach().double().transpose(0, 1).flatten(1)
        return cls(rows.shape[1], rows.mean(1), rows.var(1, correction=0))


def merged(first: Statistics, second: Statistics) -> Statistics:
    """Return the statistics of both sets together, exact whatever their sizes.

    ``d = m_b - m_a; m = m_a + d n_b / n; M2 = M2_a + M2_b + d^2 n_a n_b / n`` (Chan, Golub and LeVeque, 1979).
    """
    count = first.elements + second.elements
    apart, share = second.mean - first.mean, second.elements / count
    squares = first.variance * first.elements + second.variance * second.elements + apart**2 * (first.elements * share)
    return Statistics(count, first.mean + apart * share, squares / count)


def mixed(source: Statistics, seen: Statistics, weight: float, options: FacebnOptions) -> Statistics:
    """Return what a layer normalises by: ``(1 - w) source + w seen``, weight 0 giving the source's own bits."""
    if not weight:
        return source
    variance = seen.variance
    if options.mode == "bayes" and seen.elements > 1:  # that of a batch norm's running buffer
        variance = variance * (seen.elements / (seen.elements - 1))
    mean = (1 - weight) * source.mean + weight * seen.mean
    variance = (1 - weight) * source.variance + weight * variance
    if options.moment:
        variance = variance + weight * (1 - weight) * (source.mean - seen.mean) ** 2
    return Statistics(seen.elements, mean, variance)


class _Layer:
    """One batch norm at work: what training left it, and what it has seen since."""

    def __init__(self, norm: Norm, options: FacebnOptions) -> None:
        self.norm, self.options = norm, options
        self.seen: Statistics | None = None
        mean, variance = norm.running_mean, norm.running_var
        assert mean is not None and variance is not None  # noqa: S101  (only those that keep statistics come here)
        self.source = Statistics(0, mean.detach().double(), variance.detach().double())

    def look(self, x: Tensor) -> Statistics:
        """Take a batch in; return its own statistics."""
        now, mode = Statistics.of(x), self.options.mode
        if mode == "ema":
            before, rho = self.seen or self.source, self.options.rho
            mean, variance = ((1 - rho) * a + rho * b for a, b in zip(before[1:], now[1:], strict=True))
            self.seen = Statistics(now.elements, mean, variance)
        elif self.seen is None or mode in ("alpha", "bayes"):
            self.seen = now
        else:
            self.seen = merged(self.seen, now)
        return now

    def apply(self, x: Tensor, statistics: Statistics) -> Tensor:
        """Normalise by other statistics than the layer's own; scale, offset and epsilon are the layer's."""
        mean, variance = statistics.mean.to(x.dtype), statistics.variance.to(x.dtype)
        return F.batch_norm(x, mean, variance, self.norm.weight, self.norm.bias, False, 0.0, self.norm.eps)

    def final(self, faces: int) -> Statistics:
        """Return what the layer normalises by once ``faces`` faces were seen."""
        if self.seen is None or not self.adapts(faces):
            return self.source
        return mixed(self.source, self.seen, self.options.weight(faces), self.options)

    def adapts(self, faces: int) -> bool:
        """Return whether there are faces enough for this layer."""
        least = LAST_MIN_FACES if isinstance(self.norm, nn.BatchNorm1d) else 0
        return faces >= max(self.options.min_faces, least)


def _layers(model: nn.Module, options: FacebnOptions) -> dict[str, _Layer]:
    found = {
        path: _Layer(module, options)
        for path, module in model.named_modules()
        if isinstance(module, Norm) and module.running_mean is not None
    }
    if not found:
        raise errors.OptionError(
            f"facebn on {type(model).__name__}",
            why="The network has no batch norm that keeps statistics, so there is nothing to adapt.",
            exists="networks with batch norms: bd_student, mobilefacenet, the adaface_ir family",
        )
    return found


Rule = Callable[[_Layer, Tensor], Statistics | None]


@contextmanager
def _ruled(layers: Mapping[str, _Layer], rule: Rule) -> Iterator[None]:
    """Let ``rule`` say what each layer normalises by; None leaves it to the layer."""

    def hook(layer: _Layer) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor | None]:
        def normalise(_norm: nn.Module, given: tuple[Tensor, ...], _out: Tensor) -> Tensor | None:
            statistics = rule(layer, given[0])
            return None if statistics is None else layer.apply(given[0], statistics)

        return normalise

    handles = [layer.norm.register_forward_hook(hook(layer)) for layer in layers.values()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Enough(Exception):
    """A pass has reached the layer that it was made for."""


def _one_pass(layers: Mapping[str, _Layer], run: Callable[[], None], faces: int, options: FacebnOptions) -> None:
    weight = options.weight(faces)

    def rule(layer: _Layer, x: Tensor) -> Statistics | None:
        if not layer.adapts(faces):
            return None
        now = layer.look(x)
        # An ema has its own mixture at every moment; the others mix with the batch at hand.
        return layer.seen if options.mode == "ema" else mixed(layer.source, now, weight, options)

    with _ruled(layers, rule):
        run()


def _layer_by_layer(layers: Mapping[str, _Layer], run: Callable[[], None], faces: int) -> None:
    """Take the statistics of one layer after another, in the order in which they are run."""
    done: dict[int, Statistics] = {}
    for _ in layers:
        current: list[_Layer] = []

        def rule(layer: _Layer, x: Tensor, current: list[_Layer] = current) -> Statistics | None:
            if id(layer) in done:
                return done[id(layer)]
            if not current:
                current.append(layer)
            if current[0] is layer and layer.adapts(faces):
                layer.look(x)
            raise _Enough

        with _ruled(layers, rule):
            run()
        if not current:  # the others are never run
            return
        done[id(current[0])] = current[0].final(faces)


def collect(
    model: Embedder,
    images: Any,
    *,
    name: str = "facebn",
    spectrum: str | None = None,
    batch_size: int = 64,
    **values: object,
) -> AttachedAdapter:
    """Take batch-norm statistics from unlabelled faces, and use them as an adapter.

    Scales, offsets and all weights stay. Whatever adapter is in use is switched off first: statistics
    belong to the bare base. ``xzoo.adapters.use(model, name)`` is the block that puts everything back.

    Args:
        model: The base.
        images: Faces of the camera to come, as ``model.embed`` takes them.
        name: Of the adapter on this model.
        spectrum: The band that it serves; ``None`` for all.
        batch_size: Faces of one pass; in ``alpha`` and ``bayes`` the last batch is what counts.
        **values: Fields of :class:`FacebnOptions`.

    Raises:
        OptionError: The network has no batch norms, or an option cannot be meant.
        ImageError: An image cannot be read.

    Example:
        >>> import torch, xzoo
        >>> student = xzoo.create("bd_student")
        >>> dark = torch.randint(60, (300, 3, 16, 16), dtype=torch.uint8)
        >>> collect(student, dark, spectrum="NIR").options.mode
        'prior_count'
    """
    base.zoo_model(model)
    options: FacebnOptions = base.make_options(FACEBN, values)
    check_batch_size(batch_size)
    base.free_name(model, name, spectrum)
    raw = model._raw(images)
    before = next((other.name for other in model.adapters.values() if other.on), None)
    base.switch(model, None)
    try:
        statistics = _measured(model, raw, batch_size, options)
    finally:
        base.switch(model, before)
    adapter = base.install(model, FACEBN, options, name=name, spectrum=spectrum, trainable=False)
    own = base.owned(model, adapter)
    state = {key: tensor.clone() for key, tensor in own.items()}
    for path, (_, mean, variance) in statistics.items():
        state[f"{path}.running_mean"], state[f"{path}.running_var"] = mean, variance
    base.load(model, adapter, state, asked="statistics do not fit.")
    return adapter


def _measured(model: Embedder, raw: Tensor, batch_size: int, options: FacebnOptions) -> dict[str, Statistics]:
    layers, where, faces = _layers(model, options), next(model.parameters()), len(raw)

    def run() -> None:
        for part in raw.split(batch_size):
            try:
                model(model.preprocess.normalise(part.to(where.device)).to(where.dtype))
            except _Enough:
                continue

    with still(model):
        if options.collect == "batch":
            _one_pass(layers, run, faces, options)
        else:
            _layer_by_layer(layers, run, faces)
        return {path: layer.final(faces) for path, layer in layers.items()}


@contextmanager
def online(model: Embedder, **values: object) -> Iterator[None]:
    """Adapt while embedding: every batch is taken in before it is normalised; the end puts everything back.

    Early and late embeddings of one block lie in different spaces, except in ``alpha`` and ``bayes`` with batches of
    like faces: compare what was embedded with the same statistics, or collect first. Not with
    ``collect="sequential"``, which needs all faces beforehand.

    Args:
        model: The base, with whatever adapter it uses.
        **values: Fields of :class:`FacebnOptions`.

    Raises:
        OptionError: The network has no batch norms, or an option cannot be meant.
    """
    base.zoo_model(model)
    options: FacebnOptions = base.make_options(FACEBN, values)
    if options.collect == "sequential":
        raise errors.OptionError(
            'online(collect="sequential")',
            why="It goes over all faces once for each layer.",
            do="collect(model, faces)",
        )
    layers, seen = _layers(model, options), dict.fromkeys(map(id, model.modules()), 0)

    def rule(layer: _Layer, x: Tensor) -> Statistics | None:
        seen[id(layer.norm)] += len(x)
        layer.look(x)
        return layer.final(seen[id(layer.norm)]) if layer.adapts(seen[id(layer.norm)]) else None

    with _ruled(layers, rule):
        yield


def _build(model: Embedder, options: FacebnOptions, empty: bool) -> dict[str, Slot]:
    slots: dict[str, Slot] = {}
    for path, layer in _layers(model, options).items():
        for key in ("running_mean", "running_var"):
            slots[f"{path}.{key}"] = layer.norm.get_buffer(key).detach().clone()
    return slots


FACEBN = Kind(
    name="facebn",
    summary="Batch-norm statistics of unlabelled faces at hand; no parameters, no cost at inference",
    options=FacebnOptions,
    build=_build,
)
register_kind(FACEBN)
