"""Recipes: how a network is trained, as YAML that can be read aloud.

``names()`` lists those of the zoo, ``load()`` reads and checks one of them or a
file of your own.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from xzoo import errors

if TYPE_CHECKING:
    from xzoo.recipes.schema import Recipe

__all__ = ["load", "names", "text"]

_HERE = Path(__file__).parent
_FIRST = ("xedgeface", "cross_spectral_contrastive", "kd")  # to be named where nothing is near


def names() -> list[str]:
    """Return the names of the zoo's recipes."""
    return sorted(path.stem for path in _HERE.glob("*.yaml"))


def text(name: str | Path) -> str:
    """Return a recipe as it is written: one of the zoo by name, or a file.

    Raises:
        NotFound: No recipe has that name.
        MissingFile: There is no such file.
    """
    if not isinstance(name, str | Path):
        raise errors.OptionError(
            f"recipe=<{type(name).__name__}>",
            why="It is a name, a YAML file, or what xzoo.recipes.load returned.",
            exists=", ".join(_FIRST),
        )
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        if str(name) not in names():
            raise errors.NotFound(
                f"no recipe {str(name)!r}.",
                exists=", ".join(errors.nearest(str(name), names()) or _FIRST),
                do="list: xzoo ls --kind recipe; a file of your own ends in .yaml",
            )
        path = _HERE / f"{name}.yaml"
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as fault:
        raise errors.MissingFile(f"recipe {str(path)!r} is not there.", do="ls " + str(path.parent)) from fault
    except (OSError, UnicodeDecodeError) as fault:
        raise errors.RecipeError(f"recipe {str(path)!r} cannot be read.", why=str(fault)) from fault


def load(name: str | Path) -> Recipe:
    """Read and check a recipe: one of the zoo by name, or a file.

    Example:
        >>> from xzoo import recipes
        >>> recipes.load("xedgeface").stages[0].teacher
        'start'

    Raises:
        NotFound: No recipe has that name.
        MissingFile: There is no such file.
        RecipeError: Listing every fault of the recipe.
    """
    from xzoo.recipes.schema import parse

    return parse(text(name), str(name))
