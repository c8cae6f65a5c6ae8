"""The one loop: every recipe, with or without a teacher, is run by it.

A stage in progress is a :class:`Progress`: all that changes from step to step,
and so all that a checkpoint holds. :func:`begin` makes one, :func:`run` moves
it on. Nothing in here writes files or knows of run folders.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xzoo import errors, losses
from xzoo.data.augment import Augment, generator
from xzoo.data.images import load_raw
from xzoo.data.samplers import BalancedSampler, Batch, PairSampler
from xzoo.training import optim

if TYPE_CHECKING:
    from xzoo.data.manifest import Manifest
    from xzoo.families.base import Embedder
    from xzoo.recipes.schema import Stage

__all__ = [
    "COLLAPSE",
    "Images",
    "CollapseWarning",
    "Progress",
    "Step",
    "begin",
    "draw",
    "frozen_copy",
    "run",
    "trainable",
]

COLLAPSE = 0.8
"""Mean cosine between different subjects above which a network has stopped telling people apart."""

IN_MEMORY = 2 * 1024**3
"""Bytes of decoded crops that are kept; more are decoded anew for each batch."""


class CollapseWarning(UserWarning):
    """Different subjects look nearly alike to the network: the learning rate is too high, or the data too few."""


class Images:
    """The raw crops of a manifest, as one network wants them: decoded once if they fit into memory."""

    def __init__(self, manifest: Manifest, student: Embedder) -> None:
        self.manifest, self.preprocess = manifest, student.preprocess
        bytes_ = len(manifest) * math.prod(student.preprocess.size)
        self._all = load_raw(manifest, student.preprocess) if bytes_ <= IN_MEMORY else None

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Return ``uint8 [B, 3, H, W]`` of some rows."""
        if self._all is not None:
            return self._all[rows]
        from dataclasses import replace

        some = replace(self.manifest, rows=tuple(self.manifest.rows[row] for row in rows.tolist()))
        return load_raw(some, self.preprocess)


@dataclass
class Progress:
    """A stage in progress.

    Attributes:
        stage: The stage of the recipe.
        student: The network that learns, adapter attached.
        teacher: A frozen copy of the student as the stage began, if the stage has a teacher.
        parameters: What trains, by name.
        start: What a later stage's teacher was made of; empty for the first stage.
        step: Steps done.
        impostor: Mean cosine between different subjects, over about the last ten steps; None before the first.
    """

    stage: Stage
    student: Embedder
    teacher: Embedder | None
    parameters: dict[str, nn.Parameter]
    start: dict[str, Tensor]
    images: Images
    sampler: PairSampler | BalancedSampler
    augment: Augment
    optimiser: torch.optim.Optimizer
    seed: int
    step: int = 0
    impostor: float | None = None
    terms: list[tuple[str, Callable[..., Tensor], str, tuple[str, str], float]] = field(default_factory=list)


class Step(NamedTuple):
    """What one step did: the sum, its terms before weighting, how alike different subjects look, and how fast."""

    step: int
    loss: float
    terms: dict[str, float]
    lr: float
    impostor: float | None
    images_per_second: float


def trainable(student: nn.Module) -> dict[str, nn.Parameter]:
    """Return what trains, by name."""
    return {name: parameter for name, parameter in student.named_parameters() if parameter.requires_grad}


def frozen_copy(student: Embedder) -> Embedder:
    """Return a teacher: the network as it is now, for ever."""
    return copy.deepcopy(student).requires_grad_(False).eval()


