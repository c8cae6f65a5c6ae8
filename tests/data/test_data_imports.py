"""``xzoo.data`` costs nothing until one of its names is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import xzoo.data


def test_importing_the_package_imports_no_library() -> None:
    script = "import sys, xzoo.data; print(*{'numpy', 'PIL', 'torch', 'pyarrow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("name", xzoo.data.__all__)
def test_every_promised_name_is_there(name: str) -> None:
    assert getattr(xzoo.data, name).__name__ == name


def test_the_static_and_the_lazy_face_agree() -> None:
    assert sorted(xzoo.data._HOME) == xzoo.data.__all__ == dir(xzoo.data)


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        _ = xzoo.data.nothing
