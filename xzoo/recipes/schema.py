"""What a recipe may say: closed, typed, and checked as a whole.

A recipe is a list of stages. A stage says what trains, who teaches, how a batch
is drawn and seen, which losses pull with which weight, and for how long. Every
name in it comes from a registry; no recipe can name code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from xzoo import errors, losses
from xzoo.cards.schema import Closed, Line, Text, load_yaml, validated

__all__ = ["Batch", "Lora", "LossTerm", "Optimiser", "Recipe", "Stage", "Train", "Views", "check", "parse"]

Tensors = Literal["student.source", "student.target", "teacher.source"]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Part = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Name = Annotated[Text, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class Lora(Closed):
    """Low-rank updates beside frozen layers; the network's family says which layers."""

    rank: Count = 8
    alpha: Positive = 16.0
    dropout: Part = 0.0


class Train(Closed):
    """What trains: groups of the network's own parameters, low-rank updates, or both.

    ``groups`` joins names of ``model.groups()`` with ``+``, as in ``norms+st+s0``;
    ``norms`` and ``all`` fit every family.
    """

    groups: Text | None = None
    lora: Lora | None = None

    @model_validator(mode="after")
    def _something(self) -> Train:
        if not self.groups and not self.lora:
            raise ValueError("nothing trains; write groups: norms+st or lora: {rank: 8}")
        return self


class Batch(Closed):
    """How a batch is drawn.

    ``pairs``: ``size`` source images, each with a target of the same subject with
    probability ``positive``. ``balanced``: ``size`` is a whole number of subjects
    with ``per_subject`` images per spectrum.
    """

    sampler: Literal["pairs", "balanced"] = "pairs"
    size: Count = 40
    positive: Share = 0.5
    per_subject: Count = 1

    @model_validator(mode="after")
    def _whole_subjects(self) -> Batch:
        if self.sampler == "balanced" and self.size % self.per_subject:
            raise ValueError(f"size {self.size} is not a multiple of per_subject {self.per_subject}")
        return self


class Views(Closed):
    """What happens to a raw crop before the network sees it: see ``xzoo.data.augment``.

    ``flip``: probability of a mirror image. ``crop``: smallest and largest share of
    the picture's area that a random crop keeps. The others: largest relative change.
    """

    flip: Share = 0.5
    crop: Annotated[tuple[Share, Share], Field(strict=False)] = (1.0, 1.0)
    brightness: Part = 0.0
    contrast: Part = 0.0
    gamma: Part = 0.0

    @model_validator(mode="after")
    def _in_order(self) -> Views:
        if not 0 < self.crop[0] <= self.crop[1]:
            raise ValueError(f"crop {list(self.crop)} is not (smallest, largest), above 0")
        return self


class LossTerm(Closed):
    """One named term of the sum that is minimised."""

    name: Text
    on: Annotated[tuple[Tensors, Tensors], Field(strict=False)]
    weight: NotNegative = 1.0
    options: dict[str, float] = {}

    @model_validator(mode="after")
    def _known(self) -> LossTerm:
        if self.name not in losses.LOSSES:
            close = errors.nearest(self.name, losses.LOSSES) or sorted(losses.LOSSES)[:3]
            raise ValueError(f"no loss {self.name!r}; close: {', '.join(close)}")
        entry = losses.LOSSES[self.name]
        if entry.learns or entry.keeps or entry.needs or entry.inputs not in ("embedding", "any"):
            has = "has state of its own" if entry.learns or entry.keeps else f"compares {entry.inputs}"
            raise ValueError(f"loss {self.name!r} {has}; a stage gives embeddings to losses without state")
        known = losses.options(self.name)
        for key in self.options:
            if key not in known:
                close = errors.nearest(key, known) or list(known) or ["it has none"]
                raise ValueError(f"no option {key!r} in loss {self.name!r}; close: {', '.join(close)}")
        return self


class Optimiser(Closed):
    """AdamW, a schedule of its rate, and the norm at which the gradient is clipped (null: never)."""

    name: Literal["adamw"] = "adamw"
    lr: Positive = 1e-4
    betas: Annotated[tuple[Share, Share], Field(strict=False)] = (0.9, 0.999)
    weight_decay: NotNegative = 0.0
    clip: Positive | None = None
    schedule: Literal["constant", "cosine"] = "constant"
    warmup: Annotated[int, Field(ge=0)] = 0


