"""The site builds without a warning, and holds a page for every card."""

from __future__ import annotations

import json
import os
import re
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
        assert f'<a href="{name}/index.html">' in index
        assert (tmp_path / "zoo" / f"{name}.md").read_text(encoding="utf-8").startswith(f"# {name}\n")


def test_the_gallery_is_whole_without_a_script_and_says_the_same_to_programs(tmp_path):
    BUILD(tmp_path / "zoo")
    index = (tmp_path / "zoo" / "index.md").read_text(encoding="utf-8")
    body = index.partition("<tbody>")[2].partition("</tbody>")[0]
    shown = re.findall(r'<tr data-id="([^"]+)">(.*?)</tr>', body)
    rows = json.loads((tmp_path / "zoo" / "zoo.json").read_text(encoding="utf-8"))["rows"]
    assert [name for name, _ in shown] == [row["id"] for row in rows]
    assert len(rows) >= 31
    assert all(line.count("<td") == 14 for _, line in shown)
    embedded = json.loads(re.search(r'id="zoo-data">(.*?)</script>', index)[1])
    assert [row["id"] for row in embedded["rows"]] == [row["id"] for row in rows]
    assert "http" not in index.replace("http-equiv", "")


def test_a_latency_is_shown_with_machine_and_threads_or_as_not_reported(tmp_path):
    BUILD(tmp_path / "zoo", tmp_path / "none.json")
    assert "CPU latency: not reported." in (tmp_path / "zoo" / "index.md").read_text(encoding="utf-8")
    entry = {"edgeface_xxs": {"latency_ms": 12.34, "range_ms": [11.9, 14.2]}}
    measured = {"machine": "a test's machine", "threads": 1, "torch": "2", "entries": entry}
    (tmp_path / "some.json").write_text(json.dumps(measured))
    BUILD(tmp_path / "zoo", tmp_path / "some.json")
    index = (tmp_path / "zoo" / "index.md").read_text(encoding="utf-8")
    assert "12 ms (12 to 14)" in index
    assert "1 thread, a test&#x27;s machine" in index
    card = (tmp_path / "zoo" / "edgeface_xxs.md").read_text(encoding="utf-8")
    assert "| CPU latency | 12 ms (12 to 14) for one image, 1 thread, a test's machine |" in card
    other = (tmp_path / "zoo" / "edgeface_xs.md").read_text(encoding="utf-8")
    assert "| CPU latency | not reported |" in other


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
