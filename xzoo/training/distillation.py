"""From networks, a recipe and a manifest to a trained student: stages, one after another."""

from __future__ import annotations

import copy
import json
import os
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from tqdm import tqdm

import xzoo
from xzoo import adapters, errors, hub, recipes
from xzoo.adapters.norms import parameters_of
from xzoo.data.manifest import Manifest
from xzoo.evaluation import Report, evaluate
from xzoo.families.base import Embedder, Plain, fingerprint
from xzoo.models import create
from xzoo.recipes.schema import Head, Network, Recipe, Stage
from xzoo.training import cache as answers
from xzoo.training import card, checkpoint, engine, fit, processes, work
from xzoo.training.board import Board
from xzoo.training.bridge import Bridge
from xzoo.training.holdout import Parts, hold_out
from xzoo.training.landmarks import facts_of, finds_landmarks, measure
from xzoo.training.mining import MinedEpochs
from xzoo.training.run import ADAPTER, FACTS, STUDENT, Run, open_folder, own_preprocess, write_json, write_text

__all__ = ["distill"]


def distill(
    *,
    recipe: str | Path | Recipe,
    data: Manifest | str | Path,
    student: str | Path | Embedder | None = None,
    teacher: str | Path | Embedder | None = None,
    changes: Mapping[str, Any] | None = None,
    seed: int = 0,
    output: str | Path | None = None,
    resume: bool = False,
    pretrained: bool | str | Path = True,
    cache: str | Path | None = None,
    cache_limit: int = answers.LIMIT,
    evaluate: bool = True,
    compile: bool = False,
    tensorboard: bool = False,
    device: str | torch.device | None = None,
    allow_licences: str | Iterable[str] | None = None,
) -> Run:
    """Train a student as a recipe says: by teachers, earlier stages, labels, or all of them.

    Everything is checked before anything is written: names, options, groups, module paths, and
    by networks without memory whether every loss fits what it compares. The split ``train`` is
    trained on; figures are taken before and after on ``val``, else ``test``, else on a fifth of the
    subjects. A run that was stopped, even by a power cut, and resumed ends in the same bytes.

    Args:
        recipe: A name, a YAML file, or a checked recipe.
        data: A manifest, or where to read one.
        student: A catalogue name, a run folder, or a network (left as it is), in place of the recipe's.
        teacher: Likewise; for recipes that say ``teacher: given``.
        changes: Places of the recipe to other values, as ``Recipe.with_`` takes them.
        seed: Draws batches, views and initial values.
        output: The run folder; by default a new one in ``runs/``.
        resume: Go on in ``output`` where an interrupted run stopped.
        pretrained: As for ``xzoo.create``, where ``student`` is a name.
        cache: Folder of what teachers answered, shared by runs; by default ``teachers`` in xzoo's cache.
        cache_limit: Bytes that it may take.
        evaluate: Take figures before and after.
        compile: Run the student through ``torch.compile``.
        tensorboard: Write the metrics as curves, too, into the folder ``tensorboard`` of the run.
        device: As for ``xzoo.create``.
        allow_licences: As for ``xzoo.create``.

    Returns:
        The run; ``run.model`` is the trained student.

    Raises:
        NotFound, OptionError: A name or an argument that cannot be meant.
        RecipeError: The recipe has faults, or does not fit the networks; all are listed.
        DataError: The data cannot be trained on.
        RunError: ``output`` is in use, or holds a run with other settings.
        MissingExtra: ``tensorboard`` is not installed.
        TrainingStopped: The loss is no longer a number; names the files of the batch.
        KeyboardInterrupt: Ctrl-C; a checkpoint was written, and the message says how to go on.

    Example:
        >>> run = xzoo.distill(
        ...     teacher="edgeface_base", student="edgeface_xxs", recipe="kd", data="faces.csv"
        ... )  # doctest: +SKIP
    """
    if resume and output is None:
        raise errors.OptionError("resume=True without output", why="It is the folder to go on in.", do="output=FOLDER")
    if tensorboard:
        Board.require()
    first = Network(name=student, pretrained=False) if isinstance(student, str) and pretrained is False else student

    def read() -> Recipe:
        plan = recipe if isinstance(recipe, Recipe) else recipes.load(recipe)
        plan = processes.launched(plan.with_(changes) if changes else plan)
        waiting = any(stage.student == "teacher" or "given" in stage.taught.values() for stage in plan.stages)
        if teacher is not None and not waiting:
            raise errors.OptionError(
                f"teacher={_name(teacher)!r} for recipe {plan.recipe!r}",
                why="No stage of it waits for a teacher.",
                do="write teacher: given in the stage",
            )
        return plan

    plan = fit.checked(read, student=_of_folder(first), teacher=_of_folder(teacher))
    parts = hold_out(data if isinstance(data, Manifest) else Manifest.read(data))
    for stage in plan.stages:
        engine.draw(stage, parts.train, work.SOURCE, seed)

    world, place = processes.here()
    device = place if device is None else device
    with torch.random.fork_rng():
        made = _Makers(plan, student, teacher, pretrained, device, allow_licences, seed)
        settings = {
            "recipe": plan.model_dump(mode="json"),
            "student": _name(made.name),
            "networks": made.hashes(),
            "data_sha256": parts.manifest.hash,
            "seed": seed,
        }
        folder = _free(made.name, plan) if output is None else hub.as_path(output, "output")
        found = open_folder(folder, settings, resume)
        processes.wait(world)
        if found is not None and found["state"] == "done":
            return Run.open(folder)
        kept = answers.default_folder() if cache is None else hub.as_path(cache, "cache")
        options = engine.Options(kept, cache_limit, world, compile)
        whole = _Distillation(folder, plan, made, parts, settings, options, measured=evaluate, found=found)
        return whole.run(tensorboard=tensorboard)


