"""``xzoo doctor``: what this installation is, in the words of a good bug report."""

from __future__ import annotations

import os
import platform
import shutil
from importlib import metadata
from pathlib import Path

import click

from xzoo import __version__
from xzoo.cli.shared import as_json, emit, lines, megabytes

_PACKAGES = (
    "torch",
    "timm",
    "peft",
    "huggingface-hub",
    "safetensors",
    "numpy",
    "pydantic",
    "click",
    "Pillow",
    "matplotlib",
)


@click.command()
@as_json
def command(as_json: bool) -> None:
    """Print versions, devices, threads, cache, disk, offline state and plugins."""
    from xzoo.catalog import list_models, plugins
    from xzoo.hub import cache_dir

    cache = cache_dir()
    size, files = _weight_of(cache)
    states = plugins()
    facts = {
        "xzoo": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in _PACKAGES},
        **_torch(),
        "cache": {"path": str(cache), "files": files, "bytes": size},
        "disk_free_bytes": shutil.disk_usage(_existing(cache)).free,
        "offline": os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"},
        "catalogue": {"names": len(list_models()), "plugins": len(states)},
    }
    shown = {
        **facts,
        "cache": f"{cache} ({files} files, {megabytes(size)})",
        "disk_free_bytes": megabytes(shutil.disk_usage(_existing(cache)).free),
        "offline": "yes (HF_HUB_OFFLINE)" if facts["offline"] else "no",
    }
    emit(facts, as_json=as_json, text=lines({key.removesuffix("_bytes"): value for key, value in shown.items()}))


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _torch() -> dict[str, object]:
    """Import torch for real: a broken installation is what a doctor is asked about."""
    try:
        import torch
    except Exception as error:  # any failure of a native library is the finding
        return {"devices": [], "threads": os.cpu_count(), "torch_error": f"{type(error).__name__}: {error}"}
    devices = ["cpu", *(f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return {"devices": devices, "threads": torch.get_num_threads()}


def _weight_of(folder: Path) -> tuple[int, int]:
    """Return bytes and number of the files below a folder; links are not followed."""
    sizes = [path.lstat().st_size for path in folder.rglob("*") if path.is_file()]
    return sum(sizes), len(sizes)


def _existing(path: Path) -> Path:
    return next(each for each in (path, *path.absolute().parents) if each.exists())
