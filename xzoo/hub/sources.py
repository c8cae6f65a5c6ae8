"""One resolver for every source of weights: text in, a checked local file out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from xzoo.errors import HashMismatch, MissingFile, OptionError, nearest, problems
from xzoo.hub import lock, remote
from xzoo.hub.files import as_path, sha256_of, unreadable
from xzoo.hub.licences import check_licence, refuse_licence

if TYPE_CHECKING:
    from xzoo.catalog.entries import Card, Tag

__all__ = ["HubSource", "Weights", "fetch", "fetch_part", "installed_path", "locate"]

HUB = "hf-hub:"
FOREIGN_SUFFIXES = (".pt", ".pth", ".ckpt", ".bin")
SUFFIXES = (".safetensors", *FOREIGN_SUFFIXES)
_HUB_SOURCE = re.compile(r"hf-hub:(\w[\w.-]*/\w[\w.-]*)(?:@(\w[\w.-]*))?(?:/([^@]+))?", re.ASCII)


class Weights(NamedTuple):
    """A local file of weights, and what is known about it.

    Attributes:
        path: The file.
        sha256: Its hash where it was computed, else None (a local file is not hashed before somebody asks).
        source: Where it came from; a Hub file with its commit.
        licence: SPDX id, or None where nobody said.
        foreign: Whether it is something other than safetensors, so that ``converted`` must read it.
    """

    path: Path
    sha256: str | None
    source: str
    licence: str | None
    foreign: bool


class HubSource(NamedTuple):
    """A parsed ``hf-hub:org/repo[@revision][/file]``."""

    repo: str
    revision: str | None
    file: str | None

    @classmethod
    def parse(cls, text: str) -> HubSource:
        """Split the text.

        Raises:
            OptionError: It does not follow the grammar.
        """
        found = _HUB_SOURCE.fullmatch(text)
        # What the Hub refuses in a repository's name, refused before it is asked.
        if found is None or re.search(r"\.\.|--|[.-](/|$)", found[1]) or (found[3] and not _is_inside(found[3])):
            raise OptionError(
                f"{text!r} is no source of weights.",
                why="a Hub source reads hf-hub:org/repo[@revision][/file].",
                do="e.g. 'hf-hub:Idiap/EdgeFace-XXS/edgeface_xxs.pt'",
            )
        return cls(found[1], found[2], found[3])

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return f"{HUB}{self.repo}{revision}" + (f"/{self.file}" if self.file else "")


def fetch(card: Card, tag: Tag, *, allow_licences: str | Iterable[str] | None = None) -> Weights:
    """Return the weights of a tag as a local file whose hash was checked.

    Args:
        card: The card that offers them.
        tag: One of its tags.
        allow_licences: See :func:`~xzoo.hub.licences.check_licence`; asked before any request.

    Raises:
        LicenceRefused: The licence is not allowed.
        HashMismatch: The file is not the one that was pinned or locked.
        Offline, NotFound, HubError, DiskFull: It could not be downloaded.
        MissingFile: A bundled or packaged file is not there.
    """
    check_licence(card, tag, allow_licences)
    licence = tag.licence or card.licence["weights"]
    if tag.source.startswith(HUB):
        command = f"xzoo get {card.name}.{tag.name}"
        return _from_hub(tag.source, command, licence, revision=tag.revision, sha256=tag.sha256)
    path = installed_path(tag.source)
    found = sha256_of(path)
    if tag.sha256 and found != tag.sha256:
        raise _differs(path, tag.sha256, found, do="reinstall the package that holds the file.")
    return Weights(path, found, tag.source, licence, _is_foreign(path))


def locate(pretrained: str | Path, *, allow_licences: str | Iterable[str] | None = None) -> Weights:
    """Return the weights at a path, in a folder or at a Hub source.

    A folder stands for its ``model.safetensors``, or for its only file of
    weights. What lies on this machine is the caller's own, so ``allow_licences``
    concerns Hub sources only, whose licence xzoo does not know.

    Raises:
        OptionError: The text is empty or malformed, or a folder holds several candidates.
        MissingFile: There is no such file.
        LicenceRefused: Some licences are allowed, and ``"unknown"`` is not.
        Offline, NotFound, HubError, HashMismatch, DiskFull: As in :func:`fetch`.
    """
    text = str(pretrained)
    if not text.strip():
        raise OptionError(
            f"pretrained={pretrained!r} names no weights.",
            exists="True, a tag, a path, or 'hf-hub:org/repo[@revision][/file]'.",
            do="pretrained=False builds the model with random weights.",
        )
    if text.startswith(HUB):
        source = HubSource.parse(text)
        refuse_licence(text, "unknown", allow_licences)
        return _from_hub(text, _hub_command(source), None)
    path = _local(as_path(text, "pretrained"))
    return Weights(path, None, str(path), None, _is_foreign(path))


def fetch_part(repo: HubSource, file: str, *, sha256: str | None = None) -> Weights:
    """Return one file of a repository that names a revision or stays where its first use was locked.

    Args:
        repo: A source without a file.
        file: The file's name in the repository.
        sha256: What its hash must be.

    Raises:
        OptionError: ``file`` does not stay in the repository.
        HashMismatch, Offline, NotFound, HubError, DiskFull: As in :func:`fetch`.
    """
    source = HubSource.parse(str(repo._replace(file=file)))
    known = re.fullmatch(r"[0-9a-f]{40}", source.revision or "")
    revision = source.revision if sha256 and known else None
    return _from_hub(str(source), _hub_command(source), None, revision=revision, sha256=sha256)


def installed_path(source: str) -> Path:
    """Return the file of a ``bundled:FILE`` or ``package:PKG/FILE`` source; the package is not imported.

    Raises:
        OptionError: The source is malformed.
        MissingFile: The package or the file is not there.
    """
    scheme, _, rest = source.partition(":")
    package, _, file = ("xzoo", "", f"weights/{rest}") if scheme == "bundled" else rest.partition("/")
    if scheme not in ("bundled", "package") or not package.isidentifier() or not rest or not _is_inside(file):
        raise OptionError(
            f"{source!r} is no source of weights.",
            exists="bundled:FILE, package:PKG/FILE, hf-hub:org/repo[@revision][/file].",
        )
    for folder in _package_folders(package):
        if (folder / file).is_file():
            return folder / file
    raise MissingFile(
        f"no file {file!r} in the package {package!r}.",
        why="the installation is incomplete." if _package_folders(package) else "the package is not installed.",
        do=f"reinstall {package}.",
    )


def _from_hub(
    source: str, command: str, licence: str | None, *, revision: str | None = None, sha256: str | None = None
) -> Weights:
    """Fetch a Hub file by its pins: those of the card first, then those of the lock file."""
    asked = HubSource.parse(source)
    known = None if revision and sha256 else lock.entries().get(source)
    if known and revision in (None, known.revision):
        revision, sha256 = known.revision, sha256 or known.sha256
        asked = asked._replace(file=known.file)
    wanted = _complete(asked, revision or asked.revision or "main", command)
    found = remote.obtain(wanted)
    actual = sha256_of(found.path)
    if sha256 and actual != sha256:
        raise _refuse_download(found, wanted, sha256, actual)
    if not known and not (revision and sha256):
        lock.record(source, lock.Locked(wanted.repo, wanted.file, found.commit, actual))
    exact = HubSource(wanted.repo, found.commit, wanted.file)
    return Weights(found.path, actual, str(exact), licence, _is_foreign(found.path))


def _complete(asked: HubSource, revision: str, command: str) -> remote.Wanted:
    """Fill in the file where the source names only a repository."""
    wanted = remote.Wanted(asked.repo, asked.file or "", revision, command)
    if wanted.file:
        return wanted
    commit, names = remote.repo_files(wanted)
    return wanted._replace(file=_choose(names, f"{HUB}{asked.repo}"), revision=commit)


def _refuse_download(found: remote.Obtained, wanted: remote.Wanted, expected: str, actual: str) -> HashMismatch:
    """Return the error for a wrong file; what came just now is not kept.

    A file that was in the cache before stays: it may be the last copy of
    something, and only its owner can tell.
    """
    if found.fresh:
        remote.forget(found.path)
        do = f"try again: {wanted.command}; if it stays so, the file on the Hub has changed."
    else:
        do = f"rm {found.path.resolve()}; then: {wanted.command}"
    return _differs(found.path, expected, actual, do=do)


def _differs(path: Path, expected: str, actual: str, *, do: str) -> HashMismatch:
    return HashMismatch(
        f"{str(path)!r} is not the file that was recorded.",
        why=f"its SHA-256 is {actual}, expected {expected}; nothing was loaded.",
        do=do,
    )


def _hub_command(source: HubSource) -> str:
    revision = f" --revision {source.revision}" if source.revision else ""
    return f"hf download {source.repo} {source.file or ''}".rstrip() + revision


def _local(path: Path) -> Path:
    try:
        if path.is_dir():
            names = [file.name for file in path.iterdir() if file.is_file() and not file.name.startswith(".")]
            return path / _choose(names, str(path))
        if path.is_file():
            return path
    except OSError as error:
        raise unreadable(path, error) from error
    raise MissingFile(
        f"no weights in {str(path)!r}.",
        why="it is neither a file nor a folder." if path.exists() else "there is no such file.",
        exists=", ".join(nearest(path.name, _neighbours(path))),
        do="give a file, a folder, or 'hf-hub:org/repo[@revision][/file]'.",
    )


def _neighbours(path: Path) -> list[str]:
    if not path.parent.is_dir():
        return []
    return [file.name for file in path.parent.iterdir() if file.suffix in SUFFIXES]


def _choose(names: Sequence[str], where: str) -> str:
    """Return the file of weights among the names of a folder or repository, if there is no doubt."""
    if "model.safetensors" in names:
        return "model.safetensors"
    candidates = sorted(name for name in names if name.endswith(SUFFIXES) and "/" not in name)
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        raise OptionError(
            f"{where!r} holds {len(candidates)} files of weights, and none is model.safetensors:",
            why=problems(candidates),
            do=f"name one: {where}/{candidates[0]}",
        )
    raise MissingFile(f"no weights in {where!r}.", why=f"no file in it ends in {', '.join(SUFFIXES)}.")


def _package_folders(package: str) -> list[Path]:
    """Return where a top-level package lies; ``find_spec`` executes nothing for an undotted name."""
    from importlib.util import find_spec

    try:
        spec = find_spec(package)
    except ValueError:  # a module without __spec__, such as __main__
        return []
    return [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []


def _is_inside(file: str) -> bool:
    """Return whether a relative name stays below its folder."""
    parts = PurePosixPath(file).parts
    return bool(parts) and not file.startswith("/") and ".." not in parts and "\\" not in file


def _is_foreign(path: Path) -> bool:
    from xzoo.hub.tensors import looks_like_safetensors

    return path.suffix != ".safetensors" and not looks_like_safetensors(path)
