"""One file from the Hub: the cache first, then the network, and its errors in our words."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from xzoo.errors import HubError, NotFound, Offline, XzooError
from xzoo.hub.files import cannot_write, disk_full, existing_parent

COMMIT = re.compile(r"[0-9a-f]{40}")
TIMEOUT = 10.0  # seconds until a silent Hub counts as unreachable, where the cache has no answer
_TRUE = {"1", "on", "yes", "true"}
_SWITCHED_OFF = "HF_HUB_OFFLINE is set, so the Hub was not asked."


class Wanted(NamedTuple):
    """One file of one revision of a Hub repository, and the command that fetches it."""

    repo: str
    file: str
    revision: str
    command: str


class Obtained(NamedTuple):
    """A file in the cache, the commit it belongs to, and whether it came just now."""

    path: Path
    commit: str
    fresh: bool


def obtain(wanted: Wanted) -> Obtained:
    """Return the file from the cache, or download it.

    A cached file of a full commit id is returned without a request. A branch
    is asked for at the Hub; where that cannot be reached, the commit that the
    branch last had here is taken.

    Raises:
        Offline: Not cached, and the Hub cannot or may not be asked.
        NotFound: The Hub has no such repository, revision or file.
        HubError: Any other answer, or a download that broke off.
        DiskFull: There is no room; nothing half-written is left.
    """
    if COMMIT.fullmatch(wanted.revision) and (found := cached(wanted)):
        return found
    if offline():
        if found := cached(wanted):
            return found
        raise _offline(wanted, _SWITCHED_OFF)
    try:
        return _download(wanted)
    except Offline:
        if found := cached(wanted):
            return found
        raise


def offline() -> bool:
    """Return whether the user has switched the Hub off, now or before the start."""
    from huggingface_hub import constants

    return constants.is_offline_mode() or os.environ.get("HF_HUB_OFFLINE", "").lower() in _TRUE


def hub_cache() -> Path:
    """Return the folder that huggingface_hub keeps files in."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def repo_files(wanted: Wanted) -> tuple[str, list[str]]:
    """Return the commit of a revision and the names of its files (``wanted.file`` is not used).

    Without the Hub, only what is in the cache is seen.
    """
    if offline():
        return _cached_files(wanted, _offline(wanted, _SWITCHED_OFF))
    from huggingface_hub import HfApi

    try:
        info = HfApi(endpoint=_endpoint()).model_info(wanted.repo, revision=wanted.revision, timeout=TIMEOUT)
    except _library_errors() as error:
        refusal = _explain(error, wanted)
        if isinstance(refusal, Offline):
            return _cached_files(wanted, refusal)
        raise refusal from error
    return info.sha or wanted.revision, [sibling.rfilename for sibling in info.siblings or ()]


def forget(path: Path) -> None:
    """Remove a file from huggingface_hub's cache: the link and what it points to."""
    blob = path.resolve()
    path.unlink(missing_ok=True)
    blob.unlink(missing_ok=True)


def cached(wanted: Wanted) -> Obtained | None:
    """Return the file if it is in the cache; no request is made."""
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(wanted.repo, wanted.file, revision=wanted.revision, cache_dir=hub_cache())
    return _obtained(Path(path), wanted, fresh=False) if isinstance(path, str) else None


def _cached_files(wanted: Wanted, otherwise: Offline) -> tuple[str, list[str]]:
    folder = _repo_folder(wanted.repo)
    reference = folder / "refs" / wanted.revision
    commit = reference.read_text().strip() if reference.is_file() else wanted.revision
    snapshot = folder / "snapshots" / commit
    if not snapshot.is_dir():
        raise otherwise
    return commit, [file.name for file in snapshot.iterdir() if file.is_file()]


def _download(wanted: Wanted) -> Obtained:
    """Ask for the commit first: it says at once whether the Hub is there and the disk has room."""
    from huggingface_hub import hf_hub_download

    try:
        commit = _commit(wanted)
        path = hf_hub_download(
            wanted.repo, wanted.file, revision=commit, cache_dir=hub_cache(), endpoint=_endpoint(), etag_timeout=TIMEOUT
        )
    except _library_errors() as error:
        raise _explain(error, wanted) from error
    return _obtained(Path(path), wanted, fresh=True)


