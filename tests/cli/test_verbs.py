"""What each verb prints and leaves behind, on a handful of drawn pictures."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

import xzoo as package

ROOT = Path(__file__).resolve().parents[2]
SUBJECTS = 6
FIGURES = {"rank1", "rank5", "map", "auc", "eer", "tar", "n_probe", "n_gallery", "n_genuine", "n_impostor"}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of six subjects, two images in each of VIS and LWIR, four to train on."""
    folder = tmp_path_factory.mktemp("pairs")
    draw = np.random.Generator(np.random.PCG64(0))
    rows = ["path,subject,spectrum,split"]
    for subject in range(SUBJECTS):
        face = draw.integers(0, 256, (14, 14), dtype=np.uint8)
        for spectrum, tone in (("VIS", face), ("LWIR", 255 - face)):
            for sample in range(2):
                name = f"{subject}_{spectrum}_{sample}.png"
                noisy = (tone.astype(int) + draw.integers(-20, 21, tone.shape)).clip(0, 255).astype(np.uint8)
                Image.fromarray(noisy).resize((56, 56), Image.Resampling.NEAREST).save(folder / name)
                rows.append(f"{name},{subject},{spectrum},{'train' if subject < 4 else 'test'}")
    manifest = folder / "pairs.csv"
    manifest.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return manifest


