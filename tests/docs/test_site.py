"""The site builds without a warning, and holds a page for every card."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import xzoo

ROOT = Path(__file__).resolve().parents[2]
BUILD = runpy.run_path(str(ROOT / "docs" / "build_zoo.py"))["build"]


def built_in() -> list[str]:
    return [name for name in xzoo.list_models("*", kind="*") if xzoo.card(name).origin == "built-in"]


def test_every_card_has_a_page_and_a_row(tmp_path):
    assert BUILD(tmp_path / "zoo") == len(built_in()) >= 13
    index = (tmp_path / "zoo" / "index.md").read_text(encoding="utf-8")
    for name in built_in():
        assert f"]({name}.md)" in index
        assert (tmp_path / "zoo" / f"{name}.md").read_text(encoding="utf-8").startswith(f"# {name}\n")


def test_pages_of_cards_that_are_gone_go_too(tmp_path):
    out = tmp_path / "zoo"
    BUILD(out)
    (out / "long_gone.md").write_text("# long_gone\n")
    BUILD(out)
    assert not (out / "long_gone.md").exists()


def test_every_decision_is_in_the_index():
    folder = ROOT / "docs" / "decisions"
    index = (folder / "index.md").read_text(encoding="utf-8")
    pages = sorted(path.name for path in folder.glob("[0-9]*.md"))
    assert len(pages) >= 9
    assert [page for page in pages if f"({page})" not in index] == []
    assert [int(page[:4]) for page in pages] == list(range(1, len(pages) + 1))


@pytest.mark.slow
@pytest.mark.docs
def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs", reason="the site is built with the extra docs")
    BUILD()
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert all((tmp_path / "zoo" / name / "index.html").is_file() for name in built_in())
    assert "xzoo.models.create" in (tmp_path / "reference" / "models" / "index.html").read_text(encoding="utf-8")
