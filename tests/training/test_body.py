"""People by body across bands: the recipe from generated pictures to figures."""

from __future__ import annotations

import json
import math
import signal
from pathlib import Path

import pytest
import torch

import xzoo
from xzoo import adapters, errors, recipes
from xzoo.data import people
from xzoo.data.manifest import Manifest
from xzoo.losses.metric import Mined
from xzoo.recipes.schema import Recipe
from xzoo.training import engine, finetune
from xzoo.training.mining import mean
from xzoo.training.work import LeftOutWarning

BANDS = ("VIS", "MWIR", "LWIR")
SIZE = (64, 32)


@pytest.fixture(scope="module")
def bodies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight generated people, two pictures in each of three bands; two of them are kept for testing."""
    return people.write(
        tmp_path_factory.mktemp("bodies") / "set",
        subjects=8,
        samples=2,
        spectra=BANDS,
        kind="body",
        body_size=SIZE,
        splits={"train": 0.75, "test": 0.25},
        progress=False,
    )


def small(depth: int = 2) -> xzoo.families.base.Embedder:
    torch.manual_seed(0)
    return xzoo.create("part_vit_tiny", input_size=SIZE, depth=depth)


def plan(**changes: object) -> Recipe:
    return recipes.load("body_md").with_(
        {
            "stages.adapt.batch.targets": ["MWIR", "LWIR"],
            "stages.adapt.batch.size": 24,  # four people in three bands, twice each
            "stages.adapt.steps": 6,
            "stages.adapt.optimiser.warmup": 0,
            **changes,
        }
    )


def metrics(folder: Path) -> list[dict[str, object]]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if "loss" in row]


def test_the_recipe_adapts_attention_alone_by_the_losses_of_the_paper() -> None:
    stage = recipes.load("body_md").stages[0]
    assert not recipes.load("body_md").beyond_finetuning
    assert stage.train.lora is not None
    assert stage.train.groups is None
    assert {term.key: (term.weight, term.options) for term in stage.losses} == {
        "identity": (1.0, {"neck": True}),
        "triplet": (1.0, {"margin": 0.0}),
    }
    assert (stage.batch.sampler, stage.batch.size, stage.batch.per_subject) == ("domains", 64, 2)


def test_generated_people_are_learnt_from_end_to_end(bodies: Path, tmp_path: Path) -> None:
    model = small()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    run = finetune(model, bodies, recipe=plan(), output=tmp_path / "run")
    rows = metrics(run.folder)
    assert len(rows) == 6
    chance = (3 - 1) * 2 / (3 * 2 - 1), 1 / 3
    for row in rows:
        assert set(row["terms"]) == {"identity", "triplet"}  # type: ignore[call-overload]
        found = row["mined"]
        assert isinstance(found, dict)
        assert (found["cross_positive_chance"], found["same_negative_chance"]) == pytest.approx(chance)
        assert 0 <= found["cross_positive"] <= 1
        assert 0 <= found["same_negative"] <= 1
    first = rows[0]["terms"]["identity"]  # type: ignore[index]
    assert first == pytest.approx(math.log(6), abs=0.05)  # six people, a classifier that knows nothing yet
    (adapter,) = run.model.adapters.values()
    assert adapter.kind == "lora"
    adapted = {name for name, module in run.model.named_modules() if "lora_A" in dict(module.named_children())}
    assert len(adapted) == 4  # qkv and proj of both blocks
    after = model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert run.after is not None


def test_each_epoch_ends_with_the_means_of_its_mining_beside_chance_even_where_the_run_was_stopped(
    bodies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six people with two pictures in each of three bands: 36 images, batches of 12, epochs of three steps."""
    eight = plan(**{"stages.adapt.batch.size": 12, "stages.adapt.steps": 8})
    run = finetune(small(), bodies, recipe=eight, output=tmp_path / "run", evaluate=False)
    steps, epochs = metrics(run.folder), [row for row in run.metrics if "epoch" in row]
    assert [(row["step"], row["epoch"], row["steps"]) for row in epochs] == [(3, 1, 3), (6, 2, 3), (8, 3, 2)]
    for row, (first, last) in zip(epochs, ((0, 3), (3, 6), (6, 8)), strict=True):
        for name in Mined._fields:
            each = [one["mined"][name] for one in steps[first:last]]  # type: ignore[index]
            assert row["mined"][name] == pytest.approx(sum(each) / len(each))
        assert row["mined"]["cross_positive_chance"] == pytest.approx(4 / 5)

    step = engine._step

    def stops(progress: engine.Progress) -> engine.Step:
        found = step(progress)
        if found.step == 4:  # in the middle of the second epoch
            signal.raise_signal(signal.SIGINT)
        return found

    monkeypatch.setattr(engine, "_step", stops)
    with pytest.raises(KeyboardInterrupt):
        finetune(small(), bodies, recipe=eight, output=tmp_path / "parts", evaluate=False)
    monkeypatch.setattr(engine, "_step", step)
    again = finetune(small(), bodies, recipe=eight, output=tmp_path / "parts", evaluate=False, resume=True)
    assert [row for row in again.metrics if "epoch" in row] == epochs


def test_a_share_that_no_step_has_is_not_a_zero() -> None:
    none, some = Mined(None, None, 0.5, 0.25)._asdict(), Mined(None, None, 1.0, 0.25)._asdict()
    assert mean([none, some]) == Mined(None, None, 0.75, 0.25)._asdict()


