"""The one loop: every recipe, with or without a teacher, is run by it.

A stage in progress is a :class:`Progress`: all that changes from step to step,
and so all that a checkpoint holds. :func:`begin` makes one, :func:`run` moves
it on. Nothing in here writes files or knows of run folders.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xzoo import errors
from xzoo.catalog.names import SPECTRA
from xzoo.data.images import load_raw
from xzoo.data.samplers import BalancedSampler, Batch, DomainSampler, ImageSampler, PairSampler
from xzoo.families.base import STEADY_ROWS
from xzoo.losses.dikd import still_statistics
from xzoo.losses.hooks import Capture, shapes
from xzoo.losses.metric import Mined, mined
from xzoo.losses.reuse import pooled
from xzoo.recipes.schema import TRUTH, Signal
from xzoo.training import optim
from xzoo.training.cache import LIMIT, Answers, pixel_key, teacher_key
from xzoo.training.landmarks import known_points, landmark_table
from xzoo.training.looks import ALONE, Looks, Shown, World, shown
from xzoo.training.terms import Counts, Shapes, Term, make

if TYPE_CHECKING:
    from xzoo.data.manifest import Manifest
    from xzoo.families.base import Embedder
    from xzoo.recipes.schema import Batch as Plan
    from xzoo.recipes.schema import Stage

__all__ = [
    "ALONE",
    "COLLAPSE",
    "Images",
    "CollapseWarning",
    "Options",
    "Progress",
    "Step",
    "World",
    "begin",
    "draw",
    "finish",
    "frozen_copy",
    "has_bf16",
    "run",
    "trainable",
]

Sampler = PairSampler | BalancedSampler | ImageSampler | DomainSampler

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


class Options(NamedTuple):
    """How a stage is run, as far as that is no part of the recipe.

    Attributes:
        cache: Where answers of teachers are kept, for stages that ask for it.
        limit: Bytes that they may take.
        world: The processes that share a batch.
        compile: Whether the student goes through ``torch.compile``.
    """

    cache: Path | None = None
    limit: int = LIMIT
    world: World = ALONE
    compile: bool = False


@dataclass
class Teacher:
    """A frozen network at work.

    Attributes:
        steady: Whether a row's answer must not depend on its company, which is what makes it worth keeping.
        answers: What is kept, for each view; empty where nothing is.
        keys: Hashes of raw crops, by row of the manifest.
    """

    network: Embedder
    images: Images
    views: list[str]
    paths: list[str]
    steady: bool
    precision: str = "float32"
    answers: dict[str, Answers] = field(default_factory=dict)
    keys: dict[int, bytes] = field(default_factory=dict)


@dataclass
class Progress:
    """A stage in progress.

    Attributes:
        stage: The stage of the recipe.
        student: The network that learns.
        teachers: Those who teach, by the name that losses use.
        parameters: What trains of the student, by name.
        start: What a later stage's teacher was made of; empty for the first stage.
        terms: The losses.
        loss_parameters: What trains of the losses, by ``KEY/name``.
        ema: Running mean of ``parameters``; empty without one.
        step: Steps done.
        landmarks: Of all images, in shares of the raw crop, where a loss asks for them.
        impostor: Mean cosine between different subjects, over about the last ten steps; None before the first, and
            for networks that know nobody.
    """

    stage: Stage
    student: Embedder
    teachers: dict[str, Teacher]
    parameters: dict[str, nn.Parameter]
    start: dict[str, Tensor]
    images: Images
    sampler: Sampler
    looks: Looks
    optimiser: torch.optim.Optimizer
    seed: int
    terms: list[Term]
    loss_parameters: dict[str, nn.Parameter]
    ema: dict[str, Tensor]
    options: Options
    forward: Callable[..., Tensor]
    views: list[str]
    features: Capture | None
    landmarks: Tensor | None = None
    step: int = 0
    impostor: float | None = None

    @property
    def teacher(self) -> Embedder | None:
        """The network of the teacher called ``teacher``, if there is one."""
        return self.teachers["teacher"].network if "teacher" in self.teachers else None

    @property
    def augment(self) -> Callable[[Tensor, torch.Generator], Tensor]:
        """The changes that all views share."""
        return self.looks.augment

    def trained(self) -> dict[str, nn.Parameter]:
        """Return what the optimiser moves: of the student, and of the losses below ``loss/``."""
        return self.parameters | {f"loss/{name}": tensor for name, tensor in self.loss_parameters.items()}


class Step(NamedTuple):
    """What one step did: the sum, its terms before weighting, how alike different subjects look, and how fast.

    ``mined``: where the hardest partners of its last batch came from, where a loss is a batch-hard triplet.
    """

    step: int
    loss: float
    terms: dict[str, float]
    lr: float
    impostor: float | None
    images_per_second: float
    mined: Mined | None = None


def trainable(student: nn.Module) -> dict[str, nn.Parameter]:
    """Return what trains, by name."""
    return {name: parameter for name, parameter in student.named_parameters() if parameter.requires_grad}


def frozen_copy(student: Embedder) -> Embedder:
    """Return a teacher: the network as it is now, for ever."""
    return copy.deepcopy(student).requires_grad_(False).eval()


def draw(stage: Stage, manifest: Manifest, source: str, seed: int) -> Sampler:
    """Return the sampler of a stage."""
    plan = stage.batch
    if plan.sampler == "images":
        return ImageSampler(manifest, plan.source, batch=plan.size, per_subject=plan.per_subject, seed=seed)
    if plan.sampler == "domains":
        return _draw_domains(plan, manifest, source, seed)
    sides = (plan.source or source, plan.targets)
    if plan.sampler == "pairs":
        like = plan.registered
        return PairSampler(manifest, *sides, batch=plan.size, positive=plan.positive, seed=seed, registered=like)
    return BalancedSampler(manifest, *sides, subjects=plan.size // plan.per_subject, images=plan.per_subject, seed=seed)


def _draw_domains(plan: Plan, manifest: Manifest, source: str, seed: int) -> DomainSampler:
    domains = manifest.spectra if plan.targets is None else (plan.source or source, *plan.targets)
    each = plan.per_subject * len(domains)
    if plan.size % each:
        raise errors.OptionError(
            f"a batch of {plan.size} images by sampler domains",
            why=f"A subject has {each} of them: {plan.per_subject} in each of {' '.join(domains)}.",
            do=f"batch: {{size: {max(1, plan.size // each) * each}}}",
        )
    return DomainSampler(
        manifest, domains, subjects=plan.size // each, images=plan.per_subject, missing=plan.missing, seed=seed
    )


def begin(
    stage: Stage,
    student: Embedder,
    images: Images,
    *,
    teacher: Embedder | None = None,
    source: str,
    seed: int,
    start: Mapping[str, Tensor] | None = None,
    teachers: Mapping[str, Embedder] | None = None,
    options: Options = Options(),  # noqa: B008 - immutable
) -> Progress:
    """Set a stage up at its step 0.

    Args:
        stage: What to do.
        student: The network, with what trains marked by ``requires_grad``.
        images: The training images, as the student wants them.
        teacher: A frozen network; used only if the stage has a teacher called ``teacher``.
        source: The spectrum that the network knows.
        seed: Draws batches and views.
        start: What the teacher was made of, where a checkpoint must keep it.
        teachers: Frozen networks by name, where they are other networks than the student's own start.
        options: How it is run.

    Raises:
        RunError: The batch cannot be shared out to the processes.
        OptionError: A loss does not fit the features that it is to compare.
    """
    parameters = trainable(student)
    student.eval()
    if stage.train.mode == "train":
        student.train()
    else:
        _only_adapters_in_training_mode(student)
    given = ({"teacher": teacher} if teacher is not None and stage.teacher == "start" else {}) | dict(teachers or {})
    taught = {name: _teacher(stage, name, network, images, seed, options) for name, network in given.items()}
    counts = Counts(len(images.manifest.subjects), len(images.manifest))
    terms = [make(term, known, counts) for term, known in _with_shapes(stage, student, taught)]
    where = next(iter(parameters.values())).device
    for term in terms:
        if term.module is not None:
            term.module.to(where).train()
    modules = {term.key: term.module for term in terms if term.module is not None}
    own = {f"{key}/{name}": p for key, module in modules.items() for name, p in module.named_parameters()}
    own = {name: parameter for name, parameter in own.items() if parameter.requires_grad}
    sampler = draw(stage, images.manifest, source, seed)
    _shareable(sampler.batch(0), stage, student, options.world)
    landmarks = _landmarks(stage, student, images)
    forward: Any = torch.compile(student) if options.compile else student
    paths = stage.paths_of("student")
    features = Capture(student, paths) if paths else None
    if features is not None:
        features.__enter__()  # stays until finish(): hooks that come and go would compile the student anew each step
    return Progress(
        stage=stage,
        student=student,
        teachers=taught,
        parameters=parameters,
        start=dict(start or {}),
        images=images,
        sampler=sampler,
        looks=Looks(stage.views, seed, registered=stage.batch.registered),
        optimiser=optim.build(stage.optimiser, [*parameters.values(), *own.values()]),
        seed=seed,
        terms=terms,
        loss_parameters=own,
        ema={name: p.detach().clone() for name, p in parameters.items()} if stage.ema else {},
        options=options,
        forward=forward,
        views=_student_views(stage),
        features=features,
        landmarks=landmarks,
    )


def _student_views(stage: Stage) -> list[str]:
    """Return what the student is shown: both sides where no named view takes their place."""
    used = stage.views_of("student")
    if set(used) <= {"source", "target"}:
        return ["source", "target"] if stage.batch.two_sided else ["source"]
    return used


def _teacher(stage: Stage, name: str, network: Embedder, images: Images, seed: int, options: Options) -> Teacher:
    if network.banded:
        raise errors.OptionError(
            f"{network.card.name} as {name}",
            why="it must be told the band of each image, and a recipe tells that to students only",
            do=f"use a network of one stream as {name}",
        )
    who = stage.taught[name]
    same = network.preprocess == images.preprocess
    asked = None if isinstance(who, str) else who.precision
    device = next(network.parameters()).device
    precision = precision_of(asked or stage.teacher_precision, device, kept=stage.cache and options.cache is not None)
    paths, views = stage.paths_of(name), stage.views_of(name) or ["source"]
    found = Teacher(
        network=network,
        images=images if same else Images(images.manifest, network),
        views=views,
        paths=paths,
        steady=stage.cache or who != "start",
        precision=precision,
    )
    if stage.cache and options.cache is not None:
        key, looks = teacher_key(network, precision), Looks(stage.views, seed)
        found.answers = {
            view: Answers(options.cache, key, looks.facts(view), ["", *paths], limit=options.limit) for view in views
        }
    return found


def precision_of(asked: str, device: torch.device, *, kept: bool) -> str:
    """Return how a teacher runs: ``auto`` is bf16 where no answer is kept and the device has matrix units for it.

    Instructions for bf16 without tiles (AVX-512 without AMX) do not count: EdgeFace-Base gained nothing from them
    (``benchmarks/distil.py``).
    """
    if asked != "auto":
        return asked
    return "bf16" if not kept and has_bf16(device, units=True) else "float32"


def has_bf16(device: torch.device, *, units: bool = False) -> bool:
    """Return whether a device multiplies in bf16 itself; ``units``: by matrix units, on a processor tiles (AMX)."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    return bool(torch.cpu._is_amx_tile_supported() or (not units and torch.cpu._is_avx512_bf16_supported()))


