"""Tensors in files: safetensors mapped into memory, and other people's checkpoints read safely."""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xzoo.errors import WeightsMismatch
from xzoo.hub.files import atomic_write, disk_full, unreadable

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["flatten_checkpoint", "looks_like_safetensors", "read", "read_foreign", "write"]

_NESTS = ("state_dict", "state_dict_backbone", "model_state_dict", "model", "teacher")
_WRAPPERS = ("module.", "_orig_mod.")  # DataParallel, torch.compile
_PACKED = "._packed_params._packed_params"
_PACKED_REST = (".scale", ".zero_point", "._packed_params.dtype")
_ZIP = b"PK\x03\x04"
# What torch's unpickler trips over in bytes that are no pickle.
_DAMAGED_PICKLE = (LookupError, ValueError, TypeError, AttributeError, struct.error, OverflowError, AssertionError)


def read(path: str | Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file, mapped rather than copied, on the CPU.

    The pages are private: a tensor may be changed, the file never is. They
    are read from disk when first touched.

    Raises:
        WeightsMismatch: The file is truncated or no safetensors file.
        MissingFile: The file is absent or cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path, device="cpu"))
    except OSError as error:
        if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError):
            raise unreadable(path, error) from error
        raise _unreadable_weights(path, "safetensors", error) from error  # mmap refuses an empty file
    except SafetensorError as error:
        raise _unreadable_weights(path, "safetensors", error) from error


