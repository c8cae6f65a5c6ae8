"""Losses of the visible-infrared networks: several features of an image, and heads that know the spectrum."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from xzoo import errors, losses
from xzoo.losses.metric import mined
from xzoo.losses.spectra import reverse


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


TWO = torch.tensor([0, 0, 1, 1, 2, 2])
"""Three subjects, each twice, as they stand in either spectrum."""


# --- several features of an image -------------------------------------------------------------------------------------


def test_features_of_one_image_count_as_images_of_its_subject() -> None:
    rows, labels = noise(6, 3, 4), TWO
    flat, each = rows.reshape(18, 4), torch.tensor([k for k in TWO.tolist() for _ in range(3)])
    for name in ("triplet", "triplet_wrt", "centre"):
        loss = losses.create(name)
        assert torch.equal(loss(rows, labels=labels), loss(flat, labels=each)), name
    head: Any = losses.create("softmax", classes=3, neck=True)
    head.prepare(rows)
    torch.testing.assert_close(head(rows, labels=labels), head(flat, labels=each), rtol=0, atol=0)
    bands = torch.tensor([0, 1] * 3)
    assert mined(rows, labels, bands) == mined(flat, each, bands.repeat_interleave(3))


def test_a_classifier_behind_a_neck_of_the_network_has_no_offset() -> None:
    head: Any = losses.create("softmax", classes=3, bias=False)
    rows = noise(6, 4)
    head.prepare(rows)
    assert [name for name, _ in head.named_parameters()] == ["layer.weight"]
    assert head.layer.weight.std() < 0.003
    logits = rows @ head.layer.weight.T
    expected = sum(torch.logsumexp(logits[i], 0) - logits[i, TWO[i]] for i in range(6)) / 6
    torch.testing.assert_close(head(rows, labels=TWO), expected)


def test_cpm_of_two_expansions_is_the_sum_of_both(agree: Any) -> None:
    labels = TWO.repeat(2)

    def slow(rows: Tensor) -> Tensor:
        plain = losses.create("deen_cpm")
        visible, infrared = rows[:6], rows[6:]
        parts = [torch.cat([visible[:, 0], infrared[:, 0], visible[:, k], infrared[:, k]]) for k in (1, 2)]
        return sum(plain(part, labels=TWO.repeat(4)) for part in parts)

    agree(lambda rows: losses.create("deen_cpm")(rows, labels=labels), slow, noise(12, 3, 5))
    rows = noise(12, 3, 5)
    apart = losses.create("deen_cpm")(rows[:6], rows[6:], labels=TWO)
    assert torch.equal(apart, losses.create("deen_cpm")(rows, labels=labels))


def test_cpm_of_features_of_images_equals_the_published_code(golden: Path) -> None:
    with safe_open(golden / "deen_cpm.safetensors", "pt") as file:
        data = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        subjects = torch.tensor(json.loads(file.metadata()["config"])["labels"])
    v, i, vk, ik = data["student"].chunk(4)
    rows = torch.stack([torch.cat([v, i]), torch.cat([vk, ik])], 1).requires_grad_()
    value = losses.create("deen_cpm", margin=0.2)(rows, labels=subjects[: len(rows)])
    value.backward()
    torch.testing.assert_close(value.detach(), data["loss"][0], rtol=1e-6, atol=1e-8)
    found = torch.cat([*rows.grad[:, 0].chunk(2), *rows.grad[:, 1].chunk(2)])
    largest = data["grad_student"].abs().max()
    torch.testing.assert_close(found / largest, data["grad_student"] / largest, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("name", ["deen_cpm", "idkl_centre"])
def test_halves_of_other_subjects_are_refused(name: str) -> None:
    rows = noise(12, 3, 5) if name == "deen_cpm" else noise(12, 5)
    others = [] if name == "deen_cpm" else [rows]
    with pytest.raises(errors.OptionError, match="second half"):
        losses.create(name)(rows, *others, labels=torch.cat([TWO, TWO.flip(0)]))


def test_expansions_alone_are_kept_apart_and_the_image_itself_is_left_out(agree: Any) -> None:
    def slow(rows: Tensor) -> Tensor:
        return sum((rows[b, 1] * rows[b, 2]).sum() for b in range(4)) / 12

    agree(losses.create("orthogonal"), slow, noise(4, 3, 5))
    with pytest.raises(errors.OptionError, match=r"\[B, 3, D\]"):
        losses.create("orthogonal")(noise(4, 5))


def test_with_one_instruction_the_adaptive_triplet_is_the_plain_one(agree: Any) -> None:
    rows = noise(6, 4)
    agree(
        lambda x: losses.create("adaptive_triplet", margin=0.3)(x, labels=TWO),
        lambda x: losses.create("triplet", margin=0.3)(x, labels=TWO),
        rows,
    )


# --- structures and spectra -------------------------------------------------------------------------------------------


def kl(p: Tensor, q: Tensor) -> Tensor:
    return sum(a * (a / b).log() for a, b in zip(p, q, strict=True))


def both_ways(a: Tensor, b: Tensor) -> Tensor:
    rows = [(x.softmax(0), y.softmax(0)) for x, y in zip(a, b, strict=True)]
    return sum(kl(p, q) + kl(q, p) for p, q in rows) / len(rows)


def structure(x: Tensor) -> Tensor:
    return torch.stack([torch.stack([(x[i] - x[j]).norm() for j in range(len(x)) if j != i]) for i in range(len(x))])


def test_structures_of_distances_are_compared_row_by_row(agree: Any) -> None:
    agree(
        losses.create("structure_kl"),
        lambda a, b: both_ways(structure(a), structure(b)),
        noise(4, 3),
        noise(4, 5, seed=1),
    )
    a, b, c, d = (noise(4, 3, seed=n) for n in range(4))
    whole = losses.create("tgsa", own_weight=0.6)(a, b, own_student=c, own_teacher=d)
    kin = losses.create("structure_kl")
    torch.testing.assert_close(whole, losses.create("tgsa")(a, b) + 0.6 * (kin(a, c) + kin(b, d)))


def made(name: str, *features: Tensor, **options: Any) -> Any:
    loss: Any = losses.create(name, **options)
    loss.prepare(*features)
    return loss


def cross_entropy(logits: Tensor, place: int) -> Tensor:
    return logits.exp().sum().log() - logits[place]


def test_a_head_tells_the_spectrum_and_reversed_it_teaches_to_hide_it(agree: Any) -> None:
    v, i = noise(3, 4), noise(5, 4, seed=1)
    plain, hidden = made("spectrum_head", v, i), made("spectrum_head", v, i, reversal=0.5)

    def slow(v: Tensor, i: Tensor) -> Tensor:
        weight, bias = plain.layer.weight, plain.layer.bias
        values = [cross_entropy(weight @ x + bias, 0) for x in v] + [cross_entropy(weight @ x + bias, 1) for x in i]
        return sum(values) / 8

    agree(plain, slow, v, i)
    gradients = []
    for head in (plain, hidden):
        x = v.clone().requires_grad_()
        value = head(x, i)
        head.zero_grad()
        value.backward()
        gradients.append((value.item(), x.grad, head.layer.weight.grad))
    assert gradients[0][0] == gradients[1][0]
    torch.testing.assert_close(gradients[1][1], -0.5 * gradients[0][1])
    torch.testing.assert_close(gradients[1][2], gradients[0][2])
    x = v.clone().requires_grad_()
    reverse(x, 2.0).sum().backward()
    assert torch.equal(x.grad, torch.full_like(x, -2.0))


def test_dropout_of_the_head_hides_features_in_training_alone() -> None:
    v, i = noise(3, 40), noise(5, 40, seed=1)
    head = made("spectrum_head", v, i, dropout=0.5)
    assert head(v, i) != head(v, i)
    head.eval()
    assert head(v, i) == head(v, i)


def normed(rows: Tensor) -> Tensor:
    return (rows - rows.mean(0)) / (rows.var(0, unbiased=False) + 1e-5).sqrt()


def test_subject_and_spectrum_make_one_class(agree: Any) -> None:
    v, i = noise(6, 4), noise(6, 4, seed=1)
    head = made("subject_spectrum", v, i, classes=3)
    assert head.layer.weight.shape == (6, 4)
    others = TWO.flip(0)

    def slow(v: Tensor, i: Tensor) -> Tensor:
        rows = normed(torch.cat([v, i])) @ head.layer.weight.T
        places = [2 * int(k) for k in TWO] + [2 * int(k) + 1 for k in others]
        return sum(cross_entropy(row, place) for row, place in zip(rows, places, strict=True)) / 12

    agree(lambda v, i: head(v, i, labels=TWO, target_labels=others), slow, v, i)


def test_mixers_classifiers_agree_with_the_slow_copies_of_each_other(agree: Any) -> None:
    v, i = noise(6, 4), noise(6, 4, seed=1)
    head = made("mixer_identity", v, i, classes=3, rate=0.2)
    with torch.no_grad():
        for number, name in enumerate(("both", "visible", "infrared")):
            getattr(head, name).weight.copy_(noise(3, 4, seed=5 + number))
    before = head.slow_visible.clone(), head.slow_infrared.clone()
    head(v, i, labels=TWO)
    slow_v = 0.8 * before[0] + 0.2 * head.visible.weight.detach()
    slow_i = 0.8 * before[1] + 0.2 * head.infrared.weight.detach()
    torch.testing.assert_close(head.slow_visible, slow_v)
    torch.testing.assert_close(head.slow_infrared, slow_i)
    head.eval()  # copies stay

    def slow(v: Tensor, i: Tensor) -> Tensor:
        total = (
            sum(cross_entropy(head.both.weight @ x, int(k)) for x, k in zip([*v, *i], [*TWO, *TWO], strict=True)) / 12
        )
        total = total + sum(cross_entropy(head.visible.weight @ x, int(k)) for x, k in zip(v, TWO, strict=True)) / 6
        total = total + sum(cross_entropy(head.infrared.weight @ x, int(k)) for x, k in zip(i, TWO, strict=True)) / 6
        agreed = []
        for rows, own, other in ((v, head.visible, slow_i), (i, head.infrared, slow_v)):
            for x in rows:
                wanted, logits = (other @ x).softmax(0).detach(), own.weight @ x
                agreed.append(-(wanted * (logits - logits.exp().sum().log())).sum())
        return total + sum(agreed) / 12

    agree(lambda v, i: head(v, i, labels=TWO), slow, v, i)


def test_the_heads_of_idkl_sum_their_parts(agree: Any) -> None:
    v, i = noise(6, 5, 8), noise(6, 5, 8, seed=1)
    head = made("idkl_heads", v, i, classes=3)
    with torch.no_grad():  # classifiers start too small to tell their parts apart
        for number, layer in enumerate((head.shared, head.specific)):
            layer.weight.copy_(noise(3, 8, seed=7 + number))

    def verdicts(x: Tensor) -> Tensor:
        return normed(x) @ head.specific.weight.T

    def slow(v: Tensor, i: Tensor) -> Tensor:
        plain, necked, purified, before, after = (torch.cat([v, i])[:, n] for n in range(5))
        subjects, sides = [int(k) for k in TWO] * 2, [0] * 6 + [1] * 6
        shared, specific = necked @ head.shared.weight.T, verdicts(purified)
        identity = sum(cross_entropy(row, k) for row, k in zip(shared, subjects, strict=True)) / 12
        identity = identity + sum(cross_entropy(row, k) for row, k in zip(specific, subjects, strict=True)) / 12
        told, hidden = head.discriminator(purified), head.discriminator(plain)
        spectrum = sum(cross_entropy(row, k) for row, k in zip(told, sides, strict=True)) / 12
        spectrum = spectrum + sum(cross_entropy(row, 1 - k) for row, k in zip(hidden, sides, strict=True)) / 12

        def joined(x: Tensor) -> Tensor:
            return torch.stack([torch.cat([x[2 * p + k] for p in range(3)]) for k in range(2)])

        alignment: Any = 0
        for change in (lambda x: x, joined):
            sv, si, pv, pi = (change(x) for x in (shared[:6], shared[6:], specific[:6], specific[6:]))
            alignment = alignment + both_ways(sv, si) + 0.8 * (both_ways(sv, pv) + both_ways(si, pi))

        def entropy(row: Tensor) -> Tensor:
            return -(row.softmax(0) * row.log_softmax(0)).sum()

        pairs = zip(verdicts(before), verdicts(after), strict=True)
        certain = sum((entropy(b) - entropy(a)).clamp(min=0).exp() - 1 for a, b in pairs) / 12
        return identity + spectrum + alignment + 0.1 * certain

    agree(lambda v, i: head(v, i, labels=TWO), slow, v, i, rtol=1e-6)
    assert set(head.parts) == {"identity", "spectrum", "alignment", "entropy"}
    one = made("idkl_heads", v, i, classes=3, spectrum=0, alignment=0, entropy=0)
    value = one(v, i, labels=TWO)
    torch.testing.assert_close(value.detach(), one.parts["identity"])
    assert all(p.grad is None or not p.grad.any() for p in one.discriminator.parameters())


@pytest.mark.parametrize(
    ("name", "rows", "said"),
    [
        ("subject_spectrum", (4, 3), "classes"),
        ("mixer_identity", (4, 3), "classes"),
        ("idkl_heads", (4, 3), "classes"),
        ("idkl_heads", (4, 3, 3), "five"),
    ],
)
def test_what_a_head_lacks_is_named(name: str, rows: tuple[int, ...], said: str) -> None:
    with pytest.raises(errors.OptionError, match=said):
        losses.create(name, classes=3 if said == "five" else 0).prepare(noise(*rows), noise(*rows))  # type: ignore[attr-defined]


def test_every_learned_head_trains_all_it_has() -> None:
    cases: dict[str, Any] = {
        "spectrum_head": ({}, (6, 8), {}),
        "subject_spectrum": ({"classes": 3}, (6, 8), {"labels": TWO}),
        "mixer_identity": ({"classes": 3}, (6, 8), {"labels": TWO}),
        "idkl_heads": ({"classes": 3}, (6, 5, 8), {"labels": TWO}),
    }
    for name, (options, shape, given) in cases.items():
        loss = made(name, noise(*shape), noise(*shape, seed=1), **options)
        student, teacher = noise(*shape).requires_grad_(), noise(*shape, seed=1).requires_grad_()
        loss(student, teacher, **given).backward()
        assert student.grad.any() and teacher.grad.any(), name
        trained = {key: p for key, p in loss.named_parameters() if p.requires_grad}
        assert [key for key, p in trained.items() if p.grad is None or not p.grad.any()] == [], name
