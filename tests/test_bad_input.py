"""What happens when xzoo is called wrongly, or is given a file that is not what it says.

One table of wrong calls. Each must end in one error of the tree, exactly of
the class named in its row, in at most six lines that quote what was given,
and must leave no new file behind. A second table does the same for the
command line. The last tests hold the tables to their size, and to every class
of the tree.
"""

from __future__ import annotations

import errno
import functools
import io
import json
import os
import pickle
import re
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save, save_file
from torch import nn

import xzoo
from xzoo import adapters, cli, errors, hub, losses, recipes
from xzoo.adapters import LoraOptions
from xzoo.cards.schema import parse_card
from xzoo.catalog import plugin_tools, registry
from xzoo.data import SyntheticPeople, people
from xzoo.data.images import load_raw, read_image
from xzoo.data.manifest import Manifest
from xzoo.data.preprocess import Preprocess
from xzoo.data.samplers import BalancedSampler, PairSampler
from xzoo.errors import (
    BaseMismatch,
    CardError,
    DataError,
    DeviceError,
    DiskFull,
    EvaluationError,
    HashMismatch,
    HubError,
    ImageError,
    LicenceRefused,
    MissingExtra,
    MissingFile,
    NotFound,
    Offline,
    OptionError,
    PluginError,
    PluginImportError,
    RecipeError,
    RunError,
    TrainingStopped,
    WeightsMismatch,
    XzooError,
)
from xzoo.families.base import Embedder
from xzoo.recipes.schema import Recipe

call = functools.partial
EXAMPLE = Path(__file__).parents[1] / "examples" / "plugin_acme" / "acme_face" / "xzoo.json"
SIDE = 16

# What somebody who does not know our tree would catch.
BUILTIN: dict[type[XzooError], type[Exception]] = {
    BaseMismatch: ValueError,
    CardError: ValueError,
    DataError: ValueError,
    DeviceError: RuntimeError,
    DiskFull: OSError,
    EvaluationError: ValueError,
    HashMismatch: ValueError,
    HubError: OSError,
    ImageError: ValueError,
    LicenceRefused: PermissionError,
    MissingExtra: ImportError,
    MissingFile: FileNotFoundError,
    NotFound: LookupError,
    Offline: ConnectionError,
    OptionError: ValueError,
    PluginError: ValueError,
    PluginImportError: ImportError,
    RecipeError: ValueError,
    RunError: ValueError,
    TrainingStopped: RuntimeError,
    WeightsMismatch: ValueError,
}