def write(state: Mapping[str, Tensor], path: str | Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors as a safetensors file, whole or not at all; the same tensors give the same bytes.

    Tensors that share memory are written once each.

    Raises:
        DiskFull: There was no room; nothing half-written is left.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        with atomic_write(path) as part:
            save_file(_separate(state), part, metadata=dict(metadata) if metadata else None)
            _sort_metadata(part)
    except SafetensorError as error:
        # safetensors writes in Rust: a full disk comes back as text, without an errno.
        if "No space left" in str(error):
            raise disk_full(path) from error
        raise


def _sort_metadata(path: Path) -> None:
    """Put the metadata of a safetensors file in order: the library writes it in that of a hash table."""
    with open(path, "r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        if len(header.get("__metadata__", ())) > 1:
            header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
            text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
            file.seek(8)
            file.write(text.ljust(length))


def read_foreign(path: str | Path) -> dict[str, Tensor]:
    """Return the tensors of any checkpoint as a flat dict; code in a pickle is refused, never run.

    Raises:
        WeightsMismatch: The file is no checkpoint, is truncated, or holds more than tensors and plain data.
        MissingFile: The file is absent or cannot be read.
    """
    path = Path(path)
    if path.suffix == ".safetensors" or looks_like_safetensors(path):
        return flatten_checkpoint(read(path))
    import torch

    mapped = _head(path, 4) == _ZIP  # the old format, a bare pickle, cannot be mapped
    try:
        return flatten_checkpoint(torch.load(path, map_location="cpu", weights_only=True, mmap=mapped))
    except WeightsMismatch as error:
        raise WeightsMismatch(f"{str(path)!r} is no checkpoint.", why=error.why or error.asked) from error
    except pickle.UnpicklingError as error:
        if "weights_only" in str(error) or "Unsupported" in str(error):
            raise _code_inside(path, error) from error
        raise _unreadable_weights(path, "a checkpoint", error) from error
    except (RuntimeError, EOFError, OSError, *_DAMAGED_PICKLE) as error:
        raise _unreadable_weights(path, "a checkpoint", error) from error


def flatten_checkpoint(checkpoint: object) -> dict[str, Tensor]:
    """Return the network's tensors of a loaded checkpoint, under their upstream names.

    Takes a flat dict, or one nested under ``state_dict``, ``state_dict_backbone``,
    ``model_state_dict``, ``model`` or ``teacher`` (DINO's name for the network that is kept);
    strips a ``module.`` that every name has; turns quantised linear layers
    (``P._packed_params._packed_params``) into ``P.weight`` and ``P.bias``. Plain values
    beside the tensors (an epoch, a learning rate) are left out.

    Raises:
        WeightsMismatch: There are no tensors in it.
    """
    import torch

    entries = _without_wrapper(_innermost(checkpoint))
    tensors: dict[str, Tensor] = {}
    for name, value in entries.items():
        if name.endswith(_PACKED):
            tensors.update(_dequantised(name.removesuffix(_PACKED), value))
        elif isinstance(value, torch.Tensor) and not _belongs_to_packed(name, entries):
            tensors[name] = value.detach()
    if not tensors:
        raise WeightsMismatch(
            "the checkpoint holds no tensors.",
            why=f"looked for them at the top and under {', '.join(_NESTS)}; found {_keys(checkpoint)}.",
        )
    return tensors


def looks_like_safetensors(path: Path) -> bool:
    """Return whether a file starts like safetensors: the length of a header, and its opening brace."""
    head = _head(path, 9)
    return len(head) == 9 and head[8:] == b"{" and struct.unpack("<Q", head[:8])[0] < 100_000_000


def _innermost(checkpoint: object) -> Mapping[str, Any]:
    """Follow the names that trainers nest the weights under."""
    while isinstance(checkpoint, Mapping):
        nest = next((key for key in _NESTS if isinstance(checkpoint.get(key), Mapping)), None)
        if nest is None:
            return {key: value for key, value in checkpoint.items() if isinstance(key, str)}
        checkpoint = checkpoint[nest]
    raise WeightsMismatch(
        "the checkpoint is no dict of tensors.",
        why=f"it holds a {type(checkpoint).__name__}.",
        do="save model.state_dict() instead.",
    )


def _without_wrapper(entries: Mapping[str, Any]) -> Mapping[str, Any]:
    for prefix in _WRAPPERS:
        if entries and all(name.startswith(prefix) for name in entries):
            return _without_wrapper({name.removeprefix(prefix): value for name, value in entries.items()})
    return entries


def _dequantised(layer: str, packed: object) -> dict[str, Tensor]:
    """Return weight and bias of a linear layer that torch had packed as int8."""
    import torch

    match packed:
        case (torch.Tensor() as weight, torch.Tensor() | None as bias) if weight.is_quantized:
            floats = {f"{layer}.weight": weight.dequantize()}
            return floats if bias is None else {**floats, f"{layer}.bias": bias.detach()}
    raise WeightsMismatch(
        f"the quantised layer {layer!r} cannot be read.", why="a pair of (qint8 weight, bias) was expected."
    )


def _belongs_to_packed(name: str, entries: Mapping[str, Any]) -> bool:
    return any(name.endswith(end) and name.removesuffix(end) + _PACKED in entries for end in _PACKED_REST)


def _separate(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return contiguous tensors that share no storage, as safetensors wants them."""
    seen: set[int] = set()
    separate = {}
    for name, tensor in state.items():
        whole = tensor.detach().contiguous()
        storage = whole.untyped_storage().data_ptr()
        separate[name] = whole.clone() if storage in seen else whole
        seen.add(storage)
    return separate


def _head(path: Path, size: int) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(size)
    except OSError as error:
        raise unreadable(path, error) from error


def _unreadable_weights(path: str | Path, kind: str, error: Exception) -> WeightsMismatch:
    first = str(error).strip().split("\n")[0] or type(error).__name__
    return WeightsMismatch(
        f"{str(path)!r} cannot be read as {kind}.",
        why=f"it is damaged, cut off, or another kind of file: {first}",
        do="fetch or export it again.",
    )


def _code_inside(path: Path, error: Exception) -> WeightsMismatch:
    return WeightsMismatch(
        f"{str(path)!r} was not loaded.",
        why=f"it holds more than tensors and plain data, and code is never run here: {_wanted_global(error)}",
        do="where you trust the file, load it there and save only the tensors with safetensors.torch.save_file.",
    )


def _wanted_global(error: Exception) -> str:
    """Return the line of torch's long message that names what the pickle wanted."""
    lines = [line.strip() for line in str(error).split("\n")]
    return next((line for line in lines if "GLOBAL" in line or "Unsupported" in line), lines[0])[:200]


def _keys(checkpoint: object) -> str:
    if not isinstance(checkpoint, Mapping):
        return type(checkpoint).__name__
    return ", ".join(repr(key) for key in list(checkpoint)[:3]) or "nothing"
