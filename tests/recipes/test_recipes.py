"""Recipes: those of the zoo are right, and every fault of another is told at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from xzoo import errors, recipes
from xzoo.recipes.schema import check, parse

NAMES = recipes.names()


def test_the_zoo_has_its_first_recipes() -> None:
    assert {"cross_spectral_contrastive", "xedgeface"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_of_the_zoo_is_valid_and_named_as_its_file(name: str) -> None:
    assert recipes.load(name).recipe == name


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_survives_being_written_and_read(name: str) -> None:
    recipe = recipes.load(name)
    assert parse(yaml.safe_dump(recipe.model_dump(mode="json")), "again") == recipe


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_starts_with_the_command_that_runs_it_and_says_whose_numbers_they_are(name: str) -> None:
    text = recipes.text(name)
    verb = f"xzoo run {name} " if recipes.load(name).beyond_finetuning else "xzoo finetune "
    assert text.startswith(f"# {verb}") and (name in text.splitlines()[0])
    assert "chosen by th" in text


def test_xedgeface_is_the_method_and_the_defaults_of_the_project() -> None:
    stage = recipes.load("xedgeface").stages[0]
    assert stage.teacher == "start"
    assert {term.name: (term.on, term.weight) for term in stage.losses} == {
        "contrastive_cosine": (("student.source", "student.target"), 1.0),
        "cosine": (("student.source", "teacher.source"), 1.0),
    }
    assert (stage.optimiser.lr, stage.batch.positive, stage.train.groups) == (1e-4, 0.5, "norms+st+s0+s1+s2")


def test_a_file_of_ones_own_is_read_by_its_path(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    text = recipes.text("xedgeface").replace("recipe: xedgeface", "recipe: mine")
    mine.write_text(text.replace("lr: 1e-4", "lr: 3e-4"))
    recipe = recipes.load(mine)
    assert (recipe.recipe, recipe.stages[0].optimiser.lr) == ("mine", 3e-4)


def test_an_ablation_is_one_change() -> None:
    recipe = recipes.load("xedgeface")
    ablation = recipe.with_({"stages.adapt.losses.cosine.weight": 0})
    assert ablation.stages[0].losses[1].weight == 0
    assert recipe.stages[0].losses[1].weight == 1
    assert ablation.with_({"stages.adapt.losses.cosine.weight": 1}) == recipe


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("stages.adopt.steps", "adapt"),
        ("stages.adapt.step", "steps"),
        ("stage.adapt.steps", "stages"),
        ("stages.adapt.losses.cosin.weight", "cosine"),
        ("stages.adapt.losses.cosine.weight.more", "more"),
        ("recipes", "recipe"),
    ],
)
def test_a_change_of_a_place_that_is_not_there_names_the_nearest(place: str, says: str) -> None:
    with pytest.raises(errors.RecipeError, match=says):
        recipes.load("xedgeface").with_({place: 1})


def small(**changes: Any) -> dict[str, Any]:
    stage: dict[str, Any] = {
        "name": "only",
        "train": {"groups": "norms"},
        "losses": [{"name": "contrastive_cosine", "on": ["student.source", "student.target"]}],
        **changes,
    }
    return {"recipe": "small", "summary": "As small as can be.", "stages": [stage]}


TERM = {"name": "cosine", "on": ["student.source", "teacher.source"]}
NCE = {"name": "infonce", "on": ["student.source", "student.target"]}


def test_the_smallest_recipe_is_enough() -> None:
    assert check(small(), "small").steps == 100


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        pytest.param(small(optimizer={}), "stages[0].optimizer: unknown key; close: optimiser", id="misspelt key"),
        pytest.param(small(optimiser={"lrr": 1}), "stages[0].optimiser.lrr: unknown key; close: lr", id="nested key"),
        pytest.param(small(optimiser={"name": "adamv"}), "adamw", id="unknown optimiser"),
        pytest.param(small(optimiser={"lr": "fast"}), "stages[0].optimiser.lr", id="word for a number"),
        pytest.param(small(optimiser={"lr": -1.0}), "greater than 0", id="negative rate"),
        pytest.param(small(optimiser={"lr": float("inf")}), "finite", id="infinite rate"),
        pytest.param(small(optimiser={"lr": True}), "stages[0].optimiser.lr", id="bool for a number"),
        pytest.param(small(optimiser={"schedule": "cosin"}), "close: cosine", id="unknown schedule"),
        pytest.param(small(steps=0), "greater than or equal to 1", id="no steps"),
        pytest.param(small(steps=1.5), "integer", id="half a step"),
        pytest.param(small(losses=[]), "there is no loss", id="no loss"),
        pytest.param(small(losses=[{**NCE, "name": "infonec"}]), "close: infonce", id="unknown loss"),
        pytest.param(small(losses=[{**NCE, "name": "at"}]), "'at' compares maps; name a module", id="loss of maps"),
        pytest.param(small(losses=[{**NCE, "options": {"temperature": 0}}]), "above 0", id="an impossible option"),
        pytest.param(small(losses=[{**NCE, "name": "torch.nn.MSELoss"}]), "no loss", id="a dotted path is no name"),
        pytest.param(small(losses=[{**NCE, "options": {"temprature": 1}}]), "close: temperature", id="unknown option"),
        pytest.param(small(losses=[{**NCE, "on": ["student.source"]}]), "compares two things", id="one of two"),
        pytest.param(
            small(losses=[{**NCE, "on": ["student.src", "student.target"]}]), "close: student.s", id="no tensor"
        ),
        pytest.param(small(losses=[{**TERM, "weight": -1.0}], teacher="start"), "weight", id="negative weight"),
        pytest.param(small(losses=[{**TERM, "weight": 0.0}], teacher="start"), "nothing would train", id="weight 0"),
        pytest.param(small(losses=[TERM, TERM], teacher="start"), "same name", id="a loss twice"),
        pytest.param(small(losses=[TERM]), "write teacher: start", id="a loss looks for a teacher"),
        pytest.param(small(losses=[NCE]), "positive: 1.0", id="rows without partner"),
        pytest.param(small(batch={"sampler": "balanced"}), "labelled pairs", id="pairs that are not drawn"),
        pytest.param(
            small(batch={"size": 9, "sampler": "balanced", "per_subject": 2}), "multiple", id="half a subject"
        ),
        pytest.param(small(batch={"positive": 1.5}), "less than or equal to 1", id="probability above 1"),
        pytest.param(small(teacher="frozen"), "not one of", id="unknown teacher"),
        pytest.param(small(train={}), "nothing trains", id="nothing trains"),
        pytest.param(small(train={"lora": {"rank": 0}}), "stages[0].train.lora.rank", id="rank 0"),
        pytest.param(small(train={"lora": {"rnak": 4}}), "close: rank", id="misspelt rank"),
        pytest.param(small(views={"crop": [0.9, 0.5]}), "smallest, largest", id="crop upside down"),
        pytest.param(small(views={"flip": 2.0}), "stages[0].views.flip", id="flip above 1"),
        pytest.param(small(views={"mirror": 1.0}), "stages[0].views.mirror: unknown key", id="unknown view"),
        pytest.param(small(name="Stage One"), "stages[0].name", id="a name with blanks"),
        pytest.param({**small(), "stages": []}, "there is no stage", id="no stage"),
        pytest.param({"recipe": "x"}, "summary: missing", id="missing keys"),
        pytest.param([], "a table of keys", id="a list"),
    ],
)
def test_a_wrong_recipe_names_the_place_and_the_fault(tree: Any, says: str) -> None:
    with pytest.raises(errors.RecipeError) as caught:
        check(tree, "wrong.yaml")
    assert says in str(caught.value)
    assert "wrong.yaml" in str(caught.value)


def test_all_faults_are_told_at_once() -> None:
    tree = small(steps=0, optimizer={}, views={"flip": 3.0})
    with pytest.raises(errors.RecipeError, match="3 faults"):
        check(tree, "wrong.yaml")


@pytest.mark.parametrize(
    "changes",
    [{"name": "only"}, {"name": "other", "train": {"lora": {"rank": 4}}}],
    ids=["the same name twice", "another adapter"],
)
def test_stages_that_do_not_go_together_are_refused(changes: dict[str, Any]) -> None:
    tree = small()
    tree["stages"].append({**tree["stages"][0], **changes})
    with pytest.raises(errors.RecipeError, match="two stages|different things"):
        check(tree, "two.yaml")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("recipe: [", "mine.yaml:", id="broken YAML"),
        pytest.param("recipe: a\nrecipe: b", "twice", id="a key twice"),
        pytest.param("!!python/object/apply:os.system ['true']", "mine.yaml", id="code"),
        pytest.param("", "mine.yaml", id="empty"),
    ],
)
def test_a_file_that_is_no_yaml_says_where(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(errors.RecipeError, match=says):
        recipes.load(tmp_path / "mine.yaml")


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(errors.RecipeError, match="cannot be read"):
        recipes.load(tmp_path / "mine.yaml")


def test_an_unknown_name_lists_the_nearest() -> None:
    with pytest.raises(errors.NotFound, match="xedgeface"):
        recipes.load("xedgefase")
