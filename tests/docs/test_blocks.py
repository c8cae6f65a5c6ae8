"""If a sentence in the docs can be run, it is run.

Python blocks of a page run in order in one namespace, in an empty folder, with
the weights of the wheel and generated people. Lines of shell blocks that call
``xzoo`` are parsed by the command line itself, so that no option can go stale,
and run too (marked slow), on a small world of generated people: see ``SMALLER``.
Blocks of other languages are read by a reader of theirs.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import tomllib
from pathlib import Path
from typing import NamedTuple

import click
import pytest
import yaml

from xzoo import cli

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if "zoo" not in page.relative_to(ROOT).parts]


class Block(NamedTuple):
    """One fenced block: its language, its text, and the line where the text begins."""

    language: str
    text: str
    line: int


def blocks(page: Path, *languages: str) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = re.finditer(r"^```(\w*)[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    made = [Block(match[1], match[2], text[: match.start(2)].count("\n") + 1) for match in found]
    return [block for block in made if block.language in languages]


LANGUAGES = {
    match[1] for page in PAGES for match in re.finditer(r"^```(\w+)", page.read_text(encoding="utf-8"), re.MULTILINE)
}


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


WITH_PYTHON = [page for page in PAGES if blocks(page, "python")]
WITH_SHELL = [page for page in PAGES if blocks(page, "bash")]


def test_there_are_pages_to_run():
    assert len(WITH_PYTHON) >= 6
    assert len(WITH_SHELL) >= 4


@pytest.mark.docs
@pytest.mark.parametrize("page", WITH_PYTHON, ids=name)
def test_the_python_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    space: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(page, "python"):
        # Blank lines before it make a traceback point into the page.
        exec(compile("\n" * (block.line - 1) + block.text, str(page), "exec"), space)


@pytest.mark.docs
@pytest.mark.parametrize("page", WITH_SHELL, ids=name)
def test_the_shell_lines_of_a_page_are_right_calls(page):
    for block in blocks(page, "bash"):
        for line in block.text.splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["xzoo"]:
                parse(words[1:])


def parse(words: list[str]) -> None:
    """Let click read a call without doing what it says."""
    command: click.Command = cli.xzoo
    context = click.Context(command, info_name="xzoo")
    while isinstance(command, click.Group):
        _, found, words = command.resolve_command(context, words)
        assert found is not None
        command = found
    command.make_context(command.name, list(words))


SMALLER = [
    # Weights that lie on the Hub, and data that their owners keep, have a stand-in here.
    (r"edgeface_(base|xxs)|adaface_ir_101", "hybrid_fr"),
    (r"/data/(LLCM|RegDB|IJB-MDF)", r"\1"),
    # Hours become seconds.
    (r"--subjects \d+", "--subjects 4"),
    (r"--(steps|epochs|people|seeds|batch) \d+", ""),
    (r"^xzoo data synth .*", r"\g<0> --subjects 4 --per-domain 1 --size 32"),
    (r"^(xzoo data synth .* --kind (?:body|both).*) --size 32$", r"\1"),
    (r"^xzoo finetune .*", r"\g<0> --steps 2 --batch 4"),
    (r"^xzoo run .*", r"\g<0> --set stages.*.steps=2 --set stages.*.batch.size=4"),
    (r"^xzoo reproduce .*--table ablation.*", r"\g<0> --steps 2 --batch 4 --preset ln --weight 1 --people 8"),
    (r"^xzoo reproduce .*--table objectives.*", r"\g<0> --steps 2 --batch 4 --recipe xedgeface --people 8"),
    (r"^xzoo reproduce aird$", r"\g<0> --steps 2 --batch 8 --people 8"),
    (r"^xzoo reproduce xedgeface .*--data .*", r"\g<0> --model hybrid_fr"),
    (r"^xzoo publish .*", r"\g<0> --dry-run"),
]
"""What a line becomes before it is run, in order: the same verbs on less."""

ELSEWHERE = ("xzoo demo", "xzoo doctor", "xzoo verify", "xzoo reproduce aird", "xzoo reproduce bridge")
"""Lines whose verbs have tests of their own, and that read the machine rather than the folder.

