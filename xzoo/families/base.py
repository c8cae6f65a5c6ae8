"""What every recognition network of the zoo can do besides ``forward``."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xzoo import errors

if TYPE_CHECKING:
    from xzoo.adapters import AttachedAdapter
    from xzoo.catalog import Card
    from xzoo.data.preprocess import Preprocess
    from xzoo.hub import Weights

__all__ = ["Embedder", "fingerprint"]


class Embedder(nn.Module):
    """A network from normalised images to embeddings.

    Subclasses implement :meth:`forward_features` and :meth:`forward` and say
    which parameters form which group. ``xzoo.create`` fills in the rest.

    Attributes:
        card: The catalogue entry that this network was built from.
        preprocess: From images of any kind to this network's input.
        weights: Where the base weights came from; ``None`` for random ones.
        adapters: Attached adapters by name (see :mod:`xzoo.adapters`).
        lora_targets: Regular expression of the modules that LoRA adapts.
    """

    lora_targets: str = ""
    card: Card
    preprocess: Preprocess

    def __init__(self) -> None:
        super().__init__()
        self.weights: Weights | None = None
        self.adapters: dict[str, AttachedAdapter] = {}
        self._fingerprint: str | None = None

    def forward(self, images: Tensor) -> Tensor:
        """Return raw embeddings ``[B, D]`` of normalised ``images`` ``[B, 3, H, W]``."""
        raise NotImplementedError

    def forward_features(self, images: Tensor) -> dict[str, Tensor]:
        """Return named intermediate features, the embedding among them."""
        raise NotImplementedError

    def groups(self) -> dict[str, list[str]]:
        """Return the names of the parameters in each trainable group."""
        raise NotImplementedError

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

    def embed(
        self,
        images: Any,
        *,
        spectrum: str | Sequence[str | None] | None = None,
        batch_size: int = 64,
        normalise: bool = True,
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

        Returns:
            ``float32 [N, D]`` on the CPU.

        Raises:
            OptionError: ``spectrum`` is unknown or does not match the number of images.
            ImageError: An image cannot be read.
        """
        from xzoo.adapters import route

        if batch_size < 1:
            raise errors.OptionError(f"batch_size={batch_size}", why="A batch holds at least one image.")
        raw = self._raw(images)
        bands = _bands(spectrum, len(raw))
        where = next(self.parameters())
        was_training = self.training
        self.eval()
        rows = []
        try:
            with torch.inference_mode():
                for start in range(0, len(raw), batch_size):
                    chunk = raw[start : start + batch_size].to(where.device)
                    batch = self.preprocess.normalise(chunk).to(where.dtype)
                    out = self(batch) if bands is None else route(self, batch, bands[start : start + batch_size])
                    rows.append(out.float().cpu())
        finally:
            self.train(was_training)
        if not rows:
            raise errors.OptionError("embed() of no images", why="There is nothing to embed.")
        embeddings = torch.cat(rows).clone()
        return F.normalize(embeddings, dim=1) if normalise else embeddings

    def _raw(self, images: Any) -> Tensor:
        ready = isinstance(images, Tensor) and images.dtype == torch.uint8 and images.ndim == 4
        if ready and tuple(images.shape[1:]) == tuple(self.preprocess.size):
            return images  # type: ignore[no-any-return]
        return self.preprocess.raw(images)


def fingerprint(module: nn.Module) -> str:
    """Return the SHA-256 over names, types, shapes and bytes of a module's state."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        plain = tensor.detach().cpu().contiguous()
        digest.update(f"{name}|{plain.dtype}|{tuple(plain.shape)}|".encode())
        digest.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _bands(spectrum: str | Sequence[str | None] | None, count: int) -> list[str | None] | None:
    from xzoo.catalog.names import SPECTRA

    if spectrum is None:
        return None
    bands = [spectrum] * count if isinstance(spectrum, str) else list(spectrum)
    if len(bands) != count:
        raise errors.OptionError(
            f"{len(bands)} spectra for {count} images", why="Give one band for all images, or one for each."
        )
    for band in bands:
        if band is not None and band not in SPECTRA:
            raise errors.OptionError(
                f"spectrum {band!r}", why="It is not a spectral band.", exists=", ".join(SPECTRA)
            )
    return bands
