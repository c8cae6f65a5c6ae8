"""The Hub: what is asked of it, and what each of its faults becomes."""

from __future__ import annotations

import errno
import io
import json
from pathlib import Path

import pytest

from xzoo import errors, hub
from xzoo.hub import lock, remote

from .conftest import FILE, REPO, MakeCard, safetensors_bytes, sha256
from .server import EVER, Hub

SOURCE = f"hf-hub:{REPO}/{FILE}"
CONTENT = safetensors_bytes()
HALVES = (".incomplete", ".part", ".safetensors")


def leftovers(folder: Path) -> list[str]:
    """Return the files of weights that a failed download has left, whole or half."""
    return [path.name for path in folder.rglob("*") if path.parent.name == "blobs" or path.suffix in HALVES]


def test_a_pinned_file_is_downloaded_once_and_then_needs_no_request(server: Hub, card_of: MakeCard) -> None:
    card, tag = card_of(sha256=sha256(CONTENT), revision=server.refs[REPO]["main"])
    first = hub.fetch(card, tag)
    asked = len(server.requests)
    assert first.path.read_bytes() == CONTENT
    assert first == hub.fetch(card, tag)
    assert len(server.requests) == asked


def test_weights_say_where_they_came_from(server: Hub, card_of: MakeCard) -> None:
    weights = hub.fetch(*card_of())
    assert weights.source == f"hf-hub:{REPO}@{server.refs[REPO]['main']}/{FILE}"
    assert (weights.sha256, weights.licence, weights.foreign) == (sha256(CONTENT), "Apache-2.0", False)


def test_the_first_use_is_locked_with_commit_and_hash(server: Hub, card_of: MakeCard) -> None:
    hub.fetch(*card_of())
    assert lock.entries() == {SOURCE: lock.Locked(REPO, FILE, server.refs[REPO]["main"], sha256(CONTENT))}


def test_a_locked_file_needs_no_request(server: Hub, card_of: MakeCard) -> None:
    hub.fetch(*card_of())
    server.requests.clear()
    hub.fetch(*card_of())
    assert server.requests == []


def test_a_locked_source_stays_at_its_commit_when_the_branch_moves(server: Hub, card_of: MakeCard) -> None:
    before = hub.fetch(*card_of())
    server.push(REPO, {FILE: safetensors_bytes(1)})
    remote.forget(before.path)
    assert hub.fetch(*card_of()).sha256 == before.sha256


def test_a_locked_commit_that_comes_with_other_bytes_is_refused(server: Hub, card_of: MakeCard) -> None:
    before = hub.fetch(*card_of())
    remote.forget(before.path)
    server.fail("GET", flip=True)
    with pytest.raises(errors.HashMismatch):
        hub.fetch(*card_of())


def test_a_damaged_lock_file_is_an_error_and_not_a_new_trust(server: Hub, card_of: MakeCard) -> None:
    hub.fetch(*card_of())
    lock.lock_path().write_text("{")
    with pytest.raises(errors.HubError, match="lock file"):
        hub.fetch(*card_of())


def test_a_wrong_byte_from_the_hub_is_refused_and_not_kept(server: Hub, card_of: MakeCard, caches: Path) -> None:
    server.fail("GET", flip=True)
    with pytest.raises(errors.HashMismatch, match="xzoo get acme_face.v1"):
        hub.fetch(*card_of(sha256=sha256(CONTENT)))
    assert leftovers(caches) == []
    server.heal()
    assert hub.fetch(*card_of(sha256=sha256(CONTENT))).path.read_bytes() == CONTENT


def test_a_byte_that_flips_in_the_cache_is_noticed_on_the_next_use(server: Hub, card_of: MakeCard) -> None:
    card, tag = card_of(sha256=sha256(CONTENT))
    path = hub.fetch(card, tag).path
    path.write_bytes(CONTENT[:-1] + b"\x01")
    with pytest.raises(errors.HashMismatch) as caught:
        hub.fetch(card, tag)
    assert f"rm {path.resolve()}" in str(caught.value)
    path.resolve().unlink()
    assert hub.fetch(card, tag).path.read_bytes() == CONTENT


def test_a_repository_without_a_file_name_gives_its_only_weights(server: Hub) -> None:
    server.push("acme/single", {"README.md": b"#", "net.safetensors": CONTENT})
    assert hub.locate("hf-hub:acme/single").path.read_bytes() == CONTENT
    server.requests.clear()
    hub.locate("hf-hub:acme/single")
    assert server.requests == []


def test_a_repository_with_several_weights_lists_them(server: Hub) -> None:
    server.push("acme/many", {"a.pt": b"1", "b.pt": b"2"})
    with pytest.raises(errors.OptionError, match=r"(?s)a\.pt.*b\.pt"):
        hub.locate("hf-hub:acme/many")