SYSU-MM01 is left to the tests of its reader: all its cameras take minutes to draw."""


def small_world(folder: Path) -> None:
    """Make what the pages speak of: a folder of people, manifests, pictures, a run, data sets laid out."""
    import safetensors.torch

    import xzoo
    from xzoo.data import people
    from xzoo.data.people import layouts

    people.write(folder / "store", subjects=10, samples=2, size=32, seed=1)
    for name in ("people", "faces"):  # pages write over these
        shutil.copytree(folder / "store", folder / name)
    source = (folder / "store" / "manifest.csv").read_text(encoding="utf-8")
    header, *lines = source.splitlines()
    column = header.split(",").index("path")
    for name in ("people.csv", "pairs.csv", "faces.csv"):
        rows = [line.split(",") for line in lines]
        moved = [[f"store/{cell}" if at == column else cell for at, cell in enumerate(row)] for row in rows]
        (folder / name).write_text("\n".join([header, *map(",".join, moved)]) + "\n", encoding="utf-8")
    photos = folder / "photos"
    photos.mkdir()
    for path in sorted((folder / "store").rglob("*.png"))[:3]:
        shutil.copy(path, photos / path.name)
    shutil.copy(next(photos.iterdir()), folder / "face.png")
    safetensors.torch.save_file(xzoo.create("landmarker").state_dict(), folder / "mine.safetensors")
    layouts.write("llcm", folder / "LLCM", subjects=4, cameras=2, size=(32, 16), progress=False)
    layouts.write("regdb", folder / "RegDB", subjects=4, progress=False)
    layouts.write("ijb_mdf", folder / "IJB-MDF", subjects=4, progress=False)
    frames = folder / "frames" / "walk"
    frames.mkdir(parents=True)
    shutil.copy(folder / "face.png", frames / "0001.png")
    (folder / "detections.csv").write_text("frame,x,y,w,h,score\nwalk/0001.png,2,2,24,28,0.9\n", encoding="utf-8")
    (folder / "face-boxes.csv").write_text("frame,x,y,w,h,subject\nwalk/0001.png,8,4,10,10,0001\n", encoding="utf-8")
    settings = {"lora": True, "pretrained": True, "steps": 2, "batch": 4}
    xzoo.finetune("hybrid_fr_t2v", folder / "people.csv", output=folder / "runs" / "mine", **settings)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    small_world(folder)
    return folder


@pytest.mark.slow
@pytest.mark.docs
@pytest.mark.parametrize("page", WITH_SHELL, ids=name)
def test_the_shell_lines_of_a_page_run(page, world, tmp_path, monkeypatch, capsys):
    shutil.copytree(world, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    for block in blocks(page, "yaml"):
        if "protocol:" in block.text:
            named = re.search(r"^protocol: (\w+)", block.text, re.MULTILINE)
            (tmp_path / f"{named[1]}.yaml").write_text(block.text, encoding="utf-8")
    for block in blocks(page, "bash"):
        for line in block.text.splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] != ["xzoo"] or line.startswith(ELSEWHERE) or "SYSU" in line:
                continue
            call = shlex.join(words).replace("'*'", "*")
            for pattern, fresh in SMALLER:
                call = re.sub(pattern, fresh, call)
            words = shlex.split(call)[1:]
            if "--output" in words and words[0] in ("finetune", "run", "reproduce"):
                shutil.rmtree(words[words.index("--output") + 1], ignore_errors=True)
            if words[0] == "reproduce":  # lines of a page are alternatives, and have one folder by default
                shutil.rmtree("runs", ignore_errors=True)
            if words[:2] == ["data", "synth"]:
                shutil.rmtree(words[2], ignore_errors=True)
            code = cli.main(words)
            told = capsys.readouterr()
            if words[:2] == ["data", "check"] and "counts differ from the published ones" in told.err:
                continue  # as they should: what was drawn is smaller than the data set
            assert code == 0, f"{name(page)}:{block.line}: {line}\n{shlex.join(words)}\n{told.err[-2000:]}"


READERS = {"toml": tomllib.loads, "yaml": yaml.safe_load, "json": json.loads}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_blocks_of_data_can_be_read(page):
    for language, read in READERS.items():
        for block in blocks(page, language):
            assert read(block.text), f"{name(page)}:{block.line}"


def test_no_block_is_in_a_language_that_nobody_tries():
    known = {"python", "bash", "text", *READERS}
    found = {(name(page), block.language) for page in PAGES for block in blocks(page, *LANGUAGES - known)}
    assert found == set()


def test_the_readme_names_every_network_and_recipe_of_the_zoo():
    import xzoo

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    built_in = [name for name in xzoo.list_models("*", kind="*") if xzoo.card(name).origin == "built-in"]
    assert len(built_in) >= 13
    assert [name for name in built_in if f"`{name}`" not in readme] == []


def test_links_between_pages_lead_somewhere():
    broken = []
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text(encoding="utf-8")):
            made_by_build = target.startswith("zoo/") or "/zoo/" in target
            if not made_by_build and not (page.parent / target).exists():
                broken.append(f"{name(page)}: {target}")
    assert broken == []
