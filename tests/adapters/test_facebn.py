"""FaceBN: statistics of new faces, taken so that they improve, kept as an adapter."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import xzoo
from xzoo import adapters, errors
from xzoo.adapters import facebn
from xzoo.adapters.facebn import FacebnOptions, Statistics, collect, merged, mixed, online
from xzoo.evaluation import retrieval
from xzoo.families.base import Embedder

SUBJECTS = 20


def portraits(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Faces of twenty subjects, ``uint8 [N, 3, 16, 16]``: smooth prototypes, random gain, smooth and white noise."""
    shapes = torch.Generator().manual_seed(7)
    base = F.interpolate(torch.randn(SUBJECTS, 3, 4, 4, generator=shapes), 16, mode="bicubic", align_corners=False)
    drawn = torch.Generator().manual_seed(seed)
    who = torch.arange(count) % SUBJECTS
    gain = 1 + 0.2 * torch.randn(count, 1, 1, 1, generator=drawn)
    smooth = F.interpolate(torch.randn(count, 3, 5, 5, generator=drawn), 16, mode="bicubic", align_corners=False)
    faces = gain * base[who] + 0.3 * smooth + 0.1 * torch.randn(count, 3, 16, 16, generator=drawn)
    return (127.5 + 40 * faces).round().clamp(0, 255).to(torch.uint8), who


