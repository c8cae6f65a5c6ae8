"""For authors of plugins: start one, compile its manifest, check it.

An author writes ``xzoo.yaml`` beside the package's code; :func:`build` checks
it with the same schema as the built-in cards and compiles it to ``xzoo.json``,
which is what users' installations read. The plugin's code is parsed for its
builders' signatures, never run.
"""

from __future__ import annotations

import ast
import hashlib
import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

from xzoo.catalog.discovery import GROUP, RESERVED
from xzoo.catalog.entries import SCHEMA
from xzoo.catalog.names import split_name
from xzoo.errors import CardError, PluginError, problems

__all__ = ["Built", "build", "new", "validate"]

SOURCE, MANIFEST = "xzoo.yaml", "xzoo.json"


class Built(NamedTuple):
    """What :func:`build` wrote, :func:`validate` checked, or :func:`new` started.

    Attributes:
        manifest: The compiled file.
        names: Full names of its cards.
    """

    manifest: Path
    names: tuple[str, ...]


def build(path: str | Path) -> Built:
    """Compile a plugin's ``xzoo.yaml`` to the ``xzoo.json`` beside it.

    Args:
        path: The project, the package in it, or the ``xzoo.yaml`` itself.

    Raises:
        PluginError: with every fault of the source; nothing is written then.
    """
    from xzoo.hub import atomic_write

    source = _source(path)
    content, names = _compiled(source)
    manifest = source.with_name(MANIFEST)
    with atomic_write(manifest) as part:
        part.write_bytes(content)
    return Built(manifest, names)


def validate(path: str | Path) -> Built:
    """Check a plugin as users will get it: source, compiled manifest and entry point.

    Args:
        path: The project, or the package in it.

    Raises:
        PluginError: with every fault.
    """
    source = _source(path)
    content, names = _compiled(source)
    manifest = source.with_name(MANIFEST)
    faults = []
    if not manifest.is_file():
        faults.append(f"{MANIFEST}: missing; run xzoo plugin build")
    elif _body(manifest.read_bytes()) != _body(content):
        faults.append(f"{MANIFEST}: differs from {SOURCE}; run xzoo plugin build")
    faults += _entry_point_faults(source.parent)
    if faults:
        raise PluginError(f"{source.parent.name}: not ready.", why=problems(faults, 1000))
    return Built(manifest, names)


def _body(content: bytes) -> object:
    """Return a manifest without the version of the xzoo that built it."""
    try:
        manifest = json.loads(content)
    except ValueError:
        return None
    return {key: value for key, value in manifest.items() if key != "built_with"}


def _source(path: str | Path) -> Path:
    path = Path(path)
    if path.is_file():
        path = path.parent
    found = [place for pattern in (SOURCE, f"*/{SOURCE}", f"src/*/{SOURCE}") for place in sorted(path.glob(pattern))]
    if len(found) != 1:
        why = f"{len(found)} files {SOURCE} in it" if found else f"no {SOURCE} in it, its packages or src/"
        raise PluginError(f"{str(path)!r} is no plugin.", why=why, do="xzoo plugin new FOLDER NAME  starts one")
    return found[0]


def _compiled(source: Path) -> tuple[bytes, tuple[str, ...]]:
    from xzoo import __version__
    from xzoo.cards.compile import as_bytes, compile_card
    from xzoo.cards.schema import PluginModel, load_yaml, validated

    try:
        text = source.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as cause:
        raise PluginError(f"{source.name}: cannot be read.", why=str(cause)) from cause
    data = load_yaml(text, source.name, error=PluginError, written=True)
    plugin = validated(PluginModel, data, source.name, PluginError)
    package = source.parent
    faults = []
    if plugin.namespace in RESERVED:
        faults.append(f"{source.name}: namespace: {plugin.namespace!r} belongs to xzoo")
    if plugin.package != package.name:
        faults.append(f"{source.name}: package: {plugin.package!r}, but the file lies in {package.name!r}")
    compiled = []
    for index, card in enumerate(plugin.cards):
        where = f"{source.name}: cards[{index}]"
        if card.family:
            faults.append(f"{where}.family: only built-in cards have one; give a target")
            continue
        try:
            entry = compile_card(card, where, lambda source: _packaged(source, package))
            if card.target and card.options is None:
                signature = _signature(card.target, package)
                entry["options"] = {name: row for name, row in signature.items() if name not in card.fixed}
        except (CardError, PluginError) as error:
            faults.append(str(error) if isinstance(error, CardError) else f"{where}.target: {error}")
            continue
        compiled.append(entry)
    names = tuple(f"{plugin.namespace}/{card.name}" for card in plugin.cards)
    faults += [
        f"{source.name}: cards: {name!r} appears twice" for name in sorted({n for n in names if names.count(n) > 1})
    ]
    if faults:
        raise PluginError(f"{source.name}: cannot be compiled.", why=problems(faults, 1000))
    manifest = {
        "schema": SCHEMA,
        "built_with": f"xzoo {__version__}",
        "sha256": hashlib.sha256(as_bytes({"cards": compiled})).hexdigest(),
        "namespace": plugin.namespace,
        "requires": plugin.requires,
        "cards": compiled,
    }
    return as_bytes(manifest), names


def _packaged(source: str, package: Path) -> Path | None:
    kind, _, inside = source.partition(":")
    owner, _, file = inside.partition("/")
    return package / file if kind == "package" and owner == package.name else None


