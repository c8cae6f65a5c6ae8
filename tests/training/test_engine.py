"""The loop, one step at a time, against the same step written by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from xzoo import adapters, errors
from xzoo.data.augment import generator
from xzoo.data.manifest import Manifest
from xzoo.families.base import Embedder
from xzoo.recipes.schema import Optimiser, Recipe
from xzoo.training import engine, optim


def begun(toy: Embedder, manifest: Manifest, recipe: Recipe, seed: int = 0) -> engine.Progress:
    images = engine.Images(manifest.select(split="train"), toy)
    teacher = engine.frozen_copy(toy)
    adapters.add(toy, "norms", preset="all")
    return engine.begin(recipe.stages[0], toy, images, teacher=teacher, source="VIS", seed=seed)


def test_steps_equal_the_reference_loop_of_the_paper_written_by_hand(
    toy: Embedder, manifest: Manifest, recipe: Recipe
) -> None:
    by_hand = engine.frozen_copy(toy).requires_grad_(True)
    frozen = engine.frozen_copy(toy)
    progress = begun(toy, manifest, recipe.with_({"stages.*.optimiser.clip": 0.5}))
    optimiser = torch.optim.AdamW(by_hand.parameters(), lr=1e-3, weight_decay=0.0)
    for step in engine.run(progress):
        batch = progress.sampler.batch(step.step - 1)
        rows = torch.from_numpy(batch.source), torch.from_numpy(batch.target)
        raw = progress.augment(progress.images[torch.cat(rows)], generator(0, step.step - 1))
        x_s, x_t = toy.preprocess.normalise(raw).split(len(rows[0]))
        e_s, e_t = by_hand(x_s), by_hand(x_t)
        with torch.no_grad():
            kept = frozen(x_s)
        y, c = torch.from_numpy(batch.same).float(), F.cosine_similarity(e_s, e_t)
        align = (y * (1 - c) + (1 - y) * c.clamp(min=0)).mean()
        hold = (1 - F.cosine_similarity(e_s, kept)).mean()
        optimiser.zero_grad()
        (align + hold).backward()
        torch.nn.utils.clip_grad_norm_(by_hand.parameters(), 0.5)
        optimiser.step()
        assert step.terms == pytest.approx({"contrastive_cosine": align.item(), "cosine": hold.item()}, abs=1e-5)
    assert progress.step == 6
    for name, parameter in by_hand.named_parameters():
        torch.testing.assert_close(progress.parameters[name], parameter, rtol=1e-3, atol=1e-5)


def test_self_distillation_is_zero_at_the_start_and_grows(toy: Embedder, manifest: Manifest, recipe: Recipe) -> None:
    steps = list(engine.run(begun(toy, manifest, recipe)))
    assert steps[0].terms["cosine"] == pytest.approx(0, abs=1e-6)
    assert steps[-1].terms["cosine"] > 1e-4


def test_a_weight_of_zero_reports_the_term_and_does_not_train_by_it(
    toy: Embedder, manifest: Manifest, recipe: Recipe
) -> None:
    step = list(engine.run(begun(toy, manifest, recipe.with_({"stages.adapt.losses.cosine.weight": 0.0}))))[-1]
    assert step.terms["cosine"] > 0
    assert step.loss == pytest.approx(step.terms["contrastive_cosine"])


def test_only_the_trainable_parameters_change(toy: Embedder, manifest: Manifest, recipe: Recipe) -> None:
    images = engine.Images(manifest, toy)
    adapters.add(toy, "norms", preset="norms")
    before = {name: tensor.clone() for name, tensor in toy.state_dict().items()}
    list(engine.run(engine.begin(recipe.stages[0], toy, images, teacher=toy, source="VIS", seed=0)))
    changed = {name for name, tensor in toy.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"network.5.weight", "network.5.bias"}


def test_images_that_do_not_fit_into_memory_are_decoded_for_each_batch(
    toy: Embedder, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = engine.Images(manifest, toy)
    monkeypatch.setattr(engine, "IN_MEMORY", 1000)
    rows = torch.tensor([5, 0, 5])
    assert torch.equal(engine.Images(manifest, toy)[rows], kept[rows])


def test_a_loss_that_is_no_number_stops_with_the_files_of_the_batch(
    toy: Embedder, manifest: Manifest, recipe: Recipe
) -> None:
    progress = begun(toy, manifest, recipe)
    with torch.no_grad():
        next(iter(progress.parameters.values())).fill_(math.nan)
    with pytest.raises(errors.TrainingStopped) as caught:
        next(engine.run(progress))
    assert "step 1" in str(caught.value)
    batch = progress.sampler.batch(0)
    for row in {*batch.source.tolist(), *batch.target.tolist()}:
        assert progress.images.manifest.rows[row].path in caught.value.why


def test_impostor_cosine_is_the_mean_over_pairs_of_different_subjects(
    toy: Embedder, manifest: Manifest, recipe: Recipe
) -> None:
    progress = begun(toy, manifest, recipe.with_({"stages.*.optimiser.lr": 1e-12}))
    step = next(engine.run(progress))
    batch = progress.sampler.batch(0)
    rows = torch.from_numpy(batch.source), torch.from_numpy(batch.target)
    raw = progress.augment(progress.images[torch.cat(rows)], generator(0, 0))
    source, target = toy.embed(raw).split(len(rows[0]))
    pairs = [
        float(source[i] @ target[j])
        for i, a in enumerate(batch.source_subject)
        for j, b in enumerate(batch.target_subject)
        if a != b
    ]
    assert step.impostor == pytest.approx(sum(pairs) / len(pairs), abs=1e-4)


def test_one_odd_batch_moves_the_impostor_cosine_by_a_tenth(toy: Embedder, manifest: Manifest, recipe: Recipe) -> None:
    progress = begun(toy, manifest, recipe.with_({"stages.*.optimiser.lr": 1e-12}))
    progress.impostor = 10.0
    step = next(engine.run(progress))
    assert step.impostor is not None and 8.9 <= step.impostor <= 9.1


@pytest.mark.parametrize(
    ("schedule", "warmup", "rates"),
    [
        pytest.param("constant", 0, [1.0, 1.0, 1.0, 1.0], id="constant"),
        pytest.param("constant", 2, [0.5, 1.0, 1.0, 1.0], id="warm-up reaches the rate at its last step"),
        pytest.param("cosine", 0, [1.0, 0.853553, 0.5, 0.146447], id="half a cosine, 0 only after the last step"),
        pytest.param("cosine", 4, [0.25, 0.5, 0.75, 1.0], id="nothing but warm-up"),
    ],
)
def test_learning_rate_follows_its_schedule(schedule: str, warmup: int, rates: list[float]) -> None:
    plan = Optimiser(lr=1.0, schedule=schedule, warmup=warmup)  # type: ignore[arg-type]
    assert [optim.rate(plan, step, 4) for step in range(4)] == pytest.approx(rates, abs=1e-6)