def _commit(wanted: Wanted) -> str:
    """Return the commit that holds the file now, or the revision as asked while the Hub is busy.

    A busy Hub (429, 5xx) is left to ``hf_hub_download``, which waits as long
    as the Hub says and tries again; an absent one is not worth minutes of it.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError

    url = hf_hub_url(wanted.repo, wanted.file, revision=wanted.revision, endpoint=_endpoint())
    try:
        metadata = get_hf_file_metadata(url, timeout=TIMEOUT, endpoint=_endpoint())
    except HfHubHTTPError as error:
        if error.response.status_code == 429 or error.response.status_code >= 500:
            return wanted.revision
        raise
    if metadata.size is not None and metadata.size > shutil.disk_usage(existing_parent(hub_cache() / "x")).free:
        raise disk_full(_repo_folder(wanted.repo) / wanted.file, metadata.size)
    return metadata.commit_hash or wanted.revision


def _obtained(path: Path, wanted: Wanted, *, fresh: bool) -> Obtained:
    """Read the commit off the path: ``.../snapshots/COMMIT/FILE``."""
    commit = path.parents[wanted.file.count("/")].name
    return Obtained(path, commit, fresh)


def _repo_folder(repo: str) -> Path:
    return hub_cache() / f"models--{repo.replace('/', '--')}"


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or None


def _http_client() -> Any:
    """Return the HTTP library under huggingface_hub (httpx, or its successor)."""
    import importlib

    from huggingface_hub.errors import HfHubHTTPError

    return importlib.import_module(HfHubHTTPError.__bases__[0].__module__.partition(".")[0])


def _library_errors() -> tuple[type[Exception], ...]:
    """Return what huggingface_hub and what lies under it raise when a transfer fails.

    ``OSError`` holds its file, offline and consistency errors; ``RuntimeError``
    is what hf_xet raises when a transfer breaks off. Our own errors pass.
    """
    from huggingface_hub.errors import EntryNotFoundError

    http = _http_client()
    return (http.HTTPError, http.InvalidURL, EntryNotFoundError, OSError, RuntimeError)


def _explain(error: Exception, wanted: Wanted) -> XzooError:
    """Translate an error of the library into one of ours; the caller chains the cause."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    if isinstance(error, XzooError):
        return error
    chain = list(_causes(error))
    for cause in chain:
        if isinstance(cause, OSError) and (refusal := cannot_write(_repo_folder(wanted.repo) / wanted.file, cause)):
            return refusal
    if answered := next((cause for cause in chain if getattr(cause, "response", None) is not None), None):
        return _answered(answered, wanted)
    http = _http_client()
    if any(isinstance(cause, OfflineModeIsEnabled | http.ConnectError | http.ConnectTimeout) for cause in chain):
        return _offline(wanted, f"the Hub cannot be reached: {_first_line(chain[-1])}")
    if isinstance(error, http.TimeoutException) and _is_head(error):
        return _offline(wanted, f"the Hub gave no answer within {TIMEOUT:g} s.")
    return HubError(
        f"{wanted.file or wanted.repo!r} of {wanted.repo} was not fetched.",
        why=f"the transfer failed: {_first_line(error)} Nothing half-written was kept.",
        do=f"try again: {wanted.command}",
    )


def _answered(error: Any, wanted: Wanted) -> XzooError:
    """Return the error for an answer with a status that is not a file."""
    from huggingface_hub.errors import GatedRepoError, RemoteEntryNotFoundError, RevisionNotFoundError

    status = error.response.status_code
    asked = f"{wanted.file!r} of {wanted.repo} (revision {wanted.revision}) was not fetched."
    page = f"https://huggingface.co/{wanted.repo}"
    if isinstance(error, RevisionNotFoundError):
        return NotFound(asked, why=f"{wanted.repo} has no revision {wanted.revision!r}.", do=f"see {page}/commits/main")
    if isinstance(error, RemoteEntryNotFoundError):
        return NotFound(asked, why="this revision has no such file.", do=f"see {page}/tree/{wanted.revision}")
    if isinstance(error, GatedRepoError):
        return HubError(asked, why="its owners give access on request.", do=f"ask at {page}, then: hf auth login")
    if status in (401, 403):
        why = f"the repository is private, or does not exist (status {status})."
        return HubError(asked, why=why, do="check the name; with access to it: hf auth login")
    if status == 404:
        return NotFound(
            asked, why=f"the Hub has no repository {wanted.repo!r}.", do="check the name, or: hf auth login"
        )
    if status == 429:
        wait = error.response.headers.get("Retry-After", "a while")
        seconds = f"{wait} s" if wait.isdigit() else wait
        return HubError(
            asked, why="the Hub says: too many requests (429).", do=f"wait {seconds}, then: {wanted.command}"
        )
    return HubError(asked, why=f"the Hub answered with status {status}.", do=f"try again later: {wanted.command}")


def _offline(wanted: Wanted, why: str) -> Offline:
    return Offline(
        f"{wanted.file or 'the weights'!r} of {wanted.repo} (revision {wanted.revision}) is not in the cache.",
        why=f"looked in {_repo_folder(wanted.repo)}; {why}",
        do=f"with a connection: {wanted.command}",
    )


def _causes(error: BaseException | None) -> Any:
    while error is not None:
        yield error
        error = error.__cause__


def _is_head(error: Any) -> bool:
    """Return whether a time-out struck before any byte of the file was asked for."""
    try:
        return bool(error.request.method == "HEAD") or "/api/" in str(error.request.url)
    except RuntimeError:  # the library's way of saying that no request is attached
        return True


def _first_line(error: BaseException) -> str:
    text = str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
    return f"{text}."
