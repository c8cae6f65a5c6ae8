"""Students of few pixels taught on generated people, in memory: what the house weights and the ablation share.

The stages are those of the recipes. Pictures are drawn once, the teacher answers each of them and its mirror image
once, and a batch is shrunk as it is needed: a step costs what a network of 16 pixels costs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from xzoo import errors
from xzoo.data.augment import Augment, generator
from xzoo.data.degrade import BicubicNative
from xzoo.data.people import faces
from xzoo.data.people.traits import SESSION
from xzoo.families.base import Embedder
from xzoo.recipes.schema import Stage
from xzoo.training import optim
from xzoo.training.bridge import compact
from xzoo.training.terms import Counts, Term, make

__all__ = ["AUGMENT", "Lesson", "bridge", "draw", "lesson", "sensor", "teach"]

AUGMENT = Augment(flip=0.0, crop=(0.8, 1.0), brightness=0.1, contrast=0.3, gamma=0.3)
"""Changes of a student's picture before it is shrunk; mirrored it is together with what the teacher said."""


class Lesson(NamedTuple):
    """Pictures ``uint8 [N, 3, S, S]``, their subjects ``[N]``, and what a teacher says ``float32 [2, N, D]``.

    ``answers[1]`` is of the mirror images.
    """

    pictures: Tensor
    subjects: Tensor
    answers: Tensor


def draw(first: int, count: int, days: int, *, size: int, seed: int, camera: str = "house") -> tuple[Tensor, Tensor]:
    """Return visible pictures of ``count`` generated people on ``days`` days each, and their subjects from 0."""
    parts = []
    for start in range(0, count, 64):
        who = first + torch.arange(start, min(start + 64, count))
        when = torch.arange(days).repeat(len(who)) * SESSION
        parts.append(faces(who.repeat_interleave(days), when, "VIS", size=size, seed=seed, camera=camera))
    return torch.cat(parts), torch.arange(count).repeat_interleave(days)


def lesson(teacher: Embedder, pictures: Tensor, subjects: Tensor) -> Lesson:
    """Ask a teacher about pictures in its own size, and about their mirror images."""
    return Lesson(
        pictures,
        subjects,
        torch.stack([teacher.embed(x, normalise=False) for x in (pictures, pictures.flip(3))]),
    )


def sensor(pictures: Tensor, gain: float, offset: float) -> Tensor:
    """Return pictures ``uint8`` as another sensor gives them: ``gain x + offset`` with ``x`` in -1..1, clipped."""
    return (((pictures.float() / 127.5 - 1) * gain + offset + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


Ask = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]


def _run(
    stage: Stage, trained: nn.Module, ask: Ask, lesson: Lesson, seed: int, widths: tuple[int, int]
) -> Iterator[dict[str, float]]:
    """Run a stage whose losses look at ``student.source`` and ``teacher.source``; yield the terms of each step."""
    shapes = {"student": {"": (2, widths[0])}, **{name: {"": (2, widths[1])} for name in stage.taught}}
    for planned in stage.losses:
        if any(part.view != "source" or part.paths for part in planned.signals):
            raise errors.RecipeError(
                f"loss {planned.key!r} looks at {', '.join(planned.on)}.",
                why="Pictures in memory have one view: the embeddings of source.",
                do="xzoo.distill(recipe=...) runs every recipe",
            )
    counts = Counts(int(lesson.subjects.max()) + 1, len(lesson.subjects))
    terms: list[Term] = [make(planned, shapes, counts) for planned in stage.losses]
    learned = [p for term in terms if term.module is not None for p in term.module.train().parameters()]
    parameters = [*trained.parameters(), *learned]
    optimiser = optim.build(stage.optimiser, parameters)
    for step in range(stage.steps):
        random = generator(seed, step)
        rows = torch.randint(len(lesson.subjects), (stage.batch.size,), generator=random)
        mirrored = (torch.rand(len(rows), generator=random) < stage.views.flip).long()
        ours, theirs = ask(rows, mirrored, step)
        given, total = lesson.subjects[rows], torch.zeros(())
        values: dict[str, float] = {}
        for term in terms:
            labels = {} if term.labels == "none" else {"labels": given}
            value = term.loss(*[ours if part.who == "student" else theirs for part in term.on], **labels)
            total = total + term.weight * optim.share(term.schedule, step, stage.steps) * value
            values[term.key] = value.item()
        for group in optimiser.param_groups:
            group["lr"] = optim.rate(stage.optimiser, step, stage.steps)
        optimiser.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(parameters, stage.optimiser.clip or torch.inf)
        if not torch.isfinite(total):
            raise errors.TrainingStopped(
                f"the loss is {total.item()} at step {step + 1}.", do="lower the learning rate"
            )
        optimiser.step()
        yield values


def bridge(
    stage: Stage, lesson: Lesson, *, seed: int = 0, report: Callable[[int, dict[str, float]], None] | None = None
) -> Lesson:
    """Train a compact head behind a teacher's answers; return the lesson with the head's answers in their place.

    Args:
        stage: The first stage of ``bridge_distill``.
        lesson: Of the teacher.
        seed: Draws starting values and batches.
        report: Called with each step and its terms.

    Raises:
        RecipeError: The stage has no head, or a loss looks at other things than embeddings.
    """
    if stage.head is None:
        raise errors.RecipeError(f"stage {stage.name!r} has no head.", do="head: {width: 256}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = compact(lesson.answers.shape[2], stage.head.width).train()

    def ask(rows: Tensor, mirrored: Tensor, _step: int) -> tuple[Tensor, Tensor]:
        known = lesson.answers[mirrored, rows]
        return head(known), known

    for step, values in enumerate(_run(stage, head, ask, lesson, seed, (stage.head.width, lesson.answers.shape[2]))):
        if report is not None:
            report(step, values)
    with torch.no_grad():
        return lesson._replace(answers=torch.stack([head.eval()(side) for side in lesson.answers]))


def teach(
    stage: Stage,
    student: Embedder,
    lesson: Lesson,
    *,
    seed: int = 0,
    augment: Augment = AUGMENT,
    report: Callable[[int, dict[str, float]], None] | None = None,
) -> Embedder:
    """Train a student of few pixels in place, and return it in evaluation mode.

    Pictures are changed, then shrunk to the student's size by ``bicubic_r``.

    Args:
        stage: A stage whose losses look at the embeddings of ``source``.
        student: A network of a square input.
        lesson: What is seen, and what a teacher says of it.
        seed: Draws batches and changes.
        augment: Changes of a picture; a flip is drawn apart, by the stage.
        report: Called with each step and its terms.

    Raises:
        RecipeError: A loss looks at other things than embeddings.
        TrainingStopped: The loss is no longer a number.
    """
    shrink, network = BicubicNative(size=student.preprocess.size[1]), student.requires_grad_(True).train()

    def ask(rows: Tensor, mirrored: Tensor, step: int) -> tuple[Tensor, Tensor]:
        seen = lesson.pictures[rows]
        seen = torch.where(mirrored.bool()[:, None, None, None], seen.flip(3), seen)
        small = shrink(augment(seen, generator(seed, step, 1)))
        return network(student.preprocess.normalise(small)), lesson.answers[mirrored, rows]

    with torch.no_grad():
        own: Any = student.eval()(torch.zeros(2, *student.preprocess.size)).shape[1]
    student.train()
    for step, values in enumerate(_run(stage, student, ask, lesson, seed, (own, lesson.answers.shape[2]))):
        if report is not None:
            report(step, values)
    student.weights, student._fingerprint = None, None
    return student.eval().requires_grad_(False)
