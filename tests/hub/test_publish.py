"""From here to the Hub and back: what is published opens elsewhere with the same embeddings, to the bit."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

import xzoo
from xzoo import errors, hub, publishing
from xzoo.cli import xzoo as command
from xzoo.hub import lock

from .server import Hub

HOUSE = "hybrid_fr_t2v"


@pytest.fixture
def open_hub(server: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """A Hub that a token may write to, by plain requests."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", "hf_a_test")
    server.tokens.add("hf_a_test")
    return server


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run: a LoRA adapter on bundled weights."""
    from xzoo.data import people

    folder = tmp_path_factory.mktemp("published")
    people.write(folder / "people", subjects=6, samples=1, size=64, seed=3)
    return xzoo.finetune(
        HOUSE, folder / "people", lora=True, pretrained=True, steps=2, batch=4, output=folder / "run"
    ).folder


def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (3, 64, 64, 3), dtype=np.uint8)


def elsewhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget everything that was cached here, as another machine would not have it."""
    from huggingface_hub import constants

    monkeypatch.setenv("XZOO_CACHE", str(folder / "elsewhere" / "xzoo"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "elsewhere" / "hf"))


def read_back(server: Hub, repo: str) -> dict[str, bytes]:
    return server.repos[repo][server.refs[repo]["main"]]


def front_matter(readme: bytes) -> dict[str, object]:
    return yaml.safe_load(readme.decode().split("---\n")[1])