def _of_folder(who: Any) -> Any:
    return Path(who) if isinstance(who, str) and (Path(who) / FACTS).is_file() else who


def _name(who: str | Path | Embedder | Network) -> str:
    if isinstance(who, Embedder):
        return who.origin.name if hasattr(who, "origin") else type(who).__name__
    return who.name if isinstance(who, Network) else str(who)


def _free(name: Any, plan: Recipe) -> Path:
    """Return a run folder that does not exist yet."""
    stem = f"{Path(_name(name)).name.replace('/', '-')}-{plan.recipe}"
    number = 1
    while (folder := Path("runs") / f"{stem}-{number:03d}").exists():
        number += 1
    return folder


class _Makers:
    """The networks of a run, built when they are needed and only once.

    Building one by name draws from a seed of its own, so that a resumed run
    starts from the same random weights.
    """

    def __init__(
        self,
        plan: Recipe,
        student: str | Path | Embedder | None,
        teacher: str | Path | Embedder | None,
        pretrained: bool | str | Path,
        device: str | torch.device | None,
        licences: str | Iterable[str] | None,
        seed: int,
    ) -> None:
        self.plan, self.pretrained, self.device, self.licences, self.seed = plan, pretrained, device, licences, seed
        self.student, self.teacher = student, teacher
        self.wanted = fit.wanted(plan, student)
        self.name: Any = self.wanted[0]
        self._made: dict[str, Embedder] = {}

    def students(self, number: int) -> Embedder | str:
        """Return the fresh student of a stage, or ``stage:NAME``."""
        who: Any = self.wanted[number]
        if isinstance(who, str) and who.startswith("stage:"):
            return who
        head = self.plan.stages[number].head
        if head is not None:
            return self._bridge(number, who, head)
        if who == "teacher":
            return copy.deepcopy(self.teachers("given"))
        made = self._create(who, f"student {number}", self.pretrained if who is self.student else True)
        if made.adapters:
            raise errors.OptionError(
                f"student {_name(who)!r} with its adapter {next(iter(made.adapters))!r}",
                why="A distilled student is saved as one set of weights.",
                do="xzoo.adapters.merge(model, NAME), then student=model",
            )
        return made

    def _bridge(self, number: int, who: Any, head: Head) -> Embedder:
        """Return a network with a fresh head behind it."""
        key = f"bridge {number}"
        if key not in self._made:
            base = self.teachers("given") if who == "teacher" else self._create(who, f"student {number}", True)
            torch.manual_seed(self.seed)
            self._made[key] = Bridge(copy.deepcopy(base), head)
        return self._made[key]

    def teachers(self, who: str | Network) -> Embedder:
        """Return a frozen network."""
        asked: Any = self.teacher if who == "given" else who
        key = f"teacher {asked!r}" if isinstance(asked, str | Path | Network) else "teacher given"
        return self._create(asked, key, True).requires_grad_(False).eval()

    def hashes(self) -> dict[str, str]:
        """Return the fingerprint of every network that the run starts from."""
        found = {}
        for number, stage in enumerate(self.plan.stages):
            student = self.students(number)
            if isinstance(student, Embedder):
                found[f"{stage.name}.student"] = fingerprint(student)
            for name, who in stage.taught.items():
                if who != "start" and not (isinstance(who, str) and who.startswith("stage:")):
                    found[f"{stage.name}.{name}"] = fingerprint(self.teachers(who))
        return found

    def _create(self, who: Any, key: str, pretrained: bool | str | Path) -> Embedder:
        if key not in self._made:
            if isinstance(who, Embedder):
                made = copy.deepcopy(who)
                self._made[key] = made if self.device is None else made.to(self.device)
            else:
                torch.manual_seed(self.seed)
                spec = who if isinstance(who, Network) else None
                settings: dict[str, Any] = dict(spec.options) if spec else {}
                self._made[key] = create(
                    spec.name if spec else who,
                    pretrained=spec.pretrained if spec else pretrained,
                    device=self.device,
                    allow_licences=self.licences,
                    **settings,
                )
        return self._made[key]


