"""What a training leaves behind: a folder, complete enough to repeat it.

``run.json`` says what was done and how it ended; beside it lie the resolved
recipe, the metrics, the adapter, a card and a picture.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xzoo import errors, hub

if TYPE_CHECKING:
    import torch

    from xzoo.evaluation.report import Report
    from xzoo.families.base import Embedder

__all__ = [
    "Run",
    "differences",
    "load_run",
    "open_folder",
    "own_preprocess",
    "prepared",
    "read_facts",
    "write_json",
    "write_text",
]

FACTS = "run.json"
ADAPTER = "adapter"
BASE = "base.safetensors"
STUDENT = "student.safetensors"


@dataclass(frozen=True)
class Run:
    """A finished run.

    Example:
        >>> run = xzoo.finetune("hybrid_fr_t2v", "faces.csv", lora=True)  # doctest: +SKIP
        >>> run.before.rank1, run.after.rank1  # doctest: +SKIP
        (0.31, 0.92)
        >>> model = xzoo.create(run.folder)  # doctest: +SKIP

    Attributes:
        folder: Where it lies.
        before: Figures of the base on images that were not trained on; None if not evaluated.
        after: The same with the trained adapter.
    """

    folder: Path
    before: Report | None
    after: Report | None

    @classmethod
    def open(cls, folder: str | Path) -> Run:
        """Read a finished run.

        Raises:
            MissingFile: There is no run folder.
            RunError: The run was not finished, or its ``run.json`` is damaged.
        """
        path = hub.as_path(folder, "folder")
        facts = read_facts(path)
        _finished(path, facts)
        try:
            return cls(path, _report(facts["before"]), _report(facts["after"]))
        except errors.EvaluationError as fault:
            raise errors.RunError(f"the report in {str(path / FACTS)!r} cannot be read.", why=fault.why) from fault

    @property
    def facts(self) -> dict[str, Any]:
        """What ``run.json`` says."""
        return read_facts(self.folder)

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """One row for each step, each evaluation, and each epoch of mining statistics."""
        lines = (self.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    @cached_property
    def model(self) -> Embedder:
        """The trained network, loaded from the folder on first use."""
        return load_run(self.folder)


def _report(facts: Mapping[str, Any] | None) -> Report | None:
    from xzoo.evaluation.report import Report

    return None if facts is None else Report.from_dict(facts)


def read_facts(folder: Path) -> dict[str, Any]:
    """Return what a run folder's ``run.json`` says.

    Raises:
        MissingFile: There is none.
        RunError: It is damaged.
    """
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as fault:
        raise errors.MissingFile(
            f"no run in {str(folder)!r}.", why=f"A run folder holds {FACTS}.", do="ls " + str(folder)
        ) from fault
    except (OSError, ValueError) as fault:
        raise errors.RunError(f"{str(folder / FACTS)!r} cannot be read.", why=str(fault)) from fault
    for key, kinds in _SHAPE.items():
        if not isinstance(facts, dict) or key not in facts or not isinstance(facts[key], kinds):
            raise errors.RunError(
                f"{str(folder / FACTS)!r} is not the file of a run.", why=f"Its key {key!r} is missing or wrong."
            )
    for key in ("name", "pretrained", "options"):
        if key not in facts["base"]:
            raise errors.RunError(f"{str(folder / FACTS)!r} is not complete.", why=f"Its base has no key {key!r}.")
    return dict(facts)


_SHAPE: dict[str, tuple[type, ...]] = {
    "state": (str,),
    "base": (dict,),
    "settings": (dict,),
    "before": (dict, type(None)),
    "after": (dict, type(None)),
}


def _finished(folder: Path, facts: Mapping[str, Any]) -> None:
    if facts["state"] != "done":
        raise errors.RunError(
            f"the run in {str(folder)!r} is not finished: it is {facts['state']}.",
            why=facts.get("reason") or "It holds no trained weights yet.",
            do=f"xzoo finetune ... --output {folder} --resume",
        )


def own_preprocess(model: Embedder) -> dict[str, dict[str, Any]]:
    """Return, below ``preprocess``, what of a network's preprocessing is not its card's; nothing if nothing is."""
    from dataclasses import asdict, replace

    from xzoo.data.preprocess import Preprocess

    usual = Preprocess.from_card(model.card)
    if model.input_size is not None:
        usual = replace(usual, size=(3, *model.input_size))
    known = asdict(usual)
    own = {key: value for key, value in asdict(model.preprocess).items() if value != known[key]}
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in own.items()}
    return {"preprocess": plain} if plain else {}


def prepared(model: Embedder, facts: Mapping[str, Any], where: str) -> Embedder:
    """Give a network the preprocessing that :func:`own_preprocess` noted, and return it.

    Raises:
        RunError: What was noted is no preprocessing.
    """
    from dataclasses import replace

    own = facts.get("preprocess", {})
    try:
        values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in own.items()}
        model.preprocess = replace(model.preprocess, **values)
    except (AttributeError, TypeError, errors.OptionError) as fault:
        raise errors.RunError(f"the preprocessing noted in {where!r} cannot be used.", why=str(fault)) from fault
    return model


def load_run(
    folder: Path,
    pretrained: bool | str | Path = False,
    adapter: str | Path | Mapping[str, str | Path] | None = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    allow_licences: str | Iterable[str] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Embedder:
    """Build the base of a finished run and attach what was trained.

    Args:
        folder: The run folder.
        pretrained: Where the base's weights are now, if they have moved; they are
            compared by hash. A bool means where they were.
        adapter: Not for runs, which bring their own.
        device: As for ``xzoo.create``.
        dtype: As for ``xzoo.create``.
        allow_licences: As for ``xzoo.create``.
        options: Not for runs, which remember theirs.

    Raises:
        MissingFile, RunError: No finished run is there.
        OptionError: ``adapter`` or ``options`` were given.
        BaseMismatch: The base's weights are not those that were trained on.
    """
    from xzoo import adapters
    from xzoo.models import create

    folder = hub.as_path(folder, "name")
    facts = read_facts(folder)
    _finished(folder, facts)
    if adapter is not None or options:
        given = "adapter" if adapter is not None else next(iter(options or ()))
        raise errors.OptionError(
            f"create({str(folder)!r}, {given}=...)",
            why="A run folder fixes its base, options and adapter.",
            do=f"create({facts['base']['name']!r}, ...) and xzoo.adapters.attach(model, {str(folder / ADAPTER)!r})",
        )
    base = facts["base"]
    source = base["pretrained"] if isinstance(pretrained, bool) else pretrained
    if source in (BASE, STUDENT):
        source = folder / source
    try:
        model = create(
            base["name"],
            pretrained=source,
            device=device,
            dtype=dtype,
            allow_licences=allow_licences,
            **base["options"],
        )
    except errors.MissingFile as fault:
        raise errors.MissingFile(
            fault.asked,
            why=f"The run in {str(folder)!r} was trained on it.",
            do=f"create({str(folder)!r}, pretrained=PATH)",
        ) from fault
    if base["pretrained"] != STUDENT:  # else the weights are those that were trained
        adapters.attach(model, folder / ADAPTER)
    return prepared(model, base, str(folder / FACTS))


def open_folder(folder: Path, settings: dict[str, Any], resume: bool) -> dict[str, Any] | None:
    """Return what the folder's earlier run left, if it may be gone on with.

    Raises:
        RunError: The folder is in use, or its run has other settings.
    """
    if folder.exists() and not folder.is_dir():
        raise errors.RunError(f"output={str(folder)!r}", why="That is a file.", do="name a folder")
    if not folder.is_dir() or not any(folder.iterdir()):
        return None
    if not (folder / FACTS).is_file():
        raise errors.RunError(
            f"output={str(folder)!r}", why="The folder holds other things than a run.", do="name a new folder"
        )
    found = read_facts(folder)
    if not resume:
        raise errors.RunError(
            f"output={str(folder)!r}",
            why=f"It holds a run that is {found['state']}.",
            do="name a new folder" + ("" if found["state"] == "done" else ", or go on with resume=True (--resume)"),
        )
    changed = differences(found["settings"], settings)
    if changed:
        raise errors.RunError(
            f"the run in {str(folder)!r} was begun with other settings.",
            why=errors.problems(changed),
            do="resume with the same settings, or name a new folder",
        )
    return found


def differences(then: Any, now: Any, place: str = "") -> list[str]:
    """Return where two trees of plain values differ, one line each."""
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        keys = [*then, *(key for key in now if key not in then)]
        return [line for key in keys for line in differences(then.get(key), now.get(key), f"{place}.{key}".lstrip("."))]
    if isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        pairs = enumerate(zip(then, now, strict=True))
        return [line for number, (a, b) in pairs for line in differences(a, b, f"{place}[{number}]")]
    return [] if then == now else [f"{place}: {then!r} then, {now!r} now"]


def write_json(path: Path, facts: Mapping[str, Any]) -> None:
    """Write a JSON file, whole or not at all."""
    write_text(path, json.dumps(facts, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    from xzoo.hub import atomic_write

    with atomic_write(path) as temporary:
        Path(temporary).write_text(text, encoding="utf-8")
