"""Where weights come from: sources, pins, hashes, licences and the cache.

Four kinds of source go through one resolver: files bundled in the wheel, local
files and folders, ``hf-hub:org/repo[@revision][/file]``, and files inside a
plugin's own package. The SHA-256 of the whole file is compared with the pinned
one on every use, before a tensor is built: reading a file costs far more than
hashing it, and a remembered hash would miss a byte that flipped since.

Nothing here imports torch, safetensors or huggingface_hub at import time.
"""

from __future__ import annotations

from xzoo.hub.check import Fact, verify
from xzoo.hub.conversion import converted
from xzoo.hub.files import as_path, atomic_write, cache_dir, sha256_of
from xzoo.hub.licences import check_licence
from xzoo.hub.sources import Weights, fetch, locate
from xzoo.hub.tensors import flatten_checkpoint, read, write

__all__ = [
    "Fact",
    "Weights",
    "as_path",
    "atomic_write",
    "cache_dir",
    "check_licence",
    "converted",
    "fetch",
    "flatten_checkpoint",
    "locate",
    "read",
    "sha256_of",
    "verify",
    "write",
]