def sensor(faces: Tensor, gain: float, offset: float) -> Tensor:
    """Return faces through another camera: ``gain x + offset``, in the network's range of -1 to 1."""
    return (((faces.float() / 127.5 - 1) * gain + offset + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


@pytest.fixture(scope="module")
def trained() -> Embedder:
    torch.manual_seed(0)
    student = xzoo.create("bd_student").train()
    faces, who = portraits(800, 1)
    head = nn.Linear(256, SUBJECTS)
    optimiser = torch.optim.SGD([*student.parameters(), *head.parameters()], lr=0.05, momentum=0.9, nesterov=True)
    order = torch.Generator().manual_seed(2)
    for _ in range(100):
        rows = torch.randint(len(faces), (64,), generator=order)
        loss = F.cross_entropy(head(student(student.preprocess.normalise(faces[rows]))), who[rows])
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(student.parameters(), 5.0)
        optimiser.step()
    return student.eval().requires_grad_(False)


@pytest.fixture
def student(trained: Embedder) -> Embedder:
    return copy.deepcopy(trained)


def rank1(model: Embedder, faces: Tensor, who: Tensor, gallery: Tensor) -> float:
    return float(retrieval(model.embed(faces), gallery, who, torch.arange(SUBJECTS)).cmc[0])


@pytest.fixture(scope="module")
def gallery(trained: Embedder) -> Tensor:
    faces, _ = portraits(SUBJECTS, 3)
    return trained.embed(faces)


def naive(model: Embedder, faces: Tensor) -> None:
    """Install the statistics of all layers at once, each taken below unadapted ones: what must not be done."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    seen: dict[int, Tensor] = {}
    hooks = [
        norm.register_forward_pre_hook(lambda norm, given: seen.__setitem__(id(norm), given[0].detach()))
        for norm in norms
    ]
    with torch.inference_mode():
        model(model.preprocess.normalise(faces))
    for hook in hooks:
        hook.remove()
    for norm in norms:
        norm.running_mean = seen[id(norm)].mean((0, 2, 3)).clone()
        norm.running_var = seen[id(norm)].var((0, 2, 3), correction=0).clone()


@pytest.mark.parametrize("way", ["batch", "sequential"])
@pytest.mark.parametrize(("gain", "offset", "most_before"), [(0.3, 0.5, 0.5), (0.6, 0.3, 0.9)])
def test_rank_one_is_recovered_under_another_gain_and_offset(
    way: str, gain: float, offset: float, most_before: float, student: Embedder, gallery: Tensor
) -> None:
    faces, who = portraits(400, 4)
    changed = sensor(faces, gain, offset)
    assert rank1(student, faces, who, gallery) > 0.95
    assert rank1(student, changed, who, gallery) < most_before
    collect(student, changed, collect=way, prior=0.0)
    assert rank1(student, changed, who, gallery) > 0.9


@pytest.mark.parametrize("prior", [0.0, 64.0, 256.0])
def test_faces_like_those_of_training_stay_recognised(prior: float, student: Embedder, gallery: Tensor) -> None:
    faces, who = portraits(400, 4)
    before = rank1(student, faces, who, gallery)
    collect(student, faces, prior=prior)
    assert rank1(student, faces, who, gallery) >= before - 0.02


def test_the_naive_way_collapses_where_layer_by_layer_does_not(student: Embedder, gallery: Tensor) -> None:
    faces, who = portraits(400, 4)
    changed, spoilt = sensor(faces, 0.3, 0.5), copy.deepcopy(student)
    lengths = student.embed(changed, normalise=False).norm(dim=1).mean()
    for _ in range(2):
        naive(spoilt, changed)
    found = spoilt.embed(changed, normalise=False).norm(dim=1).mean()
    assert rank1(spoilt, changed, who, gallery) < 0.3
    assert found > 3 * lengths or found < lengths / 3
    for number in range(2):
        collect(student, changed, collect="sequential", prior=0.0, name=f"sweep{number}")
    assert rank1(student, changed, who, gallery) > 0.9


def test_a_weight_of_zero_is_evaluation_mode_to_the_bit(student: Embedder) -> None:
    faces, _ = portraits(40, 5)
    before = student.embed(faces)
    with online(student, mode="alpha", share=0.0):
        assert torch.equal(student.embed(faces), before)
    collect(student, faces, mode="alpha", share=0.0)
    assert torch.equal(student.embed(faces), before)


def test_a_weight_of_one_and_one_batch_is_training_mode_and_the_unbiased_variance_is_not(student: Embedder) -> None:
    faces, _ = portraits(4, 5)
    inputs = student.preprocess.normalise(faces)
    norm = next(module for module in student.modules() if isinstance(module, nn.BatchNorm2d))
    x = torch.randn(4, norm.num_features, 2, 2, generator=torch.Generator().manual_seed(0))  # 16 elements a channel
    layer = facebn._Layer(norm, FacebnOptions(mode="alpha", share=1.0))
    layer.look(x)
    wanted = copy.deepcopy(norm).train()(x)
    torch.testing.assert_close(layer.apply(x, layer.final(4)), wanted, rtol=0, atol=1e-6)
    unbiased = facebn._Layer(norm, FacebnOptions(mode="bayes", share=1.0))
    unbiased.look(x)
    apart = (unbiased.apply(x, unbiased.final(4)) - wanted).abs().max()
    assert 0.03 < apart < 0.3
    copied = copy.deepcopy(student)
    for module in copied.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train()
    with online(student, mode="alpha", share=1.0), torch.no_grad():
        torch.testing.assert_close(student(inputs), copied(inputs), rtol=1e-4, atol=1e-4)


def test_merged_batches_have_the_statistics_of_all_images() -> None:
    x = torch.randn(40, 5, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3 + 7
    parts = [Statistics.of(part) for part in x.split([7, 20, 13])]
    found, wanted = merged(merged(parts[0], parts[1]), parts[2]), Statistics.of(x)
    assert found.elements == wanted.elements == 40 * 9
    torch.testing.assert_close(found.mean, wanted.mean, rtol=0, atol=1e-14)
    torch.testing.assert_close(found.variance, wanted.variance, rtol=0, atol=1e-13)


def test_the_mixture_follows_its_formula_with_and_without_the_moment() -> None:
    def one(mean: float, variance: float) -> Statistics:
        return Statistics(10, torch.tensor([mean]).double(), torch.tensor([variance]).double())

    plain = mixed(one(0.0, 1.0), one(2.0, 3.0), 0.25, FacebnOptions())
    assert (plain.mean.item(), plain.variance.item()) == (0.5, 1.5)
    moment = mixed(one(0.0, 1.0), one(2.0, 3.0), 0.25, FacebnOptions(moment=True))
    assert moment.variance.item() == 1.5 + 0.25 * 0.75 * 4
    bayes = mixed(one(0.0, 1.0), one(2.0, 3.0), 0.25, FacebnOptions(mode="bayes"))
    assert bayes.variance.item() == pytest.approx(0.75 + 0.25 * 3 * 10 / 9)
    assert FacebnOptions().weight(256) == 0.5
    assert FacebnOptions(prior=0).weight(3) == 1.0


def test_the_first_layer_of_each_mode_has_what_its_rule_says(student: Embedder) -> None:
    faces, _ = portraits(96, 5)
    path, norm = next((p, m) for p, m in student.named_modules() if isinstance(m, nn.BatchNorm2d))
    seen: list[Tensor] = []
    hook = norm.register_forward_pre_hook(lambda _, given: seen.append(given[0].double()))
    with torch.no_grad():
        for part in faces.split(48):
            student(student.preprocess.normalise(part))
    hook.remove()
    source: Any = norm.running_mean
    first, second = (x.mean((0, 2, 3)) for x in seen)
    whole = torch.cat(seen).mean((0, 2, 3))
    wanted = {
        "prior_count": source + 96 / (96 + 256) * (whole - source),
        "adabn": whole,
        "alpha": source + 0.5 * (second - source),
        "bayes": source + 0.5 * (second - source),
        "ema": 0.9 * (0.9 * source + 0.1 * first) + 0.1 * second,
    }
    for mode, mean in wanted.items():
        collect(student, faces, mode=mode, name=mode, batch_size=48)
        own = adapters.state(student, mode)[f"{path}.running_mean"]
        torch.testing.assert_close(own.double(), mean.double(), rtol=1e-5, atol=1e-6)


def test_the_order_of_faces_changes_nothing_layer_by_layer(student: Embedder) -> None:
    faces, _ = portraits(120, 5)
    order = torch.randperm(120, generator=torch.Generator().manual_seed(1))
    collect(student, faces, name="one", collect="sequential", batch_size=32)
    collect(student, faces[order], name="two", collect="sequential", batch_size=32)
    one, two = adapters.state(student, "one"), adapters.state(student, "two")
    for key, tensor in one.items():
        torch.testing.assert_close(two[key], tensor, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", facebn.MODES)
def test_one_face_alone_leaves_everything_as_it_was(mode: str, student: Embedder) -> None:
    faces, _ = portraits(1, 5)
    before, inputs = student.embed(faces), student.preprocess.normalise(faces)
    collect(student, faces, mode=mode)
    assert torch.equal(student.embed(faces), before)
    adapters.detach(student, "facebn")
    with torch.no_grad():
        wanted = student(inputs)
        with online(student, mode=mode):
            assert torch.equal(student(inputs), wanted)


def test_a_norm_over_embeddings_waits_for_256_faces() -> None:
    torch.manual_seed(0)
    model = xzoo.create("mobilefacenet", input_size=16).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.fill_(0.5)
    faces, _ = portraits(256, 5)
    last = "embed_layer.norm.running_mean"
    collect(model, faces[:255], name="few")
    collect(model, faces, name="enough")
    assert not adapters.state(model, "few")[last].any()
    assert adapters.state(model, "enough")[last].any()


def test_the_block_restores_all_buffers_and_so_does_its_end_by_an_error(student: Embedder) -> None:
    faces, _ = portraits(300, 5)
    changed, before = sensor(faces, 0.5, 0.3), {key: t.clone() for key, t in student.state_dict().items()}
    collect(student, changed)
    adapters.switch(student, None)
    with adapters.use(student, "facebn"):
        inside = student.embed(changed)
    assert not torch.equal(inside, student.embed(changed))
    with pytest.raises(ZeroDivisionError), online(student):
        student.embed(changed)
        raise ZeroDivisionError
    adapters.detach(student, "facebn")
    assert {key: torch.equal(t, before[key]) for key, t in student.state_dict().items()} == dict.fromkeys(before, True)
    assert not any(module._forward_hooks for module in student.modules())


def test_statistics_are_a_small_file_bound_to_the_base_and_serve_one_band(student: Embedder, tmp_path: Path) -> None:
    faces, _ = portraits(300, 5)
    dark = sensor(faces, 0.5, -0.4)
    collect(student, dark, name="night", spectrum="NIR")
    assert student.adapters["night"].parameters == 0
    adapted = student.embed(dark, spectrum="NIR")
    adapters.save(student, "night", tmp_path / "night")
    assert (tmp_path / "night" / "adapter_model.safetensors").stat().st_size < 8_000
    adapters.detach(student, "night")
    plain = student.embed(dark)
    adapters.attach(student, tmp_path / "night")
    assert torch.equal(student.embed(dark, spectrum="NIR"), adapted)
    assert torch.equal(student.embed(dark, spectrum="VIS"), plain)
    mixed_batch = student.embed(dark[:4], spectrum=["NIR", "VIS", "NIR", "VIS"])
    torch.testing.assert_close(mixed_batch, torch.stack([adapted[0], plain[1], adapted[2], plain[3]]))
    other = xzoo.create("bd_student")
    with pytest.raises(errors.BaseMismatch):
        adapters.attach(other, tmp_path / "night")


def test_streaming_counts_the_faces_seen_and_the_same_face_moves(student: Embedder) -> None:
    faces, _ = portraits(128, 5)
    changed = sensor(faces, 0.5, 0.3)
    with online(student, prior=32.0):
        early = student.embed(changed[:64])
        student.embed(changed[64:])
        late = student.embed(changed[:64])
    assert not torch.allclose(early, late)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"mode": "beta"}, "prior_count"),
        ({"collect": "all"}, "sequential"),
        ({"share": 1.5}, "a share"),
        ({"prior": -1}, "from 0"),
        ({"priors": 1}, "prior"),
        ({"min_faces": 0}, "from 1"),
    ],
)
def test_what_cannot_be_meant_is_refused(values: dict[str, Any], says: str, student: Embedder) -> None:
    faces, _ = portraits(8, 5)
    with pytest.raises(errors.OptionError, match=says):
        collect(student, faces, **values)
    assert not student.adapters


def test_a_network_without_batch_norms_and_streaming_layer_by_layer_are_refused(student: Embedder) -> None:
    faces, _ = portraits(4, 5)
    with pytest.raises(errors.OptionError, match="no batch norm"):
        collect(xzoo.create("edgeface_xxs"), faces)
    with pytest.raises(errors.OptionError, match="sequential"), online(student, collect="sequential"):
        pass
