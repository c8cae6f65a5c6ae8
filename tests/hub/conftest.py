"""A Hub on loopback, fresh caches, and cards that point to them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from xzoo.catalog.entries import Card, Tag

from .server import Hub, serving

REPO, FILE = "acme/face", "weights.safetensors"


def safetensors_bytes(seed: int = 0) -> bytes:
    import torch
    from safetensors.torch import save

    return save({"weight": torch.full((64, 8), float(seed)), "bias": torch.arange(8.0)})


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point both caches to an empty folder, and let the library try the network again."""
    from huggingface_hub import constants

    monkeypatch.setenv("XZOO_CACHE", str(tmp_path / "xzoo"))
    monkeypatch.delenv("XZOO_LICENCES", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    return tmp_path


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub with one repository, short time-outs, and retries that do not wait."""
    from huggingface_hub import constants

    from xzoo.hub import remote

    monkeypatch.setattr(remote, "TIMEOUT", 0.5)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with serving() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        hub.push(REPO, {FILE: safetensors_bytes()})
        yield hub


MakeCard = Callable[..., tuple[Card, Tag]]


@pytest.fixture
def card_of() -> MakeCard:
    """Return a function that makes a card with one tag."""

    def make(
        source: str = f"hf-hub:{REPO}/{FILE}",
        sha256: str | None = None,
        revision: str | None = None,
        licence: str = "Apache-2.0",
    ) -> tuple[Card, Tag]:
        trust = "pinned" if sha256 else "first-use"
        tag = Tag("v1", source, sha256, revision, None, "float32", licence, trust, "")
        card = Card(
            name="acme_face",
            kind="backbone",
            task="face-recognition",
            spectra=("VIS",),
            summary="",
            status="stable",
            family="edgeface",
            target=None,
            fixed={},
            options={},
            tags={"v1": tag},
            default_tag="v1",
            licence={"code": "Apache-2.0", "weights": licence, "data": "none"},
            facts={},
            prose="",
        )
        return card, tag

    return make
