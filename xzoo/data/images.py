"""The one place where pixels come from.

Different decoders and different ideas about 16-bit, grey or rotated files
change embeddings without a word, so every image enters the zoo through
``read_image`` and leaves it as ``uint8 [H, W, 3]`` RGB.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from xzoo.errors import ImageError, MissingFile, OptionError

if TYPE_CHECKING:
    import numpy.typing as npt
    import torch

    from xzoo.data.manifest import Manifest
    from xzoo.data.preprocess import Preprocess

    Pixels: TypeAlias = npt.NDArray[np.uint8]
    Box: TypeAlias = tuple[int, int, int, int]
    ImageLike: TypeAlias = str | Path | Image.Image | npt.NDArray[Any] | torch.Tensor

__all__ = ["MAX_PIXELS", "FILTERS", "SUFFIXES", "load_raw", "open_image", "read_image", "resize", "upright_size"]

# Pillow warns above this many pixels and refuses above twice as many. A face
# crop never comes near it, so the first figure is already a refusal here.
MAX_PIXELS = 89_478_485

FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".jp2")

_CHANNELS = (1, 3, 4)
_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N", "I")


def read_image(source: ImageLike, *, stretch: bool = False) -> Pixels:
    """Read one image of any common kind as 8-bit RGB.

    Files and Pillow images are turned upright by their EXIF orientation. Grey
    is replicated to three channels, alpha is dropped, palettes are resolved,
    and 16-bit values are divided by 257 (so 65535 becomes 255). Numpy arrays
    are ``[H, W]`` or ``[H, W, C]``, torch tensors ``[H, W]`` or ``[C, H, W]``,
    with 1, 3 or 4 channels; a shape that would fit both orders is refused.
    Floating point values must lie in 0..1.

    Args:
        source: A path, a Pillow image, a numpy array or a torch tensor.
        stretch: Map the darkest value of this image to 0 and the brightest to
            255 before it is cut to 8 bits. Meant for raw thermal counts that
            fill a small part of 16 bits.

    Returns:
        ``uint8 [H, W, 3]``, RGB, owned by the caller.

    Raises:
        ImageError: If the content, shape or type is not an image.
        MissingFile: If the path leads nowhere.
    """
    if isinstance(source, (str, Path)):
        with open_image(source) as image:
            values = _from_pillow(image, repr(str(source)))
    elif isinstance(source, Image.Image):
        label = f"Pillow image of mode {source.mode!r}"
        with _decoding(label):
            source.load()
        values = _from_pillow(source, label)
    elif isinstance(source, np.ndarray):
        values = _channels_last(source, f"numpy array {source.dtype} {list(source.shape)}")
    elif _is_tensor(source):
        values = _from_tensor(source)
    else:
        raise ImageError(
            f"cannot read an image from {type(source).__name__!r}",
            exists="a path, a Pillow image, a numpy array [H, W, C] or a torch tensor [C, H, W]",
        )
    return _as_rgb(_stretched(values) if stretch else _eight_bit(values))


@contextmanager
def open_image(path: str | Path) -> Iterator[Image.Image]:
    """Open an image file, header only, and turn every decoder fault into an ``ImageError``.

    The fault may also come from the body of the ``with`` block, where Pillow
    decodes the pixels on first use.
    """
    label = repr(str(path))
    file = Path(path)
    with _decoding(label):
        if file.is_dir():
            raise ImageError(f"cannot read image {label}", why="it is a folder", do="name a file in it")
        packed = _packed(file)
        if packed is None and not file.is_file():
            raise MissingFile(
                f"no image file {label}",
                why="there is no such file",
                do="check the path; it is seen from " + os.getcwd(),
            )
        if packed is None and file.stat().st_size == 0:
            raise ImageError(f"cannot read image {label}", why="the file is empty (0 bytes)")
        with Image.open(file if packed is None else io.BytesIO(packed)) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise ImageError(
                    f"cannot read image {label}",
                    why=f"it claims {width} x {height} pixels, more than the limit of {MAX_PIXELS}",
                    do="crop or shrink it first",
                )
            yield image


def _packed(file: Path) -> bytes | None:
    """Return an image that lies inside a ``.bin`` file of a verification set, by a path like ``lfw.bin/000042``."""
    if file.parent.suffix != ".bin":
        return None
    from xzoo.data.readers.bins import image_bytes, names_image

    return image_bytes(file) if names_image(file) else None


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Return width and height after the EXIF orientation, without decoding pixels."""
    width, height = image.size
    quarter_turn = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
    return (height, width) if quarter_turn else (width, height)


