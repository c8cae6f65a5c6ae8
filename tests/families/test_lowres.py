"""The low-resolution networks: their budgets counted, every input size, and what folding leaves equal."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import xzoo
from xzoo.deploy import cost, fold

NAMES = ["bd_student", "bd_student_512", "mobilefacenet"]


def lively(name, seed=0, **options):
    """A network whose batch norms have learned, and seen something."""
    torch.manual_seed(seed)
    model = xzoo.create(name, **options)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the plain mean of what it sees
        for parameter in norm.parameters():
            nn.init.uniform_(parameter, 0.3, 1.3)
    with torch.no_grad():
        model.train()(faces(8, model.preprocess.size[1], seed=1))
    return model.eval()


def faces(count, side, seed=0):
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("side", "activations", "mebibytes", "macs"),
    [
        (16, 14_944, 0.0570, 2.458),
        (32, 58_720, 0.2240, 9.757),
        (64, 233_824, 0.8920, 38.953),
        (96, 525_664, 2.0052, 87.613),
    ],
)
def test_the_student_costs_what_its_budget_says(side, activations, mebibytes, macs):
    model = xzoo.create("bd_student", input_size=side)
    counted = cost(model, (side, side))
    assert (counted.parameters, counted.activations) == (205_344, activations)
    assert counted.activation_bytes / 2**20 == pytest.approx(mebibytes, abs=5e-5)
    assert counted.macs / 1e6 == pytest.approx(macs, abs=5e-4)
    assert model.preprocess.size == (3, side, side)


def test_the_longer_student_costs_the_same():
    counted = cost(xzoo.create("bd_student_512"), (16, 16))
    assert (counted.parameters, counted.activations) == (213_824, 14_976)


def test_mobilefacenet_has_the_papers_size():
    counted = cost(fold(xzoo.create("mobilefacenet")), (112, 112))
    assert counted.parameters == 993_344  # 0.99 M
    assert counted.macs == 220_965_376  # 221 M


@pytest.mark.parametrize("name", NAMES)
def test_the_card_states_what_is_counted(name):
    model = xzoo.create(name)
    facts = xzoo.card(name).facts
    counted = cost(model, model.input_size)
    assert facts["size"]["params"] == counted.parameters
    assert facts["size"]["mflops"] == pytest.approx(2e-6 * counted.macs, abs=0.01)
    assert facts["input"]["size"] == [3, *model.input_size]
    assert model(faces(2, model.input_size[0])).shape == (2, facts["output"]["embedding"])


@pytest.mark.parametrize("name", NAMES)
def test_folding_leaves_the_outputs_and_no_batch_norm(name):
    model = lively(name)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    folded = fold(model)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    with torch.no_grad():
        ours = model(faces(4, model.input_size[0]))
        torch.testing.assert_close(
            folded(faces(4, model.input_size[0])), ours, atol=1e-4 if name == "mobilefacenet" else 1e-5, rtol=1e-5
        )
    assert float(ours.std(0).mean()) > 0.05
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


def test_training_and_serving_have_as_many_parameters():
    model = xzoo.create("bd_student")
    count = sum(parameter.numel() for parameter in fold(model).parameters())
    assert count == sum(parameter.numel() for parameter in model.parameters()) == 205_344


def test_folding_keeps_norms_that_follow_no_layer():
    model = lively("adaface_ir_18")
    folded = fold(model)
    assert isinstance(folded.body[0].res_layer[0], nn.BatchNorm2d)
    assert isinstance(folded.body[0].res_layer[2], nn.Identity)
    with torch.no_grad():
        torch.testing.assert_close(folded(faces(2, 112)), model(faces(2, 112)), atol=1e-4, rtol=1e-3)


def test_the_same_weights_take_every_input_size(tmp_path):
    small = lively("bd_student", input_size=16)
    save_file(small.state_dict(), tmp_path / "student.safetensors")
    for side in (16, 32, 64, 96):
        larger = xzoo.create("bd_student", pretrained=str(tmp_path / "student.safetensors"), input_size=side)
        with torch.no_grad():
            assert torch.equal(larger(faces(2, side)), small(faces(2, side)))


def test_a_student_in_half_precision_fits_into_its_file(tmp_path):
    save_file(
        {key: t.half() if t.is_floating_point() else t for key, t in xzoo.create("bd_student").state_dict().items()},
        tmp_path / "s",
    )
    assert (tmp_path / "s").stat().st_size < 450_000


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_learns_and_belongs_to_a_group(name):
    model = lively(name, **({"input_size": 32} if name == "mobilefacenet" else {})).train()
    model(faces(8, model.input_size[0])).square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())
    grouped = [parameter for group, names in model.groups().items() if group != "bn" for parameter in names]
    assert sorted(grouped) == sorted(name for name, _ in model.named_parameters())


@pytest.mark.parametrize("name", NAMES)
def test_features_end_in_the_embedding(name):
    model = lively(name)
    with torch.no_grad():
        features = model.forward_features(faces(2, model.input_size[0]))
        assert torch.equal(features["embedding"], model(faces(2, model.input_size[0])))
    sides = [maps.shape[-1] for key, maps in features.items() if key.startswith("st")]
    assert sides == ([56, 28, 14, 14, 7, 7] if name == "mobilefacenet" else [16, 8, 4, 2])


def test_lora_reaches_every_convolution_of_the_student():
    import re

    model = xzoo.create("bd_student")
    chosen = [module for path, module in model.named_modules() if re.fullmatch(model.lora_targets, path)]
    assert [type(module) for module in chosen] == [nn.Conv2d] * 7 + [nn.Linear]


def test_pictures_are_brought_to_the_size_that_was_asked_for():
    model = lively("bd_student", input_size=32)
    raw = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    embeddings = model.embed([image for image in raw])
    assert embeddings.shape == (3, 256)
    assert torch.equal(model.embed([raw[1]])[0], embeddings[1])


def test_a_size_out_of_range_is_refused():
    with pytest.raises(xzoo.XzooError, match="The least is 8"):
        xzoo.create("bd_student", input_size=4)


@pytest.mark.parametrize(
    ("name", "entries", "numbers"),
    [
        ("adaface_ir_18", 179, 24_034_974),
        ("adaface_ir_34", 323, 34_159_862),
        ("adaface_ir_50", 467, 43_623_694),
        ("adaface_ir_se_50", 515, 43_846_414),
        ("adaface_ir_101", 917, 65_220_569),
    ],
)
def test_the_ir_students_hold_as_many_tensors_and_numbers_as_upstreams(name, entries, numbers):
    from xzoo.families.iresnet.model import build
    from xzoo.families.iresnet.options import Options

    with torch.device("meta"):
        state = build(Options(**xzoo.card(name).fixed)).state_dict()
    assert (len(state), sum(tensor.numel() for tensor in state.values())) == (entries, numbers)


def test_channels_turned_round_by_the_wrapper_are_a_flip():
    raw = torch.randint(0, 256, (2, 3, 112, 112), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    teacher, student = xzoo.create("adaface_ir_18"), xzoo.create("mobilefacenet")
    assert (teacher.preprocess.colour, student.preprocess.colour) == ("BGR", "RGB")
    assert torch.equal(teacher.preprocess.normalise(raw), student.preprocess.normalise(raw).flip(1))


@pytest.mark.parametrize(("name", "size"), [("bd_student", (16, 16)), ("part_vit_tiny", (64, 32))])
def test_an_embedding_keeps_its_bits_in_any_company(name, size):
    model = xzoo.create(name, **({"input_size": size} if name == "part_vit_tiny" else {}))
    images = torch.randint(0, 256, (24, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    every = model.embed(images)
    for rows in ([5], [5, 9], [0, 7, 23], list(range(17))):
        assert torch.equal(model.embed(images[rows]), every[rows]), rows
