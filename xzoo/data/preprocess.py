"""What happens to an image between its file and the network.

Preprocessing belongs to the weights, not to the user: a model carries one
``Preprocess``, read from its card, and nothing else in the zoo resizes or
scales images for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from PIL import Image

from xzoo.data.align import TEMPLATES, aligned, points_of
from xzoo.data.images import FILTERS, read_image, resize
from xzoo.errors import CardError, ImageError, OptionError

if TYPE_CHECKING:
    from xzoo.catalog.entries import Card
    from xzoo.data.images import Box, ImageLike, Pixels
    from xzoo.data.manifest import Points

__all__ = ["Preprocess", "as_sequence"]


@dataclass(frozen=True)
class Preprocess:
    """Turn images into the tensor that one network was trained on.

    Args:
        size: ``(3, height, width)`` of the network's input. The whole image is
            resized to it; the aspect ratio is not kept.
        colour: Channel order that the network expects.
        mean: Per channel, on the 0..1 scale, in the network's channel order.
        std: As ``mean``.
        interpolation: Pillow filter, with antialiasing. Bicubic reproduces the
            reference figures of the EdgeFace weights on whole face crops.
        stretch: Stretch each image to its own darkest and brightest value
            first (see ``read_image``).
        alignment: Template to which faces with known landmarks are moved (see ``xzoo.data.align``):
            by five points, or by the eyes alone; None where the network takes pictures as they are. An
            image without such landmarks is taken for aligned already.

    Example:
        >>> Preprocess(size=(3, 8, 8))(np.zeros((16, 16), np.uint8)).shape
        torch.Size([1, 3, 8, 8])
    """

    size: tuple[int, int, int] = (3, 112, 112)
    colour: Literal["RGB", "BGR"] = "RGB"
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    interpolation: Literal["bilinear", "bicubic", "lanczos"] = "bicubic"
    stretch: bool = False
    alignment: Literal["arcface_112_5pt", "eyes_112_2pt"] | None = None

    def __post_init__(self) -> None:
        """Refuse values that no network can mean."""
        if not _three(self.size, int) or self.size[0] != 3 or min(self.size) < 1:
            raise OptionError(f"size={self.size!r}", why="an input is (3, height, width) in pixels")
        if self.colour not in ("RGB", "BGR"):
            raise OptionError(f"colour={self.colour!r}", exists="RGB, BGR")
        if self.interpolation not in FILTERS:
            raise OptionError(f"interpolation={self.interpolation!r}", exists=", ".join(FILTERS))
        if not isinstance(self.stretch, bool):
            raise OptionError(f"stretch={self.stretch!r}", exists="True, False")
        if self.alignment not in (None, *TEMPLATES):
            raise OptionError(f"alignment={self.alignment!r}", exists=", ".join((*TEMPLATES, "None")))
        for key, values in (("mean", self.mean), ("std", self.std)):
            if not _three(values, int, float) or not all(math.isfinite(value) for value in values):
                raise OptionError(f"{key}={values!r}", why="one finite number for each of three channels is needed")
        if min(self.std) <= 0:
            raise OptionError(f"std={self.std!r}", why="a standard deviation is above zero")

    @classmethod
    def from_card(cls, card: Card) -> Preprocess:
        """Build the preprocessing that a card's ``input`` section states.

        Raises:
            CardError: If the section is missing, or a value in it is unusable.
        """
        stated: Mapping[str, Any] | None = card.facts.get("input")
        if not stated or "size" not in stated:
            raise CardError(f"card {card.name!r} does not say what its network takes", do="add input: {size: ...}")
        known: dict[str, Any] = {key: stated[key] for key in ("size", "mean", "std") if key in stated}
        try:
            known = {key: tuple(value) if isinstance(value, list) else value for key, value in known.items()}
            known |= {key: stated[key] for key in ("colour", "interpolation", "stretch") if key in stated}
            if stated.get("alignment") in TEMPLATES:  # others are words for people
                known["alignment"] = stated["alignment"]
            return cls(**known)
        except OptionError as fault:
            asked = f"card {card.name!r}: input: {fault.asked}"
            raise CardError(asked, why=fault.why, exists=fault.exists, do=fault.do) from fault

    def __call__(self, images: ImageLike | Sequence[ImageLike]) -> torch.Tensor:
        """Return ``float32 [B, 3, H, W]`` on the CPU, ready for the network."""
        return self.normalise(self.raw(images))

    def raw(
        self,
        images: ImageLike | Sequence[ImageLike],
        locate: Callable[[Sequence[ImageLike]], Sequence[Points]] | None = None,
    ) -> torch.Tensor:
        """Return ``uint8 [B, 3, H, W]``, resized or aligned, always RGB.

        Args:
            images: One image or many. Anything ``read_image`` takes is one
                image; a list, a tuple, an array ``[B, H, W, C]`` or a tensor
                ``[B, C, H, W]`` is many.
            locate: Tells the five landmarks of each of many images (see ``xzoo.data.align.locate``);
                without it they are taken for aligned already.

        Raises:
            ImageError: If there is no image, or one cannot be used.
            MissingFile: If a path leads nowhere.
        """
        many = as_sequence(images)
        points = None if locate is None else locate(many)
        batch = np.empty((len(many), *self.size[1:], 3), dtype=np.uint8)
        for index, image in enumerate(many):
            try:
                batch[index] = self.pixels(image, landmarks=None if points is None else points[index])
            except ImageError as fault:
                if len(many) == 1:
                    raise
                raise ImageError(
                    f"image {index} of {len(many)}: {fault.asked}", why=fault.why, exists=fault.exists, do=fault.do
                ) from fault
        return torch.from_numpy(batch).permute(0, 3, 1, 2).contiguous()

    def pixels(self, image: ImageLike, box: Box | None = None, landmarks: Points | None = None) -> Pixels:
        """Read one image, cut out ``box`` (x, y, width, height), and resize it.

        Where there are landmarks that the network's template fits, the face is moved to it instead.

        Returns:
            ``uint8 [H, W, 3]``, RGB.
        """
        pixels = read_image(image, stretch=self.stretch)
        points = None if self.alignment is None else points_of(landmarks, self.alignment)
        if self.alignment is not None and points is not None:
            return aligned(pixels, points, (self.size[1], self.size[2]), self.alignment)
        if box is not None:
            x, y, w, h = box
            if min(x, y) < 0 or min(w, h) < 1 or x + w > pixels.shape[1] or y + h > pixels.shape[0]:
                raise ImageError(
                    f"cannot crop {image if isinstance(image, (str, Path)) else 'an image'} to box {x},{y},{w},{h}",
                    why=f"the image is {pixels.shape[1]} x {pixels.shape[0]} pixels",
                )
        return resize(pixels, (self.size[1], self.size[2]), self.interpolation, box)

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """Scale ``uint8 [B, 3, H, W]`` RGB to the network's ``float32``, on the same device.

        Computes ``(pixels / 255 - mean) / std`` after the channels were put in
        the network's order.

        Raises:
            ImageError: If the tensor is of another type or shape; floating
                point is refused because its scale cannot be known.
        """
        if pixels.dtype != torch.uint8 or pixels.ndim != 4 or pixels.shape[1] != 3:
            raise ImageError(
                f"cannot normalise a {str(pixels.dtype).removeprefix('torch.')} tensor {list(pixels.shape)}",
                why="normalise takes uint8 [B, 3, H, W], RGB",
                do="preprocess(images) starts from paths, Pillow images, arrays or tensors",
            )
        if self.colour == "BGR":
            pixels = pixels.flip(1)
        mean = torch.tensor(self.mean, device=pixels.device).view(3, 1, 1)
        std = torch.tensor(self.std, device=pixels.device).view(3, 1, 1)
        return pixels.to(torch.float32).div_(255.0).sub_(mean).div_(std)


def _three(values: object, *kinds: type) -> bool:
    return (
        isinstance(values, tuple | list)
        and len(values) == 3
        and all(isinstance(value, kinds) and not isinstance(value, bool) for value in values)
    )


def as_sequence(images: ImageLike | Iterable[ImageLike]) -> Sequence[ImageLike]:
    """Return one image, or many, as a sequence of images; see :meth:`Preprocess.raw`.

    Raises:
        ImageError: There is no image, or it is none.
    """
    if isinstance(images, (str, Path, Image.Image)):
        return [images]
    if isinstance(images, (np.ndarray, torch.Tensor)):
        return list(images) if images.ndim == 4 else [images]
    if not isinstance(images, Sequence):
        raise ImageError(f"cannot read images from {type(images).__name__!r}", do="give one image or a list of images")
    if not images:
        raise ImageError("no images given", why="the list is empty")
    return images