def resize(pixels: Pixels, size: tuple[int, int], interpolation: str = "bicubic", box: Box | None = None) -> Pixels:
    """Resize a whole image, or the part of it in ``box``, to ``(height, width)``.

    Pillow's filters widen with the reduction (antialiasing), so a large photograph
    and its small copy give nearly the same result. The aspect ratio is not kept:
    face crops are square by convention.
    """
    height, width = size
    if box is not None:
        x, y, w, h = box
        pixels = pixels[y : y + h, x : x + w]
    if pixels.shape[:2] == (height, width):
        return pixels
    return np.array(Image.fromarray(np.ascontiguousarray(pixels)).resize((width, height), FILTERS[interpolation]))


def load_raw(
    images: Manifest | Sequence[ImageLike], preprocess: Preprocess, *, workers: int | None = None
) -> torch.Tensor:
    """Decode many images into one tensor, in order, cropped to their boxes or aligned by their landmarks.

    Pillow releases the interpreter while it decodes and resizes, so threads
    suffice; the result does not depend on their number.

    Args:
        images: A manifest, or a sequence of anything that ``read_image`` takes.
        preprocess: Gives the size and the filter.
        workers: Threads; by default one per core, at most 8.

    Returns:
        ``uint8 [N, 3, H, W]``, RGB.

    Raises:
        ImageError: Naming the first image, in order, that cannot be used.
        MissingFile: If one of the files is gone.
    """
    from concurrent.futures import ThreadPoolExecutor

    import torch

    from xzoo.data.manifest import Manifest

    if workers is not None and workers < 1:
        raise OptionError(f"workers={workers!r}", why="at least one thread must do the work", do="workers=1 or more")
    sources: Sequence[ImageLike] = images.paths if isinstance(images, Manifest) else images
    known = [(row.box, row.landmarks) for row in images.rows] if isinstance(images, Manifest) else None
    pixels = np.empty((len(sources), *preprocess.size[1:], 3), dtype=np.uint8)

    def decode(index: int) -> None:
        pixels[index] = preprocess.pixels(sources[index], *(known[index] if known else ()))

    count = min(workers or min(os.cpu_count() or 1, 8), max(len(sources), 1))
    with ThreadPoolExecutor(count) as pool:
        futures = [pool.submit(decode, index) for index in range(len(sources))]
        try:
            for future in futures:
                future.result()
        except BaseException:
            # One bad file, or Ctrl-C, should not wait for a million others.
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()


@contextmanager
def _decoding(label: str) -> Iterator[None]:
    try:
        yield
    except (ImageError, MissingFile):
        raise
    # Pillow's many decoders raise OSError, SyntaxError, ValueError, struct.error,
    # zlib.error, EOFError and more on broken files; all mean the same here.
    except Exception as fault:
        reason = "not an image, or of an unknown kind" if isinstance(fault, UnidentifiedImageError) else str(fault)
        raise ImageError(f"cannot read image {label}", why=reason or type(fault).__name__) from fault


def _is_tensor(source: object) -> bool:
    # By name, so that reading a file never imports torch.
    return any(kind.__module__ == "torch" and kind.__name__ == "Tensor" for kind in type(source).__mro__)


