"""Promises of the project as a whole: the front door, cheap imports, the wheel."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import xzoo

ROOT = Path(__file__).resolve().parent.parent
FRAMEWORKS = ("torch", "timm", "peft", "numpy", "pydantic", "yaml", "huggingface_hub", "PIL", "transformers", "tqdm")


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, cwd=ROOT)
    if listed.returncode:
        pytest.skip("not a git checkout: there is no list of tracked files")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_what_type_checkers_see_is_what_python_gives() -> None:
    tree = ast.parse((ROOT / "xzoo" / "__init__.py").read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    static = {
        alias.asname or alias.name: line.module
        for line in block.body
        if isinstance(line, ast.ImportFrom)
        for alias in line.names
    }
    assert static == xzoo._EXPORTS


@pytest.mark.parametrize("name", sorted(xzoo._EXPORTS))
def test_every_public_name_can_be_had(name: str) -> None:
    assert getattr(xzoo, name) is not None


def test_public_names_are_listed_by_dir() -> None:
    assert set(xzoo._EXPORTS) <= set(dir(xzoo))


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="creat"):
        xzoo.creat  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize("code", ["import xzoo.hub", "import xzoo.cli", "import xzoo; xzoo.plugins(); dir(xzoo)"])
def test_the_light_half_imports_no_framework(code: str) -> None:
    # What listing and describing cost is held in tests/catalog.
    loaded = python(f"{code}\nimport sys; print(*sys.modules)").split()
    assert set(loaded).isdisjoint(FRAMEWORKS)


def test_no_tracked_file_names_a_folder_of_somebodys_machine() -> None:
    personal = re.compile(rb"(?<![\w.\-/])/(?:work|root|home|Users|mnt)/[\w.]")
    found = [
        f"{path.relative_to(ROOT)}: {match.group()!r}"
        for path in tracked()
        for match in personal.finditer(path.read_bytes())
    ]
    assert not found


def test_no_tracked_file_is_large() -> None:
    assert [str(path) for path in tracked() if path.stat().st_size > 8 * 2**20] == []


def test_the_package_says_that_it_is_typed() -> None:
    assert (ROOT / "xzoo" / "py.typed").is_file()


@pytest.mark.slow
def test_the_wheel_holds_what_it_needs_and_no_more(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="the wheel is built with hatchling (extra dev)")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        check=True,
        capture_output=True,
        cwd=ROOT,
    )
    (wheel,) = tmp_path.glob("xzoo-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        catalog = json.loads(archive.read("xzoo/catalog/catalog.json"))
        entry_points = archive.read(next(name for name in names if name.endswith("entry_points.txt"))).decode()
    assert catalog
    assert "xzoo/py.typed" in names
    assert "xzoo = xzoo.cli:main" in entry_points
    recipes = {f"xzoo/recipes/{path.name}" for path in (ROOT / "xzoo" / "recipes").glob("*.yaml")}
    weights = {f"xzoo/weights/{path.name}" for path in (ROOT / "xzoo" / "weights").glob("*.safetensors")}
    assert recipes and weights and recipes | weights <= names
    assert {name.split("/")[0] for name in names} == {"xzoo", f"xzoo-{xzoo.__version__}.dist-info"}
    # House weights may have 20 MB together (test_house_weights.py); the rest stays below one.
    assert wheel.stat().st_size - sum((ROOT / name).stat().st_size for name in weights) < 2**20