def _with_shapes(stage: Stage, student: Embedder, teachers: Mapping[str, Teacher]) -> Iterator[tuple[Any, Any]]:
    """Yield each loss with the shapes that it needs to know, or None where all are embeddings of one network."""
    from xzoo import losses

    known: dict[str, Shapes] = {}
    for term in stage.losses:
        entry = losses.get(term.name)
        foreign = any(part.who != "student" and stage.taught.get(part.who) != "start" for part in term.signals)
        if not (foreign or entry.learns or entry.keeps or any(part.paths for part in term.signals)):
            yield term, None
            continue
        for who in {part.who for part in term.signals} - set(known):
            if who == TRUTH:
                known[who] = {"": known_points(feature_shapes(student, [])[""])}
                continue
            network = student if who == "student" else teachers[who].network
            known[who] = feature_shapes(network, stage.paths_of(who))
        yield term, known


def _landmarks(stage: Stage, student: Embedder, images: Images) -> Tensor | None:
    """Return the landmarks of the manifest, ``float32 [N, L, 2]`` in shares of the raw crop; NaN where unknown.

    Raises:
        DataError: No image has any, or not as many as the student tells.
    """
    if not stage.truths:
        return None
    count = known_points(feature_shapes(student, [])[""])[1]
    return landmark_table(images.manifest, count, student.preprocess)


