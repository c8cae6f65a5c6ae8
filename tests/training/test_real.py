"""What the recipes reach on real images with published weights; slow."""

from __future__ import annotations

from pathlib import Path

import pytest

import xzoo
from xzoo import recipes
from xzoo.training import finetune

pytestmark = pytest.mark.slow


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("lora", "least"), [(False, 0.90), (True, 0.80)], ids=["norms", "lora"])
def test_roadscene_is_learnt_in_at_most_150_steps(
    lora: bool, least: float, real_data: Path, real_weights: Path, tmp_path: Path
) -> None:
    recipe = recipes.load("cross_spectral_contrastive")
    assert recipe.steps <= 150
    found = []
    # One run ends between 0.86 and 0.96 of 50 probes, by seed and by how a processor rounds: the mean is asked.
    for seed in (0, 1):
        run = finetune(
            "edgeface_xxs",
            real_data / "roadscene",
            recipe=recipe,
            lora=lora,
            steps=150,
            seed=seed,
            pretrained=real_weights / "edgeface_xxs_q.pt",
            output=tmp_path / f"run{seed}",
        )
        assert run.before is not None and run.after is not None
        assert (run.after.probe, run.after.gallery, run.after.split) == ("LWIR", "VIS", "test")
        assert run.before.rank1 == pytest.approx(0.04)
        found.append(run.after.rank1)
    assert sum(found) / 2 >= least, found
    again = xzoo.evaluate(run.folder, real_data / "roadscene", split="test")
    assert (again.rank1, again.auc, again.eer_threshold) == (run.after.rank1, run.after.auc, run.after.eer_threshold)


def adapted(weight: float, seed: int, data: Path, weights: Path, output: Path) -> tuple[float, float]:
    """Return rank-1 of LWIR and of VIS probes to VIS templates after 60 steps of ``xedgeface``."""
    faces = data / "orl_pseudo_lwir"
    run = finetune(
        "edgeface_xxs",
        faces,
        recipe=recipes.load("xedgeface").with_({"stages.adapt.losses.cosine.weight": weight}),
        steps=60,
        batch=40,
        seed=seed,
        pretrained=weights / "edgeface_xxs_q.pt",
        output=output,
        evaluate=False,
    )
    lwir, vis = (
        xzoo.evaluate(run.model, faces, gallery="VIS:1-2", probe=probe, split="test", templates=True).rank1
        for probe in ("LWIR:3-", "VIS:3-")
    )
    return lwir, vis


@pytest.mark.timeout(1800)
def test_self_distillation_keeps_visible_recognition(real_data: Path, real_weights: Path, tmp_path: Path) -> None:
    lwir, vis = adapted(1.0, 0, real_data, real_weights, tmp_path)
    assert lwir >= 0.75
    assert vis >= 0.934


@pytest.mark.timeout(1800)
def test_without_self_distillation_visible_recognition_is_lost(
    real_data: Path, real_weights: Path, tmp_path: Path
) -> None:
    # Forgetting is erratic: one seed of three keeps 0.86. The mean is what can be stated.
    found = [adapted(0.0, seed, real_data, real_weights, tmp_path / str(seed))[1] for seed in range(3)]
    assert sum(found) / 3 < 0.80, found
