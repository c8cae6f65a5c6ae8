"""Recipes against their networks: every misfit is told before anything runs, by networks without memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import xzoo
from xzoo import errors, recipes
from xzoo.families.base import Embedder
from xzoo.recipes.schema import check, json_schema, signal
from xzoo.training import distill, fit

TEACHER = {"teacher": {"name": "edgeface_base"}}
EMBED = {"name": "cosine", "on": ["student.source", "teacher.source"]}


def plan(*losses: dict[str, Any], **stage: Any) -> Any:
    whole = {
        "name": "only",
        "train": {"groups": "all"},
        "batch": {"sampler": "images"},
        "losses": list(losses or (EMBED,)),
    }
    return {
        "recipe": "mine",
        "summary": "A test.",
        "student": "edgeface_xxs",
        "stages": [{**whole, **TEACHER, **stage}],
    }


def on(student: str, teacher: str, name: str = "mse", **more: Any) -> dict[str, Any]:
    return {"name": name, "on": [f"student.source{student}", f"teacher.source{teacher}"], **more}


def second(**stage: Any) -> dict[str, Any]:
    tree: dict[str, Any] = plan()
    tree["stages"].append({**tree["stages"][0], "name": "second", **stage})
    return tree


STAGE0, BASE0 = ":backbone.stages.0", ":backbone.stages.0"

GOOD = [
    pytest.param(plan(), id="embeddings of one width"),
    pytest.param(plan(on(STAGE0, BASE0)), id="maps of two widths, brought together"),
    pytest.param(plan(on(STAGE0, BASE0, "sp")), id="relations of any widths"),
    pytest.param(plan(on(":backbone.stages.3", ":backbone.stages.2", "fitnets")), id="grids that differ"),
    pytest.param(
        plan(on(":backbone.stages.0+backbone.stages.1", ":backbone.stages.1+backbone.stages.2", "reviewkd")),
        id="levels",
    ),
    pytest.param(plan(on("", "", "crd", options={"negatives": 16})), id="a memory that counts images itself"),
    pytest.param(plan({"name": "arcface", "on": ["student.source"]}), id="a head that counts subjects itself"),
    pytest.param(plan(on(":backbone.stages.3", ":backbone.stages.3", "srrl", head=True)), id="through the head"),
    pytest.param(second(teacher="stage:only"), id="an earlier stage teaches"),
    pytest.param(plan(on("", ""), teachers={"more": "edgeface_xs"}), id="several teachers"),
]


@pytest.mark.parametrize("tree", GOOD)
def test_what_fits_has_no_faults(tree: Any) -> None:
    fit.check(check(tree, "mine.yaml"))


WRONG = [
    pytest.param(
        plan(on(STAGE0, BASE0, "srrl", head=True)), "does not read teacher.source", "edgeface_base", id="head"
    ),
    pytest.param(plan(on(STAGE0, BASE0, head=True)), "looks through no teacher's head", "srrl", id="no head"),
    pytest.param(plan(teacher="edgefase_base"), "'edgefase_base' is not one of", "edgeface_base", id="unknown teacher"),
    pytest.param(
        plan(teacher={"name": "edgeface_base", "pretraned": True}),
        "teacher.pretraned: unknown key",
        "pretrained",
        id="misspelt key",
    ),
    pytest.param(plan(teacher="lora"), "'lora' is a card of kind adapter", "", id="an adapter as teacher"),
    pytest.param(plan(teacher={"name": "edgeface_base", "pretrained": "idaip"}), "no tag", "idiap", id="unknown tag"),
    pytest.param(
        plan(teacher={"name": "edgeface_base", "options": {"embeding": 5}}), "no option", "embedding", id="option"
    ),
    pytest.param(
        plan(teacher={"name": "edgeface_base", "options": {"embedding": 0}}), "The least is 1", "", id="option's value"
    ),
    pytest.param(plan(teacher="stage:only"), "is no earlier stage", "none", id="a stage teaches itself"),
    pytest.param(second(teacher="stage:onli"), "is no earlier stage", "only", id="unknown stage"),
    pytest.param(second(student="stage:second"), "is no earlier stage", "only", id="a student of the future"),
    pytest.param(plan(train={"groups": "norms+s9"}), "no group of parameters 's9'", "s3", id="unknown group"),
    pytest.param(
        plan(on(":backbone.stage.0", BASE0)), "no module 'backbone.stage.0' in student", "stages.0", id="path"
    ),
    pytest.param(plan(on(STAGE0, ":backbone.steem")), "no module 'backbone.steem' in teacher", "stem", id="theirs"),
    pytest.param(plan(on(STAGE0, BASE0, adapter="never")), "[24, 28, 28]", "[80, 28, 28]", id="no adapter allowed"),
    pytest.param(plan(on(STAGE0, "")), "no adapter leads", "[512]", id="a map and an embedding"),
    pytest.param(plan(on("", "", "nst")), "compares maps; name a module", "", id="maps of an embedding"),
    pytest.param(
        plan(on(STAGE0, BASE0, "rkd", adapter="never"), teachers={"teacher": "start"}),
        "cannot be called",
        "",
        id="alias",
    ),
    pytest.param(plan({**EMBED, "on": ["student.source", "expert.source"]}), "but teacher is teacher", "", id="nobody"),
    pytest.param(
        plan({**EMBED, "on": ["teacher.source", "student.source"]}), "the student comes first", "", id="order"
    ),
    pytest.param(
        plan({**EMBED, "on": ["student.source", "teacher.hgih"]}, views={"named": {"high": {}}}),
        "no such view",
        "teacher.high",
        id="view",
    ),
    pytest.param(plan({**EMBED, "on": ["student.target", "teacher.source"]}), "draws no target", "", id="no target"),
    pytest.param(plan(views={"named": {"source": {}}}), "is there already", "", id="a view's name"),
    pytest.param(plan(views={"named": {"low": {"pixls": 8}}}), "named.low.pixls: unknown key", "", id="view key"),
    pytest.param(plan(cache=True), "changes at random", "bank: 8", id="a cache of random views"),
    pytest.param(
        plan({"name": "arcface", "on": ["student.source"]}, teacher="none", cache=True),
        "there is no teacher",
        "",
        id="a cache of nobody",
    ),
    pytest.param(plan(on("", "", "at")), "compares maps", "", id="attention of embeddings"),
    pytest.param(
        plan(on(f"{STAGE0}+backbone.stages.1", f"{BASE0}+backbone.stages.1", "fitnets")),
        "one level",
        "reviewkd",
        id="levels",
    ),
    pytest.param(
        plan(on(f"{STAGE0}+backbone.stages.1", BASE0, "at")), "different numbers of levels", "", id="two and one"
    ),
    pytest.param(plan({**EMBED, "on": ["student/source", "teacher.source"]}), "is not WHO.VIEW", "", id="no signal"),
    pytest.param(plan(EMBED, {**EMBED, "weight": 0.5}), "two losses have the same name", "id: NAME", id="twice"),
    pytest.param(plan({**EMBED, "schedule": {"kind": "cosin"}}), "schedule.kind", "cosine", id="unknown schedule"),
    pytest.param(plan({**EMBED, "adapter": "allways"}), "adapter", "always", id="unknown adapter"),
    pytest.param(plan(on("", "", "mse", options={"space": "unot"})), "unit", "", id="a word that is no option"),
    pytest.param(plan(optimiser={"schedule": "steps"}), "milestones", "", id="no milestones"),
    pytest.param(
        plan(optimiser={"schedule": "steps", "milestones": [0.7, 0.5]}), "rising", "", id="falling milestones"
    ),
    pytest.param(plan(precision="fp16"), "precision", "bf16", id="unknown precision"),
    pytest.param(plan(ema=1.0), "less than 1", "", id="a mean that never moves"),
    pytest.param(plan(batch={"sampler": "images", "accumulate": 0}), "accumulate", "", id="nothing accumulated"),
    pytest.param(plan(batch={"sampler": "images", "targets": ["NIR"]}), "draws no targets", "", id="targets of images"),
    pytest.param(plan(batch={"sampler": "pairs", "targets": ["VIS"]}), "other spectra", "", id="VIS with itself"),
    pytest.param(plan(batch={"source": "UV"}), "source", "VIS", id="unknown spectrum"),
    pytest.param(plan(evaluation={"galery": "VIS"}), "galery: unknown key", "gallery", id="evaluation"),
    pytest.param(plan(train={"groups": "all", "mode": "tran"}), "mode", "train", id="unknown mode"),
    pytest.param(plan(teacher_precision="fp16"), "teacher_precision", "auto", id="unknown precision of teachers"),
    pytest.param(plan({**EMBED, "masked": "source"}), "takes no masked view", "gkd_qsd", id="a mask for nobody"),
    pytest.param(
        plan({**EMBED, "on": ["student.source", "teacher.cut"]}, views={"named": {"cut": {"mask": {}}}}),
        "shows teacher the masked view",
        "masked: VIEW",
        id="a teacher behind a mask",
    ),
    pytest.param(
        plan({"name": "arcface", "on": ["student.source"], "options": {"across": True}}),
        "loops of your own",
        "shards",
        id="classes across processes",
    ),
]


@pytest.mark.parametrize(("tree", "says", "exists"), WRONG)
def test_a_wrong_recipe_gets_one_clear_report_before_anything_runs(tree: Any, says: str, exists: str) -> None:
    with pytest.raises(errors.RecipeError) as caught:
        fit.checked(lambda: check(tree, "mine.yaml"))
    text = str(caught.value)
    assert says in text and exists in text
    assert "1 fault." in text and len(text.splitlines()) == 2


def test_the_table_is_as_long_as_it_should_be() -> None:
    assert len(WRONG) >= 40


def test_all_misfits_are_told_at_once() -> None:
    tree = plan(on(":a", BASE0), on(STAGE0, ":b", id="other"), on("", "", "kd", id="third"), train={"groups": "s9"})
    with pytest.raises(errors.RecipeError, match="3 faults") as caught:
        fit.check(check(tree, "mine.yaml"))
    assert all(word in str(caught.value) for word in ("'a'", "'b'", "'s9'"))


TWO = [
    pytest.param(
        plan(on("", "", "mse") | {"on": ["student.source", "teacher.hgih"]}, {**EMBED, "weigth": 2}, cache=True),
        ["no such view", "weigth: unknown key", "changes at random"],
        id="a key, a view and a cache",
    ),
    pytest.param(
        plan(on(":a", BASE0), stepps=3, cache=True, train={"groups": "s9"}),
        ["stepps: unknown key", "changes at random", "'s9'", "no module 'a'"],
        id="a key, a cache, a group and a module",
    ),
    pytest.param(
        plan(on("", "", "cosin"), on(":a", BASE0), optimiser={"schedule": "cosin", "milestones": [0.5]}),
        ["no loss 'cosin'", "'cosin' is not one of", "milestones", "no module 'a'"],
        id="two names, milestones and a module",
    ),
    pytest.param(
        {**second(teacher="stage:onli", losses=[on("", ":b")], train={}), "student": "edgefce_xxs"},
        ["'edgefce_xxs'", "no earlier stage", "nothing trains"],
        id="a student, a stage and what trains",
    ),
    pytest.param(
        plan(batch={"sampler": "images", "targets": ["NIR"], "registered": True}, teacher={"name": "nobody"}),
        ["draws no targets", "registered is for", "'nobody'"],
        id="two of a batch and a teacher",
    ),
    pytest.param(
        plan(on("", "", "gkd_qsd", masked="low"), views={"named": {"low": {"pixels": 8}}}),
        ["no view with a mask; there are: none", "it compares tokens"],
        id="a masked view without a mask, of an embedding",
    ),
    pytest.param(
        {key: value for key, value in plan(on("", "", "cosin"), steps=0).items() if key != "summary"},
        ["summary: missing", "greater than or equal to 1", "no loss 'cosin'"],
        id="what is missing hides nothing",
    ),
]


@pytest.mark.parametrize(("tree", "said"), TWO)
def test_faults_of_keys_of_meaning_and_of_shapes_are_told_in_one_report(tree: Any, said: list[str]) -> None:
    with pytest.raises(errors.RecipeError, match=f"{len(said)} faults") as caught:
        fit.checked(lambda: check(tree, "mine.yaml"))
    lines = str(caught.value).splitlines()[1:]
    assert len(lines) == len(said)
    assert all(any(word in line for line in lines) for word in said), lines
    assert all(line.startswith("  - mine.yaml: ") for line in lines)


def test_a_run_tells_faults_of_the_file_and_of_networks_together(
    toy: Embedder, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = recipes.text("kd").replace("groups: all", "groups: s9").replace("steps:", "stepps:")
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(errors.RecipeError, match="2 faults") as caught:
        distill(recipe="mine.yaml", student=toy, teacher=toy, data=people)
    assert "stepps" in str(caught.value) and "'s9'" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]


def test_networks_that_wait_to_be_given_are_faults_only_when_it_runs() -> None:
    kd = recipes.load("kd")
    fit.check(kd, complete=False)
    with pytest.raises(errors.RecipeError, match="2 faults"):
        fit.check(kd)
    fit.check(kd, student="edgeface_xxs", teacher="edgeface_base")


def test_checking_computes_nothing_and_leaves_networks_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    xzoo.register(
        "tiny", lambda: nn.Sequential(nn.Flatten(), nn.Linear(48, 5)), input={"size": [3, 4, 4]}, replace=True
    )
    tiny = xzoo.create("tiny")
    seen: list[torch.device] = []
    plain = nn.Linear.forward

    def forward(self: nn.Linear, x: torch.Tensor) -> torch.Tensor:
        seen.append(x.device)
        return plain(self, x)

    monkeypatch.setattr(nn.Linear, "forward", forward)
    fit.check(check(plan(on("", "", "embed_distill"), teacher="given"), "mine"), student=tiny, teacher="edgeface_base")
    assert seen and {device.type for device in seen} == {"meta"}
    assert all(not tensor.is_meta for tensor in tiny.parameters())


def test_a_plain_recipe_is_short() -> None:
    assert len([line for line in recipes.text("kd").splitlines() if line and not line.startswith("#")]) <= 25


def test_signals_are_read_and_written_alike() -> None:
    for text in ("student.source", "teacher.low:stages.2", "big.both:a.0+b.1"):
        assert str(signal(text)) == text


def test_the_schema_for_editors_names_keys_losses_and_choices() -> None:
    schema = json_schema()
    assert schema["additionalProperties"] is False
    assert "crd" in schema["$defs"]["LossTerm"]["properties"]["name"]["enum"]
    assert schema["$defs"]["Batch"]["properties"]["sampler"]["enum"] == ["pairs", "balanced", "images", "domains"]


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        pytest.param({"resume": True}, errors.OptionError, "output", id="resume nowhere"),
        pytest.param({"recipe": "kdd"}, errors.NotFound, "kd", id="unknown recipe"),
        pytest.param({"student": "edgeface_xs9"}, errors.RecipeError, "edgeface_xs", id="unknown student"),
        pytest.param({"student": "edgeface_xs"}, errors.NotFound, "pretrained", id="no weights to start from"),
        pytest.param({"teacher": None}, errors.RecipeError, "--teacher", id="no teacher"),
        pytest.param({"recipe": "xedgeface"}, errors.OptionError, "waits for a teacher", id="a teacher too many"),
        pytest.param({"data": "nowhere.csv"}, errors.MissingFile, "nowhere.csv", id="no data"),
        pytest.param({"changes": {"stages.distil.step": 3}}, errors.RecipeError, "steps", id="no such place"),
    ],
)
def test_a_wrong_call_gives_one_clear_error_and_no_folder(
    call: dict[str, Any], error: type[errors.XzooError], says: str, toy: Embedder, people: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XZOO_CACHE", str(tmp_path))
    with pytest.raises(error, match=says):
        distill(**{"recipe": "kd", "student": toy, "teacher": toy, "data": people, **call})
    assert not list(tmp_path.iterdir())


def test_finetune_sends_what_it_cannot_do_to_distill(toy: Embedder, people: Path) -> None:
    with pytest.raises(errors.OptionError, match=r"teacher given.*\n.*xzoo.distill"):
        xzoo.finetune(toy, people, recipe="kd")