class _Distillation:
    """A run folder in the making."""

    def __init__(
        self,
        folder: Path,
        plan: Recipe,
        made: _Makers,
        parts: Parts,
        settings: dict[str, Any],
        options: engine.Options,
        *,
        measured: bool,
        found: dict[str, Any] | None,
    ) -> None:
        self.folder, self.plan, self.made, self.parts, self.options = folder, plan, made, parts, options
        self.measured, self.seed = measured, settings["seed"]
        self.metrics, self.checkpoint = folder / "metrics.jsonl", folder / "checkpoint" / "state.safetensors"
        self.writes = options.world.rank == 0
        self.saved = checkpoint.read(self.checkpoint) if found and self.checkpoint.is_file() else None
        self.done = 0
        self.outcomes: dict[str, Embedder] = {}
        self.board: Board | None = None
        self.base: dict[str, Any] = {}  # of an adapter that stays beside it
        self.images: dict[Any, engine.Images] = {}
        self.facts: dict[str, Any] = {
            "name": folder.name,
            "state": "running",
            "reason": "",
            "base": {"name": _name(made.name), "pretrained": STUDENT, "options": {}},  # until the last stage is known
            "settings": settings,
            "seed": self.seed,
            "data": parts.facts(),
            "before": found["before"] if found else None,
            "after": None,
            "stages": found.get("stages", {}) if found else {},
            **({"landmarks": found["landmarks"]} if found and "landmarks" in found else {}),
            "precision": found.get("precision", {}) if found else {},
            "processes": options.world.size,
            "versions": {"xzoo": xzoo.__version__, "torch": torch.__version__, "python": sys.version.split()[0]},
        }

    def run(self, *, tensorboard: bool = False) -> Run:
        """Train, from the start or from where it stopped, and leave a complete folder."""
        self._write_facts()
        if self.writes:
            text = yaml.safe_dump(self.plan.model_dump(mode="json"), sort_keys=False, width=110)
            write_text(self.folder / "recipe.yaml", text)
        try:
            with work.ending_told(self):
                student = self._train(tensorboard)
                after = self._measure(student)
                if self.writes:
                    self._keep(student)
                    before = Report.from_dict(self.facts["before"]) if self.facts["before"] else None
                    write_text(self.folder / "README.md", card.student(self.facts, before, after, str(self.folder)))
                self._write_facts(state="done", after=None if after is None else after.to_dict())
        finally:
            if self.board is not None:
                self.board.close()
        processes.wait(self.options.world)
        return Run.open(self.folder)

    def _keep(self, student: Embedder) -> None:
        """Write what was trained: an adapter, where there is one beside its base, else the student's weights."""
        for name in student.adapters:
            adapters.save(student, name, self.folder / ADAPTER)
        if not student.adapters:
            bare = student.network if isinstance(student, Plain) else student
            hub.write({name: tensor.cpu() for name, tensor in bare.state_dict().items()}, self.folder / STUDENT)

    def _write_facts(self, **changes: Any) -> None:
        self.facts |= changes
        if self.writes:
            write_json(self.folder / FACTS, self.facts)

    def _measure(self, student: Embedder, sides: tuple[str, str] | None = None) -> Report | None:
        """Search for the first other spectrum in the source, or for each image of one spectrum among the others."""
        if not self.measured:
            return None
        data, split = self.parts.manifest, self.parts.evaluated
        if finds_landmarks(student):
            return None  # see _find
        if sides is None:
            bands = [row.spectrum for row in data.rows if row.split == split]
            gallery = work.SOURCE if work.SOURCE in bands else bands[0]
            probes = self.parts.probes(gallery)
            sides = gallery, probes[0] if probes else gallery
        try:
            return evaluate(student, data, gallery=sides[0], probe=sides[1], split=split)
        except errors.EvaluationError as fault:
            raise errors.DataError(
                f"split {split!r} of {str(data.root)!r} cannot be measured.",
                why=fault.why or fault.asked,
                do="evaluate=False trains without figures",
            ) from fault

    def _find(self, student: Embedder, stage: str) -> None:
        """Note how far a stage's landmark network is from the truth, in each band of what is evaluated on."""
        if not self.measured or not finds_landmarks(student):
            return
        inside = self.parts.manifest.select(split=self.parts.evaluated)
        known = [row.spectrum for row in inside.rows if row.landmarks is not None]
        bands = [band for band in inside.spectra if band in known]
        found = {band: facts_of(measure(student, inside.select(spectrum=band))) for band in bands}
        self.facts.setdefault("landmarks", {})[stage] = found

    # --- stages ------------------------------------------------------------------------------------

    def _train(self, tensorboard: bool) -> Embedder:
        complete = self._complete()
        self._rewind(complete)
        self.board = Board(self.folder, self.done) if tensorboard and self.writes else None
        # Progress of these processes is that of the first.
        quiet = not self.writes
        with (
            work._ctrl_c() as asked,
            tqdm(total=self.plan.steps, initial=self.done, unit="step", file=sys.stderr, disable=quiet) as bar,
        ):
            for number, stage in enumerate(self.plan.stages):
                student = self._student(number)
                self.facts["base"] = {
                    "name": student.origin.name,
                    "pretrained": STUDENT,
                    "options": student.origin.options,
                    **own_preprocess(student),
                }
                first = all(earlier.head is not None for earlier in self.plan.stages[:number]) and stage.head is None
                if first and self.measured and self.facts["before"] is None:
                    before = self._measure(student)
                    self._write_facts(before=None if before is None else before.to_dict())
                start = engine.frozen_copy(student) if "start" in stage.taught.values() else None
                torch.manual_seed(self.seed * 1_000_003 + number)
                adapter = self._mark(student, stage, number)
                if number < complete:
                    student.load_state_dict(hub.read(self._file(stage)))
                else:
                    self._stage(number, stage, student, start, bar, asked)
                if adapter is not None and number == len(self.plan.stages) - 1 and stage.train.petalface is None:
                    adapters.merge(student, adapter)
                student.requires_grad_(False).eval()
                self.outcomes[stage.name] = engine.frozen_copy(student) if self._needed(stage.name, number) else student
        return student

    def _needed(self, name: str, number: int) -> bool:
        """Return whether a later stage asks for a stage's outcome while the student itself goes on."""
        later = self.plan.stages[number + 1 :]
        return any(f"stage:{name}" in (stage.student, *stage.taught.values()) for stage in later)

    def _student(self, number: int) -> Embedder:
        who = self.made.students(number)
        if isinstance(who, Embedder):
            return who
        outcome = self.outcomes[who.removeprefix("stage:")]
        return copy.deepcopy(outcome) if self.plan.stages[number].student is not None else self._last(number, outcome)

    def _last(self, number: int, outcome: Embedder) -> Embedder:
        """Return the student of the stage before, apart from the copy that teaches."""
        return copy.deepcopy(outcome) if self._needed(self.plan.stages[number - 1].name, number - 1) else outcome

    def _mark(self, student: Embedder, stage: Stage, number: int) -> str | None:
        """Mark what trains; return the name of the adapter, if one does."""
        student.requires_grad_(False)
        if stage.train.petalface is not None:  # which never becomes part of the base
            if not student.adapters:
                self.base = work.base_facts(student, self.folder, self.options.world)
            self.facts["base"] = self.base
        if stage.train.adapts:
            return work.put_adapter(student, stage.train).name
        for name in parameters_of(student, stage.train.groups or "", "groups"):
            student.get_parameter(name).requires_grad_(True)
        student.weights = None  # they are about to be others than those of the file
        return None

    def _stage(
        self, number: int, stage: Stage, student: Embedder, start: Embedder | None, bar: Any, asked: list[int]
    ) -> None:
        """Run one stage to its end, or until Ctrl-C asks for a stop, and keep what came of it."""
        teachers = {name: self._teacher(who, start) for name, who in stage.taught.items()}
        progress = engine.begin(
            stage,
            student,
            self._images(student),
            source=work.SOURCE,
            seed=self.seed,
            teachers=teachers,
            options=self.options,
        )
        if self.saved and self.saved.stage == number:
            checkpoint.restore(self.saved, progress)
        self.facts["precision"][stage.name] = {name: who.precision for name, who in progress.teachers.items()}
        self._write_facts()
        work.tell_left_out(progress, self.facts)
        kept, epochs = time.monotonic(), MinedEpochs(progress, self.metrics, self.done)
        with open(self.metrics if self.writes else os.devnull, "a", encoding="utf-8") as log:
            for step in engine.run(progress):
                self.done += 1
                row = work._row(step, self.done, stage.name)
                row.pop("images_per_second")  # of this machine and hour; all else is the same in every run
                for line in (row, epochs.add(row, step.step)):
                    log.write("" if line is None else json.dumps(line) + "\n")
                log.flush()
                if self.board is not None:
                    self.board.add(row)
                bar.set_postfix_str(f"loss {step.loss:.3f}, {step.images_per_second:.0f} images/s", refresh=False)
                bar.update()
                if self.writes and (asked or time.monotonic() - kept > work.CHECKPOINT_SECONDS):
                    engine.flush(progress)
                    checkpoint.write(self.checkpoint, number, progress)
                    kept = time.monotonic()
                if asked:
                    raise KeyboardInterrupt
        engine.finish(progress)
        student.requires_grad_(False).eval()
        if stage.evaluation is not None:
            report = self._measure(student, (stage.evaluation.gallery, stage.evaluation.probe))
            self.facts["stages"][stage.name] = None if report is None else report.to_dict()
        self._find(student, stage.name)
        if self.writes:
            hub.write({name: tensor.cpu() for name, tensor in student.state_dict().items()}, self._file(stage))
        self._write_facts()

    def _teacher(self, who: str | Network, start: Embedder | None) -> Embedder:
        if who == "start" and start is not None:
            return start
        if isinstance(who, str) and who.startswith("stage:"):
            return self.outcomes[who.removeprefix("stage:")]
        return self.made.teachers(who)

    def _images(self, student: Embedder) -> engine.Images:
        """Return the training images as a student wants them; decoded once for all stages."""
        key = student.preprocess
        if key not in self.images:
            self.images[key] = engine.Images(self.parts.train, student)
        return self.images[key]

    def _file(self, stage: Stage) -> Path:
        return self.folder / "stages" / f"{stage.name}.safetensors"

    def _complete(self) -> int:
        """Return how many stages are done."""
        return next(
            (n for n, stage in enumerate(self.plan.stages) if not self._file(stage).is_file()), len(self.plan.stages)
        )

    def _rewind(self, complete: int) -> None:
        """Go to the last moment that was kept, and forget what was noted after it."""
        if self.saved and self.saved.stage != complete:
            self.saved = None
        self.done = sum(stage.steps for stage in self.plan.stages[:complete]) + (self.saved.step if self.saved else 0)
        if self.writes and self.metrics.is_file():
            lines = self.metrics.read_text(encoding="utf-8").splitlines()
            rows = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= self.done]
            write_text(self.metrics, "".join(f"{line}\n" for line in rows))
        processes.wait(self.options.world)