class Stage(Closed):
    """One stretch of training."""

    name: Name
    train: Train
    teacher: Literal["none", "start"] = "none"
    batch: Batch = Batch()
    views: Views = Views()
    losses: Annotated[tuple[LossTerm, ...], Field(strict=False)]
    optimiser: Optimiser = Optimiser()
    steps: Count = 100

    @model_validator(mode="after")
    def _fits(self) -> Stage:
        # Said here and not by a minimal length: that would also complain of a list whose only item is wrong.
        if not self.losses:
            raise ValueError("there is no loss")
        names = [term.name for term in self.losses]
        if len(set(names)) < len(names):
            raise ValueError("two losses have the same name")
        if not any(term.weight for term in self.losses):
            raise ValueError("every loss has weight 0, so nothing would train")
        for term in self.losses:
            if self.teacher == "none" and any(part.startswith("teacher.") for part in term.on):
                raise ValueError(f"loss {term.name!r} looks at a teacher, but teacher is none; write teacher: start")
            due, pairs = losses.LOSSES[term.name].labels, self.batch.sampler == "pairs"
            if due == "subject" and pairs and self.batch.positive < 1:
                raise ValueError(f"loss {term.name!r} needs a partner for every image; write batch: {{positive: 1.0}}")
            if due == "match" and not pairs:
                raise ValueError(f"loss {term.name!r} needs labelled pairs; write batch: {{sampler: pairs}}")
        return self


class Variant(Closed):
    """What changes in every stage when the recipe is run with LoRA."""

    train: Train = Train(groups="norms", lora=Lora())
    lr: Positive = 1e-3


class Recipe(Closed):
    """A checked recipe."""

    recipe: Name
    summary: Line
    source: Text = ""
    stages: Annotated[tuple[Stage, ...], Field(strict=False)]
    lora: Variant = Variant()

    @model_validator(mode="after")
    def _one_adapter(self) -> Recipe:
        if not self.stages:
            raise ValueError("there is no stage")
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ValueError("two stages have the same name")
        if any(stage.train != self.stages[0].train for stage in self.stages):
            raise ValueError("the stages train different things; one run leaves one adapter")
        return self

    @property
    def steps(self) -> int:
        """Steps of all stages together."""
        return sum(stage.steps for stage in self.stages)

    def with_(self, changes: Mapping[str, Any]) -> Recipe:
        """Return a recipe with some values changed, checked again.

        Args:
            changes: Dotted place to new value. Stages and losses are addressed
                by their name; ``stages.*`` means every stage.

        Example:
            >>> from xzoo import recipes
            >>> ablation = recipes.load("xedgeface").with_({"stages.adapt.losses.cosine.weight": 0.0})

        Raises:
            RecipeError: There is no such place, or the new recipe is wrong.
        """
        tree = self.model_dump(mode="json")
        for place, value in changes.items():
            *parents, key = place.split(".")
            for branch in _branches(tree, parents, place):
                if not isinstance(branch, dict) or not (key in branch or parents[-1:] == ["options"]):
                    raise _nowhere(self.recipe, place, key, branch)
                branch[key] = value
        return check(tree, f"recipe {self.recipe!r}")


def _branches(node: Any, parents: Sequence[str], place: str) -> Iterator[Any]:
    """Walk down ``parents``; a list is entered by the ``name`` of its element, or by ``*``."""
    if not parents:
        yield node
        return
    key, rest = parents[0], parents[1:]
    if isinstance(node, list):
        found = [item for item in node if key in ("*", item["name"])]
    else:
        found = [node[key]] if isinstance(node, dict) and key in node else []
    if not found:
        raise _nowhere("the recipe", place, key, node)
    for item in found:
        yield from _branches(item, rest, place)


def _nowhere(what: str, place: str, key: str, node: Any) -> errors.RecipeError:
    keys = [item["name"] for item in node] if isinstance(node, list) else list(node) if isinstance(node, dict) else []
    return errors.RecipeError(
        f"no place {place!r} in {what}.",
        why=f"There is no {key!r} there.",
        exists=", ".join(errors.nearest(key, keys) or keys[:3]),
    )


def parse(text: str, file: str) -> Recipe:
    """Read and check a recipe as a whole.

    Raises:
        RecipeError: Listing every fault with its place and the nearest right spelling.
    """
    return check(load_yaml(text, file, error=errors.RecipeError), file)


def check(tree: Any, file: str) -> Recipe:
    """Check a recipe that is a tree of plain values already.

    Raises:
        RecipeError: As :func:`parse`.
    """
    return validated(Recipe, tree, file, errors.RecipeError)