def test_a_branch_and_a_commit_can_be_named(server: Hub) -> None:
    commit = server.push(REPO, {"dir/other.safetensors": safetensors_bytes(2)}, branch="v2")
    for revision in ("v2", commit):
        weights = hub.locate(f"hf-hub:{REPO}@{revision}/dir/other.safetensors")
        assert weights.source == f"hf-hub:{REPO}@{commit}/dir/other.safetensors"


ANSWERS = {
    "no such repository": (f"hf-hub:acme/nothing/{FILE}", {}, errors.NotFound, "no repository 'acme/nothing'"),
    "no such revision": (f"hf-hub:{REPO}@v9/{FILE}", {}, errors.NotFound, "no revision 'v9'"),
    "no such file": (f"hf-hub:{REPO}/other.pt", {}, errors.NotFound, "no such file"),
    "no such repository to list": ("hf-hub:acme/nothing", {}, errors.NotFound, "no repository"),
    "private": (SOURCE, {"status": 401}, errors.HubError, "hf auth login"),
    "forbidden": (SOURCE, {"status": 403}, errors.HubError, "hf auth login"),
    "gated": (SOURCE, {"status": 403, "headers": {"X-Error-Code": "GatedRepo"}}, errors.HubError, "on request"),
    "busy": (SOURCE, {"status": 429, "headers": {"Retry-After": "7"}}, errors.HubError, "wait 7 s"),
    "broken": (SOURCE, {"status": 500}, errors.HubError, "status 500"),
    "in maintenance": (SOURCE, {"status": 503}, errors.HubError, "status 503"),
    "silent": (SOURCE, {"stall": True}, errors.Offline, "no answer"),
}


@pytest.mark.parametrize(("source", "fault", "kind", "words"), ANSWERS.values(), ids=ANSWERS)
def test_each_answer_of_the_hub_is_one_clear_error(
    server: Hub, caches: Path, source: str, fault: dict[str, object], kind: type[Exception], words: str
) -> None:
    if fault:
        server.fail("HEAD", **fault)
    with pytest.raises(kind, match=words) as caught:
        hub.locate(source)
    assert caught.value.__cause__ is not None
    assert len(str(caught.value).splitlines()) <= 6
    assert leftovers(caches) == []


@pytest.mark.parametrize("status", [429, 500], ids=["busy", "broken"])
def test_a_hub_that_recovers_is_asked_again(server: Hub, status: int) -> None:
    server.fail("HEAD", times=2, status=status)
    assert hub.locate(SOURCE).path.read_bytes() == CONTENT


def test_a_download_that_is_cut_once_goes_on_where_it_stopped(server: Hub) -> None:
    server.fail("GET", times=1, cut=200)
    assert hub.locate(SOURCE).path.read_bytes() == CONTENT
    assert server.asked("GET") == 2


@pytest.mark.parametrize("fault", [{"cut": 0}, {"stall": True}], ids=["cut", "stall"])
def test_a_download_that_breaks_off_for_good_leaves_no_file(
    server: Hub, caches: Path, fault: dict[str, object]
) -> None:
    server.fail("GET", times=1, cut=200)
    server.fail("GET", times=EVER, **fault)
    with pytest.raises(errors.HubError, match="Nothing half-written") as caught:
        hub.locate(SOURCE)
    assert caught.value.__cause__ is not None
    assert leftovers(caches) == []
    assert lock.entries() == {}