def _from_pillow(image: Image.Image, label: str) -> npt.NDArray[Any]:
    """Return the stored values as ``[H, W]`` or ``[H, W, C]``, upright."""
    with _decoding(label):
        image = ImageOps.exif_transpose(image)
        if image.mode in _SIXTEEN_BIT:
            values = np.array(image)
            # Pillow hands some 16-bit files out as 32-bit integers ("I").
            if values.min() < 0 or values.max() > 65535:
                raise ImageError(
                    f"cannot read image {label}",
                    why=f"its values {values.min()}..{values.max()} do not fit 16 bits",
                )
            return values.astype(np.uint16)
        if image.mode == "F":
            return _checked_float(np.array(image), label)
        if image.mode in ("1", "L"):
            return np.array(image.convert("L"))
        if image.mode in ("LA", "La"):
            return np.array(image.convert("LA"))[:, :, 0]
        if image.mode in ("P", "PA", "RGBA", "RGBa"):
            # Through RGBA, because a palette with transparency has no other clean way.
            return np.array(image.convert("RGBA"))[:, :, :3]
        return np.array(image.convert("RGB"))


def _from_tensor(tensor: Any) -> npt.NDArray[Any]:
    shape = list(tensor.shape)
    label = f"{str(tensor.dtype).removeprefix('torch.')} tensor {shape}"
    if len(shape) == 3 and shape[0] not in _CHANNELS:
        raise ImageError(
            f"cannot read an image from {label}",
            why="torch tensors are [C, H, W] with 1, 3 or 4 channels",
            do="tensor.permute(2, 0, 1)" if shape[2] in _CHANNELS else "",
        )
    with _decoding(label):  # a sparse, quantised or meta tensor has no pixels to hand out
        tensor = tensor.detach().cpu()
        values = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    if values.ndim == 3:
        _refuse_two_readings(shape, label)
        values = values.transpose(1, 2, 0)
    return _channels_last(values, label, checked=True)


def _channels_last(values: npt.NDArray[Any], label: str, *, checked: bool = False) -> npt.NDArray[Any]:
    if values.size == 0:
        raise ImageError(f"cannot read an image from {label}", why="it is empty")
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] not in _CHANNELS):
        turned = values.ndim == 3 and values.shape[0] in _CHANNELS
        raise ImageError(
            f"cannot read an image from {label}",
            why="an array is [H, W] or [H, W, C] with 1, 3 or 4 channels",
            do="array.transpose(1, 2, 0)" if turned else "",
        )
    if values.ndim == 3 and not checked:
        _refuse_two_readings(list(values.shape), label)
    if np.issubdtype(values.dtype, np.floating):
        values = _checked_float(values, label)
    elif values.dtype not in (np.dtype(np.uint8), np.dtype(np.uint16)):
        raise ImageError(
            f"cannot read an image from {label}",
            why=f"{values.dtype} has no agreed white point",
            exists="uint8 (0..255), uint16 (0..65535), float (0..1)",
        )
    return values[:, :, :3] if values.ndim == 3 else values


def _refuse_two_readings(shape: list[int], label: str) -> None:
    if shape[0] in _CHANNELS and shape[2] in _CHANNELS:
        raise ImageError(
            f"cannot read an image from {label}",
            why="the first and the last axis could both be the channels",
            do="give it as a Pillow image",
        )


def _checked_float(values: npt.NDArray[Any], label: str) -> npt.NDArray[Any]:
    values = values.astype(np.float64)
    low, high = float(values.min()), float(values.max())
    # Written so that NaN fails the comparison too.
    if not (low >= 0.0 and high <= 1.0):
        raise ImageError(
            f"cannot read image {label}",
            why=f"floating point values must lie in 0..1, these span {low:g}..{high:g}",
            do="divide by the white point, or clip",
        )
    return values


def _eight_bit(values: npt.NDArray[Any]) -> Pixels:
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.uint16:
        # 65535 / 255 = 257: nearest value, in integers.
        return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return np.rint(values * 255.0).astype(np.uint8)


def _stretched(values: npt.NDArray[Any]) -> Pixels:
    low, high = float(values.min()), float(values.max())
    if low == high:
        return np.zeros(values.shape, dtype=np.uint8)
    return np.rint((values.astype(np.float64) - low) * 255.0 / (high - low)).astype(np.uint8)


def _as_rgb(values: Pixels) -> Pixels:
    if values.ndim == 2:
        values = values[:, :, None]
    if values.shape[2] == 1:
        values = np.repeat(values, 3, axis=2)
    return np.array(values, dtype=np.uint8, order="C")
