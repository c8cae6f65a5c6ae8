"""Plugins in a folder of fake distributions, each run in a Python of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from xzoo import errors
from xzoo.catalog.plugin_tools import build, new, validate

EXAMPLE = Path(__file__).parents[2] / "examples" / "plugin_acme"
CARD = json.loads((EXAMPLE / "acme_face" / "xzoo.json").read_text())["cards"][0]


def entry(name: str, **changes: Any) -> dict[str, Any]:
    return {**CARD, "name": name, "tags": {}, "default_tag": None, **changes}


def install(
    site: Path, dist: str, manifest: object, *, package: str | None = None, code: str = "", value: str | None = None
) -> None:
    """Write what pip would leave of a distribution."""
    package = package or dist.replace("-", "_")
    metadata = site / f"{dist.replace('-', '_')}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[xzoo.catalog]\n{dist} = {value or f'{package}:xzoo.json'}\n")
    (site / package).mkdir(exist_ok=True)
    (site / package / "__init__.py").write_text(code)
    text = manifest if isinstance(manifest, str) else json.dumps(manifest)
    (site / package / "xzoo.json").write_text(text)


def manifest(namespace: object, *cards: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"schema": 1, "namespace": namespace, "requires": [], "cards": list(cards), **more}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two good plugins, one of which must not be imported, and one of each kind of trouble."""
    site = tmp_path_factory.mktemp("site")
    install(site, "good-one", manifest("one", entry("alpha"), entry("beta")))
    install(
        site, "heavy", manifest("heavy", entry("gamma", target="heavy:build")), code="raise RuntimeError('imported')"
    )
    install(site, "broken-json", "{'schema': 1")
    install(site, "from-the-future", manifest("future", entry("delta"), schema=99))
    install(site, "override", manifest("", entry("edgeface_xxs")))
    install(site, "override-two", manifest("xzoo", entry("edgeface_xxs")))
    install(site, "outside", manifest("outside", entry("one/alpha")))
    install(site, "misshapen", manifest("misshapen", entry("alpha", tags=[])))
    install(site, "half-told", manifest("half", entry("alpha", facts={"input": {"size": [3, 8, 8]}})))
    install(site, "dotted", manifest("dotted", entry("alpha")), value="dotted.inner:xzoo.json")
    install(site, "escaping", manifest("escaping", entry("alpha")), value="escaping:../xzoo.json")
    install(site, "gone", manifest("gone", entry("alpha")), value="gone_package:xzoo.json")
    install(site, "twin-a", manifest("twin", entry("same"), entry("only_a")))
    install(site, "twin-b", manifest("twin", entry("same"), entry("only_b")))
    install(site, "unmet", manifest("unmet", entry("alpha"), requires=["no-such-package>=2", "click>=999"]))
    damaged = site / "damaged-1.0.dist-info"
    damaged.mkdir()
    (damaged / "entry_points.txt").write_text("xzoo.catalog without = a [section\n")
    return site


