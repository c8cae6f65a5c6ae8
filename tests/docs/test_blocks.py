"""If a sentence in the docs can be run, it is run.

Python blocks of a page run in order in one namespace, in an empty folder, with
the weights of the wheel and generated people. Lines of shell blocks that call
``xzoo`` are parsed by the command line itself, so that no option can go stale.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import NamedTuple

import click
import pytest

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