def draw(stage: Stage, manifest: Manifest, source: str, seed: int) -> PairSampler | BalancedSampler:
    """Return the sampler of a stage."""
    plan = stage.batch
    if plan.sampler == "pairs":
        return PairSampler(manifest, source, batch=plan.size, positive=plan.positive, seed=seed)
    return BalancedSampler(manifest, source, subjects=plan.size // plan.per_subject, images=plan.per_subject, seed=seed)


def begin(
    stage: Stage,
    student: Embedder,
    images: Images,
    *,
    teacher: Embedder | None,
    source: str,
    seed: int,
    start: Mapping[str, Tensor] | None = None,
) -> Progress:
    """Set a stage up at its step 0.

    Args:
        stage: What to do.
        student: The network, with what trains marked by ``requires_grad``.
        images: The training images.
        teacher: A frozen network; used only if the stage has a teacher.
        source: The spectrum that the network knows.
        seed: Draws batches and views.
        start: What the teacher was made of, where a checkpoint must keep it.
    """
    parameters = trainable(student)
    _only_adapters_in_training_mode(student)
    return Progress(
        stage=stage,
        student=student,
        teacher=teacher if stage.teacher == "start" else None,
        parameters=parameters,
        start=dict(start or {}),
        images=images,
        sampler=draw(stage, images.manifest, source, seed),
        augment=Augment(**stage.views.model_dump()),
        optimiser=optim.build(stage.optimiser, parameters.values()),
        seed=seed,
        terms=[
            (term.name, losses.create(term.name, **term.options), losses.get(term.name).labels, term.on, term.weight)
            for term in stage.losses
        ],
    )


def run(progress: Progress) -> Iterator[Step]:
    """Do the steps that a stage still lacks, yielding after each one.

    Between two steps the progress is whole: it can be saved and left.

    Raises:
        TrainingStopped: The loss or its gradient is no longer a number; names the files of the batch.
    """
    while progress.step < progress.stage.steps:
        yield _step(progress)


def _step(progress: Progress) -> Step:
    stage, began = progress.stage, time.perf_counter()
    lr = optim.rate(stage.optimiser, progress.step, stage.steps)
    for group in progress.optimiser.param_groups:
        group["lr"] = lr
    batch = progress.sampler.next_batch()
    tensors = _embeddings(progress, batch)
    labels = _labels(batch, tensors["student.source"].device)

    total = torch.zeros((), device=tensors["student.source"].device)
    terms = {}
    for name, loss, kind, on, weight in progress.terms:
        first, second = (tensors[which] for which in on)
        value = loss(first, second, **labels[kind])
        terms[name] = value.item()
        if weight:
            total = total + weight * value

    progress.optimiser.zero_grad()
    total.backward()
    norm = nn.utils.clip_grad_norm_(progress.parameters.values(), stage.optimiser.clip or math.inf)
    if not math.isfinite(total.item()) or not math.isfinite(norm.item()):
        raise _stopped(progress, batch, terms, norm.item())
    progress.optimiser.step()
    progress.step += 1
    _follow_impostors(progress, tensors, batch)
    count = len(batch.source) + len(batch.target)
    seconds = time.perf_counter() - began
    return Step(progress.step, total.item(), terms, lr, progress.impostor, count / seconds)


def _embeddings(progress: Progress, batch: Batch) -> dict[str, Tensor]:
    """Show the batch to the student, and its source half to the teacher."""
    rows = torch.from_numpy(batch.source), torch.from_numpy(batch.target)
    raw = progress.augment(progress.images[torch.cat(rows)], generator(progress.seed, progress.step))
    student = progress.student
    views = student.preprocess.normalise(raw.to(next(iter(progress.parameters.values())).device))
    source, target = student(views).split([len(part) for part in rows])
    found = {"student.source": source, "student.target": target}
    if progress.teacher is not None:
        with torch.no_grad():
            found["teacher.source"] = progress.teacher(views[: len(rows[0])])
    return found


def _labels(batch: Batch, device: torch.device) -> dict[str, dict[str, Tensor]]:
    """Return the labels that each kind of loss is given."""
    source, target = (torch.from_numpy(side).to(device) for side in (batch.source_subject, batch.target_subject))
    match = {} if batch.same is None else {"labels": torch.from_numpy(batch.same).to(device)}
    return {
        "none": {},
        "match": match,
        "subject": {"labels": source, "target_labels": target},
        "class": {"labels": source},
    }


def _only_adapters_in_training_mode(student: nn.Module) -> None:
    """Put dropout of adapters to work and nothing else.

    The statistics of a small batch of mixed spectra, or dropout of the base's own
    training, would move the student off its teacher before it learnt anything.
    """
    student.eval()
    for name, module in student.named_modules():
        if "lora_dropout" in name:
            module.train()


@torch.no_grad()
def _follow_impostors(progress: Progress, tensors: Mapping[str, Tensor], batch: Batch) -> None:
    """Take a batch into the running mean: a single small one says little."""
    source, target = (F.normalize(tensors[f"student.{side}"].detach(), dim=1) for side in ("source", "target"))
    other = torch.from_numpy(batch.source_subject[:, None] != batch.target_subject[None, :]).to(source.device)
    if other.any():
        now = (source @ target.T)[other].mean().item()
        progress.impostor = now if progress.impostor is None else 0.9 * progress.impostor + 0.1 * now


def _stopped(progress: Progress, batch: Batch, terms: Mapping[str, float], norm: float) -> errors.TrainingStopped:
    rows = progress.images.manifest.rows
    files = [rows[index].path for index in dict.fromkeys([*batch.source.tolist(), *batch.target.tolist()])]
    shown = ", ".join(f"{name} {value:g}" for name, value in terms.items())
    return errors.TrainingStopped(
        f"training stopped at step {progress.step + 1}: the loss is not a number ({shown}, gradient norm {norm:g}).",
        why="Images of this batch: " + ", ".join(files),
        do="look at these images, or lower the learning rate (lr=...)",
    )
