"""The lock file: what was trusted on first use, and must stay the same since.

``$XZOO_CACHE/xzoo.lock.json`` records, for each Hub source that no card pins
completely, the commit and the SHA-256 of its first download. Later uses ask
the Hub for that commit only, and refuse a file with another hash.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from xzoo.errors import HubError
from xzoo.hub.files import atomic_write, cache_dir, cannot_write

SCHEMA = 1


class Locked(NamedTuple):
    """One file that was trusted on first use."""

    repo: str
    file: str
    revision: str
    sha256: str


def lock_path() -> Path:
    """Return the path of the lock file; it need not exist yet."""
    return cache_dir() / "xzoo.lock.json"


def entries() -> dict[str, Locked]:
    """Return everything locked so far, by source.

    Raises:
        HubError: The lock file is damaged or from a newer xzoo.
    """
    path = lock_path()
    try:
        content = json.loads(path.read_bytes())
        if content["schema"] != SCHEMA:
            raise ValueError(f"schema {content['schema']!r} instead of {SCHEMA}")
        return {source: Locked(**entry) for source, entry in content["files"].items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise HubError(
            f"the lock file {str(path)!r} cannot be read.",
            why=f"{type(error).__name__}: {error}.",
            do="restore it; or remove it, and every unpinned file is trusted anew on its next use.",
        ) from error


def record(source: str, entry: Locked) -> None:
    """Lock ``source``; other processes may do the same at the same time.

    Raises:
        DiskFull, OptionError: The cache cannot be written to.
    """
    from filelock import FileLock

    path = lock_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".json.lock")):
            files = {**entries(), source: entry}
            content = {"schema": SCHEMA, "files": {key: files[key]._asdict() for key in sorted(files)}}
            with atomic_write(path) as part:
                part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        if refusal := cannot_write(path, error):
            raise refusal from error
        raise