def _signature(target: str, package: Path) -> dict[str, dict[str, Any]]:
    """Read the options of a builder from its source: name, type, default, choices and help."""
    from xzoo.cards.compile import section

    module, _, function = target.partition(":")
    top, *inner = module.split(".")
    stem = package.joinpath(*inner)
    places = [stem / "__init__.py", *([stem.with_suffix(".py")] if inner else [])]
    file = next((place for place in places if place.is_file()), None)
    if top != package.name or file is None:
        raise PluginError(f"no module {module!r} in {package.name!r}")
    try:
        tree = ast.parse(file.read_text("utf-8"))
    except (SyntaxError, UnicodeDecodeError) as cause:
        raise PluginError(f"{file.name} cannot be parsed: {cause}") from cause
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function]
    if not found:
        raise PluginError(f"no function {function!r} in {file.name}")
    told = section(ast.get_docstring(found[0]) or "", "Args")
    return {name: {**row, "help": told.get(name, "")} for name, row in _parameters(found[0])}


def _parameters(function: ast.FunctionDef) -> Iterator[tuple[str, dict[str, Any]]]:
    given = function.args
    if given.vararg or given.kwarg or given.posonlyargs:
        raise PluginError(f"{function.name} hides options behind *args, **kwargs or '/'")
    padding: list[ast.expr | None] = [None] * (len(given.args) - len(given.defaults))
    pairs = [
        *zip(given.args, [*padding, *given.defaults], strict=True),
        *zip(given.kwonlyargs, given.kw_defaults, strict=True),
    ]
    for argument, default in pairs:
        if default is None:
            raise PluginError(f"{argument.arg!r} of {function.name} has no default; fix it in the card or give one")
        try:
            value = ast.literal_eval(default)
        except ValueError as cause:
            raise PluginError(f"the default of {argument.arg!r} of {function.name} is no plain value") from cause
        written = argument.annotation
        row: dict[str, Any] = {"type": type(value).__name__, "default": value}
        if isinstance(written, ast.Name) and written.id in ("int", "float", "bool", "str"):
            row["type"] = written.id
        if isinstance(written, ast.Subscript) and ast.unparse(written.value).endswith("Literal"):
            row["choices"] = list(ast.literal_eval(ast.unparse(written.slice)))
        yield argument.arg, row


def _entry_point_faults(package: Path) -> list[str]:
    project = next(
        (folder for folder in (package.parent, package.parent.parent) if (folder / "pyproject.toml").is_file()), None
    )
    if project is None:
        return []  # an installed package: its metadata are pip's
    wanted = f"{package.name}:{MANIFEST}"
    try:
        points = tomllib.loads((project / "pyproject.toml").read_text("utf-8"))["project"]["entry-points"][GROUP]
    except tomllib.TOMLDecodeError as cause:
        return [f"pyproject.toml: {cause}"]
    except KeyError:
        points = {}
    if wanted in points.values():
        return []
    return [f'pyproject.toml: [project.entry-points."{GROUP}"] lacks {package.name.replace("_", "-")} = "{wanted}"']


def new(folder: str | Path, name: str) -> Built:
    """Start a plugin: an installable project with one small network, already compiled.

    Args:
        folder: Where to write it; must not exist, or be empty.
        name: Namespace of its models, such as ``acme``; its package is ``acme_models``.

    Raises:
        PluginError: The name is malformed or reserved, or the folder holds something.
    """
    from xzoo.hub import atomic_write

    folder = Path(folder)
    if split_name(name) != (None, name, None) or name[0].isdigit() or name in RESERVED:
        raise PluginError(f"{name!r} cannot be a namespace.", why=f"a-z, 0-9 and _, and none of {', '.join(RESERVED)}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise PluginError(f"{str(folder)!r} exists already.", do="name a folder that is not there yet")
    package = f"{name}_models"
    words = {"namespace": name, "package": package, "dist": package.replace("_", "-")}
    for file, text in _SKELETON.items():
        with atomic_write(folder / Template(file).substitute(words)) as part:
            part.write_text(Template(text).substitute(words), "utf-8")
    return build(folder)


_SKELETON = {
    "pyproject.toml": """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "$dist"
version = "0.1.0"
description = "Models of $namespace for xzoo"
requires-python = ">=3.11"
dependencies = ["xzoo"]

[project.entry-points."xzoo.catalog"]
$dist = "$package:xzoo.json"

[tool.hatch.build.targets.wheel]
packages = ["$package"]
""",
    "README.md": """\
# $dist

Models of `$namespace` for xzoo. Install it, and they are in the catalogue:

    pip install -e .
    xzoo ls '$namespace/*'

After every change of `$package/xzoo.yaml`:

    xzoo plugin build .
    xzoo plugin validate .
""",
    "$package/__init__.py": '''\
"""Models of $namespace. Listing them never imports this package."""
''',
    "$package/models.py": '''\
"""Builders: called by xzoo.create, with explicit keywords only."""

from torch import nn


def build_small_net(*, width: int = 16, embedding: int = 64) -> nn.Module:
    """Build the network with random weights.

    Args:
        width: Channels of the first layer.
        embedding: Length of the embedding.
    """
    return nn.Sequential(
        nn.Conv2d(3, width, 7, stride=4, padding=3),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(32 * width, embedding),
    )
''',
    "$package/xzoo.yaml": """\
# Compiled by `xzoo plugin build` to xzoo.json, which is what users read. Options come from the builder's signature.
schema: 1
namespace: $namespace
package: $package
requires: ["torch>=2.6"]
cards:
  - name: small_net
    kind: backbone
    task: face-recognition
    summary: "A small network to start from."
    status: draft
    spectra: [VIS]
    target: $package.models:build_small_net
    licence: {code: Apache-2.0, weights: none, data: none}
    input: {size: [3, 112, 112], colour: RGB, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5], alignment: arcface_112_5pt}
    output: {embedding: 64, normalised: false, compare: cosine}
    use:
      intended: "Say what it is for."
      not_for: ["say what it is not for"]
    prose: |
      Say what a user needs to know.
""",
}