def feature_shapes(network: Embedder, paths: Sequence[str]) -> dict[str, torch.Size]:
    """Return the shapes of a network's embedding (as ``""``) and of the outputs of some modules, for two images."""
    like = next(network.parameters())
    example = torch.zeros(2, *network.preprocess.size, device=like.device, dtype=like.dtype)
    return shapes(network, ["", *paths], example)


def _shareable(batch: Batch, stage: Stage, student: nn.Module, world: World) -> None:
    from xzoo import losses

    if world.size == 1:
        return
    if any("student_head" in losses.get(term.name).takes for term in stage.losses):
        raise errors.RunError(
            f"stage {stage.name!r} on {world.size} processes",
            why="Its loss runs the student's last layer itself, whose gradient every process would count anew.",
            do="run it in one process",
        )
    for side, rows in (("source", batch.source), ("target", batch.target)):
        if len(rows) % world.size:
            raise errors.RunError(
                f"a batch with {len(rows)} {side} images on {world.size} processes",
                why="Each process takes an equal share.",
                do=f"a batch size that {world.size} divides",
            )
    norms = [name for name, module in student.named_modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if stage.train.mode == "train" and norms:
        raise errors.RunError(
            f"train: {{mode: train}} on {world.size} processes",
            why=f"Batch norms such as {norms[0]} would each see their share of the batch, and differ.",
            do="train: {mode: eval}, or one process",
        )


def run(progress: Progress) -> Iterator[Step]:
    """Do the steps that a stage still lacks, yielding after each one.

    Between two steps the progress is whole: it can be saved and left.

    Raises:
        TrainingStopped: The loss or its gradient is no longer a number; names the files of the batch.
    """
    while progress.step < progress.stage.steps:
        yield _step(progress)


def finish(progress: Progress) -> None:
    """End a stage: the running mean, if there is one, takes the place of the last weights; answers reach the disk."""
    with torch.no_grad():
        for name, mean in progress.ema.items():
            progress.parameters[name].copy_(mean)
    if progress.features is not None:
        progress.features.close()
        progress.features.clear()
    flush(progress)


def flush(progress: Progress) -> None:
    """Bring what teachers answered to the disk."""
    for teacher in progress.teachers.values():
        for answers in teacher.answers.values():
            answers.flush()


def _step(progress: Progress) -> Step:
    stage, began = progress.stage, time.perf_counter()
    lr = optim.rate(stage.optimiser, progress.step, stage.steps)
    for group in progress.optimiser.param_groups:
        group["lr"] = lr
    progress.optimiser.zero_grad()
    parts, loss, terms, count = (
        stage.batch.accumulate,
        0.0,
        dict.fromkeys((term.key for term in progress.terms), 0.0),
        0,
    )
    for part in range(parts):
        batch = progress.sampler.next_batch()
        signals = _signals(progress, batch, progress.step * parts + part)
        total, values = _total(progress, signals, batch)
        (total / parts if parts > 1 else total).backward()
        loss += total.item() / parts
        for key, value in values.items():
            terms[key] = terms.get(key, 0.0) + value.item() / parts
        count += len(batch.source) + len(batch.target)
    _add_up(progress)
    trained = progress.trained()
    norm = nn.utils.clip_grad_norm_(trained.values(), stage.optimiser.clip or math.inf)
    if not math.isfinite(loss) or not math.isfinite(norm.item()):
        raise _stopped(progress, batch, terms, norm.item())
    progress.optimiser.step()
    progress.step += 1
    _follow_mean(progress)
    _follow_impostors(progress, signals, batch)
    found = _mined(progress, signals, batch)
    if progress.features is not None:
        progress.features.clear()
    seconds = time.perf_counter() - began
    return Step(progress.step, loss, terms, lr, progress.impostor, count / seconds, found)


Signals = dict[tuple[str, str, str], Tensor]
"""What networks gave for the whole batch, by who, view and module (``""``: the embedding)."""


def _total(progress: Progress, signals: Signals, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the sum that is minimised, and its terms before weighting."""
    device = next(iter(progress.parameters.values())).device
    total, values = torch.zeros((), device=device), {}
    for term in progress.terms:
        tensors = [_look_up(signals, part) for part in term.on]
        given: dict[str, Any] = dict(_labels(progress, term, batch, device))
        if term.head:
            given["head"] = _head(progress.teachers[term.on[1].who].network)
        if term.heads:
            given |= {
                "student_head": still_statistics(progress.student),
                "teacher_head": progress.teachers[term.on[1].who].network.project,
                "truth": signals[TRUTH, term.on[0].view, ""],
            }
        if term.masked is not None:
            given["masked"] = _look_up(signals, Signal("student", term.masked, term.on[0].paths))
        value = values[term.key] = term.loss(*tensors, **given)
        values |= {f"{term.key}.{name}": part for name, part in getattr(term.loss, "parts", {}).items()}
        weight = term.weight * optim.share(term.schedule, progress.step, progress.stage.steps)
        if weight:
            total = total + weight * value
    return total, values


def _head(teacher: Embedder) -> Callable[[Tensor], Tensor]:
    """Return a teacher's last layer, of maps as of what was pooled from them."""
    return lambda features: teacher.project(pooled(features))


def _look_up(signals: Signals, part: Signal) -> Any:
    """Return the tensor of a signal, or one for each of several levels."""
    sides = ("source", "target") if part.view == "both" else (part.view,)
    found = []
    for path in part.paths or ("",):
        tensors = [signals[part.who, side, path] for side in sides]
        found.append(tensors[0] if len(tensors) == 1 else torch.cat(tensors))
    return found if len(found) > 1 else found[0]


def _labels(progress: Progress, term: Term, batch: Batch, device: torch.device) -> dict[str, Tensor]:
    """Return the labels, and the row numbers, that a loss is given."""

    def of(view: str, source: Any, target: Any) -> Tensor:
        return _behind(progress.stage, view, source, target).to(device)

    found: dict[str, Tensor] = {}
    views = [part.view for part in term.on]
    if term.labels == "match" and batch.same is not None:
        found["labels"] = torch.from_numpy(batch.same).to(device)
    if term.labels in ("subject", "class"):
        found["labels"] = of(views[0], batch.source_subject, batch.target_subject)
    if term.labels == "subject" and len(views) > 1:
        found["target_labels"] = of(views[1], batch.source_subject, batch.target_subject)
    if "indices" in term.needs:
        found["indices"] = of(views[0], batch.source, batch.target)
    return found


def _behind(stage: Stage, view: str, source: Any, target: Any) -> Tensor:
    """Return what is known of the images behind a view, of what is known of both sides."""
    side = stage.views.named[view].of if view in stage.views.named else view
    both = {"source": (source,), "target": (target,), "both": (source, target)}[side]
    return torch.cat([torch.from_numpy(part) for part in both])


def _mined(progress: Progress, signals: Signals, batch: Batch) -> Mined | None:
    """Return where the hardest partners of the first batch-hard triplet come from."""
    stage = progress.stage
    for term in stage.losses:
        if term.name != "triplet":
            continue
        rows = torch.cat([_look_up(signals, part).detach() for part in term.signals])
        views = [part.view for part in term.signals]
        subjects = [_behind(stage, view, batch.source_subject, batch.target_subject) for view in views]
        places = torch.cat([_behind(stage, view, batch.source, batch.target) for view in views])
        images = progress.images.manifest.rows
        bands = torch.tensor([SPECTRA.index(images[place].spectrum) for place in places.tolist()])
        return mined(rows, torch.cat(subjects).to(rows.device), bands.to(rows.device))
    return None


def _signals(progress: Progress, batch: Batch, index: int) -> Signals:
    """Show the batch to everybody."""
    look = shown(progress.looks, batch, index, progress.options.world)
    device = next(iter(progress.parameters.values())).device
    raw = [look.picture(progress.images, view) for view in progress.views]
    inputs = progress.student.preprocess.normalise(torch.cat(raw).to(device))
    sizes = [len(part) for part in raw]
    with _precision(device, progress.stage.precision):
        if progress.student.banded:
            rows = progress.images.manifest.rows
            bands = [rows[place].spectrum for view in progress.views for place in look.rows(view)]
            outputs = {"": progress.forward(inputs, spectrum=bands)}
        else:
            outputs = {"": progress.forward(inputs)}
    if progress.features is not None:
        outputs |= {path: progress.features[path] for path in progress.stage.paths_of("student")}
    found: Signals = {}
    for path, tensor in outputs.items():
        for view, part in zip(progress.views, _whole(tensor).split(sizes), strict=True):
            found["student", view, path] = _gathered(part, progress.options.world)
    with torch.no_grad():
        for name, teacher in progress.teachers.items():
            for view in teacher.views:
                for path, tensor in _ask(teacher, look, view).items():
                    found[name, view, path] = _gathered(tensor.to(device), progress.options.world)
    if progress.landmarks is not None:
        for view in progress.stage.truths:
            points = look.points(progress.landmarks, view).to(device)
            found[TRUTH, view, ""] = _gathered(points, progress.options.world)
    return found


def _ask(teacher: Teacher, look: Shown, view: str) -> dict[str, Tensor]:
    """Return what a teacher says to a view of the batch, from what is kept as far as it is known."""
    answers = teacher.answers.get(view)
    if answers is None:
        return _run(teacher, look.picture(teacher.images, view))
    answers.forget()
    rows = look.rows(view)
    for row in rows:
        if row not in teacher.keys:
            teacher.keys[row] = pixel_key(teacher.images[torch.tensor([row])][0])
    keys = [look.key(teacher.keys[row], view, place) for place, row in enumerate(rows)]
    first = {key: place for place, key in reversed(list(enumerate(keys))) if key not in answers}
    if first:
        places = sorted(first.values())
        answers.put([keys[place] for place in places], _run(teacher, look.picture(teacher.images, view, places)))
    return answers.get(keys)


def _run(teacher: Teacher, raw: Tensor) -> dict[str, Tensor]:
    """Run a teacher on raw pictures, and look into it."""
    network, rows = teacher.network, len(raw)
    where = next(network.parameters())
    inputs = network.preprocess.normalise(raw.to(where.device)).to(where.dtype)
    if teacher.steady and rows < STEADY_ROWS:  # a product of few rows sums in another order
        inputs = torch.cat([inputs, inputs[:1].expand(STEADY_ROWS - rows, -1, -1, -1)])
    with Capture(network, teacher.paths) as features, _precision(where.device, teacher.precision):
        embedding = network.infer(inputs) if teacher.steady else network(inputs)
    found = {"": embedding} | {path: features[path] for path in teacher.paths}
    return {path: _whole(tensor[:rows]) for path, tensor in found.items()}


def _whole(tensor: Tensor) -> Tensor:
    """Return a tensor in single precision, in which losses are computed."""
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor


def _precision(device: torch.device, precision: str) -> Any:
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def _gathered(part: Tensor, world: World) -> Tensor:
    """Return the rows of all processes; gradients flow into this one's.

    Every process computes the losses of the whole batch, so the sum of what reaches
    the parameters on all of them is the gradient of the whole batch.
    """
    if world.size == 1:
        return part
    rows = [torch.empty_like(part) for _ in range(world.size)]
    torch.distributed.all_gather(rows, part.detach().contiguous())
    rows[world.rank] = part
    return torch.cat(rows)


def _add_up(progress: Progress) -> None:
    """Add up the gradients of the student over processes; losses have the whole of theirs already."""
    if progress.options.world.size == 1:
        return
    for parameter in progress.parameters.values():
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        torch.distributed.all_reduce(parameter.grad)


@torch.no_grad()
def _follow_mean(progress: Progress) -> None:
    keep = progress.stage.ema or 0.0
    for name, mean in progress.ema.items():
        mean.lerp_(progress.parameters[name], 1 - keep)


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
def _follow_impostors(progress: Progress, signals: Signals, batch: Batch) -> None:
    """Take a batch into the running mean: a single small one says little."""
    if signals["student", progress.views[0], ""].ndim != 2:
        return
    named = progress.stage.views.named
    sides: dict[str, tuple[Tensor, Any]] = {}
    for view in reversed(progress.views):
        side = named[view].of if view in named else view
        labels = batch.source_subject if side == "source" else batch.target_subject
        sides[side] = F.normalize(signals["student", view, ""].detach(), dim=1), labels
    (first, ours), (second, theirs) = sides.get("source") or sides["target"], sides.get("target") or sides["source"]
    other = torch.from_numpy(ours[:, None] != theirs[None, :]).to(first.device)
    if other.any():
        now = (first @ second.T)[other].mean().item()
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
