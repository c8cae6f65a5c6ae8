"""Files to a Hub repository, in one commit, and its refusals in our words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from xzoo.errors import HubError, Offline, OptionError, XzooError
from xzoo.hub import remote
from xzoo.hub.sources import HUB, HubSource

__all__ = ["check_repo", "upload"]


def check_repo(repo: str) -> str:
    """Return ``org/repo`` as it is.

    Raises:
        OptionError: It is no name of a repository.
    """
    refusal = OptionError(f"repository {repo!r}", why="It reads ORG/REPO.", do="e.g. acme/thermal-door")
    try:
        source = HubSource.parse(f"{HUB}{repo}")
    except OptionError as fault:
        raise refusal from fault
    if source.revision or source.file:
        raise refusal
    return source.repo


def upload(
    repo: str, files: Mapping[str, Path | bytes], message: str, *, private: bool = False, token: str | None = None
) -> str:
    """Make the repository where there is none, add all files in one commit, and return its id.

    Args:
        repo: ``org/repo``.
        files: From the name in the repository to a local file or its content.
        message: Of the commit.
        private: Whether a new repository is private; one that exists stays as it is.
        token: The user's; None for the one of ``hf auth login``.

    Raises:
        Offline: The Hub cannot or may not be asked.
        HubError: It refused, or the transfer broke off. A commit is whole or not at all.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    asked = f"{repo} was not published."
    if remote.offline():
        raise Offline(asked, why="HF_HUB_OFFLINE is set, so the Hub was not asked.", do="unset HF_HUB_OFFLINE")
    api = HfApi(endpoint=remote._endpoint(), token=token)
    operations = [
        CommitOperationAdd(path_in_repo=name, path_or_fileobj=str(content) if isinstance(content, Path) else content)
        for name, content in files.items()
    ]
    failures: tuple[type[Exception], ...] = (*remote._library_errors(), ValueError)
    try:
        api.create_repo(repo, private=private, exist_ok=True)
        return str(api.create_commit(repo, operations, commit_message=message).oid)
    except failures as error:
        raise _refused(error, asked) from error


def _refused(error: Exception, asked: str) -> XzooError:
    from huggingface_hub.errors import LocalTokenNotFoundError

    response = getattr(error, "response", None)
    status = response.status_code if response is not None else None
    if status in (401, 403) or isinstance(error, LocalTokenNotFoundError):
        why = "you are not logged in." if status != 403 else "your token may not write there (status 403)."
        return HubError(asked, why=why, do="hf auth login, with a token that may write")
    if status is not None:
        return HubError(asked, why=f"the Hub answered with status {status}: {remote._first_line(error)}")
    http = remote._http_client()
    if isinstance(error, http.ConnectError | http.ConnectTimeout):
        return Offline(asked, why=f"the Hub cannot be reached: {remote._first_line(error)}", do="try again later")
    return HubError(asked, why=f"the transfer failed: {remote._first_line(error)}", do="try again")
