"""Timing says where it was measured, and never calls a mode best whose embeddings differ."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

import xzoo
from xzoo import deploy, errors
from xzoo.cli import main
from xzoo.deploy import modes, timing

PLAIN = ["eager", "channels_last", "bfloat16"]


def student(**options):
    torch.manual_seed(0)
    model = xzoo.create("bd_student", **options)
    timing.settle(model)
    return model


def job(model):
    return modes.Job(model, timing.bench_images(64, model.input_size), 1)


def cosine(ours, theirs):
    return float(F.cosine_similarity(ours.float(), theirs.float()).min())


def test_every_mode_is_timed_and_compared():
    facts = deploy.bench(student(), batches=[4], modes=PLAIN, threads=1, seconds=0.01)
    assert [row["mode"] for row in facts["modes"]] == PLAIN
    for row in facts["modes"]:
        assert row["equal"] and row["cosine"] > 0.999
        assert [each["batch"] for each in row["batches"]] == [1, 4]
        assert all(
            each["faces_per_s"] == pytest.approx(1e3 * each["batch"] / each["ms"], rel=0.05) for each in row["batches"]
        )
        assert row["faces_per_s"] == max(each["faces_per_s"] for each in row["batches"])
    assert facts["latency_ms"] == min(row["latency_ms"] for row in facts["modes"])
    assert facts["best"]["faces_per_s"] == max(row["faces_per_s"] for row in facts["modes"])
    assert facts["speedup"] == pytest.approx(facts["best"]["faces_per_s"] / facts["modes"][0]["faces_per_s"], abs=0.01)
    product, macs = facts["product"], facts["macs"]
    assert product["faces_per_s"] == pytest.approx(1e9 * product["gmacs_per_s"] / macs, rel=0.05)
    assert product["speedup"] == pytest.approx(product["faces_per_s"] / facts["modes"][0]["faces_per_s"], abs=0.01)
    assert (facts["parameters"], facts["activation_bytes"], facts["threads"]) == (205_344, 59_776, 1)
    assert facts["weights"] == "random" and facts["device"] and facts["torch"] == torch.__version__


def test_a_mode_with_other_embeddings_is_never_best(monkeypatch):
    def wrong(job):
        return lambda images: lambda: torch.ones(len(images), 256)

    monkeypatch.setitem(modes.MODES, "wrong", modes.Mode("at once, and wrong", "float32", ("cpu",), 0.999, wrong))
    facts = deploy.bench(student(), batches=[4], modes=["wrong"], threads=1, seconds=0.01)
    assert [row["mode"] for row in facts["modes"]] == ["eager", "wrong"]
    assert facts["modes"][1]["equal"] is False
    assert facts["modes"][1]["faces_per_s"] > facts["modes"][0]["faces_per_s"]
    assert facts["best"]["mode"] == facts["latency_mode"] == "eager"


def test_a_mode_that_cannot_run_says_why(monkeypatch):
    def impossible(job):
        return modes._module("a_runtime_of_next_year", "export")

    monkeypatch.setitem(modes.MODES, "future", modes.Mode("", "float32", ("cpu",), 0.999, impossible))
    facts = deploy.bench(student(), batches=[1], modes=["future"], threads=1, seconds=0.01)
    assert facts["modes"][1]["skipped"] == "a_runtime_of_next_year is not installed: pip install 'xzoo[export]'"


def test_precision_keeps_its_modes_and_eager():
    names = timing._chosen(None, "int8", "cpu")
    assert names == ["eager", "onnxruntime_int8", "openvino_int8"]
    assert "float16" not in timing._chosen(None, None, "cpu")
    assert "openvino" not in timing._chosen(None, None, "cuda")


def test_threads_are_put_back():
    before = torch.get_num_threads()
    deploy.bench(student(), batches=[1], modes=["eager"], threads=2, seconds=0.01)
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    "wrong", [{"modes": ["channel_last"]}, {"precision": "int7"}, {"batches": [0]}, {"seconds": 0.0}]
)
def test_a_wrong_call_is_told(wrong):
    with pytest.raises(errors.OptionError):
        deploy.bench(student(), **wrong)


def test_settled_networks_tell_images_apart():
    torch.manual_seed(0)
    plain = xzoo.create("bd_student")
    kept = [norm.momentum for norm in plain.modules() if hasattr(norm, "momentum")]
    timing.settle(plain)
    assert [norm.momentum for norm in plain.modules() if hasattr(norm, "momentum")] == kept
    assert not any(module.training for module in plain.modules())
    with torch.no_grad():
        embeddings = F.normalize(plain(timing.bench_images(32, (16, 16), 5)))
    apart = embeddings @ embeddings.T
    assert float(apart[~torch.eye(32, dtype=torch.bool)].mean()) < 0.9


def test_counting_takes_the_network_of_the_paper_apart():
    counted = deploy.cost(student(), (16, 16))
    assert counted.activation_bytes == 4 * counted.activations == 59_776
    assert counted.macs == 2_457_600


@pytest.mark.parametrize("name", ["onnxruntime", "onnxruntime_int8"])
def test_onnx_runtime_gives_the_same_embeddings(name):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    model = student()
    given = job(model)
    with torch.inference_mode():
        prepare = modes.MODES[name].make(given)
        assert cosine(prepare(given.images[:5])(), model(given.images[:5])) > modes.MODES[name].least


def test_a_network_of_bytes_says_what_it_said_of_normalised_images():
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    given = job(student())
    file = modes.quantised_onnx_bytes(given)
    taken = modes._of_bytes(file)
    assert taken is not None
    bytes_ = taken.images(given.images)
    assert bytes_.dtype == torch.uint8
    sessions = [runtime.InferenceSession(each, providers=["CPUExecutionProvider"]) for each in (file, taken.file)]
    before, after = (
        session.run(None, {"images": images.numpy()})[0]
        for session, images in zip(sessions, (given.images, bytes_), strict=True)
    )
    assert torch.equal(torch.from_numpy(before), torch.from_numpy(after))
    assert modes._of_bytes(modes.onnx_bytes(given)) is None


def test_openvino_gives_the_same_embeddings_with_either_kernel():
    openvino = pytest.importorskip("openvino")
    pytest.importorskip("onnx")
    given = job(student())
    with torch.inference_mode():
        plain, older = (
            modes.MODES["openvino"].make(given)._compiled(network, given.images[:8])
            for network in modes.MODES["openvino"].make(given).networks
        )
        assert torch.allclose(plain(), older(), atol=1e-5)
    network = modes.MODES["openvino"].make(given).networks[1]
    network.reshape([8, 3, 16, 16])
    kinds = []
    for node in openvino.Core().compile_model(network, "CPU").get_runtime_model().get_ordered_ops():
        facts = {key: str(getattr(value, "value", value)) for key, value in dict(node.get_rt_info()).items()}
        if facts.get("layerType") == "Convolution":
            kinds.append(facts["primitiveType"])
    assert len(kinds) == 7
    if "AVX512" in torch.backends.cpu.get_cpu_capability():
        assert all(kind.startswith("jit_avx512") for kind in kinds)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", ["openvino", "openvino_int8"])
def test_openvino_gives_the_same_embeddings_in_order(name, threads):
    pytest.importorskip("openvino")
    pytest.importorskip("onnxruntime")
    model = student()
    given = job(model)._replace(threads=threads)
    with torch.inference_mode():
        prepare = modes.MODES[name].make(given)
        given = given._replace(images=given.images.repeat(8, 1, 1, 1))
        for count in (1, 5, 64, 512):  # 64 are shared out over the threads, 512 wait in parts
            assert cosine(prepare(given.images[:count])(), model(given.images[:count])) > modes.MODES[name].least


def test_openvino_gives_answers_of_more_than_one_dimension():
    pytest.importorskip("openvino")
    model = xzoo.create("thermal_fld_lite", pretrained=True).eval()
    given = modes.Job(model, timing.bench_images(2, model.input_size), 1)
    with torch.inference_mode():
        found, wanted = modes.MODES["openvino"].make(given)(given.images)(), model(given.images)
    assert found.shape == wanted.shape == (2, 68, 3)
    assert torch.allclose(found, wanted, atol=1e-3)


def test_modes_take_turns_until_each_has_had_its_time(monkeypatch):
    """A machine that is half as fast for a while, here in its first six seconds, is so for both of two equal modes."""
    clock, order = [0.0], []

    def takes(name):
        def call():
            order.append(name)
            clock[0] += 0.01 if clock[0] < 6 else 0.005

        return call

    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])
    device = torch.device("cpu")
    found = timing._medians({"one": takes("one"), "other": takes("other")}, device, 8.0)
    changes = sum(before != after for before, after in zip(order, order[1:], strict=False))
    assert changes == 2 * timing.TURNS - 1
    assert found == {"one": pytest.approx(0.005), "other": pytest.approx(0.005)}


def test_a_slow_call_is_not_repeated_for_every_turn(monkeypatch):
    clock = [0.0]

    def call():
        clock[0] += 5.0

    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])
    assert timing._medians({"slow": call}, torch.device("cpu"), 1.0) == {"slow": pytest.approx(5.0)}
    assert clock[0] == 5.0 * (timing.WARM_UP + 1)


@pytest.mark.parametrize(
    ("images", "threads", "parts"),
    [(1, 2, 1), (5, 2, 1), (15, 2, 1), (16, 2, 2), (64, 2, 2), (256, 2, 2), (1024, 2, 8), (384, 2, 4), (64, 1, 1)],
)
def test_large_batches_wait_in_equal_parts(images, threads, parts):
    assert modes._parts(images, threads) == parts


@pytest.mark.slow
def test_a_compiled_network_gives_the_same_embeddings():
    model = student()
    given = job(model)
    with torch.inference_mode():
        try:
            prepare = modes.MODES["compile"].make(given)
        except modes.Unavailable as reason:
            pytest.skip(str(reason))
        assert cosine(prepare(given.images[:4])(), model(given.images[:4])) > 0.9999


def test_the_command_prints_the_figures_as_json(capfd):
    import json

    words = ["bench", "bd_student", "--device", "cpu", "--json", "--seconds", "0.01", "--batch", "2", "--threads", "1"]
    assert main([*words, "--mode", "channels_last", "--option", "input_size=32"]) == 0
    facts = json.loads(capfd.readouterr().out)
    assert {"latency_ms", "best", "modes"} <= facts.keys()
    assert {"mode", "batch", "faces_per_s"} <= facts["best"].keys()
    assert facts["input"] == [3, 32, 32]


def test_the_command_prints_a_table_with_reasons(capfd, monkeypatch):
    def impossible(job):
        raise modes.Unavailable("no such machine")

    monkeypatch.setitem(modes.MODES, "never", modes.Mode("", "float32", ("cpu",), 0.999, impossible))
    words = ["bench", "part_vit_tiny", "--seconds", "0.01", "--batch", "1", "--threads", "1", "--mode", "never"]
    assert main([*words, "--option", "input_size=64,32"]) == 0
    out = capfd.readouterr().out
    assert "3x64x32" in out and "skipped: no such machine" in out and "best: eager" in out
