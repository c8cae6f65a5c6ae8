"""The example runs, and says what it is to say."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "xedgeface.py"


@pytest.mark.docs
def test_the_example_adapts_with_and_without_self_distillation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(EXAMPLE), str(tmp_path / "out"), "--people", "12", "--steps", "2", "--preset", "ln+st"]
    monkeypatch.setattr(sys, "argv", words)
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    rows = re.findall(r"^(.+?) +LWIR (\S+) .* VIS (\S+) +to teacher (\S+)$", capsys.readouterr().out, re.MULTILINE)
    assert [row[0] for row in rows] == ["as it came", "xedgeface", "no self-distillation"]
    assert float(rows[0][3]) == 1.0 and float(rows[1][3]) < 1.0
    assert all(0 <= float(figure) <= 1 for row in rows for figure in row[1:])
    assert (tmp_path / "out" / "run-1" / "adapter").is_dir()
