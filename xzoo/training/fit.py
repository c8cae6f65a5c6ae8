"""Find out whether a recipe, its networks and its losses go together, before anything runs.

Networks are built without memory, on torch's meta device, where shapes are
known and nothing is computed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from xzoo import errors, hub
from xzoo.families.base import Embedder, Origin, Plain
from xzoo.losses.hooks import TRUNK
from xzoo.recipes.schema import TRUTH, Draft, Network, Signal, faulty
from xzoo.training.bridge import Bridge
from xzoo.training.engine import feature_shapes
from xzoo.training.landmarks import known_points
from xzoo.training.terms import Counts, make

if TYPE_CHECKING:
    from xzoo.recipes.schema import Recipe, Stage

__all__ = ["check", "checked", "faults", "wanted"]

Given = str | Path | Embedder | Network


def check(plan: Recipe, *, student: Given | None = None, teacher: Given | None = None, complete: bool = True) -> None:
    """Check a recipe against the networks that it names, or that the caller gives.

    Args:
        plan: The recipe.
        student: What the caller gives in place of the recipe's.
        teacher: What the caller gives.
        complete: Whether a network that the recipe waits for and nobody gives is a fault; otherwise
            what depends on it is left unchecked.

    Raises:
        RecipeError: Listing every fault with its place.
    """
    found = list(dict.fromkeys(faults(plan, student=student, teacher=teacher, complete=complete)))
    if found:
        raise errors.RecipeError(
            f"recipe {plan.recipe!r}: {len(found)} fault{'s' * (len(found) > 1)}.",
            why=errors.problems(found, limit=1000),
        )


def checked(
    read: Callable[[], Recipe], *, student: Given | None = None, teacher: Given | None = None, complete: bool = True
) -> Recipe:
    """Read a recipe and check it as :func:`check` does; what is wrong with either is told in one report.

    Args:
        read: Reads it, such as ``lambda: recipes.load(name)``.
        student: As for :func:`check`.
        teacher: As for :func:`check`.
        complete: As for :func:`check`.

    Raises:
        RecipeError: Listing every fault with its place.
    """
    try:
        plan = read()
    except errors.RecipeError as fault:
        draft: Draft | None = fault.draft
        if draft is None or draft.recipe is None:
            raise
        more = faults(draft.recipe, student=student, teacher=teacher, complete=complete)
        lines = [*draft.faults, *(f"{draft.file}: {text}" for text in more)]
        raise faulty(draft.file, list(dict.fromkeys(lines)), draft.recipe) from fault
    check(plan, student=student, teacher=teacher, complete=complete)
    return plan


def wanted(plan: Recipe, student: Given | None) -> list[str | Given | None]:
    """Return, for each stage, whom it trains: a network, ``stage:NAME``, or None where the caller has to say."""
    first = student if student is not None else plan.student
    found: list[str | Given | None] = []
    for number, stage in enumerate(plan.stages):
        who: str | Given | None = stage.student
        if who == "given" or (who is None and not number):
            who = None if first == "given" else first
        found.append(f"stage:{plan.stages[number - 1].name}" if stage.student is None and number else who)
    return found


def faults(
    plan: Recipe, *, student: Given | None = None, teacher: Given | None = None, complete: bool = True
) -> Iterator[str]:
    """Yield every fault of a recipe as one line: its place, what is wrong, what there is; see :func:`check`."""
    students: dict[str, Embedder | None] = {}
    for number, (stage, who) in enumerate(zip(plan.stages, wanted(plan, student), strict=True)):
        place = f"stages[{number}]"
        found: dict[str, Embedder | None] = {}
        if who == "teacher":
            who = teacher
        if isinstance(who, str) and who.startswith("stage:"):
            found["student"] = students.get(who.removeprefix("stage:"))
        elif who is None:
            if complete:
                yield f"{place}.student: missing; write student: NAME, or give one: student=... (--student)"
        else:
            found["student"], fault = _skeleton(who)
            yield from (f"{place}.student: {text}" for text in fault)
        base = found.get("student")
        if stage.head is not None and base is not None:
            found["student"] = Bridge(base, stage.head).eval()
        students[stage.name] = found.get("student")
        for name, taught in stage.taught.items():
            key = "teacher" if name == "teacher" else f"teachers.{name}"
            if taught == "start":
                found[name] = found.get("student")
            elif isinstance(taught, str) and taught.startswith("stage:"):
                found[name] = students.get(taught.removeprefix("stage:"))
            elif taught == "given" and teacher is None:
                if complete:
                    yield f"{place}.{key}: the recipe waits for a teacher; give one: teacher=... (--teacher)"
            else:
                found[name], fault = _skeleton(teacher if taught == "given" and teacher is not None else taught)
                yield from (f"{place}.{key}: {text}" for text in fault)
        yield from (f"{place}.{text}" for text in _stage(stage, found))


def _stage(stage: Stage, networks: Mapping[str, Embedder | None]) -> Iterator[str]:
    student = networks.get("student")
    if student is not None and stage.train.groups:
        from xzoo.adapters.norms import parameters_of

        try:
            parameters_of(student, stage.train.groups, "groups")
        except errors.OptionError as fault:
            yield f"train.groups: {_line(fault)}"
    if student is not None and stage.train.petalface is not None:
        from xzoo.adapters.lora import find_targets

        try:
            find_targets(student, stage.train.petalface.targets)
        except errors.OptionError as fault:
            yield f"train.petalface: {_line(fault)}"
    shapes: dict[str, Mapping[str, Any]] = {}
    missing: set[str] = set()
    for who, network in networks.items():
        if network is None:
            continue
        good = []
        for path in stage.paths_of(who):
            if path in dict(network.named_modules()) or path == TRUNK:
                good.append(path)
                continue
            missing.add(f"{who}:{path}")
            names = [name for name, _ in network.named_modules() if name]
            close = errors.nearest(path, names) or names[:3]
            yield f"losses: no module {path!r} in {who} {network.card.name}; close: {', '.join(close)}"
        try:
            shapes[who] = feature_shapes(network, good)
        except (RuntimeError, TypeError, ValueError, errors.XzooError) as fault:
            text = _line(fault) if isinstance(fault, errors.XzooError) else str(fault).splitlines()[0]
            yield f"losses: {who} {network.card.name} cannot be run without memory: {text}"
    for number, term in enumerate(stage.losses):
        if any(part.who == TRUTH for part in term.signals) and "student" in shapes:
            shapes[TRUTH] = {"": known_points(shapes["student"][""])}
        unknown = [part for part in term.signals if part.who not in shapes]
        if unknown or any(f"{part.who}:{path}" in missing for part in term.signals for path in part.paths):
            continue  # told above
        if term.head:
            yield from (f"losses[{number}]: {text}" for text in _head(term.signals[1], networks))
        try:
            make(term, shapes, Counts(stage.batch.size + 1, stage.batch.size + 1))
        except errors.OptionError as fault:
            yield f"losses[{number}]: {_line(fault)}"


def _head(part: Signal, networks: Mapping[str, Embedder | None]) -> Iterator[str]:
    """Yield what is wrong where a teacher's last layer cannot read the pooled feature that a loss compares."""
    teacher = networks[part.who]
    if teacher is None:
        return
    if isinstance(teacher, Plain):
        yield f"head: true, but where the last layer of {teacher.card.name} begins is not known"
        return
    wide = feature_shapes(teacher, part.paths)[part.paths[0]][1] if part.paths else 0
    try:
        teacher.project(torch.empty(2, wide, device="meta"))
    except RuntimeError as fault:
        yield f"the last layer of {teacher.card.name} does not read {part}: {str(fault).splitlines()[0]}"


