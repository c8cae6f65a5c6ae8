"""Files on this machine: the cache folder, whole-file hashes, writes that are all or nothing."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from xzoo.errors import DiskFull, MissingFile, OptionError

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
NOT_ALLOWED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR})


def as_path(value: str | Path, argument: str) -> Path:
    """Return an argument as a path, ``~`` expanded.

    An empty text would silently mean the working folder, and is what a shell makes of a variable
    that is not set; it is refused.

    Raises:
        OptionError: It is empty, or neither a string nor a path.
    """
    if not isinstance(value, str | os.PathLike) or not str(value).strip():
        shown = repr(value) if isinstance(value, str) or value is None else f"<{type(value).__name__}>"
        raise OptionError(
            f"{argument}={shown}", why="It is not a path.", do=f"give {argument} the path of a file or folder"
        )
    return Path(os.path.expanduser(value))


def cache_dir() -> Path:
    """Return the folder of the lock file and of converted checkpoints.

    It is ``$XZOO_CACHE``, or ``~/.cache/xzoo``. Files from the Hub stay in
    huggingface_hub's own cache, where other programs find them too.
    """
    return Path(os.path.expanduser(os.environ.get("XZOO_CACHE") or "~/.cache/xzoo"))


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a whole file, as 64 hex digits, in constant memory.

    Raises:
        MissingFile: The file is absent or cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: str | Path, error: OSError) -> MissingFile:
    """Return the error that says why a local file cannot be read."""
    return MissingFile(
        f"no weights in {str(path)!r}.",
        why=f"the file cannot be read: {error.strerror or error}.",
        do="check the path and its permissions.",
    )


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Write a file so that it is there whole, or not at all.

    Yields the path of an empty, hidden neighbour with the same suffix. Write to
    it by any means; when the block ends well it is flushed to disk and renamed over
    ``path``, otherwise it is removed and ``path`` stays as it was. Missing
    parent folders are made.

    Raises:
        DiskFull: There was no room; nothing half-written is left.
        OptionError: The place cannot be written to.
    """
    target = Path(path)
    part = target.with_name(f".{secrets.token_hex(6)}.part{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part.touch(exist_ok=False)
        mode = part.stat().st_mode
        yield part
        part.chmod(mode)  # a writer that renames a file of its own into place (safetensors) makes it private
        _flush(part)
        os.replace(part, target)
        _flush(target.parent)
    except OSError as error:
        if refusal := cannot_write(target, error):
            raise refusal from error
        raise
    finally:
        with suppress(NotADirectoryError):  # a file stands where the folder should be
            part.unlink(missing_ok=True)


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Fill a folder so that it is there whole, or not at all.

    Yields an empty, hidden neighbour, which takes the place of ``target`` (nothing, or
    an empty folder) when the block ends well and is removed otherwise. Missing parent
    folders are made.

    Raises:
        DiskFull: There was no room; nothing half-written is left.
        OptionError: The place cannot be written to.
    """
    part = target.with_name(f".{target.name}.{secrets.token_hex(6)}.part")
    try:
        part.mkdir(parents=True)
        yield part
        if target.is_dir():
            target.rmdir()
        os.replace(part, target)
    except OSError as error:
        if refusal := cannot_write(target, error):
            raise refusal from error
        raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def cannot_write(target: str | Path, error: OSError) -> DiskFull | OptionError | None:
    """Return what a failed write to ``target`` means, or None where it is not about the place."""
    if error.errno in NO_ROOM:
        return disk_full(target)
    if error.errno in NOT_ALLOWED:
        return OptionError(
            f"{str(target)!r} cannot be written.",
            why=f"{error.strerror}: {error.filename or target}",
            do="choose a place that you may write to (XZOO_CACHE, HF_HOME, output).",
        )
    return None


def disk_full(target: str | Path, needed: int | None = None) -> DiskFull:
    """Return the error for a file that the disk has no room for."""
    free = shutil.disk_usage(existing_parent(target)).free
    wanted = f"{needed / 1e6:.1f} MB are needed, " if needed is not None else ""
    return DiskFull(
        f"{str(target)!r} was not written.",
        why=f"the disk is full: {wanted}{free / 1e6:.1f} MB are free. Nothing half-written was left behind.",
        do=f"make room on the disk of {existing_parent(target)}, or choose another one (XZOO_CACHE, HF_HOME, output).",
    )


def existing_parent(path: str | Path) -> Path:
    """Return the nearest folder above ``path`` that exists."""
    return next(folder for folder in Path(path).absolute().parents if folder.is_dir())


def _flush(path: Path) -> None:
    """Ask the system to put a file, or the names in a folder, on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