def test_published_weights_open_elsewhere_with_equal_embeddings(
    open_hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = xzoo.create(HOUSE, pretrained=True).embed(pictures())
    commit = publishing.push(publishing.prepare(HOUSE, "acme/door"))
    elsewhere(tmp_path, monkeypatch)
    model = xzoo.create("hf-hub:acme/door")
    assert np.array_equal(before, model.embed(pictures()))
    assert (model.weights.source, model.weights.licence) == (
        f"hf-hub:acme/door@{commit}/model.safetensors",
        "Apache-2.0",
    )
    assert lock.entries()["hf-hub:acme/door/xzoo.json"].revision == commit


def test_a_published_adapter_opens_elsewhere_on_the_base_that_everybody_has(
    open_hub: Hub, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = xzoo.create(run_folder).embed(pictures())
    parcel = publishing.prepare(run_folder, "acme/door_lora")
    assert "model.safetensors" not in parcel.files
    publishing.push(parcel)
    moved = tmp_path / "moved"
    shutil.copytree(run_folder, moved)  # the run itself is not needed any more
    elsewhere(tmp_path, monkeypatch)
    model = xzoo.create("hf-hub:acme/door_lora")
    assert list(model.adapters) == ["default"]
    assert np.array_equal(before, model.embed(pictures()))
    assert not np.array_equal(before, xzoo.create(HOUSE, pretrained=True).embed(pictures()))
    head = front_matter(read_back(open_hub, "acme/door_lora")["README.md"])
    assert (head["base_model"], head["base_model_relation"]) == ("hybrid_fr_t2v.synth_v2", "adapter")
    assert (head["library_name"], head["license"]) == ("xzoo", "apache-2.0")
    assert head["pipeline_tag"] == "image-feature-extraction"


def test_a_published_run_brings_the_preprocessing_that_it_was_trained_with(
    open_hub: Hub, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own"
    shutil.copytree(run_folder, own)
    facts = json.loads((own / "run.json").read_text())
    facts["base"]["preprocess"] = {"stretch": True, "alignment": "eyes_112_2pt"}
    (own / "run.json").write_text(json.dumps(facts))
    publishing.push(publishing.prepare(own, "acme/own"))
    elsewhere(tmp_path, monkeypatch)
    found = xzoo.create("hf-hub:acme/own").preprocess
    assert found == replace(xzoo.create(HOUSE).preprocess, stretch=True, alignment="eyes_112_2pt")


def test_the_readme_is_the_card_with_what_the_hub_reads(open_hub: Hub) -> None:
    publishing.push(publishing.prepare(HOUSE, "acme/door"))
    text = read_back(open_hub, "acme/door")["README.md"].decode()
    head = front_matter(text.encode())
    for key in ("library_name", "pipeline_tag", "license", "datasets", "model-index", "tags", "metrics"):
        assert head[key]
    figures = [one for result in head["model-index"][0]["results"] for one in result["metrics"]]
    card = xzoo.card(HOUSE)
    assert [one["value"] for one in figures] == [row["value"] for row in card.facts["results"]]
    assert 'xzoo.create("hf-hub:acme/door")' in text
    assert card.summary in text
    assert "<button" not in text and "<svg" not in text


def test_a_moved_branch_does_not_change_what_was_first_opened(open_hub: Hub) -> None:
    commit = publishing.push(publishing.prepare(HOUSE, "acme/door"))
    before = xzoo.create("hf-hub:acme/door").embed(pictures())
    publishing.push(publishing.prepare("hybrid_fr_n2v", "acme/door"))
    assert np.array_equal(before, xzoo.create("hf-hub:acme/door").embed(pictures()))
    assert np.array_equal(before, xzoo.create(f"hf-hub:acme/door@{commit}").embed(pictures()))
    assert not np.array_equal(before, xzoo.create("hf-hub:acme/door@main").embed(pictures()))


def test_a_dry_run_asks_nobody_and_shows_what_would_be_sent(server: Hub) -> None:
    server.requests.clear()
    done = CliRunner().invoke(command, ["publish", HOUSE, "acme/door", "--dry-run", "--json"], catch_exceptions=False)
    told = json.loads(done.stdout)
    assert set(told["files"]) == {"README.md", "xzoo.json", "model.safetensors"}
    assert (told["licence"], told["commit"]) == ("Apache-2.0", None)
    assert told["readme"].startswith("---\n")
    assert server.requests == []


def test_publishing_by_the_command_line_says_how_to_open_it(open_hub: Hub) -> None:
    done = CliRunner().invoke(command, ["publish", HOUSE, "acme/door"], catch_exceptions=False)
    assert 'xzoo.create("hf-hub:acme/door")' in done.stdout
    assert "model.safetensors" in read_back(open_hub, "acme/door")


def test_the_command_lines_of_a_published_readme_work(open_hub: Hub, tmp_path: Path) -> None:
    from xzoo.data import people

    publishing.push(publishing.prepare(HOUSE, "acme/door"))
    line = next(
        line
        for line in read_back(open_hub, "acme/door")["README.md"].decode().splitlines()
        if line.startswith("xzoo embed")
    )
    people.write(tmp_path / "faces", subjects=2, samples=1, size=64, seed=3)
    words = line.replace("faces.csv", str(tmp_path / "faces")).replace("faces.npz", str(tmp_path / "faces.npz"))
    CliRunner().invoke(command, words.split()[1:], catch_exceptions=False)
    assert np.load(tmp_path / "faces.npz")["embeddings"].shape == (4, 512)
    done = CliRunner().invoke(
        command, ["evaluate", "hf-hub:acme/door", "--data", str(tmp_path / "faces"), "--json"], catch_exceptions=False
    )
    assert done.exit_code == 0


@pytest.mark.parametrize(
    ("name", "error", "told"),
    [
        ("adaface_ir_50", errors.LicenceRefused, "does not say that weights may be passed on"),
        ("mobilefacenet", errors.NotFound, "no weights of its own"),
        ("no_such_net", errors.NotFound, "no_such_net"),
    ],
)
def test_what_may_not_or_cannot_be_published_is_refused(
    server: Hub, name: str, error: type[Exception], told: str
) -> None:
    server.requests.clear()
    with pytest.raises(error, match=told):
        publishing.prepare(name, "acme/door")
    assert server.requests == []


@pytest.mark.parametrize("repo", ["acme", "acme/a/b", "acme/a@main", "", "acme/../b"])
def test_a_repository_is_named_org_repo(repo: str) -> None:
    with pytest.raises(errors.OptionError, match="ORG/REPO"):
        publishing.prepare(HOUSE, repo)


def without_licence(run_folder: Path, target: Path) -> Path:
    shutil.copytree(run_folder, target)
    facts = json.loads((target / "run.json").read_text())
    facts["base"]["licence"] = None
    (target / "run.json").write_text(json.dumps(facts))
    return target


def test_a_run_without_a_licence_needs_one_that_its_owner_states(run_folder: Path, tmp_path: Path) -> None:
    run = without_licence(run_folder, tmp_path / "run")
    with pytest.raises(errors.LicenceRefused, match="--licence SPDX-ID"):
        publishing.prepare(run, "acme/door")
    parcel = publishing.prepare(run, "acme/door", licence="MIT")
    assert front_matter(parcel.files["README.md"])["license"] == "mit"
    assert "declared by who published it" in parcel.files["README.md"].decode()
    with pytest.raises(errors.LicenceRefused, match="passed on"):
        publishing.prepare(run, "acme/door", licence="NOASSERTION")


def test_a_licence_on_record_is_not_overruled(run_folder: Path) -> None:
    with pytest.raises(errors.OptionError, match="under Apache-2.0"):
        publishing.prepare(run_folder, "acme/door", licence="MIT")


def test_a_published_licence_that_is_not_allowed_fetches_no_weights(open_hub: Hub) -> None:
    publishing.push(publishing.prepare(HOUSE, "acme/door"))
    open_hub.requests.clear()
    with pytest.raises(errors.LicenceRefused, match="Apache-2.0"):
        xzoo.create("hf-hub:acme/door", allow_licences="copyleft")
    assert not [path for _, path in open_hub.requests if "safetensors" in path]


def damaged(server: Hub, **changes: object) -> None:
    files = dict(read_back(server, "acme/door"))
    facts = json.loads(files["xzoo.json"])
    files["xzoo.json"] = json.dumps({**facts, **changes}).encode()
    server.push("acme/door", files)


@pytest.mark.parametrize(
    ("changes", "error", "told"),
    [
        ({"format": 2}, errors.WeightsMismatch, "format"),
        ({"name": "/etc"}, errors.NotFound, "/etc"),
        ({"name": "no_such_net"}, errors.NotFound, "no_such_net"),
        (
            {"files": {"../../x": "0" * 64}, "weights": None, "base": {"pretrained": "synth_v2"}},
            errors.OptionError,
            "x",
        ),
        ({"files": {"model.safetensors": "0" * 64}}, errors.HashMismatch, "SHA-256"),
        ({"input": {"size": [3, 8, 8]}}, errors.WeightsMismatch, "input"),
        ({"weights": None, "base": {"pretrained": "/etc/passwd"}}, errors.WeightsMismatch, "no tag"),
        ({"options": {"no_option": 1}}, errors.OptionError, "no_option"),
        ({"files": "all"}, errors.WeightsMismatch, "files"),
    ],
)
def test_a_repository_that_lies_is_refused(
    open_hub: Hub, changes: dict[str, object], error: type[Exception], told: str
) -> None:
    publishing.push(publishing.prepare(HOUSE, "acme/door"))
    damaged(open_hub, **changes)
    with pytest.raises(error, match=told):
        xzoo.create("hf-hub:acme/door")


def test_a_repository_of_others_says_how_its_weights_are_used(open_hub: Hub) -> None:
    open_hub.push("acme/theirs", {"net.pt": b"x"})
    with pytest.raises(errors.NotFound, match="pretrained='hf-hub:acme/theirs'"):
        xzoo.create("hf-hub:acme/theirs")


def test_a_published_repository_fixes_what_it_holds(open_hub: Hub) -> None:
    for more in ({"adapter": "x"}, {"embedding": 128}, {"pretrained": "synth_v2"}):
        with pytest.raises(errors.OptionError, match="fixes"):
            xzoo.create("hf-hub:acme/door", **more)


@pytest.mark.parametrize(
    ("fault", "error", "told"),
    [
        ({"status": 401}, errors.HubError, "hf auth login"),
        ({"status": 403}, errors.HubError, "may not write"),
        ({"status": 500}, errors.HubError, "500"),
    ],
)
def test_a_refusal_of_the_hub_is_told_in_our_words(
    open_hub: Hub, fault: dict[str, int], error: type[Exception], told: str
) -> None:
    parcel = publishing.prepare(HOUSE, "acme/door")
    open_hub.fail("POST", **fault)
    with pytest.raises(error, match=told):
        publishing.push(parcel)
    assert "acme/door" not in open_hub.repos


def test_offline_nothing_is_sent(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    parcel = publishing.prepare(HOUSE, "acme/door")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(errors.Offline):
        publishing.push(parcel)


def test_what_is_published_twice_is_the_same_bytes(run_folder: Path) -> None:
    def content(parcel: publishing.Parcel) -> dict[str, bytes]:
        return {name: one.read_bytes() if isinstance(one, Path) else one for name, one in parcel.files.items()}

    assert content(publishing.prepare(run_folder, "a/b")) == content(publishing.prepare(run_folder, "a/b"))
    assert (
        hub.sha256_of(publishing.prepare(HOUSE, "a/b").files["model.safetensors"])
        == xzoo.card(HOUSE).tags["synth_v2"].sha256
    )