@pytest.mark.filterwarnings("ignore::xzoo.training.engine.CollapseWarning")  # few people, a random base
def test_a_short_lesson_tells_its_people_apart_better_than_guessing(bodies: Path, tmp_path: Path) -> None:
    quick = {"stages.adapt.steps": 60, "stages.adapt.optimiser.name": "adamw", "stages.adapt.optimiser.lr": 3e-3}
    run = finetune(small(), bodies, recipe=plan(**quick), output=tmp_path / "run", evaluate=False)
    terms = [row["terms"] for row in metrics(run.folder)]
    assert sum(each["identity"] for each in terms[-5:]) / 5 < 0.6 * math.log(6)  # type: ignore[index]


def test_a_resumed_run_ends_in_the_very_adapter_of_one_that_was_not_stopped(
    bodies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = finetune(small(), bodies, recipe=plan(), output=tmp_path / "whole", evaluate=False)
    calls, step = [], engine._step

    def stops(progress: engine.Progress) -> engine.Step:
        calls.append(1)
        found = step(progress)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return found

    monkeypatch.setattr(engine, "_step", stops)
    with pytest.raises(KeyboardInterrupt):
        finetune(small(), bodies, recipe=plan(), output=tmp_path / "parts", evaluate=False)
    monkeypatch.setattr(engine, "_step", step)
    again = finetune(small(), bodies, recipe=plan(), output=tmp_path / "parts", evaluate=False, resume=True)
    pictures = Manifest.read(bodies).paths[:6]
    assert torch.equal(whole.model.embed(pictures), again.model.embed(pictures))


def test_a_batch_that_does_not_divide_by_bands_says_which_sizes_do(bodies: Path, tmp_path: Path) -> None:
    with pytest.raises(errors.OptionError, match="size: 24"):
        finetune(small(), bodies, recipe=plan(**{"stages.adapt.batch.size": 28}), output=tmp_path / "run")


def test_a_person_without_a_band_is_left_out_unless_the_recipe_fills_it(bodies: Path) -> None:
    manifest = Manifest.read(bodies)
    gone = manifest.subjects[0]
    kept = [row for row in manifest.rows if (row.subject, row.spectrum) != (gone, "LWIR")]
    part = Manifest(tuple(kept), manifest.root)
    stage = plan().stages[0]
    dropped = engine.draw(stage, part, "VIS", 0)
    assert getattr(dropped, "skipped") == (gone,)  # noqa: B009 - of this sampler alone
    filled = plan(**{"stages.adapt.batch.missing": "resample"}).stages[0]
    assert getattr(engine.draw(filled, part, "VIS", 0), "skipped") == ()  # noqa: B009
    with pytest.raises(errors.RecipeError, match="sampler domains"):
        plan(**{"stages.adapt.batch.missing": "resample", "stages.adapt.batch.sampler": "balanced"})


def test_people_who_lack_a_band_are_counted_in_a_warning_and_in_the_facts_of_the_run(
    bodies: Path, tmp_path: Path
) -> None:
    manifest = Manifest.read(bodies)
    gone = manifest.select(split="train").subjects[1]
    kept = [row for row in manifest.rows if (row.subject, row.spectrum) != (gone, "LWIR")]
    one = plan(**{"stages.adapt.steps": 1, "stages.adapt.batch.size": 12})
    said = rf"1 of 6 subjects are left out of stage 'adapt' \({gone}\): they lack one of VIS MWIR LWIR"
    with pytest.warns(LeftOutWarning, match=said):
        part = Manifest(tuple(kept), manifest.root)
        run = finetune(small(depth=1), part, recipe=one, output=tmp_path / "run", evaluate=False)
    told = {"subjects": 1, "of": 6, "domains": ["VIS", "MWIR", "LWIR"], "names": [gone]}
    assert run.facts["left_out"] == {"adapt": told}


def test_lora_is_put_on_the_attention_of_every_block_and_nowhere_else() -> None:
    model = small()
    adapters.add(model, "lora")
    names = {name.replace("base_layer", "").strip(".") for name, p in model.named_parameters() if p.requires_grad}
    assert all(".attn.qkv." in name or ".attn.proj." in name for name in names)


@pytest.mark.slow
def test_a_network_of_two_streams_is_told_the_band_of_every_image(
    bodies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model = xzoo.create("agw_resnet50")
    told: list[list[str]] = []
    plain = type(model).forward

    def forward(self: torch.nn.Module, images: torch.Tensor, spectrum: object = None) -> torch.Tensor:
        if torch.is_grad_enabled():
            told.append(list(spectrum))  # type: ignore[call-overload]
        return plain(self, images, spectrum)

    monkeypatch.setattr(type(model), "forward", forward)
    short = plan(**{"stages.adapt.steps": 1, "stages.adapt.batch.size": 12})
    tree = short.model_dump(mode="json", exclude_unset=True)
    tree["stages"][0]["train"] = {"groups": "st"}
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    run = finetune(model, bodies, recipe=Recipe.model_validate(tree), output=tmp_path / "run", evaluate=False)
    assert {band for batch in told for band in batch} == set(BANDS)
    assert all(len(batch) == 12 for batch in told)
    moved = {name for name, tensor in run.model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert {"visible.conv1.weight", "infrared.conv1.weight"} <= moved
