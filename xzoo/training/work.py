"""One call of ``finetune`` at work: the engine, and the folder that fills up beside it."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
import yaml
from tqdm import tqdm

import xzoo
from xzoo import adapters, errors, hub
from xzoo.adapters import AttachedAdapter, LoraOptions, NormsOptions
from xzoo.adapters.base import owned
from xzoo.adapters.petalface import PetalfaceOptions
from xzoo.data.samplers import DomainSampler
from xzoo.evaluation import Report, evaluate
from xzoo.families.base import Embedder, Plain
from xzoo.recipes.schema import Recipe, Train
from xzoo.training import card, checkpoint, engine, plots, processes
from xzoo.training.board import Board
from xzoo.training.holdout import Parts
from xzoo.training.mining import MinedEpochs
from xzoo.training.run import ADAPTER, BASE, FACTS, Run, own_preprocess, write_json, write_text

__all__ = ["SOURCE", "Work", "base_facts", "put_adapter"]

SOURCE = "VIS"
"""The spectrum that published networks know; the others are brought to it."""

CHECKPOINT_SECONDS = 30.0
"""A checkpoint this often bounds what a power cut can cost; Ctrl-C loses nothing."""


class Work:
    """A run folder in the making.

    Args:
        folder: The run folder.
        plan: The resolved recipe.
        student: The base, perhaps with an adapter to train on.
        parts: The images.
        settings: What a resumed run must agree with.
        options: How it is run: by how many processes, and whether compiled.
        measured: Whether to take figures before and after.
        tensorboard: Whether to write the metrics as curves, too.
        found: ``run.json`` of the run to go on with.
    """

    def __init__(
        self,
        folder: Path,
        plan: Recipe,
        student: Embedder,
        parts: Parts,
        settings: dict[str, Any],
        options: engine.Options,
        *,
        measured: bool,
        tensorboard: bool,
        found: dict[str, Any] | None,
    ) -> None:
        self.folder, self.plan, self.student, self.parts, self.measured = folder, plan, student, parts, measured
        self.options, self.writes = options, options.world.rank == 0
        self.metrics = folder / "metrics.jsonl"
        self.checkpoint = folder / "checkpoint" / "state.safetensors"
        self.saved = checkpoint.read(self.checkpoint) if found and self.checkpoint.is_file() else None
        self.done = 0
        self.tensorboard = tensorboard
        self.board: Board | None = None
        self.facts: dict[str, Any] = {
            "name": folder.name,
            "state": "running",
            "reason": "",
            "base": self._base(),
            "adapter": {},
            "settings": settings,
            "seed": settings["seed"],
            "data": parts.facts(),
            "before": found["before"] if found else None,
            "after": None,
            "picture": "",
            "processes": options.world.size,
            "versions": {"xzoo": xzoo.__version__, "torch": torch.__version__, "python": sys.version.split()[0]},
        }

    def _base(self) -> dict[str, Any]:
        """Say where the base is to be had again; keep a copy where it is nowhere else."""
        return base_facts(self.student, self.folder, self.options.world)

    def run(self) -> Run:
        """Train, from the start or from the checkpoint, and leave a complete folder.

        Whatever ends it early is written down before it is passed on.
        """
        self._write_facts()
        if self.writes:
            text = yaml.safe_dump(self.plan.model_dump(mode="json"), sort_keys=False, width=110)
            write_text(self.folder / "recipe.yaml", text)
        try:
            with ending_told(self):
                known = self.facts["before"]
                before = self._measure("before") if known is None else Report.from_dict(known)
                adapter = self._train()
                after = self._measure("after")
                if self.writes:
                    self._finish(adapter, before, after)
        finally:
            if self.board is not None:
                self.board.close()
        processes.wait(self.options.world)
        return Run(self.folder, before, after)

    def _write_facts(self, **changes: Any) -> None:
        self.facts |= changes
        if self.writes:
            write_json(self.folder / FACTS, self.facts)

    # --- figures -----------------------------------------------------------------------------------

    def _measure(self, when: str) -> Report | None:
        """Compare every other spectrum with the source; the first is the headline."""
        if not self.measured:
            return None
        data = self.parts.manifest
        reports = []
        for spectrum in self.parts.probes(SOURCE):
            report = evaluate(self.student, data, gallery=SOURCE, probe=spectrum, split=self.parts.evaluated)
            reports.append(report)
            if self.writes:
                self._log({"step": self.done, "evaluation": when, **report.to_dict()})
        self._write_facts(**{when: reports[0].to_dict()})
        return reports[0]

    # --- training ----------------------------------------------------------------------------------

    def _train(self) -> AttachedAdapter:
        student, saved = self.student, self.saved
        images = engine.Images(self.parts.train, student)
        teacher = engine.frozen_copy(student)
        adapter = put_adapter(student, self.plan.stages[0].train)
        self.facts["adapter"] = {"kind": adapter.kind, "parameters": adapter.parameters}
        self._rewind(saved)
        self.board = Board(self.folder, self.done) if self.tensorboard and self.writes else None
        # Progress of these processes is that of the first.
        total, quiet = self.plan.steps, not self.writes
        with (
            _ctrl_c() as asked,
            tqdm(total=total, initial=self.done, unit="step", file=sys.stderr, disable=quiet) as bar,
        ):
            for number, stage in enumerate(self.plan.stages):
                if saved and number < saved.stage:
                    continue
                start: dict[str, torch.Tensor] = {}
                if number and stage.teacher == "start":
                    if saved and number == saved.stage:
                        checkpoint.fill(engine.trainable(student), checkpoint.part(saved, "start"))
                    start = {name: tensor.detach().clone() for name, tensor in engine.trainable(student).items()}
                    teacher = engine.frozen_copy(student)
                progress = engine.begin(
                    stage,
                    student,
                    images,
                    teacher=teacher,
                    source=SOURCE,
                    seed=self.facts["seed"],
                    start=start,
                    options=self.options,
                )
                if saved and number == saved.stage:
                    checkpoint.restore(saved, progress)
                self._stage(number, progress, bar, asked)
                engine.finish(progress)
        # As it will be loaded: torch picks other kernels, and other last bits, for what takes gradients.
        student.requires_grad_(False).eval()
        return adapter

    def _stage(self, number: int, progress: engine.Progress, bar: Any, asked: list[int]) -> None:
        """Run one stage to its end, or until Ctrl-C asks for a stop."""
        tell_left_out(progress, self.facts)
        kept, epochs = time.monotonic(), MinedEpochs(progress, self.metrics, self.done)
        with open(self.metrics if self.writes else os.devnull, "a", encoding="utf-8") as log:
            for step in engine.run(progress):
                self.done += 1
                row = _row(step, self.done, progress.stage.name)
                for line in (row, epochs.add(row, step.step)):
                    log.write("" if line is None else json.dumps(line) + "\n")
                log.flush()
                if self.board is not None:
                    self.board.add(row)
                bar.set_postfix_str(f"loss {step.loss:.3f}, {step.images_per_second:.0f} images/s", refresh=False)
                bar.update()
                if self.writes and (asked or time.monotonic() - kept > CHECKPOINT_SECONDS):
                    checkpoint.write(self.checkpoint, number, progress)
                    kept = time.monotonic()
                if asked:
                    raise KeyboardInterrupt

    def _rewind(self, saved: checkpoint.Checkpoint | None) -> None:
        """Go to the step of the checkpoint, and forget what was noted after it."""
        self.done = sum(stage.steps for stage in self.plan.stages[: saved.stage]) + saved.step if saved else 0
        if self.writes and self.metrics.is_file():
            lines = self.metrics.read_text(encoding="utf-8").splitlines()
            rows = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= self.done]
            write_text(self.metrics, "".join(f"{line}\n" for line in rows))
        processes.wait(self.options.world)

    def _log(self, row: dict[str, Any]) -> None:
        with self.metrics.open("a", encoding="utf-8") as log:
            log.write(json.dumps(row, allow_nan=False) + "\n")

    # --- the end -----------------------------------------------------------------------------------

    def _finish(self, adapter: AttachedAdapter, before: Report | None, after: Report | None) -> None:
        """Write what was trained, its card and its picture; the folder is complete when ``run.json`` says so."""
        text = card.text(self.facts, before, after, str(self.folder))
        adapters.save(self.student, adapter.name, self.folder / ADAPTER, card_text=text)
        write_text(self.folder / "README.md", text)
        rows = [json.loads(line) for line in self.metrics.read_text(encoding="utf-8").splitlines()]
        try:
            plots.picture(self.folder / "picture.png", self.facts["name"], rows, before, after)
            drawn = "picture.png"
        except errors.MissingExtra as fault:
            drawn = f"skipped: {fault.why} {fault.do}"
        self._write_facts(state="done", picture=drawn)


class _Told(Protocol):
    """A run folder in the making."""

    folder: Path
    plan: Recipe
    done: int

    def _write_facts(self, **changes: Any) -> None: ...


@contextmanager
def ending_told(run: _Told) -> Iterator[None]:
    """Write down what ends a run early, then pass it on; Ctrl-C says how to go on."""
    try:
        yield
    except KeyboardInterrupt as stop:
        run._write_facts(state="interrupted", reason=f"Stopped by Ctrl-C after {run.done} steps.")
        raise KeyboardInterrupt(
            f"stopped after {run.done} of {run.plan.steps} steps, which are kept in {str(run.folder)!r}; "
            "go on with the same call and resume=True (--resume)"
        ) from stop
    except Exception as fault:
        run._write_facts(state="failed", reason=str(fault))
        raise


class LeftOutWarning(UserWarning):
    """Subjects take no part in a stage: they lack one of the spectra that everybody in a batch is seen in."""


def tell_left_out(progress: engine.Progress, facts: dict[str, Any]) -> None:
    """Count the subjects that a sampler of domains leaves out, in a warning and in the facts of the run."""
    sampler = progress.sampler
    if not isinstance(sampler, DomainSampler) or not sampler.skipped:
        return
    names, count = sampler.skipped, len(sampler.skipped) + len(sampler.subjects)
    told = {"subjects": len(names), "of": count, "domains": list(sampler.domains), "names": list(names[:20])}
    facts.setdefault("left_out", {})[progress.stage.name] = told
    more = ", ..." if len(names) > 3 else ""
    drops = progress.stage.batch.missing == "drop"
    warnings.warn(
        f"{len(names)} of {count} subjects are left out of stage {progress.stage.name!r} "
        f"({', '.join(names[:3])}{more}): they lack {'one' if drops else 'all but one'} of {' '.join(sampler.domains)}."
        + (" With batch: {missing: resample} those with two of them would stay." if drops else ""),
        LeftOutWarning,
        stacklevel=2,
    )


def _row(step: engine.Step, number: int, stage: str) -> dict[str, Any]:
    """Return a step as a row of metrics; warn where the network collapses."""
    row = step._asdict() | {"step": number, "stage": stage}
    found = row.pop("mined")
    if found is not None:
        row["mined"] = found._asdict()
    if step.impostor is not None and step.impostor > engine.COLLAPSE:
        row["warning"] = "collapse"
        warnings.warn(
            f"different subjects have a mean cosine above {engine.COLLAPSE}: the network tells them "
            "apart less and less. Lower the learning rate (lr=...) or train fewer groups.",
            engine.CollapseWarning,
            stacklevel=2,
        )
    return row


@contextmanager
def _ctrl_c() -> Iterator[list[int]]:
    """Let Ctrl-C ask for a stop between two steps; a second one stops at once."""
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked  # signals reach the main thread alone
        return

    def ask(number: int, _frame: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


def base_facts(student: Embedder, folder: Path, world: engine.World) -> dict[str, Any]:
    """Say where the base of an adapter is to be had again; keep a copy in ``folder`` where it is nowhere else.

    Raises:
        OptionError: It has an adapter already, on weights that are in no file.
    """
    pretrained = student.origin.pretrained
    known = student.weights
    if known is None:
        if student.adapters:
            raise errors.OptionError(
                f"fine-tuning {student.origin.name} with an adapter on random weights",
                why="The adapter is bound to weights that are in no file.",
                do="start from the network without its adapter",
            )
        # A plain network is known to its file by its own names, without the wrapper's.
        bare = student.network if isinstance(student, Plain) else student
        if world.rank == 0:
            hub.write({name: tensor.cpu() for name, tensor in bare.state_dict().items()}, folder / BASE)
        processes.wait(world)
        student.weights, student._fingerprint, pretrained = hub.locate(folder / BASE), None, BASE
    return {
        "name": student.origin.name,
        "pretrained": pretrained,
        "options": student.origin.options,
        "source": known.source if known else "random weights, kept in this folder",
        "sha256": student.weights_sha256,
        "licence": known.licence if known else None,
        **own_preprocess(student),
    }


def put_adapter(student: Embedder, train: Train) -> AttachedAdapter:
    """Put a fresh adapter on the student, or train on the one that it brings."""
    kind, options = _wanted(train)
    if not student.adapters:
        return adapters.add(student, kind, options=options)
    name, brought = next(iter(student.adapters.items()))
    if len(student.adapters) > 1 or (brought.kind, brought.options) != (kind, options):
        raise errors.OptionError(
            f"fine-tuning {student.origin.name} with its adapter{'s' * (len(student.adapters) > 1)} "
            f"{', '.join(student.adapters)}.",
            why=f"One adapter of the recipe's kind can be trained on: {kind} {options}; this is {brought.kind} "
            f"{brought.options}.",
            do="choose the recipe and lora= that it was trained with, or start from the base",
        )
    adapters.switch(student, name)
    for tensor in owned(student, brought).values():
        if isinstance(tensor, torch.nn.Parameter):
            tensor.requires_grad_(True)
    return brought


def _wanted(train: Train) -> tuple[str, LoraOptions | NormsOptions | PetalfaceOptions]:
    if train.petalface is not None:
        return "petalface", PetalfaceOptions(**train.petalface.model_dump())
    if train.lora is None:
        return "norms", NormsOptions(preset=train.groups or "")
    low = train.lora
    return "lora", LoraOptions(rank=low.rank, alpha=low.alpha, dropout=low.dropout, also_train=train.groups or "")
