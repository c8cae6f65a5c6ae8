"""How the command line answers a call that is wrong, interrupted or cut off."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click
import pytest

from xzoo import cli, errors

ROOT = Path(__file__).resolve().parents[2]
FRAMEWORKS = {"torch", "timm", "peft", "numpy", "pydantic", "yaml", "huggingface_hub", "PIL"}


def test_help_names_every_verb(xzoo):
    done = xzoo("--help")
    assert done.code == 0
    assert all(f"\n  {verb} " in done.out for verb in cli.VERBS)


def test_every_verb_file_is_a_verb():
    helpers = {"__init__", "__main__", "reproduce_body", "reproduce_landmarks", "reproduce_lowres", "shared"}
    assert {path.stem for path in (ROOT / "xzoo" / "cli").glob("*.py")} - helpers == set(cli.VERBS)


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_has_a_first_sentence_of_help(verb):
    command = import_module(f"xzoo.cli.{verb}").command
    assert isinstance(command, click.Command)
    assert command.get_short_help_str(200).endswith((".", ":"))


def test_without_a_verb_the_help_is_shown(xzoo):
    done = xzoo()
    assert done.code == 2
    assert "Usage: xzoo" in done.err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["sho", "x"], "Did you mean 'show'?"),
        (["ls", "--knd", "recipe"], "--kind"),
        (["ls", "--spectrum", "XIR"], "'VIS', 'NIR', 'SWIR', 'MWIR', 'LWIR'"),
        (["finetune", "hybrid_fr_t2v"], "--data"),
        (["finetune", "hybrid_fr_t2v", "--data", "x.csv", "--steps", "0"], "--steps"),
        (["finetune", "hybrid_fr_t2v", "--data", "x.csv", "--steps", "many"], "not a valid integer"),
        (["evaluate", "hybrid_fr_t2v", "--data", "x.csv", "--batch", "-1"], "--batch"),
        (["embed", "hybrid_fr_t2v"], "either IMAGES or --data"),
        (["embed", "hybrid_fr_t2v", "a.png", "--data", "x.csv"], "either IMAGES or --data"),
        (["embed", "hybrid_fr_t2v", "a.png", "--output", "x.pkl"], ".npz"),
        (["show"], "NAME"),
        (["plugin", "bild"], "build"),
        (["data", "chek"], "check"),
        (["ls", "--kind", "backbon"], "backbone"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_call_exits_2_and_says_what_to_type(xzoo, words, expected):
    done = xzoo(*words)
    assert done.code == 2
    assert done.out == ""
    assert expected in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (["show", "hybrid_fr_tv2"], "NotFound"),
        (["get", "hybrid_fr_t2v.v9"], "NotFound"),
        (["get", "xedgeface"], "NotFound"),
        (["verify", "nobody"], "NotFound"),
        (["data", "check", "nowhere.csv"], "MissingFile"),
        (["embed", "hybrid_fr_t2v", "nowhere.png"], "MissingFile"),
        (["evaluate", "hybrid_fr_t2v", "--data", "nowhere.csv"], "MissingFile"),
        (["evaluate", "hybrid_fr_t2v", "--pretrained", "nowhere.pt", "--data", "nowhere.csv"], "MissingFile"),
        (["finetune", "hybrid_fr_t2v", "--data", "nowhere.csv"], "MissingFile"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_done_exits_1_with_the_name_of_the_error_first(xzoo, words, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = xzoo(*words)
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines()[-4:][0] or done.err
    assert any(line.startswith(f"{kind}: ") for line in done.err.splitlines())
    assert "Traceback" not in done.err
    assert list(tmp_path.iterdir()) == [], "a refused call leaves nothing behind"


def test_an_error_prints_its_four_parts_in_order(xzoo, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise errors.NotFound("asked", why="why", exists="these", do="that")

    monkeypatch.setattr("xzoo.catalog.card", refuse)
    assert xzoo("show", "x").err == "NotFound: asked\n  why\n  exists: these\n  do: that\n"


def test_control_c_exits_130_with_a_word(xzoo, monkeypatch):
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("xzoo.catalog.card", interrupt)
    done = xzoo("show", "x")
    assert done.code == 130
    assert "Stopped." in done.err


def test_a_reader_that_stops_early_is_no_error():
    done = subprocess.run(
        f"{sys.executable} -m xzoo.cli ls --json | head -c 1", shell=True, capture_output=True, text=True, cwd=ROOT
    )
    assert done.stdout == "["
    assert done.stderr == ""


@pytest.mark.parametrize(
    "words", [["--help"], ["--version"], ["ls"], ["ls", "--json"], ["show", "hybrid_fr_t2v"], ["plugins"]]
)
def test_looking_imports_no_framework(words):
    code = f"import sys; from xzoo.cli import main\nassert main({words!r}) == 0\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert FRAMEWORKS.isdisjoint(done.stderr.split())
