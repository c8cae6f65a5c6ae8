"""Writes that are whole or absent, hashes, and sources on this machine."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from xzoo import errors, hub

from .conftest import MakeCard, safetensors_bytes, sha256

CONTENT = safetensors_bytes()


def test_importing_the_hub_imports_no_framework() -> None:
    heavy = ("torch", "numpy", "safetensors", "huggingface_hub", "filelock", "pydantic", "yaml")
    code = f"import sys, xzoo.hub; print([name for name in {heavy!r} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_the_cache_is_where_the_variable_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert hub.cache_dir() == tmp_path / "xzoo"
    monkeypatch.delenv("XZOO_CACHE")
    assert hub.cache_dir() == Path.home() / ".cache" / "xzoo"


def test_a_hash_is_that_of_the_whole_file(tmp_path: Path) -> None:
    content = os.urandom(3_000_001)
    (tmp_path / "file").write_bytes(content)
    assert hub.sha256_of(tmp_path / "file") == hashlib.sha256(content).hexdigest()


class TestAtomicWrite:
    def test_the_file_appears_with_its_folders_and_nothing_else(self, tmp_path: Path) -> None:
        target = tmp_path / "a" / "b" / "facts.json"
        with hub.atomic_write(target) as part:
            assert part.suffix == ".json"
            part.write_text("{}")
            assert not target.exists()
        assert [path.name for path in target.parent.iterdir()] == ["facts.json"]

    def test_an_error_keeps_what_was_there(self, tmp_path: Path) -> None:
        target = tmp_path / "facts.json"
        target.write_text("old")
        with pytest.raises(KeyboardInterrupt), hub.atomic_write(target) as part:
            part.write_text("new")
            raise KeyboardInterrupt
        assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"facts.json": "old"}

    def test_a_full_disk_is_said_so_and_leaves_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(errors.DiskFull, match="MB are free") as caught, hub.atomic_write(tmp_path / "x") as part:
            part.write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")
        assert isinstance(caught.value.__cause__, OSError)
        assert list(tmp_path.iterdir()) == []

    def test_a_file_where_a_folder_should_be_is_a_clear_error(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(errors.OptionError, match="cannot be written"), hub.atomic_write(tmp_path / "file" / "x"):
            pass


class TestLocalSources:
    @pytest.mark.parametrize("kind", [str, Path])
    def test_a_file_is_taken_as_it_is_and_not_hashed(self, tmp_path: Path, kind: type) -> None:
        path = tmp_path / "net.safetensors"
        path.write_bytes(CONTENT)
        assert hub.locate(kind(path)) == hub.Weights(path, None, str(path), None, foreign=False)

    @pytest.mark.parametrize(("name", "content", "foreign"), [
        ("net.safetensors", b"anything", False),
        ("net.bin", CONTENT, False),
        ("net.pt", b"PK\x03\x04", True),
        ("net.ckpt", b"", True),
    ])  # fmt: skip
    def test_what_is_foreign_is_decided_by_content(
        self, tmp_path: Path, name: str, content: bytes, foreign: bool
    ) -> None:
        (tmp_path / name).write_bytes(content)
        assert hub.locate(tmp_path / name).foreign is foreign

    @pytest.mark.parametrize(("names", "chosen"), [
        (["model.safetensors", "other.pt", "more.safetensors"], "model.safetensors"),
        (["net.safetensors", "notes.txt", ".hidden.safetensors"], "net.safetensors"),
        (["net.pt", "README.md"], "net.pt"),
    ])  # fmt: skip
    def test_a_folder_stands_for_its_weights(self, tmp_path: Path, names: list[str], chosen: str) -> None:
        for name in names:
            (tmp_path / name).write_bytes(CONTENT)
        assert hub.locate(tmp_path).path == tmp_path / chosen

    def test_a_folder_with_several_weights_lists_them(self, tmp_path: Path) -> None:
        for name in ("a.pt", "b.safetensors"):
            (tmp_path / name).touch()
        with pytest.raises(errors.OptionError, match=r"(?s)a\.pt.*b\.safetensors.*name one"):
            hub.locate(tmp_path)

    def test_a_folder_without_weights_says_what_was_looked_for(self, tmp_path: Path) -> None:
        with pytest.raises(errors.MissingFile, match=r"\.safetensors, \.pt"):
            hub.locate(tmp_path)

    def test_a_missing_file_names_its_neighbours(self, tmp_path: Path) -> None:
        (tmp_path / "edgeface_xxs.pt").touch()
        with pytest.raises(errors.MissingFile, match=r"exists: edgeface_xxs\.pt"):
            hub.locate(tmp_path / "edgeface_xs.pt")

    @pytest.mark.parametrize("text", ["", "  "], ids=["empty", "blank"])
    def test_an_empty_name_is_no_request_for_random_weights(self, text: str) -> None:
        with pytest.raises(errors.OptionError, match="names no weights"):
            hub.locate(text)

    @pytest.mark.parametrize("source", [
        "hf-hub:", "hf-hub:repo", "hf-hub:a/b@", "hf-hub:a/b@v1@v2/f", "hf-hub:a/b/../../etc", "hf-hub:../b/f",
        "hf-hub:a/..", "hf-hub:a--b/c", "hf-hub:a /b", "hf-hub:a/b/",
    ])  # fmt: skip
    def test_a_malformed_hub_source_shows_the_grammar(self, source: str) -> None:
        with pytest.raises(errors.OptionError, match=r"org/repo\[@revision\]"):
            hub.locate(source)

    def test_a_special_file_is_refused(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.pt")
        with pytest.raises(errors.MissingFile, match="neither a file nor a folder"):
            hub.locate(tmp_path / "pipe.pt")


class TestInstalledSources:
    @pytest.fixture
    def package(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
        """A plugin's package that must not be imported."""
        folder = tmp_path / "site" / "acme_weights_only"
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text("raise RuntimeError('imported')")
        (folder / "data").mkdir()
        (folder / "data" / "net.safetensors").write_bytes(CONTENT)
        monkeypatch.syspath_prepend(str(folder.parent))
        return "package:acme_weights_only/data/net.safetensors"

    def test_a_plugins_own_file_is_found_without_importing_it(self, package: str, card_of: MakeCard) -> None:
        weights = hub.fetch(*card_of(package, sha256=sha256(CONTENT)))
        assert weights.path.read_bytes() == CONTENT
        assert (weights.source, weights.sha256) == (package, sha256(CONTENT))
        assert "acme_weights_only" not in sys.modules

    def test_a_changed_file_of_a_package_is_refused(self, package: str, card_of: MakeCard) -> None:
        with pytest.raises(errors.HashMismatch, match="reinstall"):
            hub.fetch(*card_of(package, sha256="0" * 64))

    def test_a_bundled_file_lies_in_the_wheel(
        self, tmp_path: Path, card_of: MakeCard, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "xzoo-copy" / "weights").mkdir(parents=True)
        (tmp_path / "xzoo-copy" / "weights" / "net.safetensors").write_bytes(CONTENT)
        monkeypatch.setattr("xzoo.hub.sources._package_folders", lambda package: [tmp_path / "xzoo-copy"])
        assert hub.fetch(*card_of("bundled:net.safetensors", sha256=sha256(CONTENT))).path.read_bytes() == CONTENT

    @pytest.mark.parametrize("source", [
        "package:no_such_package_here/f.safetensors", "bundled:no_such_file.safetensors",
    ])  # fmt: skip
    def test_a_missing_installed_file_is_named(self, card_of: MakeCard, source: str) -> None:
        with pytest.raises(errors.MissingFile, match="reinstall"):
            hub.fetch(*card_of(source))

    @pytest.mark.parametrize("source", [
        "package:acme.sub/f", "package:acme/../../etc/passwd", "bundled:", "bundled:../x", "ftp:x", "package:os",
    ])  # fmt: skip
    def test_a_malformed_installed_source_is_refused(self, card_of: MakeCard, source: str) -> None:
        with pytest.raises(errors.OptionError, match="no source of weights"):
            hub.fetch(*card_of(source))