def build_tiny(width: int = 8) -> nn.Module:
    inner = width * (SIDE // 4) ** 2
    return nn.Sequential(nn.Conv2d(3, width, 3, 4, 1), nn.Flatten(), nn.LayerNorm(inner), nn.Linear(inner, 16))


class World:
    """A folder to put bad things into, and two good networks to give them to."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, model: Embedder, tiny: Embedder) -> None:
        self.folder, self.monkeypatch, self.model, self.tiny = folder, monkeypatch, model, tiny

    def file(self, name: str, content: bytes | str = b"") -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def weights(self, change: Callable[[dict[str, torch.Tensor]], object] = lambda state: None) -> Path:
        """Write the weights of ``model``, after a change to them."""
        state = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        change(state)
        save_file(state, self.folder / "weights.safetensors")
        return self.folder / "weights.safetensors"

    def people(
        self,
        *,
        subjects: int = 6,
        spectra: tuple[str, ...] = ("VIS", "LWIR"),
        split: str = "train test",
        extra: str = "",
    ) -> Path:
        """Write two images of each subject in each spectrum, and a manifest; the last third is the second split."""
        folder, random = self.folder / "people", np.random.default_rng(0)
        folder.mkdir(exist_ok=True)
        lines = ["path,subject,spectrum,split"]
        for subject in range(subjects):
            where = (split.split() or [""])[-1 if subject >= subjects * 2 // 3 else 0]
            for spectrum in spectra:
                for sample in range(2):
                    name = f"{subject}_{spectrum}_{sample}.png"
                    Image.fromarray(random.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)).save(folder / name)
                    lines.append(f"{name},s{subject},{spectrum},{where}")
        return self.file("people/manifest.csv", "\n".join([*lines, extra]) + "\n")

    def table(self, *lines: str) -> Path:
        return self.file("table/manifest.csv", "\n".join(lines) + "\n")

    def adapter(self, change: Callable[[dict[str, Any]], object] = lambda config: None) -> Path:
        """Save an adapter of ``tiny``, after a change to its configuration."""
        folder = self.folder / "adapter"
        adapters.add(self.tiny, "norms", name="thermal", preset="norms")
        adapters.save(self.tiny, "thermal", folder)
        adapters.detach(self.tiny, "thermal")
        config = json.loads((folder / "adapter_config.json").read_text())
        change(config)
        (folder / "adapter_config.json").write_text(json.dumps(config))
        return folder

    def recipe(self, *changes: tuple[str, str]) -> Path:
        """Write the xedgeface recipe with some pieces of its text replaced."""
        text = recipes.text("xedgeface")
        for old, new in changes:
            assert old in text, f"{old!r} is no longer in the recipe"
            text = text.replace(old, new)
        return self.file("mine.yaml", text)

    def run(self, **facts: object) -> Path:
        """Write a run folder that has only its facts."""
        base = {"name": "tiny_net", "pretrained": False, "options": {}}
        whole = {"state": "done", "base": base, "settings": {}, "before": None, "after": None, **facts}
        self.file("run/run.json", json.dumps(whole))
        return self.folder / "run"

    def plugin(self, manifest: dict[str, Any], code: str = "") -> None:
        """Put a plugin on the path, as pip would."""
        site = self.folder / "site"
        self.file("site/bad_plugin-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: bad-plugin\nVersion: 1.0\n")
        self.file("site/bad_plugin-1.0.dist-info/entry_points.txt", "[xzoo.catalog]\nbad = bad_plugin:xzoo.json\n")
        self.file("site/bad_plugin/__init__.py", code)
        self.file("site/bad_plugin/xzoo.json", json.dumps(manifest))
        self.monkeypatch.syspath_prepend(site)
        self.monkeypatch.setattr(registry, "_layers", None)  # what was discovered before
        self.monkeypatch.delitem(sys.modules, "bad_plugin", raising=False)

    def env(self, **values: str) -> None:
        for name, value in values.items():
            self.monkeypatch.setenv(name, value)

    def full_disk(self) -> None:
        def refuse(handle: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        self.monkeypatch.setattr(os, "fsync", refuse)

    def files(self) -> dict[str, bytes]:
        found = [path for path in self.folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        return {path.relative_to(self.folder).as_posix(): path.read_bytes() for path in found}


Prepare: TypeAlias = Callable[[World], Callable[[], object]]
"""Puts the bad thing in place, and returns the wrong call."""


class Row(NamedTuple):
    """A wrong call: what prepares it, what it raises, and what the message has to name."""

    id: str
    kind: type[XzooError]
    prepare: Prepare
    says: tuple[str, ...]
    many: bool = False
    leaves: tuple[str, ...] = ()


def row(
    name: str,
    kind: type[XzooError],
    prepare: Prepare,
    *says: str,
    many: bool = False,
    leaves: tuple[str, ...] = (),
) -> Row:
    return Row(name, kind, prepare, says, many, leaves)


def create(name: object = "edgeface_xxs", **options: Any) -> Prepare:
    return lambda w: call(xzoo.create, name, **options)


def embed(images: object, **options: Any) -> Prepare:
    return lambda w: call(w.tiny.embed, images, **options)


def after(*steps: Any) -> Any:
    """Return the last of some steps that were taken for their effect."""
    return steps[-1]


def from_file(path: Callable[[World], Path]) -> Prepare:
    return lambda w: call(xzoo.create, "edgeface_xxs", pretrained=path(w))


def fitting(change: Callable[[dict[str, torch.Tensor]], object]) -> Prepare:
    return from_file(lambda w: w.weights(change))


def adding(*arguments: Any, **options: Any) -> Prepare:
    return lambda w: call(adapters.add, w.tiny, *arguments, **options)


def attaching(change: Callable[[dict[str, Any]], object]) -> Prepare:
    return lambda w: call(adapters.attach, w.tiny, w.adapter(change))


def loading(name: str, content: bytes) -> Prepare:
    return from_file(lambda w: w.file(name, content))


def training(**options: Any) -> Prepare:
    return lambda w: call(xzoo.finetune, w.tiny, w.people(), output=w.folder / "run", **{"steps": 1, **options})


def table(*lines: str) -> Prepare:
    return lambda w: call(Manifest.read, w.table(*lines))


def comparing(**options: Any) -> Prepare:
    return lambda w: call(xzoo.evaluate, w.tiny, w.people(), **options)


def nan_network() -> Embedder:
    network = xzoo.create("tiny_net")
    with torch.no_grad():
        next(network.parameters()).fill_(float("nan"))
    return network


def one_to_train_on(w: World) -> Path:
    path = w.people()
    path.write_text(re.sub(r"(s[123],\w+),train", r"\1,other", path.read_text()))
    return path


def nothing_to_evaluate_on(w: World) -> Path:
    path = w.people()
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line for line in lines if not line.endswith("LWIR,test")) + "\n")
    return path


def pairs(**batch: object) -> Recipe:
    """Return a recipe of random pairs that fits any network."""
    changes = {f"stages.*.batch.{key}": value for key, value in batch.items()}
    return recipes.load("xedgeface").with_({"stages.*.train.groups": "all", **changes})


def balanced(size: int) -> Recipe:
    changes = {"stages.*.train.groups": "all", "stages.*.batch.sampler": "balanced", "stages.*.batch.size": size}
    return recipes.load("cross_spectral_contrastive").with_(changes)


def read(path: Path) -> bytes:
    return path.read_bytes()


def zipped(name: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(name, b"hello")
    return out.getvalue()


def torch_bytes(value: object) -> bytes:
    out = io.BytesIO()
    torch.save(value, out)
    return out.getvalue()


class Evil:
    """Asks the unpickler to run a command."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("echo this must not run > pwned",)


NAMES = [
    row("a name nobody has", NotFound, create("hybrid_fr_tv2"), "'hybrid_fr_tv2'", "hybrid_fr_t2v"),
    row("a dash for an underscore", NotFound, create("edgeface-xxs"), "'edgeface-xxs'", "edgeface_xxs"),
    row("upper case", NotFound, create("EdgeFace_XXS"), "'EdgeFace_XXS'", "edgeface_xxs"),
    row("letters of another script", NotFound, create("еdgeface_xxs"), "'еdgeface_xxs'"),  # the first is Cyrillic
    row("an empty name", NotFound, create(""), "''"),
    row("a blank at the end", NotFound, create("edgeface_xxs "), "'edgeface_xxs '"),
    row("a name that is a number", OptionError, create(3), "3"),
    row("a name that is bytes", OptionError, create(b"edgeface_xxs"), "b'edgeface_xxs'"),
    row("a name that is None", OptionError, create(None), "None"),
    row("a list of names", OptionError, create(["edgeface_xxs"]), "['edgeface_xxs']"),
    row("a recipe for a network", OptionError, create("xedgeface"), "xedgeface", "recipe"),
    row("a tag of another model", NotFound, create("edgeface_xxs.cvlface"), "'cvlface'", "idiap"),
    row("a namespace nobody has", NotFound, create("acme2/thermal_net"), "'acme2/thermal_net'"),
    row("a path as a string", MissingFile, create("./edgeface_xxs"), "edgeface_xxs"),
    row("a path of a model's name", MissingFile, create(Path("edgeface_xxs")), "edgeface_xxs"),
    row("a name longer than a path may be", RunError, create("./" + "x" * 5000), "xxxx"),
    row("card of nothing", NotFound, lambda w: call(xzoo.card, "edgefase_xxs"), "'edgefase_xxs'", "edgeface_xxs"),
    row("a pattern that is a number", OptionError, lambda w: call(xzoo.list_models, 3), "3"),
    row("a kind misspelt", OptionError, lambda w: call(xzoo.list_models, kind="backbones"), "'backbones'", "backbone"),
    row("a band in lower case", OptionError, lambda w: call(xzoo.list_models, spectrum="vis"), "'vis'", "VIS"),
    row(
        "a licence misspelt",
        OptionError,
        lambda w: call(xzoo.list_models, licence="permisive"),
        "'permisive'",
        "permissive",
    ),
    row("pretrained as a word", OptionError, lambda w: call(xzoo.list_models, pretrained="yes"), "'yes'"),
]

OPTIONS = [
    row("an option misspelt", OptionError, create(droppath=0.1), "'droppath'", "drop_path"),
    row("an option that the card fixes", OptionError, create(variant="xs"), "'xs'", "'xxs'"),
    row("a bool for a whole number", OptionError, create(embedding=True), "embedding=True", "int"),
    row("a number as text", OptionError, create(embedding="512"), "embedding='512'", "int"),
    row("a broken number for a whole one", OptionError, create(embedding=512.0), "embedding=512.0", "int"),
    row("a scalar of numpy", OptionError, create(embedding=np.int64(512)), "embedding=", "512", "int"),
    row("zero dimensions", OptionError, create(embedding=0), "embedding=0", "1"),
    row("more dimensions than memory", OptionError, create(embedding=10**12), "embedding=1000000000000"),
    row("NaN for a probability", OptionError, create(drop_path=float("nan")), "drop_path=nan"),
    row("a negative probability", OptionError, create(drop_path=-0.1), "drop_path=-0.1"),
    row("None for a number", OptionError, create(drop_path=None), "drop_path=None"),
    row("a type networks do not run in", OptionError, create(dtype="int8"), "'int8'", "float32"),
    row("a type of torch that is no float", OptionError, create(dtype=torch.int8), "int8", "float32"),
    row("a device misspelt", DeviceError, create(device="gpu"), "'gpu'", "cpu"),
    row("an empty device", DeviceError, create(device=""), "''", "cpu"),
    row("a device that is not there", DeviceError, create(device="cuda:99"), "'cuda:99'", "cpu"),
    row("a device that is a float", DeviceError, create(device=0.5), "0.5", "cpu"),
    row("an adapter that is a number", OptionError, create(adapter=3), "3"),
    row("an empty adapter", OptionError, create(adapter=""), "''"),
]

WEIGHTS = [
    row("pretrained=''", OptionError, create(pretrained=""), "''"),
    row("pretrained=' '", NotFound, create(pretrained=" "), "' '", "idiap"),
    row("pretrained='true'", NotFound, create(pretrained="true"), "'true'", "idiap"),
    row("pretrained=1", OptionError, create(pretrained=1), "pretrained=1"),
    row("pretrained=None", OptionError, create(pretrained=None), "pretrained=None"),
    row("a tag for pretrained that is another's", NotFound, create(pretrained="cvlface"), "'cvlface'", "idiap"),
    row(
        "True where nothing is published", NotFound, create("tiny_net", pretrained=True), "tiny_net", "pretrained=False"
    ),
    row("a file that is not there", MissingFile, create(pretrained="nowhere.pt"), "'nowhere.pt'"),
    row("a folder without weights", MissingFile, from_file(lambda w: w.file("a/b.txt").parent), "safetensors"),
    row(
        "a folder with two files of weights",
        OptionError,
        from_file(lambda w: (w.file("two/a.pt"), w.file("two/b.pt"))[0].parent),
        "a.pt",
        "b.pt",
    ),
    row("a folder that ends in .pt", MissingFile, from_file(lambda w: w.file("x.pt/note").parent), "x.pt"),
    row("an empty file", WeightsMismatch, loading("x.pt", b""), "x.pt"),
    row("an empty safetensors file", WeightsMismatch, loading("x.safetensors", b""), "x.safetensors"),
    row("a page of HTML", WeightsMismatch, loading("x.pt", b"<!DOCTYPE html><html>404</html>"), "x.pt"),
    row(
        "a page of HTML called safetensors",
        WeightsMismatch,
        loading("x.safetensors", b"<!DOCTYPE html><html>404</html>"),
        "x.safetensors",
    ),
    row("a zip of something else", WeightsMismatch, loading("x.pt", zipped("hello.txt")), "x.pt"),
    row(
        "a pickle that runs a command",
        WeightsMismatch,
        loading("x.pt", pickle.dumps({"state_dict": Evil()})),
        "x.pt",
        "code",
    ),
    row(
        "a torch file that runs a command", WeightsMismatch, loading("x.pt", torch_bytes({"a": Evil()})), "x.pt", "code"
    ),
    row("a whole module, pickled", WeightsMismatch, loading("x.pt", torch_bytes(nn.Linear(2, 2))), "x.pt", "code"),
    row("a list of tensors", WeightsMismatch, loading("x.pt", torch_bytes([torch.zeros(2)])), "x.pt", "list"),
    row("a dict without tensors", WeightsMismatch, loading("x.pt", torch_bytes({"epoch": 3})), "x.pt", "'epoch'"),
    row(
        "a checkpoint of another network",
        WeightsMismatch,
        loading("x.pt", torch_bytes({"fc.weight": torch.zeros(2, 2)})),
        "fc.weight",
    ),
    row(
        "safetensors of another network",
        WeightsMismatch,
        loading("x.safetensors", save({"fc.weight": torch.zeros(2, 2)})),
        "fc.weight",
    ),
    row(
        "half of a safetensors file",
        WeightsMismatch,
        lambda w: loading("x.safetensors", read(w.weights())[:100_000])(w),
        "x.safetensors",
    ),
    row(
        "a header of absurd length", WeightsMismatch, loading("x.safetensors", b"\xff" * 7 + b"\x7f{}"), "x.safetensors"
    ),
    row("one tensor too few", WeightsMismatch, fitting(lambda s: s.popitem()), "weights.safetensors"),
    row(
        "one tensor of another shape",
        WeightsMismatch,
        fitting(lambda s: s.update({k: v[:3] for k, v in s.items() if k.endswith("head.fc.weight")})),
        "head.fc.weight",
        "[3, ",
    ),
    row(
        "tensors that are whole numbers",
        WeightsMismatch,
        fitting(lambda s: s.update({k: v.int() for k, v in s.items()})),
        "int32",
    ),
    row(
        "weights of another variant",
        WeightsMismatch,
        lambda w: call(xzoo.create, "edgeface_xs", pretrained=w.weights()),
        "edgeface_xs",
    ),
    row(
        "weights of another family",
        WeightsMismatch,
        lambda w: call(xzoo.create, "adaface_ir_18", pretrained=w.weights()),
        "weights.safetensors",
    ),
    row(
        "a checkpoint for a session's network",
        WeightsMismatch,
        lambda w: call(xzoo.create, "tiny_net", pretrained=w.file("x.pt", b"x")),
        "x.pt",
        "safetensors",
    ),
    row("a Hub source with a hole", OptionError, create(pretrained="hf-hub:Idiap"), "'hf-hub:Idiap'", "org/repo"),
    row(
        "a Hub source that climbs out",
        OptionError,
        create(pretrained="hf-hub:a/b/../../c.pt"),
        "'hf-hub:a/b/../../c.pt'",
    ),
    row(
        "published weights without a connection",
        Offline,
        create(pretrained=True),
        "edgeface_xxs.pt",
        "xzoo get edgeface_xxs.idiap",
    ),
    row("verify what has no weights", NotFound, lambda w: call(hub.verify, "xedgeface"), "'xedgeface'"),
]

LICENCES = [
    row(
        "a licence that is not allowed",
        LicenceRefused,
        create(pretrained=True, allow_licences="permissive"),
        "CC-BY-NC-SA-4.0",
        "permissive",
    ),
    row(
        "a class of licences misspelt",
        OptionError,
        create(pretrained=True, allow_licences="permisive"),
        "'permisive'",
        "permissive",
    ),
    row("no licence at all", OptionError, create(pretrained=True, allow_licences=[]), "[]"),
    row("a number for a licence", OptionError, create(pretrained=True, allow_licences=4), "4"),
    row(
        "a Hub file of unknown licence",
        LicenceRefused,
        create(pretrained="hf-hub:a/b/c.pt", allow_licences="MIT"),
        "hf-hub:a/b/c.pt",
        "MIT",
    ),
    row(
        "XZOO_LICENCES misspelt",
        OptionError,
        lambda w: after(w.env(XZOO_LICENCES="non-comercial"), call(xzoo.create, "edgeface_xxs", pretrained=True)),
        "XZOO_LICENCES",
        "'non-comercial'",
        "non-commercial",
    ),
    row(
        "XZOO_LICENCES refuses",
        LicenceRefused,
        lambda w: after(w.env(XZOO_LICENCES="permissive"), call(xzoo.create, "edgeface_xxs", pretrained=True)),
        "CC-BY-NC-SA-4.0",
        "XZOO_LICENCES",
    ),
]

PLACES = [
    row(
        "a cache that is a file",
        OptionError,
        lambda w: after(
            w.env(XZOO_CACHE=str(w.file("cache_file"))),
            call(hub.converted, hub.locate(w.file("x.pt", torch_bytes({"a": torch.zeros(1)}))), "edgeface", 1, dict),
        ),
        "cache_file",
    ),
    row(
        "a full disk, converting",
        DiskFull,
        lambda w: after(
            w.full_disk(),
            call(hub.converted, hub.locate(w.file("x.pt", torch_bytes({"a": torch.zeros(1)}))), "edgeface", 1, dict),
        ),
        "was not written",
    ),
    row(
        "a full disk, saving an adapter",
        DiskFull,
        lambda w: after(
            adapters.add(w.tiny, "norms", preset="norms"),
            w.full_disk(),
            call(adapters.save, w.tiny, "default", w.folder / "new"),
        ),
        "adapter_model.safetensors",
    ),
    row("a full disk, starting a run", DiskFull, lambda w: after(w.full_disk(), training()(w)), "run"),
    row(
        "a lock file cut short",
        HubError,
        lambda w: after(w.file("cache/xzoo.lock.json", '{"schema": 1'), call(hub.locate, "hf-hub:a/b/c.pt")),
        "xzoo.lock.json",
    ),
    row(
        "a lock file of the future",
        HubError,
        lambda w: after(
            w.file("cache/xzoo.lock.json", '{"schema": 99, "files": {}}'), call(hub.locate, "hf-hub:a/b/c.pt")
        ),
        "99",
    ),
    row(
        "a lock file that is a list",
        HubError,
        lambda w: after(w.file("cache/xzoo.lock.json", "[]"), call(hub.locate, "hf-hub:a/b/c.pt")),
        "xzoo.lock.json",
    ),
    row(
        "a folder to write to that is a file",
        OptionError,
        lambda w: call(hub.write, {"a": torch.zeros(1)}, w.file("note") / "x.safetensors"),
        "x.safetensors",
    ),
    row(
        "a file to write that is a folder",
        OptionError,
        lambda w: call(hub.write, {"a": torch.zeros(1)}, w.file("there/note").parent),
        "there",
    ),
    row("a hash of what is not there", MissingFile, lambda w: call(hub.sha256_of, w.folder / "nowhere"), "nowhere"),
    row("a hash of a folder", MissingFile, lambda w: call(hub.sha256_of, w.folder), "directory"),
]

IMAGES = [
    row("no images", ImageError, embed([]), "empty"),
    row("a batch of no images", OptionError, embed(torch.zeros(0, 3, SIDE, SIDE, dtype=torch.uint8)), "no images"),
    row("None for images", ImageError, embed(None), "NoneType"),
    row("a generator of images", ImageError, embed(image for image in ()), "generator", "list"),
    row("a 1-D array", ImageError, embed(np.zeros(16, np.uint8)), "[16]"),
    row("a number of numpy", ImageError, embed(np.array(3, np.uint8)), "[]"),
    row("an empty array", ImageError, embed(np.zeros((0, 4, 3), np.uint8)), "[0, 4, 3]"),
    row("five channels", ImageError, embed(np.zeros((8, 8, 5), np.uint8)), "[8, 8, 5]"),
    row("channels first in numpy", ImageError, embed(np.zeros((3, 8, 8), np.uint8)), "[3, 8, 8]", "transpose"),
    row("channels last in torch", ImageError, embed(torch.zeros(8, 8, 3)), "[8, 8, 3]", "permute"),
    row("a complex array", ImageError, embed(np.zeros((8, 8), complex)), "complex128"),
    row("a complex tensor", ImageError, embed(torch.zeros(3, 8, 8, dtype=torch.complex64)), "complex64"),
    row("an array of objects", ImageError, embed(np.array([["a", "b"]], object)), "object"),
    row("signed whole numbers", ImageError, embed(np.zeros((8, 8), np.int64)), "int64", "uint8"),
    row("floats of 0..255", ImageError, embed(np.full((8, 8, 3), 128.0)), "0..1", "128"),
    row("floats of -1..1", ImageError, embed(torch.full((3, 8, 8), -1.0)), "-1"),
    row("NaN in an image", ImageError, embed(np.full((8, 8), np.nan)), "nan"),
    row("a tensor without memory", ImageError, embed(torch.zeros(3, 8, 8, device="meta")), "[3, 8, 8]"),
    row("a sparse tensor", ImageError, embed(torch.zeros(3, 8).to_sparse()), "[3, 8]"),
    row(
        "the third of three images", ImageError, embed([np.zeros((4, 4), np.uint8)] * 2 + [np.zeros(4)]), "image 2 of 3"
    ),
    row("an image that is not there", MissingFile, embed("nobody.png"), "'nobody.png'"),
    row("a web address", MissingFile, embed("https://example.org/a.png"), "https:"),
    row("a folder for an image", ImageError, lambda w: call(w.tiny.embed, w.folder), "folder"),
    row("an empty image file", ImageError, lambda w: call(read_image, w.file("a.png")), "a.png", "empty"),
    row("text called png", ImageError, lambda w: call(read_image, w.file("a.png", b"hello")), "a.png"),
    row(
        "half of a png",
        ImageError,
        lambda w: call(read_image, w.file("b.png", read(w.people().parent / "0_VIS_0.png")[:200])),
        "b.png",
    ),
    row(
        "an image of a billion pixels",
        ImageError,
        lambda w: call(read_image, w.file("b.ppm", b"P6 40000 40000 255\n")),
        "b.ppm",
        "1600000000 pixels",
    ),
    row(
        "one name of a band too many",
        OptionError,
        embed([np.zeros((4, 4), np.uint8)], spectrum=["VIS", "LWIR"]),
        "2 spectra for 1",
    ),
    row(
        "a band in lower case for embed", OptionError, embed(np.zeros((4, 4), np.uint8), spectrum="vis"), "'vis'", "VIS"
    ),
    row("a band that is a number", OptionError, embed(np.zeros((4, 4), np.uint8), spectrum=3), "3", "VIS"),
    row("bands that are numbers", OptionError, embed(np.zeros((4, 4), np.uint8), spectrum=[3]), "3", "VIS"),
    row("batches of nothing", OptionError, embed(np.zeros((4, 4), np.uint8), batch_size=0), "batch_size=0"),
    row("batches of text", OptionError, embed(np.zeros((4, 4), np.uint8), batch_size="8"), "batch_size='8'"),
    row("batches of half an image", OptionError, embed(np.zeros((4, 4), np.uint8), batch_size=0.5), "batch_size=0.5"),
    row("a size without channels", OptionError, lambda w: call(Preprocess, size=(112, 112)), "(112, 112)"),
    row("a size that is a number", OptionError, lambda w: call(Preprocess, size=112), "112"),
    row("one mean for three channels", OptionError, lambda w: call(Preprocess, mean=0.5), "mean=0.5"),
    row("a standard deviation of zero", OptionError, lambda w: call(Preprocess, std=(1.0, 0.0, 1.0)), "0.0"),
    row(
        "floats to normalise",
        ImageError,
        lambda w: call(w.tiny.preprocess.normalise, torch.zeros(1, 3, 4, 4)),
        "float32",
    ),
    row("threads fewer than one", OptionError, lambda w: call(load_raw, [], w.tiny.preprocess, workers=0), "workers=0"),
]

ADAPTERS = [
    row("a kind of adapter misspelt", NotFound, adding("lorra"), "'lorra'", "lora"),
    row(
        "a name where the model is due",
        OptionError,
        lambda w: call(adapters.add, "edgeface_xxs"),
        "'edgeface_xxs'",
        "xzoo.create",
    ),
    row("an option of adapters misspelt", OptionError, adding(rnk=4), "'rnk'", "rank"),
    row("a rank of zero", OptionError, adding(rank=0), "rank=0"),
    row("a rank of True", OptionError, adding(rank=True), "rank=True"),
    row("alpha is NaN", OptionError, lambda w: call(LoraOptions, alpha=float("nan")), "alpha=nan"),
    row("dropout of everything", OptionError, lambda w: call(LoraOptions, dropout=1.0), "dropout=1.0"),
    row("targets that are no expression", OptionError, adding(targets="(("), "'(('"),
    row("targets that match nothing", OptionError, adding(targets="attention"), "'attention'"),
    row("targets that cannot be adapted", OptionError, adding(targets=".*"), "LoRA"),
    row("a group nobody has", OptionError, adding("norms", preset="ln+st"), "'ln+st'", "all"),
    row("a band nobody has", OptionError, adding("norms", preset="norms", spectrum="thermal"), "'thermal'", "LWIR"),
    row("an adapter without a name", OptionError, adding("norms", preset="norms", name=" "), "' '"),
    row("options twice", OptionError, adding(options=LoraOptions(), rank=4), "rank"),
    row(
        "a band with two adapters",
        OptionError,
        lambda w: after(
            adapters.add(w.tiny, "norms", name="a", spectrum="LWIR", preset="norms"),
            call(adapters.add, w.tiny, "norms", name="b", spectrum="LWIR", preset="norms"),
        ),
        "'LWIR'",
        "'a'",
    ),
    row("detach what is not there", NotFound, lambda w: call(adapters.detach, w.tiny, "swir"), "'swir'"),
    row("merge what is not there", NotFound, lambda w: call(adapters.merge, w.tiny, "swir"), "'swir'"),
    row(
        "merge beside another",
        OptionError,
        lambda w: after(
            adapters.add(w.tiny, "norms", name="a", preset="norms"),
            adapters.add(w.tiny, "norms", name="b", preset="norms"),
            call(adapters.merge, w.tiny, "b"),
        ),
        "'b'",
        "detach",
    ),
    row(
        "save into a file",
        OptionError,
        lambda w: after(
            adapters.add(w.tiny, "norms", preset="norms"), call(adapters.save, w.tiny, "default", w.file("note"))
        ),
        "note",
        "file",
    ),
    row(
        "save into nowhere",
        OptionError,
        lambda w: after(adapters.add(w.tiny, "norms", preset="norms"), call(adapters.save, w.tiny, "default", "")),
        "''",
    ),
    row(
        "attach a folder that is not there",
        MissingFile,
        lambda w: call(adapters.attach, w.tiny, "nowhere"),
        "'nowhere'",
    ),
    row("attach a file", MissingFile, lambda w: call(adapters.attach, w.tiny, w.file("note")), "note"),
    row("attach nothing", OptionError, lambda w: call(adapters.attach, w.tiny, ""), "''"),
    row("attach None", OptionError, lambda w: call(adapters.attach, w.tiny, None), "None"),
    row(
        "an adapter of another base",
        BaseMismatch,
        lambda w: call(adapters.attach, w.model, w.adapter()),
        "tiny_net",
        "edgeface_xxs",
    ),
    row(
        "an adapter of other weights",
        BaseMismatch,
        attaching(lambda c: c["xzoo"]["base"].update(sha256="0" * 64)),
        "00000000",
    ),
    row(
        "an adapter without configuration",
        MissingFile,
        lambda w: after(
            w.adapter(lambda c: None),
            (w.folder / "adapter/adapter_config.json").unlink(),
            call(adapters.attach, w.tiny, w.folder / "adapter"),
        ),
        "adapter_config.json",
    ),
    row(
        "an adapter without weights",
        MissingFile,
        lambda w: after(
            w.adapter(),
            (w.folder / "adapter/adapter_model.safetensors").unlink(),
            call(adapters.attach, w.tiny, w.folder / "adapter"),
        ),
        "adapter_model.safetensors",
    ),
    row("an adapter of the future", WeightsMismatch, attaching(lambda c: c["xzoo"].update(format=99)), "format"),
    row("an adapter of peft alone", WeightsMismatch, attaching(lambda c: c.pop("xzoo")), "xzoo"),
    row(
        "an adapter with an unknown option",
        WeightsMismatch,
        attaching(lambda c: c["xzoo"]["options"].update(ranck=3)),
        "'ranck'",
    ),
    row(
        "an adapter with a broken option",
        WeightsMismatch,
        attaching(lambda c: c["xzoo"]["options"].update(preset=3)),
        "preset=3",
    ),
    row("an adapter of an unknown kind", NotFound, attaching(lambda c: c["xzoo"].update(kind="hydra")), "'hydra'"),
    row("an adapter with a table missing", WeightsMismatch, attaching(lambda c: c["xzoo"].pop("base")), "base"),
    row(
        "an adapter cut short",
        HashMismatch,
        lambda w: after(
            w.adapter(),
            w.file("adapter/adapter_model.safetensors", b"abc"),
            call(adapters.attach, w.tiny, w.folder / "adapter"),
        ),
        "adapter_model.safetensors",
    ),
    row(
        "a configuration that is not JSON",
        WeightsMismatch,
        lambda w: after(
            w.adapter(), w.file("adapter/adapter_config.json", "{"), call(adapters.attach, w.tiny, w.folder / "adapter")
        ),
        "adapter_config.json",
    ),
    row(
        "a configuration that is not text",
        WeightsMismatch,
        lambda w: after(
            w.adapter(),
            w.file("adapter/adapter_config.json", b"\xff\xfe"),
            call(adapters.attach, w.tiny, w.folder / "adapter"),
        ),
        "adapter_config.json",
    ),
    row(
        "an adapter for a band nobody has",
        OptionError,
        lambda w: call(adapters.attach, w.tiny, w.adapter(), spectrum="thermal"),
        "'thermal'",
        "LWIR",
    ),
    row(
        "one band for many rows, routing",
        OptionError,
        lambda w: call(adapters.route, w.tiny, torch.zeros(3, 3, SIDE, SIDE), "VIS"),
        "'VIS'",
    ),
]

DATA = [
    row("a manifest that is not there", MissingFile, lambda w: call(Manifest.read, "nowhere.csv"), "'nowhere.csv'"),
    row("a manifest without a name", OptionError, lambda w: call(Manifest.read, ""), "''"),
    row("a manifest that is None", OptionError, lambda w: call(Manifest.read, None), "None"),
    row("a manifest that is a list of rows", OptionError, lambda w: call(Manifest.read, [{"path": "a.png"}]), "list"),
    row("a manifest with a long name", MissingFile, lambda w: call(Manifest.read, "x" * 5000), "xxxx"),
    row(
        "a manifest that is a workbook",
        DataError,
        lambda w: call(Manifest.read, w.file("people.xlsx", b"PK")),
        "'.xlsx'",
        ".csv",
    ),
    row("an empty csv", DataError, lambda w: call(Manifest.read, w.file("a.csv")), "empty"),
    row("a csv with a header alone", DataError, table("path,subject,spectrum"), "no image"),
    row("a csv with semicolons", DataError, table("path;subject;spectrum", "a;b;VIS"), "';'"),
    row(
        "a csv in UTF-16",
        DataError,
        lambda w: call(Manifest.read, w.file("a.csv", "path,subject".encode("utf-16"))),
        "UTF-8",
    ),
    row("a column missing", DataError, table("path,person,spectrum", "a,b,VIS"), "'subject'"),
    row("a quotation mark left open", DataError, table("path,subject,spectrum", '"a.png,ann,VIS'), "quotation"),
    row(
        "a folder without images", DataError, lambda w: call(Manifest.read, w.file("empty/note.txt").parent), "no image"
    ),
    row(
        "a folder one level too flat",
        DataError,
        lambda w: call(Manifest.read, w.file("flat/VIS/a.png").parents[1]),
        "subject/SPECTRUM",
    ),
    row(
        "a parquet file that is none",
        DataError,
        lambda w: call(Manifest.read, w.file("a.parquet", b"PAR1")),
        "a.parquet",
    ),
    row(
        "parquet without pyarrow",
        MissingExtra,
        lambda w: after(w.monkeypatch.setitem(sys.modules, "pyarrow", None), call(Manifest.read, w.file("a.parquet"))),
        "pyarrow",
        "pip install",
    ),
    row(
        "eight faults at once",
        DataError,
        table(
            "path,subject,spectrum,split,box",
            "a.png,ann,VIS,train,",
            "b.png,ann,lwir,test,",
            ",ann,VIS,train,",
            "c.png,bob,THERMAL,train,",
            "d.png,bob,VIS,,",
            "e.png,bob,VIS,train,1 2 3",
            "f.png,bob",
            "a.png,ann,VIS,train,",
        ),
        "line 2",
        "'LWIR'",
        "path is empty",
        "'THERMAL'",
        "split is empty",
        "'1 2 3'",
        "2 cells",
        "no file 'a.png'",
        many=True,
    ),
    row(
        "one subject in two splits",
        DataError,
        lambda w: call(Manifest.read, w.people(extra="0_VIS_0.png,s5,VIS,train").parent),
        "'s5'",
        "'test'",
        many=True,
    ),
    row(
        "a split that is absent",
        DataError,
        lambda w: call(Manifest.read(w.people()).select, split="val"),
        "'val'",
        "train",
    ),
    row(
        "a band for select in lower case",
        OptionError,
        lambda w: call(Manifest.read(w.people()).select, spectrum="lwir"),
        "'lwir'",
        "'LWIR'",
    ),
    row(
        "samples counted from zero",
        OptionError,
        lambda w: call(Manifest.read(w.people()).select, samples=(0, 2)),
        "(0, 2)",
    ),
    row(
        "samples that are a number",
        OptionError,
        lambda w: call(Manifest.read(w.people()).select, samples=3),
        "samples=3",
    ),
    row(
        "a sampler with one subject",
        DataError,
        lambda w: call(PairSampler, Manifest.read(w.people(subjects=1)), batch=2),
        "one",
    ),
    row(
        "a sampler without VIS",
        DataError,
        lambda w: call(PairSampler, Manifest.read(w.people(spectra=("NIR", "LWIR"))), batch=2),
        "VIS",
        "NIR",
    ),
    row(
        "more subjects than there are",
        DataError,
        lambda w: call(BalancedSampler, Manifest.read(w.people()), subjects=50),
        "50",
        "6",
    ),
    row(
        "a probability of two",
        OptionError,
        lambda w: call(PairSampler, Manifest.read(w.people()), batch=2, positive=2),
        "positive=2",
    ),
    row(
        "a probability of text",
        OptionError,
        lambda w: call(PairSampler, Manifest.read(w.people()), batch=2, positive="half"),
        "positive='half'",
    ),
    row(
        "a sampler of other data",
        RunError,
        lambda w: call(PairSampler(Manifest.read(w.people()), batch=2).load_state_dict, {"step": 3}),
        "sampler",
    ),
]

EVALUATION = [
    row("a band nobody has, comparing", EvaluationError, comparing(probe="THERMAL"), "'THERMAL'", "VIS"),
    row("a band that is absent", EvaluationError, comparing(probe="SWIR"), "SWIR", "LWIR"),
    row("a gallery in lower case", EvaluationError, comparing(gallery="vis"), "'vis'", "VIS"),
    row("a gallery that is a number", EvaluationError, comparing(gallery=3), "3"),
    row("samples backwards", EvaluationError, comparing(gallery="VIS:3-1"), "'VIS:3-1'"),
    row("samples nobody has", EvaluationError, comparing(gallery="VIS:9-"), "'VIS:9-'"),
    row("a split that is absent, comparing", EvaluationError, comparing(split="val"), "'val'", "test"),
    row(
        "templates that hold the probes",
        EvaluationError,
        comparing(gallery="VIS", probe="VIS", templates=True),
        "template",
    ),
    row("a batch size of True", EvaluationError, comparing(batch_size=True), "batch_size=True"),
    row(
        "a module that is no embedder",
        EvaluationError,
        lambda w: call(xzoo.evaluate, nn.Linear(2, 2), w.people()),
        "'Linear'",
    ),
    row("one subject alone", EvaluationError, lambda w: call(xzoo.evaluate, w.tiny, w.people(subjects=1)), "'s0'"),
    row(
        "weights that are not numbers",
        EvaluationError,
        lambda w: call(xzoo.evaluate, nan_network(), w.people()),
        "not finite",
    ),
    row("data that are None", OptionError, lambda w: call(xzoo.evaluate, w.tiny, None), "None"),
    row(
        "a model to evaluate that nobody has",
        NotFound,
        lambda w: call(xzoo.evaluate, "edgefase_xxs", w.people()),
        "'edgefase_xxs'",
    ),
]

TRAINING = [
    row(
        "a model of torch",
        OptionError,
        lambda w: call(xzoo.finetune, nn.Linear(2, 2), w.people()),
        "Linear",
        "register",
    ),
    row("pretrained for a built network", OptionError, training(pretrained=True), "pretrained=True"),
    row("no steps", RecipeError, training(steps=0), "steps", "0"),
    row("steps as text", RecipeError, training(steps="10"), "steps", "'10'"),
    row("steps and epochs", OptionError, training(epochs=2), "steps=1", "epochs=2"),
    row("half an epoch", OptionError, training(steps=None, epochs=0.5), "epochs=0.5"),
    row("a batch of nothing", RecipeError, training(batch=0), "size", "0"),
    row("a rate that is NaN", RecipeError, training(lr=float("nan")), "lr", "nan"),
    row("a rate below zero", RecipeError, training(lr=-1e-3), "lr", "-0.001"),
    row("a rate as text", RecipeError, training(lr="1e-3"), "lr", "'1e-3'"),
    row("a rank below zero", OptionError, training(lora=-1), "lora=-1"),
    row("a rank as text", OptionError, training(lora="8"), "lora='8'"),
    row("a rank of None", OptionError, training(lora=None), "lora=None"),
    row("a seed as text", OptionError, training(seed="0"), "seed='0'"),
    row("a seed below zero", OptionError, training(seed=-1), "seed=-1"),
    row("a seed of many digits", OptionError, training(seed=2**70), "seed="),
    row("a recipe nobody has", NotFound, training(recipe="xedgefase"), "'xedgefase'", "xedgeface"),
    row("a recipe without a name", NotFound, training(recipe=""), "''", "xedgeface"),
    row("a recipe that is a dict", OptionError, training(recipe={"stages": []}), "dict"),
    row(
        "a recipe that is a dotted path",
        NotFound,
        training(recipe="xzoo.recipes.xedgeface"),
        "'xzoo.recipes.xedgeface'",
    ),
    row("a recipe for other networks", OptionError, training(recipe="xedgeface"), "tiny_net", "all"),
    row(
        "resume without output",
        OptionError,
        lambda w: call(xzoo.finetune, w.tiny, w.people(), resume=True),
        "resume=True",
        "output",
    ),
    row(
        "output into nowhere", OptionError, lambda w: call(xzoo.finetune, w.tiny, w.people(), steps=1, output=""), "''"
    ),
    row(
        "output into a file",
        RunError,
        lambda w: call(xzoo.finetune, w.tiny, w.people(), steps=1, output=w.file("note")),
        "note",
    ),
    row(
        "output into other things",
        RunError,
        lambda w: call(xzoo.finetune, w.tiny, w.people(), steps=1, output=w.file("mine/note").parent),
        "mine",
    ),
    row(
        "data of one band",
        DataError,
        lambda w: call(xzoo.finetune, w.tiny, w.people(spectra=("VIS",)), output=w.folder / "run"),
        "VIS",
    ),
    row(
        "data without VIS",
        DataError,
        lambda w: call(xzoo.finetune, w.tiny, w.people(spectra=("NIR", "LWIR")), output=w.folder / "run"),
        "VIS",
        "NIR",
    ),
    row(
        "data without a split to train on",
        DataError,
        lambda w: call(xzoo.finetune, w.tiny, w.people(split="a b"), output=w.folder / "run"),
        "'train'",
    ),
    row(
        "too few subjects",
        DataError,
        lambda w: call(xzoo.finetune, w.tiny, w.people(subjects=3, split=""), output=w.folder / "run"),
        "3 subjects",
    ),
    row(
        "nothing to evaluate on",
        DataError,
        lambda w: call(xzoo.finetune, w.tiny, nothing_to_evaluate_on(w), output=w.folder / "run"),
        "'test'",
    ),
    row(
        "one subject to train on",
        DataError,
        lambda w: call(xzoo.finetune, w.tiny, one_to_train_on(w), recipe=pairs(), output=w.folder / "run"),
        "two subjects",
    ),
    row("a batch of more subjects than there are", DataError, training(recipe=balanced(40)), "40", "4 of 4"),
    row("data that are None, training", OptionError, lambda w: call(xzoo.finetune, w.tiny, None), "None"),
    row(
        "training without a connection",
        Offline,
        lambda w: call(xzoo.finetune, "edgeface_xxs", w.people(), output=w.folder / "run"),
        "edgeface_xxs.pt",
    ),
    row(
        "a loss that is no number",
        TrainingStopped,
        lambda w: call(xzoo.finetune, nan_network(), w.people(), steps=1, evaluate=False, output=w.folder / "run"),
        "step 1",
        ".png",
        leaves=("run/run.json", "run/recipe.yaml", "run/base.safetensors", "run/metrics.jsonl"),
    ),
]


RECIPES = [
    row(
        "an unknown loss",
        RecipeError,
        lambda w: call(recipes.load, w.recipe(("name: cosine", "name: cosin"))),
        "'cosin'",
        "cosine",
    ),
    row(
        "a dotted path for a loss",
        RecipeError,
        lambda w: call(recipes.load, w.recipe(("name: cosine", "name: os.system"))),
        "'os.system'",
    ),
    row("an unknown key", RecipeError, lambda w: call(recipes.load, w.recipe(("steps:", "stpes:"))), "stpes", "steps"),
    row("a recipe that is empty", RecipeError, lambda w: call(recipes.load, w.file("mine.yaml")), "mine.yaml"),
    row(
        "a recipe that is a list",
        RecipeError,
        lambda w: call(recipes.load, w.file("mine.yaml", "- a\n- b\n")),
        "mine.yaml",
    ),
    row(
        "a recipe with a tab",
        RecipeError,
        lambda w: call(recipes.load, w.file("mine.yaml", "a:\n\tb: 1\n")),
        "mine.yaml:2",
    ),
    row(
        "a recipe that builds an object",
        RecipeError,
        lambda w: call(recipes.load, w.file("mine.yaml", "recipe: !!python/object/apply:os.system [ls]\n")),
        "mine.yaml:1",
    ),
    row(
        "a recipe that is a picture",
        RecipeError,
        lambda w: call(recipes.load, w.file("mine.yaml", b"\x89PNG\xff")),
        "mine.yaml",
    ),
    row(
        "a recipe with a key twice",
        RecipeError,
        lambda w: call(recipes.load, w.file("mine.yaml", "a: 1\na: 2\n")),
        "'a'",
    ),
    row(
        "a recipe that is a folder",
        RecipeError,
        lambda w: call(recipes.load, w.file("mine.yaml/note").parent),
        "mine.yaml",
    ),
    row("a recipe file that is not there", MissingFile, lambda w: call(recipes.load, "nowhere.yaml"), "nowhere.yaml"),
    row(
        "a negative weight decay",
        RecipeError,
        lambda w: call(recipes.load("xedgeface").with_, {"stages.*.optimiser.weight_decay": -1.0}),
        "weight_decay",
        "-1",
    ),
    row(
        "a change to nowhere",
        RecipeError,
        lambda w: call(recipes.load("xedgeface").with_, {"stages.adapt.step": 3}),
        "'stages.adapt.step'",
        "steps",
    ),
    row("a loss misspelt", NotFound, lambda w: call(losses.create, "infonse"), "'infonse'", "infonce"),
    row(
        "an option of a loss misspelt",
        OptionError,
        lambda w: call(losses.create, "infonce", temprature=0.1),
        "'temprature'",
        "temperature",
    ),
]

RUNS = [
    row("a run that is not there", MissingFile, lambda w: call(xzoo.Run.open, "nowhere"), "'nowhere'", "run.json"),
    row("a run without a name", OptionError, lambda w: call(xzoo.Run.open, ""), "''"),
    row(
        "a run that was interrupted",
        RunError,
        lambda w: call(xzoo.create, w.run(state="interrupted")),
        "interrupted",
        "--resume",
    ),
    row(
        "a run of another program",
        RunError,
        lambda w: call(xzoo.create, w.file("run/run.json", "{}").parent),
        "run.json",
    ),
    row(
        "a run.json cut short",
        RunError,
        lambda w: call(xzoo.create, w.file("run/run.json", '{"state": ').parent),
        "run.json",
    ),
    row(
        "a run.json that is a folder",
        RunError,
        lambda w: call(xzoo.create, w.file("run/run.json/note").parents[1]),
        "run.json",
    ),
    row("a run without a base", RunError, lambda w: call(xzoo.create, w.run(base={})), "base", "'name'"),
    row("a run whose base is a word", RunError, lambda w: call(xzoo.create, w.run(base="edgeface_xxs")), "base"),
    row("a run with a foreign report", RunError, lambda w: call(xzoo.Run.open, w.run(before={"rank1": 1.0})), "report"),
    row("a run with options", OptionError, lambda w: call(xzoo.create, w.run(), drop_path=0.1), "drop_path"),
    row(
        "a run whose base was removed",
        MissingFile,
        lambda w: call(
            xzoo.create, w.run(base={"name": "tiny_net", "pretrained": "/gone/x.safetensors", "options": {}})
        ),
        "/gone/x.safetensors",
        "pretrained=PATH",
    ),
    row("a run without its adapter", MissingFile, lambda w: call(xzoo.create, w.run()), "adapter"),
    row(
        "train again into a finished run",
        RunError,
        lambda w: call(xzoo.finetune, w.tiny, w.people(), steps=1, output=w.run()),
        "done",
    ),
    row(
        "resume with another seed",
        RunError,
        lambda w: after(training(evaluate=False)(w)(), training(evaluate=False, seed=7, resume=True)(w)),
        "seed: 0 then, 7 now",
    ),
]

CARD = """---
name: {name}
kind: backbone
---
prose
"""

CARDS = [
    row("a card without front matter", CardError, lambda w: call(parse_card, "hello", "x.md"), "x.md", "---"),
    row(
        "a card with everything missing",
        CardError,
        lambda w: call(parse_card, CARD.format(name="x"), "x.md"),
        "summary",
        "licence",
        many=True,
    ),
    row("a card with a tab", CardError, lambda w: call(parse_card, "---\na:\n\tb: 1\n---\n", "x.md"), "x.md:2"),
    row("a session's name in capitals", OptionError, lambda w: call(xzoo.register, "MyNet", build_tiny), "'MyNet'"),
    row(
        "a session's name that is built in",
        OptionError,
        lambda w: call(xzoo.register, "edgeface_xxs", build_tiny),
        "'edgeface_xxs'",
        "built-in",
    ),
    row(
        "a session's name twice",
        OptionError,
        lambda w: call(xzoo.register, "tiny_net", build_tiny),
        "'local/tiny_net'",
        "replace",
    ),
    row("a builder that is a module", OptionError, lambda w: call(xzoo.register, "other", 3), "'other'", "int"),
    row(
        "a builder that hides its options",
        OptionError,
        lambda w: call(xzoo.register, "other", lambda **k: None),
        "'other'",
        "k",
    ),
    row(
        "a builder without a signature", OptionError, lambda w: call(xzoo.register, "other", dict), "'other'", "options"
    ),
    row(
        "options as a list",
        OptionError,
        lambda w: call(xzoo.register, "other", build_tiny, options=["width"]),
        "['width']",
    ),
    row(
        "a band that a session misspells",
        OptionError,
        lambda w: call(xzoo.register, "other", build_tiny, spectra="vis"),
        "'vis'",
        "VIS",
    ),
    row(
        "an input key misspelt",
        OptionError,
        lambda w: call(xzoo.register, "other", build_tiny, input={"siz": 3}),
        "'siz'",
        "size",
    ),
    row("an input that is a size", OptionError, lambda w: call(xzoo.register, "other", build_tiny, input=112), "112"),
    row(
        "an input that is no image",
        CardError,
        lambda w: after(xzoo.register("other", build_tiny, input={"size": 112}), call(xzoo.create, "other")),
        "local/other",
        "size",
    ),
    row(
        "a builder that gives nothing",
        OptionError,
        lambda w: after(xzoo.register("other", lambda: None), call(xzoo.create, "other")),
        "other",
        "NoneType",
    ),
]


def plugged(**changes: Any) -> dict[str, Any]:
    """Return the example's manifest under another name, with a card that names its own package."""
    whole = json.loads(EXAMPLE.read_text())
    entry = {**whole["cards"][0], "name": "net", "tags": {}, "default_tag": None, "target": "bad_plugin:build"}
    return {**whole, "namespace": "bad", "requires": [], "cards": [entry], **changes}


def plugin(code: str, manifest: dict[str, Any]) -> Prepare:
    return lambda w: after(w.plugin(manifest, code), call(xzoo.create, "bad/net"))


PLUGINS = [
    row(
        "a plugin that cannot be imported",
        PluginImportError,
        plugin("1 / 0", plugged()),
        "bad/net",
        "ZeroDivisionError",
    ),
    row("a plugin without its function", PluginImportError, plugin("", plugged()), "bad/net", "bad_plugin:build"),
    row("a plugin whose function is a number", PluginImportError, plugin("build = 3", plugged()), "bad_plugin:build"),
    row(
        "a plugin with an unmet requirement",
        PluginImportError,
        plugin("", plugged(requires=["no-such-thing>=2"])),
        "no-such-thing>=2",
        "pip install",
    ),
    row("a plugin of the future", NotFound, plugin("", plugged(schema=99)), "'bad/net'", "bad-plugin", "xzoo plugins"),
    row("a project that is no plugin", PluginError, lambda w: call(plugin_tools.build, w.folder), "xzoo.yaml"),
    row(
        "a plugin's source that is not YAML",
        PluginError,
        lambda w: call(plugin_tools.build, w.file("p/xzoo.yaml", "a: [").parent),
        "xzoo.yaml",
    ),
    row(
        "a plugin's source with nothing in it",
        PluginError,
        lambda w: call(plugin_tools.build, w.file("p/xzoo.yaml", "schema: 1\n").parent),
        "namespace",
        many=True,
    ),
    row("a namespace that is ours", PluginError, lambda w: call(plugin_tools.new, w.folder / "new", "xzoo"), "'xzoo'"),
    row(
        "a namespace with a dash", PluginError, lambda w: call(plugin_tools.new, w.folder / "new", "my-zoo"), "'my-zoo'"
    ),
    row(
        "a plugin over something else",
        PluginError,
        lambda w: call(plugin_tools.new, w.file("mine/note").parent, "acme"),
        "mine",
    ),
]

GENERATED = [
    row(
        "a set of nobody",
        OptionError,
        lambda w: call(people.write, w.folder / "new", subjects=0),
        "subjects=0",
    ),
    row(
        "a set of a band that nobody draws",
        OptionError,
        lambda w: call(people.write, w.folder / "new", spectra=["UV"]),
        "'UV'",
        "VIS",
    ),
    row("a set of specks", OptionError, lambda w: call(people.write, w.folder / "new", size=3), "size=3"),
    row("a set over something else", OptionError, lambda w: call(people.write, w.people().parent), "holds something"),
    row(
        "a set on a full disk",
        DiskFull,
        lambda w: after(
            w.monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10})()),
            call(people.write, w.folder / "new", subjects=2),
        ),
        "the disk is full",
    ),
    row("a stream of nobody", OptionError, lambda w: call(SyntheticPeople, subjects=0), "subjects=0"),
    row(
        "a stream at no distance",
        OptionError,
        lambda w: call(SyntheticPeople, domains=["LWIR-far"]),
        "LWIR-far",
        "500m",
    ),
    row(
        "a stream that goes on from another",
        RunError,
        lambda w: call(SyntheticPeople().load_state_dict, SyntheticPeople(seed=1).state_dict()),
        "seed was 1, is 0",
    ),
]

