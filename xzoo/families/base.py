"""What every recognition network of the zoo can do besides ``forward``."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xzoo import errors

if TYPE_CHECKING:
    from xzoo.adapters import AttachedAdapter
    from xzoo.catalog import Card
    from xzoo.data.preprocess import Preprocess
    from xzoo.hub import Weights

__all__ = ["Embedder", "Origin", "Plain", "check_batch_size", "fingerprint", "still"]

STEADY_ROWS = 16
"""From this many rows on, a matrix product gives each row the same bits whatever its company (measured on CPU)."""


class Origin(NamedTuple):
    """The call that made a network: ``xzoo.create(name, pretrained=pretrained, **options)``."""

    name: str
    pretrained: str | bool
    options: dict[str, Any]


class Embedder(nn.Module):
    """A network from normalised images to embeddings.

    Subclasses implement :meth:`trunk`, :meth:`project` and :meth:`forward_features`,
    and say which parameters form which group. ``xzoo.create`` fills in the rest.

    Attributes:
        card: The catalogue entry that this network was built from.
        preprocess: From images of any kind to this network's input.
        origin: The call that made this network.
        weights: Where the base weights came from; ``None`` for random ones.
        adapters: Attached adapters by name (see :mod:`xzoo.adapters`).
        lora_targets: Regular expression of the modules that LoRA adapts.
        input_size: Height and width of the input where an option decides them; ``None`` where the card does.
        banded: Whether calls take ``spectrum``, the band of all images or of each.
    """

    banded: bool = False
    lora_targets: str = ""
    input_size: tuple[int, int] | None = None
    card: Card
    origin: Origin
    preprocess: Preprocess
    _band: str | None = None

    def __init__(self) -> None:
        super().__init__()
        self.weights: Weights | None = None
        self.adapters: dict[str, AttachedAdapter] = {}
        self._fingerprint: str | None = None

    def trunk(self, images: Tensor) -> Tensor:
        """Return what the last linear layer sees, ``[B, C]``."""
        raise NotImplementedError

    def project(self, features: Tensor) -> Tensor:
        """Return raw embeddings ``[B, D]`` of the trunk's features ``[B, C]``."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """Return raw embeddings ``[B, D]`` of normalised ``images`` ``[B, 3, H, W]``."""
        return self.project(self.trunk(images))

    def forward_features(self, images: Tensor) -> dict[str, Tensor]:
        """Return named intermediate features, the embedding among them."""
        raise NotImplementedError

    def groups(self) -> dict[str, list[str]]:
        """Return the names of the parameters in each trainable group."""
        raise NotImplementedError

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Save memory in training: compute activations again in the backward pass instead of keeping them.

        Nothing that is learnt changes by it; a step takes about a third longer.

        Raises:
            OptionError: The family keeps its activations.
        """
        if enable:
            raise errors.OptionError(
                f"checkpointing of {type(self).__name__}",
                why="Its family keeps all activations.",
                exists="families that can do without: part_vit",
                do="a smaller batch",
            )

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of the file the base weights came from, or of the tensors themselves.

        Adapters are bound to it. Computed on first use and kept: training an
        adapter never changes the base.
        """
        if self._fingerprint is None:
            if self.weights is None:
                self._fingerprint = fingerprint(self)
            else:
                from xzoo.hub import sha256_of

                self._fingerprint = self.weights.sha256 or sha256_of(self.weights.path)
        return self._fingerprint

    def infer(self, batch: Tensor) -> Tensor:
        """Return raw embeddings of a batch so that no row depends, even in its last bit, on its company.

        A batch of one takes other convolution kernels than a larger one, so it is run as two; the last
        matrix product sums few rows in another order, so they are padded. Both cost next to nothing
        beside the network, except for the single image.
        """
        rows = len(batch)
        features = self.trunk(batch if rows > 1 else batch.expand(2, -1, -1, -1).contiguous())
        if len(features) < STEADY_ROWS:
            none = (0, 0) * (features.ndim - 1)
            features = F.pad(features, (*none, 0, STEADY_ROWS - len(features)))
        return self.project(features)[:rows]

    def infer_bands(self, batch: Tensor, bands: Sequence[str | None]) -> Tensor:
        """Return raw embeddings of a batch, each row through the adapter of its band (see ``xzoo.adapters.route``)."""
        from xzoo.adapters import route

        return route(self, batch, bands)

    def _told_each_band(self, batch: Tensor, bands: Sequence[str | None]) -> Tensor:
        """Return what ``infer_bands`` does, with ``_band`` the band of the rows at hand: for networks that ask."""
        out: Tensor | None = None
        for band in dict.fromkeys(bands):
            rows = [index for index, each in enumerate(bands) if each == band]
            self._band = band
            try:
                part = Embedder.infer_bands(self, batch[rows], [band] * len(rows))
            finally:
                self._band = None
            out = part.new_empty(len(batch), part.shape[1]) if out is None else out
            out[rows] = part
        return batch.new_empty(0) if out is None else out

    def embed(
        self,
        images: Any,
        *,
        spectrum: str | Sequence[str | None] | None = None,
        batch_size: int = 64,
        normalise: bool = True,
        align: str | Embedder | None = None,
    ) -> Tensor:
        """Embed images of any kind.

        Args:
            images: One or many paths, PIL images or arrays; or raw ``uint8`` crops
                ``[N, 3, H, W]`` (RGB, the network's size) as a tensor.
            spectrum: The band of all images, or one band per image; routes each
                row through the adapter of its band. ``None`` uses the adapter
                in use, if any.
            batch_size: Images per forward pass.
            normalise: Scale every embedding to unit length.
            align: A landmark network or its name, such as ``thermal_fld_lite``: raw crops are moved to the
                network's template by the five points that it finds. ``None`` takes faces for aligned already.

        Returns:
            ``float32 [N, D]`` on the CPU.

        Raises:
            OptionError: ``spectrum`` is unknown or does not match the number of images, or ``align`` finds no
                five points or the network takes pictures as they are.
            ImageError: An image cannot be read.
        """
        check_batch_size(batch_size)
        raw = self._raw(images) if align is None else self._aligned(images, align, batch_size)
        bands = _bands(spectrum, len(raw))
        where = next(self.parameters())
        rows = []
        with still(self):
            for start in range(0, len(raw), batch_size):
                chunk = raw[start : start + batch_size].to(where.device)
                batch = self.preprocess.normalise(chunk).to(where.dtype)
                seen = None if bands is None else bands[start : start + batch_size]
                out = self.infer(batch) if seen is None else self.infer_bands(batch, seen)
                rows.append(out.float().cpu())
        if not rows:
            raise errors.OptionError("embed() of no images", why="There is nothing to embed.")
        embeddings = torch.cat(rows).clone()
        return F.normalize(embeddings, dim=1) if normalise else embeddings

    def _raw(self, images: Any) -> Tensor:
        ready = isinstance(images, Tensor) and images.dtype == torch.uint8 and images.ndim == 4
        if ready and tuple(images.shape[1:]) == tuple(self.preprocess.size):
            return images  # type: ignore[no-any-return]
        return self.preprocess.raw(images)

    def _aligned(self, images: Any, align: str | Embedder, batch_size: int) -> Tensor:
        from xzoo.data.align import finder, locate

        network = finder(align, self.preprocess)
        return self.preprocess.raw(images, lambda many: locate(many, network, batch_size=batch_size))