class Made(NamedTuple):
    """A fine-tuning on the command line: what it left, and what it said."""

    folder: Path
    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def made(pairs, tmp_path_factory) -> Made:
    """One short fine-tuning for the whole module: it is by far the slowest call."""
    from xzoo.cli import main

    folder = tmp_path_factory.mktemp("runs") / "lora"
    words = ["finetune", "edgeface_xxs", "--pretrained", "no", "--data", str(pairs), "--recipe", "xedgeface", "--lora"]
    words += ["--steps", "2", "--batch", "4", "--seed", "1", "--output", str(folder), "--json"]
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        code = main(words)
    return Made(folder, code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def run(made) -> Path:
    return made.folder


def test_ls_prints_a_line_for_each_name(xzoo):
    done = xzoo("ls")
    assert done.code == 0
    assert [line.split()[0] for line in done.out.splitlines()[1:]] == package.list_models("*", kind="*")


def test_ls_takes_patterns_and_filters(xzoo):
    found = xzoo("ls", "edge*", "ada*", "--exclude", "*_18", "--licence", "non-commercial", "--json").json
    assert [row["name"] for row in found] == package.list_models(
        ["edge*", "ada*"], exclude="*_18", licence="non-commercial"
    )


def test_ls_of_nothing_is_an_empty_list_and_a_word(xzoo):
    done = xzoo("ls", "zzz*", "--json")
    assert (done.code, done.json) == (0, [])
    assert "Nothing matches" in done.err


def test_show_prints_the_card(xzoo):
    done = xzoo("show", "edgeface_xxs")
    assert done.code == 0
    assert done.out.startswith("edgeface_xxs\n")
    assert "CC-BY-NC-SA-4.0" in done.out


def test_show_as_json_holds_every_field_of_the_card(xzoo):
    assert xzoo("show", "edgeface_xxs", "--json").json == json.loads(
        json.dumps(package.card("edgeface_xxs").to_dict(), default=str)
    )


def test_get_of_bundled_weights_prints_path_hash_and_licence(xzoo):
    facts = xzoo("get", "hybrid_fr_t2v", "--json").json
    assert facts["name"] == "hybrid_fr_t2v.synth_v2"
    assert Path(facts["path"]).stat().st_size == facts["bytes"] < 4_000_000
    assert len(facts["sha256"]) == 64
    assert facts["licence"] == "Apache-2.0"


def test_get_refuses_a_licence_that_is_not_allowed(xzoo):
    done = xzoo("get", "edgeface_xxs", "--allow-licence", "permissive")
    assert done.code == 1
    assert done.err.startswith("LicenceRefused: ")


def test_verify_finds_the_bundled_weights_in_order(xzoo):
    facts = xzoo("verify", "hybrid_fr_t2v", "--json").json
    assert [(fact["name"], fact["state"]) for fact in facts] == [("hybrid_fr_t2v.synth_v2", "ok")]


def test_verify_exits_1_when_a_file_has_changed(xzoo, monkeypatch):
    from xzoo.hub import Fact

    changed = Fact("a.b", "bundled:a", Path("a"), "1" * 64, "2" * 64, "changed")
    monkeypatch.setattr("xzoo.hub.verify", lambda name: [changed])
    done = xzoo("verify")
    assert done.code == 1
    assert "changed" in done.out
    assert "HashMismatch: 1 of 1 files" in done.err


def test_data_check_counts_what_is_there(xzoo, pairs):
    facts = xzoo("data", "check", pairs, "--json").json
    assert facts["images"] == 4 * SUBJECTS
    assert facts["subjects"] == SUBJECTS
    assert facts["splits"]["test"] == {"VIS": 4, "LWIR": 4}
    assert facts["problems"] == []


def test_data_check_lists_every_fault_and_exits_1(xzoo, tmp_path):
    manifest = tmp_path / "bad.csv"
    manifest.write_text("path,subject,spectrum\ngone.png,a,VIS\nother.png,b,THERMAL\n")
    done = xzoo("data", "check", manifest, "--json")
    assert done.code == 1
    assert len(done.json["problems"]) == 2
    assert done.err.startswith("DataError: ")
    assert "gone.png" in done.err
    assert "THERMAL" in done.err


def test_finetune_prints_one_json_object_with_progress_on_stderr(made):
    assert made.code == 0, made.err
    facts = json.loads(made.out)
    assert Path(facts["run"]) == made.folder
    assert facts["before"].keys() >= FIGURES
    assert facts["after"].keys() >= FIGURES
    assert "loss" in made.err


def test_finetune_into_a_used_folder_is_refused(xzoo, pairs, run):
    done = xzoo("finetune", "edgeface_xxs", "--pretrained", "no", "--data", pairs, "--output", run)
    assert done.code == 1
    assert "RunError: " in done.err


def test_evaluate_takes_a_run_folder(xzoo, pairs, run):
    words = ["--data", pairs, "--gallery", "VIS", "--probe", "LWIR", "--split", "test", "--json"]
    done = xzoo("evaluate", run, *words)
    assert done.code == 0, done.err
    assert done.json.keys() >= FIGURES
    assert (done.json["n_probe"], done.json["n_gallery"]) == (4, 4)


def test_evaluate_of_grey_values_needs_no_network(xzoo, pairs):
    done = xzoo("evaluate", "pixels", "--data", pairs, "--probe", "VIS", "--json")
    assert done.code == 0, done.err
    assert done.json["rank1"] == 1.0


def test_evaluate_for_people_prints_the_table(xzoo, pairs, run):
    done = xzoo("evaluate", run, "--data", pairs, "--split", "test", "--templates")
    assert done.code == 0, done.err
    assert "rank-1" in done.out


def test_show_prints_a_run(xzoo, run):
    assert xzoo("show", run, "--json").json["state"] == "done"
    assert "state: done" in xzoo("show", run).out


def test_embed_writes_unit_vectors_and_paths_that_numpy_reads_without_pickle(xzoo, pairs, run, tmp_path):
    out = tmp_path / "deep" / "e.npz"
    done = xzoo("embed", run, pairs.parent, "--spectrum", "LWIR", "--output", out, "--json")
    assert done.code == 0, done.err
    assert done.json == {"output": str(out), "images": 4 * SUBJECTS, "dimensions": 512}
    with np.load(out, allow_pickle=False) as file:
        assert np.allclose(np.linalg.norm(file["embeddings"], axis=1), 1, atol=1e-5)
        assert sorted(file["paths"]) == list(file["paths"])


def test_embed_of_a_manifest_uses_the_band_of_each_row(xzoo, pairs, run, tmp_path):
    out = tmp_path / "e.npz"
    assert xzoo("embed", run, "--data", pairs, "--output", out).code == 0
    model = package.create(run)
    data = package.Manifest.read(pairs)
    expected = model.embed(data.paths, spectrum=[row.spectrum for row in data.rows])
    with np.load(out) as file:
        assert np.allclose(file["embeddings"], expected.numpy(), atol=1e-5)


def test_embed_of_an_empty_folder_is_refused(xzoo, tmp_path):
    done = xzoo("embed", "hybrid_fr_t2v", tmp_path)
    assert done.code == 1
    assert done.err.startswith("MissingFile: ")


def test_plugins_says_so_when_there_are_none(xzoo, monkeypatch):
    monkeypatch.setattr("xzoo.catalog.plugins", lambda: [])
    assert xzoo("plugins").out == "No plugins are installed.\n"
    assert xzoo("plugins", "--json").json == []


def test_a_broken_plugin_is_one_line_with_the_reason(xzoo, monkeypatch):
    from xzoo.catalog import PluginState

    broken = PluginState("acme-face", "1.2", "", 0, "problem", "its manifest is not JSON", "reinstall it")
    monkeypatch.setattr("xzoo.catalog.plugins", lambda: [broken])
    lines = xzoo("plugins").out.splitlines()
    assert len(lines) == 2
    assert "its manifest is not JSON. reinstall it" in lines[1]


def test_a_new_plugin_builds_and_validates(xzoo, tmp_path):
    folder = tmp_path / "acme-plugin"
    assert xzoo("plugin", "new", folder, "acme", "--json").json["names"] == ["acme/small_net"]
    for verb in ("build", "validate"):
        done = xzoo("plugin", verb, folder, "--json")
        assert (done.code, done.json["names"]) == (0, ["acme/small_net"])


def test_a_plugin_with_a_fault_is_refused_and_the_fault_named(xzoo, tmp_path):
    folder = tmp_path / "acme-plugin"
    xzoo("plugin", "new", folder, "acme")
    source = folder / "acme_models" / "xzoo.yaml"
    source.write_text(source.read_text().replace("kind: backbone", "kind: backbon"))
    done = xzoo("plugin", "validate", folder)
    assert done.code == 1
    assert done.err.startswith("PluginError: ")
    assert "backbon" in done.err


def test_doctor_names_versions_devices_cache_and_offline_state(xzoo, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    facts = xzoo("doctor", "--json").json
    assert facts["xzoo"] == package.__version__
    assert facts["packages"]["torch"][0].isdigit()
    assert facts["devices"][0] == "cpu"
    assert facts["offline"] is True
    assert facts["disk_free_bytes"] > 0
    assert facts["cache"]["bytes"] >= 0
    assert "cache: " in xzoo("doctor").out


def test_doctor_reports_a_torch_that_cannot_be_imported(xzoo, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    assert "ModuleNotFoundError" in xzoo("doctor", "--json").json["torch_error"]


@pytest.mark.slow
def test_control_c_in_training_exits_130_and_says_how_to_go_on(pairs, tmp_path):
    out = tmp_path / "run"
    words = ["finetune", "edgeface_xxs", "--pretrained", "no", "--data", pairs, "--steps", 5000, "--batch", 4]
    process = subprocess.Popen(
        [sys.executable, "-m", "xzoo.cli", *map(str, words), "--output", str(out), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    metrics = out / "metrics.jsonl"
    deadline = time.monotonic() + 200
    while not (metrics.is_file() and '"loss"' in metrics.read_text()) and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    said, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said == ""
    assert "--resume" in told.splitlines()[-1]
    assert "Traceback" not in told
    assert json.loads((out / "run.json").read_text())["state"] == "interrupted"