TABLE = [
    *(NAMES + OPTIONS + WEIGHTS + LICENCES + PLACES + IMAGES + ADAPTERS + DATA + EVALUATION + TRAINING),
    *(RECIPES + RUNS + CARDS + PLUGINS + GENERATED),
]

# A word left in braces is an f-string without its f; YAML in braces has a space or a colon in it.
FORGOTTEN = re.compile(r"\{[A-Za-z_][\w.\[\]()]*(![rs])?\}")


@pytest.fixture(scope="module")
def networks() -> Iterator[tuple[Embedder, Embedder]]:
    """One network of the zoo and one of this session, both with random weights; the session is put back."""
    before = registry._session
    xzoo.register("tiny_net", build_tiny, input={"size": [3, SIDE, SIDE]}, replace=True)
    torch.manual_seed(0)
    yield xzoo.create("edgeface_xxs"), xzoo.create("tiny_net")
    registry._session = before


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, networks: tuple[Embedder, Embedder]) -> Iterator[World]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(registry, "_session", registry._session)
    model, tiny = networks
    yield World(tmp_path, monkeypatch, model, tiny)
    assert not model.adapters, "a refused call left an adapter on the model"
    for name in list(tiny.adapters):
        adapters.detach(tiny, name)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.id)
def test_a_wrong_call_is_one_clear_error_and_leaves_nothing(world: World, row: Row) -> None:
    wrong = row.prepare(world)
    before = world.files()

    with pytest.raises(XzooError) as caught:
        wrong()

    error, text = caught.value, str(caught.value)
    assert type(error) is row.kind, text
    assert isinstance(error, BUILTIN[row.kind])
    assert error.asked and "\n" not in error.asked.strip()
    assert error.why or error.exists or error.do, f"only says that it cannot: {text}"
    assert [part for part in row.says if part not in text] == [], text
    assert not FORGOTTEN.search(text), text
    assert row.many or text.count("\n") < 6, text
    after = world.files()
    assert {name for name in after if after[name] != before.get(name)} <= set(row.leaves)
    assert before.keys() <= after.keys()