def test_a_full_disk_during_the_download_leaves_no_file(
    server: Hub, caches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.file_download as library

    def full(url: str, temp_file: io.BufferedWriter, **rest: object) -> None:
        temp_file.write(CONTENT[:500])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(library, "http_get", full)
    with pytest.raises(errors.DiskFull, match="Nothing half-written"):
        hub.locate(SOURCE)
    assert leftovers(caches) == []


def test_a_file_that_cannot_fit_is_not_begun(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 100})
    monkeypatch.setattr(remote.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(errors.DiskFull, match="0.0 MB are free"):
        hub.locate(SOURCE)
    assert server.asked("GET") == 0


def test_the_token_stays_with_the_hub(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes come from another host, which has no business with it."""
    from .server import Handler

    seen: list[tuple[str, str | None]] = []
    answer = Handler._answer

    def spy(self: Handler, method: str) -> None:
        seen.append((self.path[:5], self.headers.get("Authorization")))
        answer(self, method)

    monkeypatch.setattr(Handler, "_answer", spy)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.locate(SOURCE)
    assert ("/acme", "Bearer hf_secret") in seen
    assert ("/cdn/", None) in seen


class TestOffline:
    """Without a route, or with the Hub switched off."""

    @pytest.fixture(params=["HF_HUB_OFFLINE", "no route"])
    def cut_off(self, request: pytest.FixtureRequest, server: Hub, monkeypatch: pytest.MonkeyPatch) -> object:
        def act() -> None:
            server.requests.clear()
            if request.param == "no route":
                monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
            else:
                monkeypatch.setenv("HF_HUB_OFFLINE", "1")

        return act

    @pytest.mark.parametrize("pinned", [True, False], ids=["pinned", "locked"])
    def test_a_cached_file_is_used_without_a_request(
        self, server: Hub, card_of: MakeCard, cut_off: object, pinned: bool
    ) -> None:
        pins = {"sha256": sha256(CONTENT), "revision": server.refs[REPO]["main"]} if pinned else {}
        hub.fetch(*card_of(**pins))
        cut_off()  # type: ignore[operator]
        assert hub.fetch(*card_of(**pins)).path.read_bytes() == CONTENT
        assert server.requests == []

    def test_a_file_that_another_program_cached_is_used(self, server: Hub, cut_off: object) -> None:
        from huggingface_hub import constants, hf_hub_download

        hf_hub_download(REPO, FILE, cache_dir=constants.HF_HUB_CACHE, endpoint=server.endpoint)
        cut_off()  # type: ignore[operator]
        assert hub.locate(SOURCE).path.read_bytes() == CONTENT

    def test_a_missing_file_names_itself_the_cache_and_the_command(
        self, server: Hub, card_of: MakeCard, caches: Path, cut_off: object
    ) -> None:
        cut_off()  # type: ignore[operator]
        with pytest.raises(errors.Offline) as caught:
            hub.fetch(*card_of())
        text = str(caught.value)
        assert FILE in text
        assert str(caches / "hf") in text
        assert "xzoo get acme_face.v1" in text
        assert server.requests == []

    def test_a_repository_without_a_file_name_is_looked_for_in_the_cache(self, server: Hub, cut_off: object) -> None:
        from huggingface_hub import constants, hf_hub_download

        server.push("acme/single", {"net.safetensors": CONTENT})
        hf_hub_download("acme/single", "net.safetensors", cache_dir=constants.HF_HUB_CACHE, endpoint=server.endpoint)
        cut_off()  # type: ignore[operator]
        assert hub.locate("hf-hub:acme/single").path.read_bytes() == CONTENT
        with pytest.raises(errors.Offline, match="the weights"):
            hub.locate("hf-hub:acme/another")


LICENCES = {
    "a class": ("permissive", "CC-BY-NC-SA-4.0"),
    "another id": (["MIT", "BSD-3-Clause"], "Apache-2.0"),
    "a wildcard": ("BSD-*, MIT", "Apache-2.0"),
    "an unknown licence": ("permissive", "LicenseRef-acme"),
}


@pytest.mark.parametrize(("allow", "licence"), LICENCES.values(), ids=LICENCES)
def test_a_licence_that_is_not_allowed_is_refused_before_any_request(
    server: Hub, card_of: MakeCard, allow: object, licence: str
) -> None:
    with pytest.raises(errors.LicenceRefused, match=licence):
        hub.fetch(*card_of(licence=licence), allow_licences=allow)  # type: ignore[arg-type]
    assert server.requests == []


def test_the_variable_refuses_as_the_argument_does(
    server: Hub, card_of: MakeCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XZOO_LICENCES", "permissive,copyleft")
    with pytest.raises(errors.LicenceRefused, match="permissive, copyleft"):
        hub.fetch(*card_of(licence="CC-BY-NC-4.0"))
    assert hub.fetch(*card_of(licence="CC-BY-NC-4.0"), allow_licences="non-commercial").licence == "CC-BY-NC-4.0"


def test_a_hub_source_of_unknown_licence_is_refused_where_licences_are_chosen(server: Hub) -> None:
    with pytest.raises(errors.LicenceRefused, match="unknown"):
        hub.locate(SOURCE, allow_licences="permissive")
    assert server.requests == []
    assert hub.locate(SOURCE, allow_licences=["permissive", "unknown"]).path.is_file()


@pytest.mark.parametrize("allow", [[], "", "permisive", [3]], ids=["nothing", "blank", "misspelt", "number"])
def test_an_unusable_list_of_licences_is_refused(card_of: MakeCard, allow: object) -> None:
    with pytest.raises(errors.OptionError, match="allow_licences"):
        hub.fetch(*card_of(), allow_licences=allow)  # type: ignore[arg-type]


def test_two_processes_may_lock_at_once(server: Hub) -> None:
    from concurrent.futures import ThreadPoolExecutor

    names = [f"n{index}.safetensors" for index in range(8)]
    server.push(REPO, dict.fromkeys(names, CONTENT))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(hub.locate, [f"hf-hub:{REPO}/{name}" for name in names]))
    assert len(json.loads(lock.lock_path().read_text())["files"]) == len(names)