def run(site: Path, code: str, plugins: str | None = None) -> Any:
    """Run code that leaves ``out`` in a fresh Python with the plugins on its path."""
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(site)]), "OMP_NUM_THREADS": "1"}
    if plugins is not None:
        environment["XZOO_PLUGINS"] = plugins
    done = subprocess.run(
        [sys.executable, "-c", f"import json, sys, xzoo\n{code}\nprint(json.dumps(out))"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def states(site: Path) -> Any:
    """What ``xzoo plugins`` tells about each distribution."""
    return run(site, STATES)


LIST = "out = xzoo.list_models('*/*')"
STATES = "out = {state.dist: state._asdict() for state in xzoo.plugins()}"
TRY = """
try: out = xzoo.card({0!r}).name
except xzoo.XzooError as error: out = f"{{type(error).__name__}}: {{error}}"
"""


def test_every_usable_plugin_is_listed_whatever_the_others_are(site: Path) -> None:
    assert run(site, LIST) == ["heavy/gamma", "one/alpha", "one/beta", "twin/only_a", "twin/only_b", "unmet/alpha"]


@pytest.mark.parametrize(
    ("dist", "state", "reason"),
    [
        ("good-one", "ok", ""),
        ("heavy", "ok", ""),
        ("broken-json", "problem", "is not JSON"),
        ("from-the-future", "problem", "schema 99"),
        ("override", "problem", "would replace built-in names"),
        ("override-two", "problem", "belongs to xzoo"),
        ("outside", "problem", "outside its namespace"),
        ("misshapen", "problem", "tags is list"),
        ("half-told", "problem", "input lacks colour, mean, std, alignment"),
        ("dotted", "problem", "not a top-level package"),
        ("escaping", "problem", "no file inside its package"),
        ("gone", "problem", "'gone_package' is not there"),
        ("twin-a", "clash", "also claimed by twin-b 1.0; claimed twice: twin/same"),
        ("twin-b", "clash", "also claimed by twin-a 1.0"),
    ],
)
def test_each_plugin_is_one_line_with_its_reason(states: Any, dist: str, state: str, reason: str) -> None:
    found = states[dist]
    assert (found["state"], found["version"]) == (state, "1.0")
    assert reason in found["reason"]
    assert "\n" not in found["reason"]


def test_listing_imports_no_plugin(site: Path) -> None:
    code = f"{LIST}\nxzoo.plugins(); str(xzoo.card('heavy/gamma'))\nout = 'heavy' in sys.modules"
    assert run(site, code) is False


def test_an_unknown_name_imports_no_plugin(site: Path) -> None:
    code = TRY.format("heavy/gama") + "\nout = [out, 'heavy' in sys.modules]"
    told, imported = run(site, code)
    assert "close: heavy/gamma" in told
    assert not imported


@pytest.mark.parametrize("name", ["one/beta", "beta", "one/alpha"])
def test_the_second_of_two_cards_is_itself(site: Path, name: str) -> None:
    assert run(site, TRY.format(name)) == f"one/{name.rpartition('/')[2]}"


def test_the_second_of_two_plugins_is_found(site: Path) -> None:
    assert run(site, TRY.format("only_b")) == "twin/only_b"


def test_a_bare_name_of_two_namespaces_is_ambiguous(site: Path) -> None:
    told = run(site, TRY.format("alpha"))
    assert told.startswith("NotFound")
    assert "one/alpha (plugin good-one 1.0)" in told
    assert "unmet/alpha" in told


def test_a_name_claimed_twice_belongs_to_nobody(site: Path) -> None:
    told = run(site, TRY.format("twin/same"))
    assert told.startswith("NotFound")
    assert "twin-a 1.0" in told
    assert "twin-b 1.0" in told


def test_a_built_in_name_stays_built_in(site: Path) -> None:
    assert run(site, "out = xzoo.card('edgeface_xxs').origin") == "built-in"


@pytest.mark.parametrize(
    ("switch", "names"),
    [
        ("off", []),
        ("-good-one", ["heavy/gamma", "twin/only_a", "twin/only_b", "unmet/alpha"]),
        ("good-one", ["one/alpha", "one/beta"]),
        ("good_one,heavy", ["heavy/gamma", "one/alpha", "one/beta"]),
        ("-twin-b,-unmet,-heavy", ["one/alpha", "one/beta", "twin/only_a", "twin/same"]),
    ],
)
def test_a_switch_decides_which_plugins_are_read(site: Path, switch: str, names: list[str]) -> None:
    assert run(site, LIST, switch) == names


def test_a_plugin_switched_off_is_not_even_read(site: Path) -> None:
    state = run(site, STATES, "-broken-json")["broken-json"]
    assert (state["state"], state["reason"]) == ("off", "switched off by XZOO_PLUGINS")


def test_requirements_are_checked_before_the_import(site: Path) -> None:
    code = """
from xzoo import catalog
try: catalog.load_target(xzoo.card("unmet/alpha"))
except xzoo.XzooError as error: out = [type(error).__name__, str(error), "unmet" in sys.modules]
"""
    kind, told, imported = run(site, code)
    assert (kind, imported) == ("PluginImportError", False)
    assert "no-such-package>=2 (not installed)" in told
    assert "click>=999 (found" in told


def test_a_failing_import_names_the_plugin_and_the_cause(site: Path) -> None:
    code = """
from xzoo import catalog
try: catalog.load_target(xzoo.card("heavy/gamma"))
except xzoo.XzooError as error: out = [type(error).__name__, str(error), str(error.__cause__)]
"""
    kind, told, cause = run(site, code)
    assert kind == "PluginImportError"
    assert "plugin heavy 1.0" in told
    assert cause == "imported"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example plugin, installed by pip into a folder of its own."""
    pytest.importorskip("hatchling", reason="the dev extra brings hatchling, which builds the example")
    site = tmp_path_factory.mktemp("acme")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*pip, "--target", str(site), str(EXAMPLE)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return site


def test_the_example_plugin_is_listed_once_installed(installed: Path) -> None:
    assert run(installed, "out = xzoo.list_models('acme/*', spectrum='LWIR')") == ["acme/thermal_net"]
    assert run(installed, STATES)["acme-face"]["state"] == "ok"


def test_the_example_plugin_embeds_with_the_weights_of_its_package(installed: Path) -> None:
    code = """
import numpy
model = xzoo.create("thermal_net", pretrained=True)
crops = [numpy.full((112, 112, 3), level, dtype=numpy.uint8) for level in (0, 200)]
rows = model.embed(crops)
out = [list(rows.shape), [round(float(row.norm()), 4) for row in rows], model.card.name, model.weights_sha256]
"""
    shape, norms, name, sha256 = run(installed, code)
    assert (shape, norms, name) == ([2, 64], [1.0, 1.0], "acme/thermal_net")
    assert sha256 == CARD["tags"]["demo"]["sha256"]


def test_an_unknown_option_of_the_example_is_refused_before_torch(installed: Path) -> None:
    code = """
try: xzoo.create("acme/thermal_net", filter=4)
except xzoo.XzooError as error: out = [type(error).__name__, str(error), "torch" in sys.modules]
"""
    kind, told, torch = run(installed, code)
    assert (kind, torch) == ("OptionError", False)
    assert "filters" in told


def test_the_example_is_compiled_from_its_yaml() -> None:
    assert validate(EXAMPLE).names == ("acme/thermal_net",)


def test_a_new_plugin_is_complete(tmp_path: Path) -> None:
    started = new(tmp_path / "mine", "zeta")
    assert started.names == ("zeta/small_net",)
    assert validate(tmp_path / "mine") == started
    compiled = json.loads(started.manifest.read_text())["cards"][0]
    assert compiled["options"]["width"] == {"type": "int", "default": 16, "help": "Channels of the first layer"}


def test_building_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    manifest = new(tmp_path / "mine", "zeta").manifest
    first = manifest.read_bytes()
    build(tmp_path / "mine")
    assert manifest.read_bytes() == first


@pytest.mark.parametrize("name", ["xzoo", "local", "A", "a b", "", "a/b", "1a"])
def test_a_new_plugin_needs_a_free_namespace(tmp_path: Path, name: str) -> None:
    with pytest.raises(errors.PluginError):
        new(tmp_path / "mine", name)
    assert not (tmp_path / "mine").exists()


def test_a_new_plugin_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(errors.PluginError, match="exists already"):
        new(tmp_path, "zeta")
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


@pytest.mark.parametrize(
    ("old", "fresh", "told"),
    [
        ("namespace: zeta", "namespace: xzoo", "belongs to xzoo"),
        ("package: zeta_models", "package: other", "the file lies in 'zeta_models'"),
        ("target: zeta_models.models:build_small_net", "target: zeta_models.models:build", "no function 'build'"),
        ("target: zeta_models.models:build_small_net", "target: zeta_models.gone:build", "no module"),
        ("target: zeta_models.models:build_small_net", "family: edgeface", "only built-in cards have one"),
        ("spectra: [VIS]", "spectra: [vis]", "close: VIS"),
        ("status: draft", "statu: draft", "close: status"),
        ("schema: 1\n", "schema: 2\n", "schema"),
    ],
)
def test_a_fault_in_the_yaml_is_told_and_nothing_is_written(tmp_path: Path, old: str, fresh: str, told: str) -> None:
    started = new(tmp_path / "mine", "zeta")
    source = started.manifest.with_name("xzoo.yaml")
    source.write_text(source.read_text().replace(old, fresh))
    before = started.manifest.read_bytes()
    with pytest.raises(errors.PluginError, match=told):
        build(tmp_path / "mine")
    assert started.manifest.read_bytes() == before


def test_a_stale_manifest_and_a_missing_entry_point_are_told_together(tmp_path: Path) -> None:
    started = new(tmp_path / "mine", "zeta")
    source = started.manifest.with_name("xzoo.yaml")
    source.write_text(source.read_text().replace("A small network", "Another network"))
    project = tmp_path / "mine" / "pyproject.toml"
    project.write_text(project.read_text().replace("xzoo.catalog", "other.group"))
    with pytest.raises(errors.PluginError) as caught:
        validate(tmp_path / "mine")
    assert "differs from xzoo.yaml" in str(caught.value)
    assert "entry-points" in str(caught.value)


def test_a_folder_without_a_plugin_is_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.PluginError, match="xzoo plugin new"):
        build(tmp_path)