COMMANDS = [
    ("a verb nobody has", 2, lambda w: ["finetun"], "UsageError", "'finetune'"),
    ("an option nobody has", 2, lambda w: ["ls", "--spectra", "VIS"], "UsageError", "--spectrum"),
    ("a band in lower case", 2, lambda w: ["ls", "--spectrum", "vis"], "UsageError", "'vis'"),
    ("a licence misspelt", 2, lambda w: ["ls", "--licence", "permisive"], "OptionError", "permissive"),
    ("a name that is close", 1, lambda w: ["show", "edgeface_xss"], "NotFound", "edgeface_xxs"),
    ("a name of capitals", 1, lambda w: ["show", "EDGEFACE_XXS"], "NotFound", "edgeface_xxs"),
    (
        "a run whose facts are cut short",
        1,
        lambda w: ["show", w.file("run/run.json", "{").parent],
        "RunError",
        "run.json",
    ),
    ("a tag of another model", 1, lambda w: ["get", "edgeface_xxs.cvlface"], "NotFound", "idiap"),
    ("weights without a connection", 1, lambda w: ["get", "edgeface_xxs"], "Offline", "xzoo get edgeface_xxs.idiap"),
    (
        "a licence that is not allowed",
        1,
        lambda w: ["get", "edgeface_xxs", "--allow-licence", "MIT"],
        "LicenceRefused",
        "CC-BY-NC-SA-4.0",
    ),
    ("weights of a recipe", 1, lambda w: ["verify", "xedgeface"], "NotFound", "'xedgeface'"),
    ("no data", 2, lambda w: ["finetune", "edgeface_xxs"], "UsageError", "--data"),
    (
        "no steps",
        2,
        lambda w: ["finetune", "edgeface_xxs", "--data", w.people(), "--steps", 0],
        "UsageError",
        "--steps",
    ),
    (
        "data that are not there",
        1,
        lambda w: ["finetune", "edgeface_xxs", "--data", "nowhere.csv"],
        "MissingFile",
        "'nowhere.csv'",
    ),
    ("data of a shell's empty variable", 2, lambda w: ["finetune", "edgeface_xxs", "--data", ""], "OptionError", "''"),
    (
        "a rate that is NaN",
        1,
        lambda w: ["finetune", "tiny_net", "--pretrained", "no", "--data", w.people(), "--lr", "nan"],
        "RecipeError",
        "nan",
    ),
    (
        "a recipe nobody has",
        1,
        lambda w: ["finetune", "tiny_net", "--pretrained", "no", "--data", w.people(), "--recipe", "xedgefase"],
        "NotFound",
        "xedgeface",
    ),
    (
        "output over other things",
        1,
        lambda w: [
            "finetune",
            "tiny_net",
            "--pretrained",
            "no",
            "--data",
            w.people(),
            "--output",
            w.file("mine/note").parent,
        ],
        "RunError",
        "mine",
    ),
    (
        "a gallery nobody has",
        1,
        lambda w: ["evaluate", "tiny_net", "--pretrained", "no", "--data", w.people(), "--gallery", "THERMAL"],
        "EvaluationError",
        "'THERMAL'",
    ),
    (
        "a device that is not there",
        1,
        lambda w: ["evaluate", "tiny_net", "--pretrained", "no", "--data", w.people(), "--device", "gpu"],
        "DeviceError",
        "'gpu'",
    ),
    (
        "an interrupted run",
        1,
        lambda w: ["evaluate", w.run(state="interrupted"), "--data", w.people()],
        "RunError",
        "--resume",
    ),
    ("no images", 2, lambda w: ["embed", "tiny_net"], "UsageError", "IMAGES"),
    (
        "an image that is not there",
        1,
        lambda w: ["embed", "tiny_net", "--pretrained", "no", "nobody.png"],
        "MissingFile",
        "'nobody.png'",
    ),
    (
        "an image that is text",
        1,
        lambda w: ["embed", "tiny_net", "--pretrained", "no", w.file("a.png", "hello")],
        "ImageError",
        "a.png",
    ),
    ("embeddings as a pickle", 2, lambda w: ["embed", "tiny_net", "a.png", "--output", "x.pkl"], "OptionError", ".npz"),
    (
        "embeddings into a file's inside",
        2,
        lambda w: [
            "embed",
            "tiny_net",
            "--pretrained",
            "no",
            w.people().parent / "0_VIS_0.png",
            "--output",
            w.file("note") / "x.npz",
        ],
        "OptionError",
        "note",
    ),
    ("a namespace that is ours", 1, lambda w: ["plugin", "new", "here", "local"], "PluginError", "'local'"),
    ("a folder that is no plugin", 1, lambda w: ["plugin", "build", w.folder], "PluginError", "xzoo.yaml"),
    ("a set of nobody", 2, lambda w: ["data", "synth", "new", "--subjects", 0], "UsageError", "--subjects"),
    ("a set in no band", 2, lambda w: ["data", "synth", "new", "--domains", "VIS", "UV"], "OptionError", "'UV'"),
    ("a set of specks", 2, lambda w: ["data", "synth", "new", "--size", 3], "OptionError", "size=3"),
    ("a set over something else", 2, lambda w: ["data", "synth", w.people().parent], "OptionError", "holds something"),
    ("a set inside a file", 2, lambda w: ["data", "synth", w.file("note") / "x"], "OptionError", "note"),
    ("a demo of nobody", 2, lambda w: ["demo", "--people", 2], "UsageError", "--people"),
]


