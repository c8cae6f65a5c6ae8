"""Reading safetensors and other people's checkpoints, converting them, and hashing all of it again."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from xzoo import catalog, errors, hub
from xzoo.hub.conversion import converted_dir
from xzoo.hub.tensors import read_foreign

from .conftest import FILE, REPO, MakeCard, safetensors_bytes, sha256
from .server import Hub

STATE = {"conv.weight": torch.arange(6.0).reshape(2, 3), "conv.bias": torch.ones(2)}


def same(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


class Malicious:
    """Leaves a mark if anybody unpickles it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return (os.system, (f"touch {self.mark}",))


class TestSafetensors:
    def test_what_was_written_is_read(self, tmp_path: Path) -> None:
        hub.write(STATE, tmp_path / "a.safetensors", {"name": "test"})
        assert same(hub.read(tmp_path / "a.safetensors"), STATE)

    def test_writing_twice_gives_the_same_bytes(self, tmp_path: Path) -> None:
        for name in "ab":
            hub.write(STATE, tmp_path / name, {"name": "test", "kind": "x"})
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()

    def test_shared_and_strided_tensors_are_written_apart(self, tmp_path: Path) -> None:
        base = torch.arange(6.0).reshape(2, 3)
        state = {"a": base, "b": base, "c": base.T, "d": base[1]}
        hub.write(state, tmp_path / "a.safetensors")
        assert same(hub.read(tmp_path / "a.safetensors"), state)

    def test_a_full_disk_is_recognised_in_the_words_of_safetensors(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import safetensors.torch

        def full(state: object, path: Path, metadata: object) -> None:
            path.write_bytes(b"half")
            raise safetensors.SafetensorError("Error while serializing: I/O error: No space left on device")

        monkeypatch.setattr(safetensors.torch, "save_file", full)
        with pytest.raises(errors.DiskFull):
            hub.write(STATE, tmp_path / "a.safetensors")
        assert list(tmp_path.iterdir()) == []

    def test_a_written_file_has_the_usual_permissions(self, tmp_path: Path) -> None:
        (tmp_path / "plain").touch()
        hub.write(STATE, tmp_path / "a.safetensors")
        assert (tmp_path / "a.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode

    def test_tensors_are_mapped_and_the_file_stays_as_it_is(self, tmp_path: Path) -> None:
        path = tmp_path / "big.safetensors"
        hub.write({"a": torch.zeros(8_000_000)}, path)
        before = path.read_bytes()
        tensor = hub.read(path)["a"]
        assert str(path) in Path("/proc/self/maps").read_text()
        tensor.add_(1)
        assert path.read_bytes() == before

    @pytest.mark.slow
    @pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's account of memory")
    def test_reading_a_file_costs_no_more_memory_than_the_file(self, tmp_path: Path) -> None:
        size = 200_000_000
        hub.write({"a": torch.ones(size // 4)}, tmp_path / "big.safetensors")
        code = (
            "import resource, torch; from safetensors.torch import load_file; from xzoo import hub\n"
            "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024\n"
            f"before = peak(); state = hub.read({str(tmp_path / 'big.safetensors')!r}); state['a'].sum()\n"
            f"print((peak() - before) / {size})"
        )
        ratio = float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
        assert ratio <= 1.15

    @pytest.mark.parametrize("content", {
        "empty": b"",
        "cut in the header": safetensors_bytes()[:40],
        "cut in the data": safetensors_bytes()[:-1],
        "longer than its header says": safetensors_bytes() + b"x",
        "a huge header": b"\xff" * 8 + b"{}",
        "text": b"<html>sign in first</html>",
        "a zip": b"PK\x03\x04" + bytes(50),
    }.items(), ids=lambda item: item[0])  # fmt: skip
    def test_a_damaged_file_is_refused(self, tmp_path: Path, content: tuple[str, bytes]) -> None:
        (tmp_path / "a.safetensors").write_bytes(content[1])
        with pytest.raises(errors.WeightsMismatch, match="cannot be read") as caught:
            hub.read(tmp_path / "a.safetensors")
        assert caught.value.__cause__ is not None

    def test_a_missing_file_is_missing_and_not_damaged(self, tmp_path: Path) -> None:
        with pytest.raises(errors.MissingFile):
            hub.read(tmp_path / "a.safetensors")


def quantised(weight: Tensor) -> Tensor:
    return torch.quantize_per_tensor(weight, 0.5, 0, torch.qint8)


LAYOUTS = {
    "flat": STATE,
    "ordered": OrderedDict(STATE),
    "under state_dict": {"epoch": 3, "state_dict": STATE, "optimizer": {"state": {}}},
    "under state_dict_backbone": {"state_dict_backbone": STATE, "global_step": 1},
    "under model": {"model": STATE, "args": None},
    "twice nested": {"model": {"state_dict": STATE}},
    "of DataParallel": {f"module.{name}": tensor for name, tensor in STATE.items()},
    "of DataParallel, nested": {"state_dict": {f"module.{name}": tensor for name, tensor in STATE.items()}},
    "compiled": {f"_orig_mod.module.{name}": tensor for name, tensor in STATE.items()},
    "beside plain values": {**STATE, "epoch": 3, "loss": 0.5, "name": "x"},
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_every_layout_of_checkpoint_is_read(tmp_path: Path, layout: object, zipped: bool) -> None:
    torch.save(layout, tmp_path / "net.pt", _use_new_zipfile_serialization=zipped)
    assert same(read_foreign(tmp_path / "net.pt"), STATE)


def test_a_module_prefix_that_not_all_names_have_is_kept() -> None:
    state = {"module.a": torch.ones(1), "b": torch.ones(1)}
    assert hub.flatten_checkpoint(state).keys() == state.keys()


def test_a_quantised_layer_becomes_weight_and_bias() -> None:
    weight = torch.tensor([[0.5, -1.0], [2.0, 0.0]])
    state = {
        "fc.scale": torch.tensor(1.0),
        "fc.zero_point": torch.tensor(0),
        "fc._packed_params.dtype": torch.qint8,
        "fc._packed_params._packed_params": (quantised(weight), torch.ones(2)),
        "other.scale": torch.tensor(2.0),
    }
    expected = {"fc.weight": weight, "fc.bias": torch.ones(2), "other.scale": torch.tensor(2.0)}
    assert same(hub.flatten_checkpoint(state), expected)


@pytest.mark.parametrize(("name", "tensors"), [("edgeface_xs_q.pt", 214), ("edgeface_xxs_q.pt", 160)])
def test_the_published_quantised_files_are_read(real_weights: Path, name: str, tensors: int) -> None:
    state = read_foreign(real_weights / name)
    assert len(state) == tensors
    assert {tensor.dtype for tensor in state.values()} == {torch.float32}
    assert state["model.head.fc.weight"].shape[0] == 512


NO_CHECKPOINTS = {
    "a list": [torch.ones(2)],
    "a tensor": torch.ones(2),
    "a number": 3,
    "an empty dict": {},
    "a dict without tensors": {"epoch": 3, "state_dict": {"lr": 0.1}},
    "a packed layer of another shape": {"fc._packed_params._packed_params": torch.ones(2)},
}


@pytest.mark.parametrize("content", NO_CHECKPOINTS.values(), ids=NO_CHECKPOINTS)
def test_what_holds_no_network_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "net.pt")
    with pytest.raises(errors.WeightsMismatch, match=r"net\.pt"):
        read_foreign(tmp_path / "net.pt")


def torch_bytes(content: object, *, zipped: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


def zip_bytes() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("notes.txt", "hello")
    return buffer.getvalue()


GARBAGE = {
    "empty": b"",
    "one byte": b"\x80",
    "text": b"<html>sign in first</html>",
    "zeros": bytes(100),
    "a zip of something else": zip_bytes(),
    "a broken zip": b"PK\x03\x04" + bytes(100),
    "a cut zip": torch_bytes(STATE)[:-40],
    "a cut legacy file": torch_bytes(STATE, zipped=False)[:-5],
    "a cut legacy header": torch_bytes(STATE, zipped=False)[:60],
    "a plain pickle": pickle.dumps({"a": 1}),
    "a plain pickle of an array": pickle.dumps([1.0] * 50),
    "random bytes": bytes((index * 37) % 256 for index in range(500)),
}


@pytest.mark.parametrize("content", GARBAGE.values(), ids=GARBAGE)
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "net.pt").write_bytes(content)
    with pytest.raises(errors.WeightsMismatch, match=r"net\.pt"):
        read_foreign(tmp_path / "net.pt")


def test_no_mutation_of_a_checkpoint_raises_anything_else(tmp_path: Path) -> None:
    import random

    chance = random.Random(0)
    originals = [torch_bytes(STATE), torch_bytes(STATE, zipped=False), pickle.dumps(dict.fromkeys("abc", 1.5))]
    for index in range(150):
        content = bytearray(originals[index % 3])
        for _ in range(chance.randint(1, 4)):
            content[chance.randrange(min(len(content), 400))] = chance.randrange(256)
        (tmp_path / "net.pt").write_bytes(content)
        try:
            read_foreign(tmp_path / "net.pt")
        except errors.WeightsMismatch:
            continue


@pytest.mark.parametrize("how", ["zip", "legacy", "plain"])
def test_code_in_a_pickle_is_refused_and_never_run(tmp_path: Path, how: str) -> None:
    mark = tmp_path / "was_run"
    content = {"state_dict": STATE, "hook": Malicious(mark)}
    path = tmp_path / "net.pt"
    path.write_bytes(
        pickle.dumps(Malicious(mark), protocol=2) if how == "plain" else torch_bytes(content, zipped=how == "zip")
    )
    with pytest.raises(errors.WeightsMismatch, match="code is never run here") as caught:
        hub.converted(hub.locate(path), "edgeface", 1, dict)
    assert "system" in str(caught.value)
    assert not mark.exists()
    assert not converted_dir().exists()


class TestConverted:
    @pytest.fixture
    def checkpoint(self, tmp_path: Path) -> hub.Weights:
        torch.save(STATE, tmp_path / "net.pt")
        return hub.locate(tmp_path / "net.pt")

    @staticmethod
    def rename(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {f"backbone.{name}": tensor for name, tensor in state.items()}

    @staticmethod
    def never(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        raise RuntimeError("converted again")

    def test_the_result_is_safetensors_under_our_names(self, checkpoint: hub.Weights) -> None:
        weights = hub.converted(checkpoint, "edgeface", 1, self.rename)
        assert same(hub.read(weights.path), self.rename(STATE))
        assert (weights.foreign, weights.source) == (False, checkpoint.source)
        assert weights.sha256 == hub.sha256_of(weights.path)

    def test_the_second_time_takes_the_kept_file(self, checkpoint: hub.Weights) -> None:
        first = hub.converted(checkpoint, "edgeface", 1, self.rename)
        assert hub.converted(checkpoint, "edgeface", 1, self.never) == first

    @pytest.mark.parametrize(("family", "version"), [("edgeface", 2), ("iresnet", 1)])
    def test_another_family_or_version_converts_anew(self, checkpoint: hub.Weights, family: str, version: int) -> None:
        first = hub.converted(checkpoint, "edgeface", 1, self.rename)
        assert hub.converted(checkpoint, family, version, dict).path != first.path

    def test_another_checkpoint_at_the_same_path_converts_anew(self, checkpoint: hub.Weights) -> None:
        hub.converted(checkpoint, "edgeface", 1, dict)
        changed = {**STATE, "conv.bias": torch.zeros(2)}
        torch.save(changed, checkpoint.path)
        assert same(hub.read(hub.converted(checkpoint, "edgeface", 1, dict).path), changed)

    @pytest.mark.parametrize("fault", ["flip", "cut", "no record"])
    def test_a_kept_file_that_was_damaged_is_made_again(self, checkpoint: hub.Weights, fault: str) -> None:
        path = hub.converted(checkpoint, "edgeface", 1, dict).path
        whole = path.read_bytes()
        if fault == "no record":
            path.with_suffix(".json").unlink()
        else:
            path.write_bytes(whole[:-1] + (b"\x77" if fault == "flip" else b""))
        hub.converted(checkpoint, "edgeface", 1, dict)
        assert path.read_bytes() == whole

    def test_foreign_safetensors_are_converted_too(self, tmp_path: Path) -> None:
        hub.write({f"module.{name}": tensor for name, tensor in STATE.items()}, tmp_path / "a.safetensors")
        weights = hub.converted(hub.locate(tmp_path / "a.safetensors"), "edgeface", 1, self.rename)
        assert same(hub.read(weights.path), self.rename(STATE))

    def test_a_name_that_the_family_needs_and_the_file_lacks_is_named(self, checkpoint: hub.Weights) -> None:
        with pytest.raises(errors.WeightsMismatch, match=r"it has no 'head\.weight'"):
            hub.converted(checkpoint, "edgeface", 1, lambda state: {"head": state["head.weight"]})
        assert not converted_dir().exists()


class TestVerify:
    @pytest.fixture(autouse=True)
    def only(self, card_of: MakeCard, monkeypatch: pytest.MonkeyPatch) -> None:
        """A catalogue of one card with one Hub tag."""
        card, tag = card_of(sha256=sha256(safetensors_bytes()))
        monkeypatch.setattr(catalog, "list_models", lambda: [card.name])
        monkeypatch.setattr(catalog, "card", lambda name: card)
        monkeypatch.setattr(catalog, "resolve", lambda name: (card, tag if "." in name else None))
        self.card, self.tag = card, tag

    def test_what_was_never_fetched_is_no_fault(self) -> None:
        (fact,) = hub.verify("acme_face")
        assert (fact.name, fact.state, fact.fault) == ("acme_face.v1", "not fetched", False)

    def test_a_whole_file_is_well_and_a_flipped_byte_is_found(self, server: Hub) -> None:
        path = hub.fetch(self.card, self.tag).path
        assert [fact.state for fact in hub.verify("acme_face.v1")] == ["ok"]
        path.write_bytes(path.read_bytes()[:-1] + b"\x01")
        (fact,) = hub.verify()
        assert (fact.state, fact.fault, fact.path) == ("changed", True, path)

    def test_locked_and_converted_files_are_hashed_too(self, server: Hub, tmp_path: Path) -> None:
        server.push(REPO, {"net.pt": torch_bytes(STATE), FILE: safetensors_bytes()})
        converted = hub.converted(hub.locate(f"hf-hub:{REPO}/net.pt"), "edgeface", 1, dict)
        states = {fact.name.split("/")[0]: fact.state for fact in hub.verify()}
        assert states == {"acme_face.v1": "not fetched", "hf-hub:acme": "ok", "edgeface-v1": "ok"}
        converted.path.write_bytes(b"x")
        assert [fact.source for fact in hub.verify() if fact.fault] == ["converted"]

    def test_no_request_is_made(self, server: Hub) -> None:
        hub.fetch(self.card, self.tag)
        server.requests.clear()
        hub.verify()
        assert server.requests == []