def _line(fault: errors.XzooError) -> str:
    said = [fault.asked.rstrip("."), fault.why.rstrip(".")]
    text = "; ".join(part.replace("\n  ", " ") for part in said if part)
    return text + (f"; close: {fault.exists}" if fault.exists else "")


def _skeleton(who: Given) -> tuple[Embedder | None, list[str]]:
    """Return a network without memory, or None and what is wrong."""
    if isinstance(who, Embedder):
        return copy.deepcopy(who).to("meta").eval(), []
    if isinstance(who, Path) or (isinstance(who, str) and hub.as_path(who, "name").is_dir()):
        from xzoo.training.run import load_run

        try:
            return load_run(Path(who)).to("meta").eval(), []
        except errors.XzooError as fault:
            return None, [_line(fault)]
    spec = who if isinstance(who, Network) else None
    try:
        return _built(who if isinstance(who, str) else spec.name if spec else "", spec), []
    except errors.XzooError as fault:
        return None, [_line(fault)]


def _built(name: str, spec: Network | None) -> Embedder:
    from xzoo import catalog, models
    from xzoo.data.preprocess import Preprocess
    from xzoo.loading import Blueprint

    card, _ = catalog.resolve(name)
    if card.kind != "backbone":
        raise errors.OptionError(f"{name!r} is a card of kind {card.kind}, not a network")
    if spec is not None and isinstance(spec.pretrained, str) and spec.pretrained not in card.tags:
        raise errors.NotFound(
            f"{card.name} has no tag {spec.pretrained!r}", exists=", ".join(sorted(card.tags)) or "no tags"
        )
    blueprint = Blueprint.of(card, models.check_options(card, spec.options if spec else {}))
    network = blueprint.empty()
    if network is None:
        model = blueprint.plain().to("meta")
    else:
        model = network if isinstance(network, Embedder) else Plain(network)
    model.card, model.preprocess = card, Preprocess.from_card(card)
    if model.input_size is not None:
        model.preprocess = replace(model.preprocess, size=(3, *model.input_size))
    model.origin = Origin(card.name, spec.pretrained if spec else True, dict(spec.options) if spec else {})
    return model.eval()
