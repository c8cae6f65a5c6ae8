"""The registry: names, options, their errors, and the check of shapes without computing."""

from __future__ import annotations

import copy
import inspect
import pickle
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn

from xzoo import errors, losses

FIXED = {
    *("kd", "dkd", "fitnets", "at", "sp", "pkt", "rkd", "cc", "nst", "vid", "crd", "wcord", "reviewkd", "srrl"),
    *("simkd", "crosskd", "embed_distill", "ckd", "gkd_qsd", "masked_mutual", "supcon", "mmd", "coral", "cosine"),
    *("mse", "triplet", "triplet_wrt", "infonce", "contrastive_cosine", "deen_cpm"),
}
NAMES = sorted(losses.LOSSES)

SHAPES = {"embedding": (8, 5), "any": (8, 5), "logits": (8, 5), "maps": (8, 4, 6, 6), "tokens": (8, 9, 4)}
SHAPES["points"] = (8, 6, 3)
OWN = {"idkl_heads": (8, 5, 4)}
HEADS = ("prototypes", "proto_ssl", "arcface", "cosface", "adaface", "subcentre", "softmax")
HEADS += ("subject_spectrum", "mixer_identity", "idkl_heads")
REQUIRED: dict[str, dict[str, Any]] = {
    "crd": {"num_samples": 20},
    "wcord_global": {"num_samples": 20},
    **{name: {"classes": 5} for name in HEADS},
}


def example(name: str, *, shape: tuple[int, ...] | None = None) -> tuple[Any, Any, dict[str, Any]]:
    entry = losses.get(name)
    size = shape or OWN.get(name) or SHAPES[entry.inputs]
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(size, generator=generator), torch.randn(size, generator=generator)
    labels = torch.tensor([1, 0, 1, 1, 0, 0, 1, 0]) if entry.labels == "match" else torch.tensor([0, 0, 1, 1] * 2)
    given = {} if entry.labels == "none" else {"labels": labels}
    return student, teacher, given | dict.fromkeys(entry.needs, torch.arange(8))


def test_the_promised_names_are_there() -> None:
    assert set(NAMES) >= FIXED
    assert len(FIXED) == 30


@pytest.mark.parametrize("name", NAMES)
def test_every_loss_can_be_created_with_its_own_defaults_and_gives_a_scalar(name: str) -> None:
    loss = losses.create(name, **{**losses.options(name), **REQUIRED.get(name, {})})
    student, teacher, given = example(name)
    value = loss(student, teacher, **given)
    assert value.shape == ()
    assert torch.isfinite(value)


@pytest.mark.parametrize("name", NAMES)
def test_every_loss_fits_its_shapes_on_the_meta_device(name: str) -> None:
    student, teacher, _ = example(name)
    losses.check(name, student.shape, teacher.shape, **REQUIRED.get(name, {}))


@pytest.mark.parametrize("name", NAMES)
def test_the_entry_says_whether_a_loss_is_a_module_and_what_it_needs(name: str) -> None:
    entry, loss = losses.get(name), losses.create(name, **REQUIRED.get(name, {}))
    assert isinstance(loss, nn.Module) == (entry.learns or entry.keeps)
    call = inspect.signature(loss.forward if isinstance(loss, nn.Module) else loss).parameters
    assert list(call)[:2] in (["student", "teacher"], ["source", "target"])
    assert ("labels" in call) >= (entry.labels != "none")
    assert ("target_labels" in call) == (entry.labels == "subject")
    extra = set(call) - {"student", "teacher", "source", "target", "labels", "target_labels", "norms"}
    assert extra - set(losses.options(name)) == (set(entry.needs) | set(entry.takes)) - {"norms"}


@pytest.mark.parametrize("name", NAMES)
def test_the_docstring_names_source_shapes_and_every_option(name: str) -> None:
    text = inspect.getdoc(losses.get(name).function(name)) or ""
    assert "``" in text
    assert "[" in text
    for option in losses.options(name):
        assert f"{option}:" in text, option


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_can_be_copied_and_pickled(name: str) -> None:
    loss = losses.create(name, **REQUIRED.get(name, {}))
    student, teacher, given = example(name)
    values = [made(student, teacher, **given) for made in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss)))]
    assert torch.equal(*values)


@pytest.mark.parametrize("name", NAMES)
def test_the_value_does_not_depend_on_gradients_being_asked_for(name: str) -> None:
    student, teacher, given = example(name)
    loss = losses.create(name, **REQUIRED.get(name, {}))
    with torch.no_grad():
        quiet = copy.deepcopy(loss)(student, teacher, **given)
    assert torch.equal(quiet, copy.deepcopy(loss)(student.clone().requires_grad_(), teacher, **given).detach())


def parts(error: errors.XzooError) -> tuple[str, str, str, str]:
    return error.asked, error.why, error.exists, error.do