class Plain(Embedder):
    """Any network from images ``[B, 3, H, W]`` to ``[B, D]`` (a notebook's or a plugin's), given the zoo's manners."""

    lora_targets = r"network\..*"

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def trunk(self, images: Tensor) -> Tensor:
        """Return the network's output ``[B, D]``: where its last layer begins is not known."""
        out: Tensor = self.network(images)
        return out

    def project(self, features: Tensor) -> Tensor:
        """Return the features themselves."""
        return features

    def forward_features(self, images: Tensor) -> dict[str, Tensor]:
        """Return ``embedding`` alone: nothing else is known of the network."""
        return {"embedding": self(images)}

    def groups(self) -> dict[str, list[str]]:
        """Return one group, ``all``."""
        return {"all": [name for name, _ in self.named_parameters()]}


def fingerprint(module: nn.Module) -> str:
    """Return the SHA-256 over names, types, shapes and bytes of a module's state."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        plain = tensor.detach().cpu().contiguous()
        digest.update(f"{name}|{plain.dtype}|{tuple(plain.shape)}|".encode())
        digest.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@contextmanager
def still(network: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode without gradients; give each module its own mode back."""
    modes = [module for module in network.modules() if module.training]
    network.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module in modes:
            module.training = True


def check_batch_size(batch_size: object) -> None:
    """Refuse what is no number of images.

    Raises:
        OptionError: ``batch_size`` is not a whole number from 1.
    """
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise errors.OptionError(f"batch_size={batch_size!r}", why="It is a whole number of images, from 1.")


def _bands(spectrum: str | Sequence[str | None] | None, count: int) -> list[str | None] | None:
    from xzoo.catalog.names import SPECTRA

    if spectrum is None:
        return None
    every = isinstance(spectrum, str) or not isinstance(spectrum, Iterable)
    bands: list[Any] = [spectrum] * count if every else list(spectrum)
    if len(bands) != count:
        raise errors.OptionError(
            f"{len(bands)} spectra for {count} images", why="Give one band for all images, or one for each."
        )
    for band in bands:
        if band is not None and band not in SPECTRA:
            raise errors.OptionError(f"spectrum={band!r}", why="It is not a spectral band.", exists=", ".join(SPECTRA))
    return bands
