"""Every kind of image ends as the same 8-bit RGB, or as one clear error."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from xzoo.data.images import MAX_PIXELS, load_raw, open_image, read_image, resize, upright_size
from xzoo.data.manifest import Manifest, Row
from xzoo.data.preprocess import Preprocess
from xzoo.errors import ImageError, MissingFile, OptionError

RAMP = np.arange(0, 240, 5, dtype=np.uint8).reshape(6, 8)  # grey, 6 high and 8 wide
GREY = np.repeat(RAMP[:, :, None], 3, axis=2)
COLOUR = np.stack([RAMP, RAMP[::-1], 255 - RAMP], axis=2)


def in_mode(mode: str) -> Image.Image:
    return Image.fromarray(COLOUR).convert(mode)


def with_alpha(values: np.ndarray) -> np.ndarray:
    alpha = np.tile(np.arange(8, dtype=np.uint8) * 30, (6, 1))
    return np.dstack([values, alpha])


SAME = {
    "grey array": (RAMP, GREY),
    "grey array with a channel axis": (RAMP[:, :, None], GREY),
    "colour array": (COLOUR, COLOUR),
    "array with alpha": (with_alpha(COLOUR), COLOUR),
    "16-bit array": (RAMP.astype(np.uint16) * 257, GREY),
    "16-bit colour array": (COLOUR.astype(np.uint16) * 257, COLOUR),
    "float array": (RAMP / 255.0, GREY),
    "half array": ((COLOUR / 255.0).astype(np.float16), COLOUR),
    "array that is not contiguous": (COLOUR[::-1, ::-1], COLOUR[::-1, ::-1]),
    "grey tensor": (torch.from_numpy(RAMP), GREY),
    "one-channel tensor": (torch.from_numpy(RAMP)[None], GREY),
    "colour tensor": (torch.from_numpy(COLOUR).permute(2, 0, 1), COLOUR),
    "float tensor with a gradient": ((torch.from_numpy(COLOUR).permute(2, 0, 1) / 255).requires_grad_(), COLOUR),
    "bfloat16 tensor": (torch.from_numpy(RAMP // 128 * 255).bfloat16() / 255, GREY // 128 * 255),
    "Pillow L": (Image.fromarray(RAMP), GREY),
    "Pillow RGB": (Image.fromarray(COLOUR), COLOUR),
    "Pillow RGBA": (Image.fromarray(with_alpha(COLOUR)), COLOUR),
    "Pillow LA": (Image.merge("LA", (Image.fromarray(RAMP), Image.fromarray(RAMP))), GREY),
    "Pillow RGBX": (Image.fromarray(COLOUR).convert("RGBX"), COLOUR),
    "Pillow I;16": (Image.fromarray(RAMP.astype(np.uint16) * 257), GREY),
    "Pillow I, as some 16-bit files open": (Image.fromarray(RAMP.astype(np.int32) * 257), GREY),
    "Pillow F": (Image.fromarray((RAMP / 255).astype(np.float32)), GREY),
    "Pillow 1": (Image.fromarray(RAMP > 100), (GREY > 100) * np.uint8(255)),
    "Pillow CMYK": (Image.fromarray(255 - COLOUR).convert("RGB").convert("CMYK"), 255 - COLOUR),
}


@pytest.mark.parametrize(("source", "expected"), SAME.values(), ids=SAME.keys())
def test_every_kind_of_image_becomes_the_same_rgb(source: object, expected: np.ndarray) -> None:
    pixels = read_image(source)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize("mode", ["P", "YCbCr", "HSV", "CMYK", "RGBa", "PA"])
def test_other_colour_modes_come_close_to_their_rgb(mode: str) -> None:
    source = in_mode("P").convert("PA") if mode == "PA" else in_mode("RGBA" if mode == "RGBa" else "RGB").convert(mode)
    expected = np.array(source.convert("RGBA" if mode in ("RGBa", "PA", "P") else "RGB"))[:, :, :3]
    np.testing.assert_array_equal(read_image(source), expected)


@pytest.mark.parametrize(
    ("suffix", "values"),
    [("png", COLOUR), ("bmp", COLOUR), ("tif", COLOUR), ("ppm", COLOUR), ("png", RAMP), ("pgm", RAMP)],
)
def test_a_lossless_file_gives_its_pixels(tmp_path: Path, suffix: str, values: np.ndarray) -> None:
    file = tmp_path / f"x.{suffix}"
    Image.fromarray(values).save(file)
    np.testing.assert_array_equal(read_image(file), values if values.ndim == 3 else GREY)
    np.testing.assert_array_equal(read_image(str(file)), read_image(file))


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_a_16_bit_file_is_divided_by_257_to_the_nearest(tmp_path: Path, suffix: str) -> None:
    counts = np.array([[0, 128, 129, 257], [32768, 65278, 65407, 65535]], dtype=np.uint16)
    file = tmp_path / f"x.{suffix}"
    Image.fromarray(counts).save(file)
    assert read_image(file)[:, :, 0].tolist() == [[0, 0, 1, 1], [128, 254, 255, 255]]


@pytest.mark.filterwarnings("error")
def test_a_palette_with_transparency_is_resolved_without_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "x.png"
    in_mode("RGB").quantize(16).save(file, transparency=bytes(range(0, 160, 10)))
    expected = np.array(Image.open(file).convert("RGBA"))[:, :, :3]
    np.testing.assert_array_equal(read_image(file), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_exif_orientation_turns_the_image_upright(tmp_path: Path, orientation: int, suffix: str) -> None:
    turns = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
        8: lambda a: np.rot90(a, 1),
    }
    stored = np.zeros((16, 32, 3), np.uint8)
    stored[:8, :8] = 255  # one bright corner tells all eight apart, together with the shape
    stored[:8, 8:24] = 90
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / f"x.{suffix}"
    Image.fromarray(stored).save(file, exif=exif, quality=100, subsampling=0)
    pixels = read_image(file)
    assert np.abs(pixels.astype(int) - turns[orientation](stored)).max() <= 12
    with open_image(file) as image:
        assert upright_size(image) == (pixels.shape[1], pixels.shape[0])


def test_stretch_spreads_a_narrow_16_bit_range() -> None:
    counts = np.array([[8000, 8050, 8100]], dtype=np.uint16)
    assert read_image(counts, stretch=True)[0, :, 0].tolist() == [0, 128, 255]
    assert read_image(np.full((2, 2), 7, np.uint8), stretch=True).max() == 0


WRONG = {
    "float above one": (np.full((4, 5), 1.5), "1.5"),
    "float below zero": (np.full((4, 5), -0.1), "-0.1"),
    "not a number": (np.full((4, 5), np.nan), "nan"),
    "one NaN among good values": (np.where(np.eye(6) > 0, np.nan, 0.5), "nan"),
    "infinity": (torch.full((4, 5), float("inf")), "inf"),
    "values 0..255 as float": (RAMP.astype(np.float32), "0..1"),
    "int64": (RAMP.astype(np.int64), "int64"),
    "bool": (RAMP > 3, "bool"),
    "complex": (RAMP.astype(np.complex64), "complex64"),
    "strings": (np.array([["a"]]), "white point"),
    "two channels": (np.zeros((6, 7, 2), np.uint8), "1, 3 or 4 channels"),
    "five channels": (np.zeros((6, 7, 5), np.uint8), "1, 3 or 4 channels"),
    "channels first array": (np.zeros((3, 6, 7), np.uint8), "transpose(1, 2, 0)"),
    "channels last tensor": (torch.zeros(6, 7, 3, dtype=torch.uint8), "permute(2, 0, 1)"),
    "both orders fit an array": (np.zeros((3, 7, 3), np.uint8), "both"),
    "both orders fit a tensor": (torch.zeros(4, 7, 3, dtype=torch.uint8), "both"),
    "a batch": (np.zeros((2, 6, 7, 3), np.uint8), "[H, W, C]"),
    "a row": (np.zeros(6, np.uint8), "[H, W, C]"),
    "empty array": (np.zeros((0, 7, 3), np.uint8), "empty"),
    "empty tensor": (torch.zeros(3, 0, 7, dtype=torch.uint8), "empty"),
    "a number": (7, "int"),
    "bytes": (b"png", "bytes"),
    "nothing": (None, "NoneType"),
    "32-bit values beyond 16 bits": (Image.fromarray(np.full((3, 4), 70000, np.int32)), "16 bits"),
    "Pillow float out of range": (Image.fromarray(np.full((3, 4), 2.0, np.float32)), "0..1"),
}


@pytest.mark.parametrize(("source", "word"), WRONG.values(), ids=WRONG.keys())
def test_what_is_no_image_is_refused_with_its_reason(source: object, word: str) -> None:
    with pytest.raises(ImageError, match="cannot read") as caught:
        read_image(source)
    assert word in str(caught.value)


def png_claiming(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def whole_png() -> bytes:
    from io import BytesIO

    stream = BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)).save(stream, "png")
    return stream.getvalue()


BROKEN = {
    "empty": (b"", "0 bytes"),
    "text": (b"hello, I am no image", "not an image"),
    "cut in the middle": (whole_png()[:2000], "cannot read image"),
    "cut after the header": (whole_png()[:30], "cannot read image"),
    "header only": (whole_png()[:8], "cannot read image"),
    "a flipped byte": (whole_png()[:500] + b"\xff\x00\xff" + whole_png()[503:], "cannot read image"),
    "a bomb": (png_claiming(60_000, 60_000), "pixels"),
    "just above the limit": (png_claiming(MAX_PIXELS // 1000 + 1, 1000), "pixels"),
    "HTML saved as png": (b"<!doctype html><title>404</title>", "not an image"),
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(("content", "word"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_is_named_with_its_fault(tmp_path: Path, content: bytes, word: str) -> None:
    file = tmp_path / "face 7.png"
    file.write_bytes(content)
    with pytest.raises(ImageError) as caught:
        read_image(file)
    assert "face 7.png" in str(caught.value)
    assert word in str(caught.value)


@pytest.mark.parametrize("name", ["none.png", "no/such/folder.png", "a\0b.png"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(MissingFile, match="no image file"):
        read_image(tmp_path / name)


def test_a_name_that_the_file_system_refuses_is_an_image_error(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="too long"):
        read_image(tmp_path / ("x" * 5000))


def test_a_folder_is_not_an_image(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="folder"):
        read_image(tmp_path)


def test_the_caller_owns_the_pixels() -> None:
    source = COLOUR.copy()
    read_image(source)[:] = 0
    np.testing.assert_array_equal(source, COLOUR)


def test_resize_keeps_an_image_of_the_right_size() -> None:
    np.testing.assert_array_equal(resize(COLOUR, (6, 8)), COLOUR)


def test_resize_antialiases_a_large_reduction() -> None:
    board = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    small = resize(np.repeat(board[:, :, None], 3, axis=2), (4, 4))
    assert np.abs(small.astype(int) - 127).max() < 12  # a plain sampler would give 0 or 255


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    random = np.random.default_rng(1)
    paths = [tmp_path / f"{number}.png" for number in range(20)]
    for path in paths:
        Image.fromarray(random.integers(0, 255, (12, 10, 3), np.uint8)).save(path)
    return paths


@pytest.mark.parametrize("workers", [1, 4])
def test_load_raw_keeps_the_order_whatever_the_threads(files: list[Path], workers: int) -> None:
    preprocess = Preprocess(size=(3, 8, 8))
    assert torch.equal(load_raw(files, preprocess, workers=workers), preprocess.raw(files))


def test_load_raw_names_the_first_file_that_fails(files: list[Path]) -> None:
    files[7].write_bytes(b"x")
    files[3].unlink()
    with pytest.raises(MissingFile, match="3.png"):
        load_raw(files, Preprocess(size=(3, 8, 8)), workers=4)


def test_load_raw_crops_each_row_to_its_box(files: list[Path]) -> None:
    rows = (Row(files[0].name, "a", "VIS", box=(2, 3, 4, 5)), Row(files[1].name, "a", "LWIR", index=1))
    batch = load_raw(Manifest(rows, files[0].parent), Preprocess(size=(3, 5, 4)))
    assert batch.shape == (2, 3, 5, 4)
    np.testing.assert_array_equal(batch[0].permute(1, 2, 0), read_image(files[0])[3:8, 2:6])


def test_load_raw_refuses_a_box_that_leaves_the_image(files: list[Path]) -> None:
    rows = (Row(files[0].name, "a", "VIS", box=(8, 0, 4, 4)),)
    with pytest.raises(ImageError, match="10 x 12"):
        load_raw(Manifest(rows, files[0].parent), Preprocess())


def test_load_raw_refuses_no_threads(files: list[Path]) -> None:
    with pytest.raises(OptionError, match="workers=0"):
        load_raw(files, Preprocess(), workers=0)