@pytest.mark.parametrize(("code", "words", "kind", "says"), [r[1:] for r in COMMANDS], ids=[r[0] for r in COMMANDS])
def test_a_wrong_command_is_one_clear_error_on_stderr(
    world: World,
    capfd: pytest.CaptureFixture[str],
    code: int,
    words: Callable[[World], list[object]],
    kind: str,
    says: str,
) -> None:
    line = [str(word) for word in words(world)]
    before = world.files()

    assert cli.main(line) == code

    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"{kind}: "), said.err
    assert says in said.err
    assert "Traceback" not in said.err
    assert said.err.strip().count("\n") < 6
    assert world.files() == before


def test_the_table_has_its_size_and_every_class_of_the_tree() -> None:
    """Sixty rows are due; a glob that finds nothing, or a class that nobody raises, must not pass."""
    assert len(TABLE) + len(COMMANDS) >= 60
    assert len({row.id for row in TABLE}) == len(TABLE)
    classes = {value for name in errors.__all__ if isinstance(value := getattr(errors, name), type)}
    assert {row.kind for row in TABLE} == classes - {XzooError} == BUILTIN.keys()


def test_the_pickle_of_the_table_does_run_where_nobody_forbids_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise its rows would prove nothing."""
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Evil()))
    assert (tmp_path / "pwned").exists()
