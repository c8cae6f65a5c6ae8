"""The demo in small: it tells its story and leaves what it promises."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.mark.slow
def test_the_demo_ends_with_a_table_and_the_path_of_a_picture(xzoo, tmp_path):
    out = tmp_path / "demo"
    done = xzoo("demo", "--output", out, "--people", 12, "--steps", 2)
    assert done.code == 0, done.err
    assert "before" in done.out
    assert "rank-1" in done.out
    picture = next(line.split(": ", 1)[1] for line in done.out.splitlines() if line.startswith("picture: "))
    assert Path(picture).read_bytes().startswith(b"\x89PNG")
    assert (out / "people" / "manifest.csv").is_file()


def test_the_demo_never_writes_into_a_folder_that_is_there(tmp_path):
    from xzoo.cli.demo import _free

    assert _free(tmp_path / "demo") == tmp_path / "demo"
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo-2").mkdir()
    assert _free(tmp_path / "demo") == tmp_path / "demo-3"
