"""Every network against the outputs of its published implementation on the same deterministic weights."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import xzoo

EDGEFACE = ["edgeface_base", "edgeface_s_gamma_05", "edgeface_xs_gamma_06", "edgeface_xxs"]
ADAFACE = ["adaface_ir_18", "adaface_ir_50", "adaface_ir_101"]


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The deterministic value that the golden files were computed with: a function of the name alone."""
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    noise = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode()))).standard_normal(shape).astype(np.float32)
    if name.endswith("running_var"):
        return 1 + 0.1 * np.abs(noise)
    if len(shape) >= 2:
        return noise / np.float32(np.sqrt(np.prod(shape[1:])))
    centre = 1 if name.endswith(("weight", "gamma", "temperature")) else 0
    return centre + 0.1 * noise


def upstream_state(path: Path) -> dict[str, torch.Tensor]:
    """A checkpoint with the published implementation's own names."""
    with safe_open(path, "pt") as file:
        keys = json.loads(file.metadata()["keys"])
    return {name: torch.from_numpy(weight(name, tuple(shape))) for name, shape in keys.items()}


def relative(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours - theirs).norm() / theirs.norm())


@pytest.mark.parametrize("name", EDGEFACE + ADAFACE)
def test_foreign_checkpoint_reproduces_the_published_output(name, golden, tmp_path):
    expected = load_file(golden / f"{name}.safetensors")
    save_file(upstream_state(golden / f"{name}.safetensors"), tmp_path / "theirs.safetensors")
    model = xzoo.create(name, pretrained=str(tmp_path / "theirs.safetensors"))
    with torch.inference_mode():
        ours = model(expected["input"])
    theirs = expected["output"] if "output" in expected else expected["feature"] * expected["norm"]
    assert relative(ours, theirs) < 1e-4


def prefixed(prefix):
    return lambda state: {prefix + key: value for key, value in state.items()}


@pytest.mark.parametrize(
    ("name", "wrap"),
    [
        pytest.param("edgeface_xxs", lambda s: s, id="flat"),
        pytest.param("edgeface_xxs", lambda s: {"state_dict_backbone": s, "epoch": 3}, id="training-shard"),
        pytest.param("edgeface_xxs", lambda s: {"state_dict": prefixed("module.")(s)}, id="nested-and-parallel"),
        pytest.param(
            "adaface_ir_18",
            lambda s: {"state_dict": {**prefixed("model.")(s), "head.kernel": torch.ones(2)}},
            id="lightning-with-head",
        ),
        pytest.param("adaface_ir_18", prefixed("net."), id="cvlface"),
        pytest.param("adaface_ir_18", prefixed("model.net."), id="cvlface-hub"),
    ],
)
def test_every_layout_of_a_pickled_checkpoint_gives_the_same_network(name, wrap, golden, tmp_path):
    state = upstream_state(golden / f"{name}.safetensors")
    torch.save(wrap(state), tmp_path / "theirs.pt")
    model = xzoo.create(name, pretrained=str(tmp_path / "theirs.pt"))
    ours = model.state_dict()
    assert len(ours) == len(state)
    for key, value in state.items():
        mine = "backbone." + key.removeprefix("model.") if name.startswith("edgeface") else key
        assert torch.equal(ours[mine], value), key


@pytest.mark.parametrize(
    ("name", "file", "norm", "head", "argmax"),
    [
        ("edgeface_xxs", "edgeface_xxs_q.pt", 1.9058, [0.1707, -0.0066, 0.1242, 0.0857], 305),
        ("edgeface_xs", "edgeface_xs_q.pt", 2.1188, [0.0092, 0.0451, 0.0212, -0.0149], 117),
    ],
)
def test_quantised_edgeface_files_give_the_recorded_embedding(name, file, norm, head, argmax, real_weights):
    model = xzoo.create(name, pretrained=str(real_weights / file))
    with torch.inference_mode():
        embedding = model(torch.linspace(-1, 1, 3 * 112 * 112).reshape(1, 3, 112, 112))[0]
    assert float(embedding.norm()) == pytest.approx(norm, abs=1e-3)
    assert embedding[:4].tolist() == pytest.approx(head, abs=1e-3)
    assert int(embedding.argmax()) == argmax


@pytest.mark.parametrize("file", ["edgeface_xxs_q.pt"])
def test_a_checkpoint_of_another_size_is_refused(file, real_weights):
    with pytest.raises(xzoo.XzooError, match="edgeface_xs"):
        xzoo.create("edgeface_xs", pretrained=str(real_weights / file))
