"""Fixtures and order of the whole suite.

The environment is set before any library is imported: the tests never touch
the user's caches, never ask the network, and use one thread.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

_scratch = Path(tempfile.mkdtemp(prefix="xzoo-tests-"))
atexit.register(shutil.rmtree, _scratch, ignore_errors=True)
os.environ.update(
    XZOO_CACHE=str(_scratch / "xzoo"),
    HF_HOME=str(_scratch / "hf"),
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_PROGRESS_BARS="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    MPLBACKEND="Agg",
    MPLCONFIGDIR=str(_scratch / "matplotlib"),
)
for variable in ("XZOO_PLUGINS", "XZOO_LICENCES", "HF_ENDPOINT", "HF_TOKEN"):
    os.environ.pop(variable, None)
# Small networks on small batches: a second thread costs more than it brings,
# and one thread gives the same bytes on every machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_configure(config: pytest.Config) -> None:
    """Let torch, if a test imports it, keep to the same number of threads."""
    os.environ.setdefault("MKL_NUM_THREADS", os.environ["OMP_NUM_THREADS"])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run plain tests first, then docs, hub, browser, slow and gpu: a broken thing shows early."""
    late = ("docs", "hub", "browser", "slow", "gpu")
    items.sort(key=lambda item: max((late.index(m.name) + 1 for m in item.iter_markers() if m.name in late), default=0))


def _beside(folder: str, variable: str) -> Path:
    path = Path(os.environ.get(variable) or ROOT.parent / "shared" / folder)
    if not path.is_dir():
        pytest.skip(f"no {path}: set {variable} to the folder that holds it")
    return path


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images, which is not part of the project."""
    return _beside("data", "XZOO_REAL_DATA")


@pytest.fixture(scope="session")
def real_weights() -> Path:
    """The folder of published EdgeFace weights, which is not part of the project."""
    return _beside("weights", "XZOO_REAL_WEIGHTS")


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of golden tensors, which is not part of the project."""
    return _beside("golden", "XZOO_GOLDEN")