@pytest.mark.parametrize(
    ("wrong", "near"), [("rkdd", "rkd"), ("triplet_wt", "triplet_wrt"), ("embeddistill", "embed_")]
)
def test_unknown_name_is_answered_in_four_parts_with_the_nearest(wrong: str, near: str) -> None:
    with pytest.raises(errors.NotFound) as caught:
        losses.create(wrong)
    assert all(parts(caught.value))
    assert repr(wrong) in caught.value.asked
    assert near in caught.value.exists


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("kd", {"temprature": 4}, ["'temprature'", "temperature", "options('kd')"]),
        ("rkd", {"distance": 4}, ["'distance'", "distance_weight"]),
        ("kd", {"temperature": 0}, ["temperature=0", "a number above 0", "default 4.0"]),
        ("kd", {"temperature": float("nan")}, ["temperature=nan", "a number above 0"]),
        ("kd", {"temperature": "4"}, ["temperature='4'", "a number above 0"]),
        ("kd", {"temperature": True}, ["temperature=True", "a number above 0"]),
        ("embed_distill", {"metric": "cosin"}, ["metric='cosin'", "cosine, l2, mse", "exists: cosine"]),
        ("triplet", {"soft": 1}, ["soft=1", "true or false"]),
        ("wcord", {"iterations": 2.5}, ["iterations=2.5", "a whole number above 0"]),
        ("mkmmd", {"alphas": []}, ["alphas=[]", "a list of numbers above 0"]),
        ("mkmmd", {"alphas": [1, -1]}, ["alphas=[1, -1]", "a list of numbers above 0"]),
        ("cosine", {"margin": 1}, ["'margin'", "it has no options"]),
    ],
    ids=str,
)
def test_wrong_option_says_what_is_wrong_and_what_would_be_right(name: str, options: Any, words: list[str]) -> None:
    with pytest.raises(errors.OptionError) as caught:
        losses.create(name, **options)
    for word in words:
        assert word in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 6


def test_a_whole_float_is_a_whole_number() -> None:
    value = losses.create("wcord", iterations=20.0)(*example("wcord")[:2])
    assert torch.equal(value, losses.create("wcord", iterations=20)(*example("wcord")[:2]))


@pytest.mark.parametrize(
    ("name", "student", "teacher", "words"),
    [
        ("kd", (8, 5), (8, 6), ["[8, 5]", "[8, 6]"]),
        ("mse", (8, 5), (8, 6), ["Adapted"]),
        ("at", (8, 5), (8, 5), ["[B, C, H, W]"]),
        ("nst", (8, 4, 6, 6), (8, 5), ["[8, 5]"]),
        ("ckd", (8, 9, 4), (8, 16, 4), ["[8, 9, 4]", "[8, 16, 4]"]),
        ("coral", (8, 5), (8, 6), ["(8, 5)", "(8, 6)"]),
        ("deen_cpm", (6, 5), None, ["6 rows", "4 groups"]),
        ("wkd_f", (8, 4, 6, 6), (8, 4, 3, 3), ["[8, 4, 6, 6]"]),
        ("reviewkd", [(8, 4, 6, 6)], [(8, 4, 6, 6), (8, 4, 3, 3)], ["does not fit"]),
        ("gkd_qsd", (8, 9, 4), (8, 16, 6), ["does not fit"]),
    ],
    ids=str,
)
def test_shapes_that_do_not_fit_are_refused_before_anything_runs(
    name: str, student: Any, teacher: Any, words: list[str]
) -> None:
    with pytest.raises(errors.OptionError) as caught:
        losses.check(name, student, teacher)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("name", "student", "teacher"),
    [
        ("fitnets", (8, 4, 6, 6), (8, 7, 3, 3)),
        ("embed_distill", (8, 5), (8, 512)),
        ("sp", (8, 4, 6, 6), (8, 512)),
        ("rkd", (8, 5), (8, 512)),
        ("at", [(8, 4, 6, 6), (8, 4, 3, 3)], [(8, 9, 12, 12), (8, 9, 3, 3)]),
        ("supcon", (8, 5), (4, 5)),
    ],
    ids=str,
)
def test_shapes_that_an_adapter_or_the_loss_itself_joins_are_accepted(name: str, student: Any, teacher: Any) -> None:
    losses.check(name, student, teacher)


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_is_near_the_value_in_float64(name: str) -> None:
    student, teacher, given = example(name)
    loss = losses.create(name, **REQUIRED.get(name, {}))
    again: Any = copy.deepcopy(loss)
    wanted = loss(student.double(), teacher.double(), **given).item()
    student.requires_grad_()
    if isinstance(again, nn.Module):
        again.prepare(student, teacher)  # type: ignore[operator]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = again(student, teacher, **given)
    (gradient,) = torch.autograd.grad(value, student)
    assert value.item() == pytest.approx(wanted, rel=0.1, abs=1e-3)
    assert torch.isfinite(gradient).all()


def test_the_front_door_leads_to_the_losses_without_importing_torch() -> None:
    code = "import sys, xzoo; assert 'kd' in xzoo.losses.LOSSES; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
