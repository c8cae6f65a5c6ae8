"""What a recipe may say: closed, typed, and checked as a whole.

A recipe is a list of stages. A stage says what trains, who teaches, how a batch
is drawn and seen, which losses pull with which weight, and for how long. Every
name in it comes from a registry; no recipe can name code.

What a loss compares is written ``WHO.VIEW:MODULE``: who is ``student`` or a teacher,
the view is ``source``, ``target``, ``both`` or one of the stage's own, and the module
is a path as in ``named_modules``, or ``trunk``, what the last layer is given; without one it is the
embedding (of a landmark network: its points). ``:a+b`` hands a loss several levels. ``truth.VIEW`` are the landmarks
that the manifest knows, where they lie in that view.
"""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BaseModel, Discriminator, Field, Tag, ValidationError, ValidationInfo, model_validator

from xzoo import errors, losses
from xzoo.cards import schema as cards
from xzoo.cards.schema import Line, Scalar, Spectrum, Text, load_yaml

__all__ = [
    "Batch",
    "Decay",
    "Degrade",
    "Draft",
    "Evaluation",
    "Head",
    "Lora",
    "LossTerm",
    "Mask",
    "Mixed",
    "Network",
    "Optimiser",
    "Recipe",
    "Signal",
    "Stage",
    "Train",
    "View",
    "Views",
    "check",
    "faulty",
    "json_schema",
    "parse",
    "signal",
]

_SIGNAL = re.compile(r"([a-z][a-z0-9_]*)\.([a-z][a-z0-9_]*)(?::([A-Za-z0-9_.]+(?:\+[A-Za-z0-9_.]+)*))?")
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Part = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Name = Annotated[Text, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class Closed(cards.Closed):
    """A table of a recipe. It says all that does not go together in it, and hides nothing from the tables around it."""

    def _faults(self, faulty: Container[int] = ()) -> Iterator[str]:  # noqa: ARG002
        """Yield what does not go together, each key being right by itself; ``faulty``: ids of tables to leave out."""
        yield from ()

    @model_validator(mode="after")
    def _goes_together(self, info: ValidationInfo) -> Self:
        told: _Told | None = info.context
        found = list(self._faults(() if told is None else {id(table) for table, _ in told}))
        if found and told is None:
            raise ValueError("; ".join(found))
        if found and told is not None:
            told.append((self, found))
        return self


_Told = list[tuple[Closed, list[str]]]
"""Tables with faults, of a recipe that is checked as a whole."""


class Signal(NamedTuple):
    """One thing that a loss looks at: whose, of which view, and the outputs of which modules (none: the embedding)."""

    who: str
    view: str
    paths: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return it as a recipe writes it."""
        return f"{self.who}.{self.view}" + (":" + "+".join(self.paths) if self.paths else "")


def signal(text: str) -> Signal:
    """Read ``WHO.VIEW`` or ``WHO.VIEW:MODULE[+MODULE...]``.

    Example:
        >>> signal("student.low:stages.2")
        Signal(who='student', view='low', paths=('stages.2',))

    Raises:
        ValueError: It is written otherwise.
    """
    found = _SIGNAL.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r} is not WHO.VIEW or WHO.VIEW:MODULE, as in student.source or teacher.high:stages.2")
    return Signal(found[1], found[2], tuple(found[3].split("+")) if found[3] else ())


TRUTH = "truth"
"""Who knows the landmarks of the manifest."""


class Network(Closed):
    """A network of the catalogue: what ``xzoo.create`` is told.

    ``pretrained``: ``true`` for the default weights, a tag, or ``false`` for random ones.
    ``precision``: how a frozen teacher runs, where not as the stage says; ``bf16`` is faster where the processor has
    units for it.
    """

    name: Text
    pretrained: bool | Text = True
    options: dict[str, Scalar] = {}
    precision: Literal["float32", "bf16", "auto"] | None = None

    def _faults(self, faulty: Container[int] = ()) -> Iterator[str]:
        yield from _in_catalogue(self.name)


def _kind(value: Any) -> str:
    return "function-table" if isinstance(value, Mapping | Network) else "str"


# Told apart by what was written, so that a fault in one form is not also told of the other.
Who = Annotated[
    Annotated[Text, Tag("str")] | Annotated[Network, Tag("function-table")],
    Discriminator(_kind),
]


def _in_catalogue(name: str, *words: str) -> Iterator[str]:
    """Yield what is wrong with a name that is neither one of ``words`` nor a network of the catalogue."""
    from xzoo import catalog

    if name in words:
        return
    try:
        card, _ = catalog.resolve(name)
    except errors.NotFound:
        known = [*words, *catalog.list_models()]
        close = errors.nearest(name, known) or [*words[:2], known[-1]]
        yield f"{name!r} is not one of the networks of the catalogue; close: {', '.join(close)}"
        return
    if card.kind != "backbone":
        yield f"{name!r} is a card of kind {card.kind}, not a network"


class Lora(Closed):
    """Low-rank updates beside frozen layers; the network's family says which layers."""

    rank: Count = 8
    alpha: Positive = 16.0
    dropout: Part = 0.0


class Mixed(Closed):
    """Two low-rank updates beside frozen layers, mixed for each image by its sharpness (``petalface``)."""

    rank: Count = 8
    scale: Positive = 1.0
    dropout: Part = 0.1
    threshold: Share = 0.35
    slope: NotNegative = 2.0
    targets: Text | None = None


class Train(Closed):
    """What trains: groups of the network's own parameters, low-rank updates, or both; or ``petalface`` alone.

    ``groups`` joins names of ``model.groups()`` with ``+``, as in ``norms+st+s0``;
    ``norms`` and ``all`` fit every family. ``mode: train`` lets batch norms follow the batch
    and dropout of the network's own work, as a network that starts from nothing needs.
    """

    groups: Text | None = None
    lora: Lora | None = None
    petalface: Mixed | None = None
    mode: Literal["eval", "train"] = "eval"

    def _faults(self, faulty: Container[int] = ()) -> Iterator[str]:
        if not self.groups and not self.lora and not self.petalface:
            yield "nothing trains; write groups: norms+st or lora: {rank: 8}"
        if self.petalface and (self.groups or self.lora):
            yield "petalface trains alone, without groups and lora"

    @property
    def adapts(self) -> bool:
        """Whether the network stays as it is and something beside it trains."""
        return self.lora is not None or self.petalface is not None


class Batch(Closed):
    """How a batch is drawn.

    ``pairs``: ``size`` source images, each with a target of the same subject with
    probability ``positive``. ``balanced``: ``size`` is a whole number of subjects
    with ``per_subject`` images per spectrum. ``images``: ``size`` images in random order,
    all as ``source``, and no target; ``per_subject`` of a person follow one another. ``domains``: ``size`` images, all
    as ``source``: subjects with ``per_subject`` images in each of ``targets`` and ``source``; subjects that lack one
    are left out (``missing: drop``), or seen in what they have (``resample``).
    ``source`` and ``targets`` name spectra; by default
    VIS and all others (``images``: all).  A step is ``accumulate`` such batches.
    ``registered``: ``pairs`` show one view at one moment, pixel on pixel: the n-th target of a subject belongs to its
    n-th source; both are flipped and cut alike.
    """

    sampler: Literal["pairs", "balanced", "images", "domains"] = "pairs"
    size: Count = 40
    positive: Share = 0.5
    per_subject: Count = 1
    missing: Literal["drop", "resample"] = "drop"
    source: Spectrum | None = None
    targets: Annotated[tuple[Spectrum, ...], Field(strict=False)] | None = None
    accumulate: Count = 1
    registered: bool = False

    def _faults(self, faulty: Container[int] = ()) -> Iterator[str]:
        if self.sampler == "balanced" and self.size % self.per_subject:
            yield f"size {self.size} is not a multiple of per_subject {self.per_subject}"
        if self.targets is not None and (not self.targets or (self.source or "VIS") in self.targets):
            yield f"targets {list(self.targets)} are to be other spectra than the source"
        if self.sampler == "images" and self.targets is not None:
            yield "sampler images draws no targets"
        if self.registered and (self.sampler != "pairs" or self.positive < 1):
            yield "registered is for sampler pairs with positive: 1.0"
        if self.missing != "drop" and self.sampler != "domains":
            yield f"missing: {self.missing} is for sampler domains, and this is {self.sampler}"

    @property
    def two_sided(self) -> bool:
        """Whether a batch has targets beside its source."""
        return self.sampler in ("pairs", "balanced")


class Changes(Closed):
    """Random changes of a picture: see ``xzoo.data.augment``.

    ``flip``: probability of a mirror image. ``crop``: smallest and largest share of
    the picture's area that a random crop keeps. The others: largest relative change.
    """

    flip: Share = 0.0
    crop: Annotated[tuple[Share, Share], Field(strict=False)] = (1.0, 1.0)
    brightness: Part = 0.0
    contrast: Part = 0.0
    gamma: Part = 0.0

    def _faults(self, faulty: Container[int] = ()) -> Iterator[str]:
        if not 0 < self.crop[0] <= self.crop[1]:
            yield f"crop {list(self.crop)} is not (smallest, largest), above 0"

    @property
    def changes(self) -> dict[str, Any]:
        """The arguments of ``Augment``."""
        return {key: getattr(self, key) for key in ("flip", "crop", "brightness", "contrast", "gamma")}

    @property
    def random(self) -> bool:
        """Whether two looks at one picture may differ."""
        return bool(self.flip or self.crop != (1.0, 1.0) or self.brightness or self.contrast or self.gamma)


class Degrade(Closed):
    """An operator of ``xzoo.data.degrade`` and its fields, as in ``{name: bilinear_r_up, options: {size: 14}}``."""

    name: Text
    options: dict[str, int | float | Text | list[int]] = {}

    def _faults(self, faulty: Container[int] = ()) -> Iterator[str]:
        try:
            self.operator()
        except errors.XzooError as fault:
            said = "; ".join(part for part in (fault.asked.rstrip("."), fault.why.rstrip(".")) if part)
            yield f"{said}; close: {fault.exists}" if fault.exists else said

    def operator(self) -> Any:
        """Return the operator; its ``draws`` are 0 where it leaves nothing to chance."""
        from xzoo.data import degrade

        options: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in self.options.items()}
        return degrade.create(self.name, **options)


class Mask(Closed):
    """Square patches of a picture that turn grey, drawn anew each time.

    ``share``: of its patches, rounded. ``patch``: their side in pixels, that of the tokens for a network of
    tokens. ``probability``: that a picture is masked at all.
    """

    share: Share = 0.5
    patch: Count = 16
    probability: Share = 1.0


class View(Changes):
    """One more look at a raw crop, beside ``source`` and ``target``.

    ``of``: the side it is made of. ``pixels``: shrink to so many pixels a side, and
    enlarge again to what the network takes. ``degrade``: a named way of losing resolution, enlarged again where
    that leaves fewer pixels than the network takes. Its own changes come after those that all views share; ``mask``
    hides patches of what comes out.
    """

    of: Literal["source", "target"] = "source"
    pixels: Count | None = None
    mask: Mask | None = None
    degrade: Degrade | None = None

    def _faults(self, faulty: Container[int] = ()) -> Iterator[str]:
        yield from super()._faults(faulty)
        if self.pixels is not None and self.degrade is not None:
            yield "pixels and degrade both say how resolution is lost; write one of them"

    @property
    def drawn(self) -> bool:
        """Whether its degradation differs from step to step."""
        return self.degrade is not None and self.degrade.operator().draws > 0


class Views(Changes):
    """What happens to a raw crop before networks see it, the same for all of them, and named views of the result.

    ``bank``: draw the changes from so many fixed ones (0: new ones each time), so that
    a teacher's answers to them can be kept.
    """

    flip: Share = 0.5
    bank: Annotated[int, Field(ge=0)] = 0
    named: dict[Name, View] = {}

    def _faults(self, faulty: Container[int] = ()) -> Iterator[str]:
        yield from super()._faults(faulty)
        for name in self.named:
            if name in ("source", "target", "both"):
                yield f"view {name!r} is there already; choose another name"


class Decay(Closed):
    """How a loss's weight changes over a stage.

    ``warmup``: climbs in a line over the first ``share`` of the steps. ``linear`` and
    ``cosine``: fall from 1 to ``end``. ``hold_cosine``: stays for ``share`` of the steps,
    then falls along half a cosine. ``exp``: falls by equal factors to ``end`` (0.05 where that is 0).
    ``const``: stays.
    """

    kind: Literal["warmup", "linear", "cosine", "hold_cosine", "exp", "const"]
    share: Share = 0.5
    end: NotNegative = 0.0


class LossTerm(Closed):
    """One named term of the sum that is minimised.

    ``on``: what it compares, one for losses over one batch, else the student's first. ``id``: its
    name in metrics, where one loss is used twice. ``adapter``: whether features of unlike
    shapes may be brought together by a trained layer. ``head``: let the loss look through the teacher's
    own last layer (srrl, crosskd). ``masked``: the view with hidden patches that the loss is shown besides, through
    the same module of the student (gkd_qsd).
    """

    name: Annotated[Text, Field(json_schema_extra={"enum": sorted(losses.LOSSES)})]
    on: Annotated[tuple[Text, ...], Field(strict=False, min_length=1, max_length=2)]
    weight: NotNegative = 1.0
    options: dict[str, bool | int | float | Text | list[float]] = {}
    schedule: Decay | None = None
    id: Name | None = None
    adapter: Literal["auto", "always", "never"] = "auto"
    head: bool = False
    masked: Name | None = None

    @property
    def key(self) -> str:
        """Its name in metrics."""
        return self.id or self.name

    @property
    def signals(self) -> tuple[Signal, ...]:
        """What it compares, taken apart."""
        return tuple(signal(text) for text in self.on)

    def _faults(self, faulty: Container[int] = ()) -> Iterator[str]:
        if self.name not in losses.LOSSES:
            close = errors.nearest(self.name, losses.LOSSES) or sorted(losses.LOSSES)[:3]
            yield f"no loss {self.name!r}; close: {', '.join(close)}"
            return
        known, wrong = losses.options(self.name), False
        for key in self.options:
            if key not in known:
                close = errors.nearest(key, known) or list(known) or ["it has none"]
                yield f"no option {key!r} in loss {self.name!r}; close: {', '.join(close)}"
                wrong = True
        if self.options.get("across"):
            yield f"loss {self.name!r} with across: true is for loops of your own; write shards: PARTS"
        elif not wrong:
            # Those that count the data are filled in when the data are there.
            counts = {key: 2 for key in COUNTS if key in known and not self.options.get(key)}
            try:
                losses.create(self.name, **{**counts, **self.options})
            except errors.OptionError as fault:
                yield f"{fault.asked.rstrip('.')}: {fault.why}"
        try:
            yield from self._misread(self.signals)
        except ValueError as fault:
            yield str(fault)

    def _misread(self, signals: Sequence[Signal]) -> Iterator[str]:
        """Yield what is wrong with what it compares."""
        entry, ours = losses.LOSSES[self.name], signals[0]
        if ours.who != "student":
            yield f"loss {self.name!r} looks at {self.on[0]} first; the student comes first"
        if entry.inputs == "maps" and not ours.paths:
            yield f"loss {self.name!r} compares maps; name a module, as in {self.on[0]}:MODULE"
        if len(ours.paths) > 1 and self.name not in LEVELS:
            yield f"loss {self.name!r} compares one level; those of several are {', '.join(LEVELS)}"
        elif len(signals) == 2 and len(signals[1].paths) != len(ours.paths) and len(ours.paths) > 1:
            yield f"{self.on[0]} and {self.on[1]} have different numbers of levels"
        if entry.labels == "match" and [part.view for part in signals] != ["source", "target"]:
            yield f"loss {self.name!r} compares source with target, not {' with '.join(self.on)}"
        if self.head and ("head" not in entry.takes or signals[-1].who == "student"):
            yield f"loss {self.name!r} looks through no teacher's head; {_taking('head')} do"
        if self.masked and "masked" not in entry.takes:
            yield f"loss {self.name!r} takes no masked view; {_taking('masked')} does"
        if len(self.on) < 2 and not _alone(self.name):
            yield f"loss {self.name!r} compares two things; write on: [{self.on[0]}, WHO.VIEW]"


def _taking(what: str) -> str:
    """Return the losses that may be given something besides what they compare."""
    return " and ".join(name for name, entry in losses.LOSSES.items() if what in entry.takes)


def _alone(name: str) -> bool:
    """Return whether a loss may be called without a teacher."""
    code: Any = losses.LOSSES[name].function(name)
    call = getattr(code, "forward") if inspect.isclass(code) else code  # noqa: B009
    found = inspect.signature(call).parameters
    places = [p for key, p in found.items() if p.kind is p.POSITIONAL_OR_KEYWORD and key != "self"]
    return len(places) < 2 or places[1].default is not inspect.Parameter.empty


LEVELS = ("at", "ckd", "fpn_mimic", "reviewkd")
"""Losses that take several levels of features at once."""

COUNTS = ("classes", "num_samples")
"""Options that follow from the data: subjects and images that are trained on."""


class Optimiser(Closed):
    """An optimiser, a schedule of its rate, and the norm at which the gradient is clipped (null: never).

    ``warmup``: steps in which the rate climbs. ``steps``: the rate is multiplied by
    ``decay`` at each of ``milestones``, which are shares of the stage.
    """

    name: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: Positive = 1e-4
    betas: Annotated[tuple[Share, Share], Field(strict=False)] = (0.9, 0.999)
    momentum: Part = 0.9
    weight_decay: NotNegative = 0.0
    clip: Positive | None = None
    schedule: Literal["constant", "cosine", "linear", "steps"] = "constant"
    warmup: Annotated[int, Field(ge=0)] = 0
    milestones: Annotated[tuple[Share, ...], Field(strict=False)] = ()
    decay: Share = 0.1

    def _faults(self, faulty: Container[int] = ()) -> Iterator[str]:
        if (self.schedule == "steps") != bool(self.milestones) or list(self.milestones) != sorted(self.milestones):
            yield "schedule steps and rising milestones go together, as in milestones: [0.5, 0.75]"


class Head(Closed):
    """A compact head behind a network: linear, batch norm, PReLU, linear. ``width``: of its embeddings."""

    width: Count = 256


class Evaluation(Closed):
    """What is measured at the end of a stage: ``probe`` searched for in ``gallery``."""

    gallery: Line = "VIS"
    probe: Line = "LWIR"


class Stage(Closed):
    """One stretch of training.

    ``teacher``: ``start`` (a frozen copy of the student as the stage begins), ``given`` (what
    ``xzoo.distill`` is told), ``stage:NAME`` (the student as an earlier stage left it) or a network of the
    catalogue. ``teachers``: several, by names of your own. ``teacher_precision``: how those run that do not
    say it themselves; ``auto`` is bf16 where nothing is kept and the device has units for it. ``student``:
    where it is not that of the stage before; ``teacher`` is a copy of the given one. ``head``: what is put behind
    it, as the group ``bridge``; such a student may teach a later stage and is no outcome itself. ``cache``: keep
    what teachers answer, on disk. ``ema``: share that a running mean of the weights keeps at each step; the stage
    then ends with the mean.
    """

    name: Name
    student: Who | None = None
    head: Head | None = None
    train: Train
    teacher: Who = "none"
    teachers: dict[Name, Who] = {}
    cache: bool = False
    batch: Batch = Batch()
    views: Views = Views()
    losses: Annotated[tuple[LossTerm, ...], Field(strict=False)]
    optimiser: Optimiser = Optimiser()
    precision: Literal["float32", "bf16"] = "float32"
    teacher_precision: Literal["float32", "bf16", "auto"] = "float32"
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    steps: Count = 100
    evaluation: Evaluation | None = None

    @property
    def taught(self) -> dict[str, str | Network]:
        """Its teachers by the name that losses use."""
        return ({} if self.teacher == "none" else {"teacher": self.teacher}) | self.teachers

    def views_of(self, who: str) -> list[str]:
        """Return the views that somebody is shown, ``both`` taken apart."""
        found = dict.fromkeys(part.view for term in self.losses for part in term.signals if part.who == who)
        if who == "student":
            found |= dict.fromkeys(term.masked for term in self.losses if term.masked)
        if "both" in found:
            del found["both"]
            found |= dict.fromkeys(("source", "target"))
        return sorted(found, key=lambda view: (["source", "target", view].index(view), view))

    @property
    def truths(self) -> list[str]:
        """Return the views whose landmarks are needed."""
        injecting = [t.signals[0].view for t in self.losses if "student_head" in losses.LOSSES[t.name].takes]
        return list(dict.fromkeys([*self.views_of(TRUTH), *injecting]))

    def paths_of(self, who: str) -> list[str]:
        """Return the modules of somebody that losses look into."""
        parts = [part for term in self.losses for part in term.signals if part.who == who]
        return list(dict.fromkeys(path for part in parts for path in part.paths))

    def _faults(self, faulty: Container[int] = ()) -> Iterator[str]:
        # Said here and not by a minimal length: that would also complain of a list whose only item is wrong.
        if not self.losses:
            yield "there is no loss"
        keys = [term.key for term in self.losses]
        if len(set(keys)) < len(keys):
            yield "two losses have the same name; tell them apart by id: NAME"
        if self.losses and not any(term.weight for term in self.losses):
            yield "every loss has weight 0, so nothing would train"
        for name in ("student", "none", TRUTH, *(("teacher",) if self.teacher != "none" else ())):
            if name in self.teachers:
                yield f"a teacher cannot be called {name!r}"
        for name, who in self.taught.items():
            if isinstance(who, str) and not who.startswith("stage:"):
                yield from (f"{name}: {text}, or stage:NAME" for text in _in_catalogue(who, "none", "start", "given"))
        sound = self.model_copy(update={"losses": tuple(term for term in self.losses if id(term) not in faulty)})
        for term in sound.losses:
            yield from self._fitting(term)
        if not any(id(table) in faulty for table in (self.views, *self.views.named.values())):
            yield from sound._keeping()
        if self.batch.registered and self.views.bank:
            yield "registered pairs are flipped and cut alike, which views: {bank: ...} does not do"
        if self.cache and not self.taught:
            yield "cache: true, but there is no teacher"

    def _keeping(self) -> Iterator[str]:
        """Yield the views whose answers cannot be kept."""
        for name in self.taught if self.cache else ():
            for view in self.views_of(name):
                if view in self.views.named and self.views.named[view].drawn:
                    yield f"cache: true, but view {view!r} of {name} loses resolution at random"
            loose = [view for view in self.views_of(name) if self.random(view)]
            if loose and not self.views.bank:
                yield (
                    f"cache: true, but view {loose[0]!r} of {name} changes at random; write views: {{flip: 0}}, "
                    "or views: {bank: 8} to draw from eight fixed changes"
                )

    def masks(self, view: str) -> bool:
        """Return whether a view hides patches of a picture."""
        return view in self.views.named and self.views.named[view].mask is not None

    def random(self, view: str) -> bool:
        """Return whether a view of one picture may differ from step to step."""
        own = self.views.named.get(view)
        return self.views.random or (own is not None and own.random)

    def _fitting(self, term: LossTerm) -> Iterator[str]:
        """Yield what of a loss does not go with teachers, views and sampler."""
        pairs, none = self.batch.sampler == "pairs", not self.batch.two_sided
        views = ["source", "target", "both", *self.views.named]
        for text, part in zip(term.on, term.signals, strict=True):
            if part.who not in ("student", TRUTH, *self.taught):
                hint = "; write teacher: start" if part.who == "teacher" else ""
                have = ", ".join(self.taught) or "none"
                yield f"loss {term.key!r} looks at {text}, but teacher is {have}{hint}"
            if part.view not in views:
                close = [f"{part.who}.{view}" for view in errors.nearest(part.view, views) or views[:3]]
                yield f"loss {term.key!r} looks at {text}: no such view; close: {', '.join(close)}"
            if part.who == TRUTH and (part.paths or part.view == "both"):
                yield f"loss {term.key!r} looks at {text}; landmarks are known of one view, as truth.source"
            own = self.views.named.get(part.view)
            if none and (part.view in ("target", "both") or (own is not None and own.of == "target")):
                yield f"loss {term.key!r} looks at {text}, but sampler {self.batch.sampler} draws no target"
        for part in term.signals:
            if part.who not in ("student", TRUTH) and self.masks(part.view):
                yield f"loss {term.key!r} shows {part.who} the masked view {part.view!r}; write masked: VIEW"
        if term.masked and not self.masks(term.masked):
            have = ", ".join(view for view in self.views.named if self.masks(view)) or "none"
            yield f"loss {term.key!r}: {term.masked!r} is no view with a mask; there are: {have}"
        entry = losses.LOSSES[term.name]
        if "student_head" in entry.takes and any(part.paths != ("trunk",) for part in term.signals):
            yield f"loss {term.key!r} sends maps through heads; write on: [student.VIEW:trunk, WHO.VIEW:trunk]"
        if entry.labels == "match" and not pairs:
            yield f"loss {term.key!r} needs labelled pairs; write batch: {{sampler: pairs}}"
        partners = entry.labels == "subject" and len({part.view for part in term.signals}) > 1
        if partners and pairs and self.batch.positive < 1:
            yield f"loss {term.key!r} needs a partner for every image; write batch: {{positive: 1.0}}"


class Variant(Closed):
    """What changes in every stage when the recipe is run with LoRA."""

    train: Train = Train(groups="norms", lora=Lora())
    lr: Positive = 1e-3


class Recipe(Closed):
    """A checked recipe.

    ``student``: the network of the first stage, unless the caller gives one.
    """

    recipe: Name
    summary: Line
    source: Text = ""
    student: Who | None = None
    stages: Annotated[tuple[Stage, ...], Field(strict=False)]
    lora: Variant = Variant()

    def _faults(self, faulty: Container[int] = ()) -> Iterator[str]:
        if not self.stages:
            yield "there is no stage"
            return
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            yield "two stages have the same name"
        if isinstance(self.student, str):
            yield from _in_catalogue(self.student, "given")
        for number, stage in enumerate(self.stages):
            who = stage.student
            if isinstance(who, str) and not who.startswith("stage:"):
                yield from _in_catalogue(who, "given", "teacher")
            for word in (who, *stage.taught.values()):
                if isinstance(word, str) and word.startswith("stage:") and word[6:] not in names[:number]:
                    earlier = ", ".join(names[:number]) or "none"
                    yield f"stage {stage.name!r}: {word} is no earlier stage; there are: {earlier}"
        adapts = any(stage.train.adapts for stage in self.stages)
        same = all(stage.train == self.stages[0].train and stage.student is None for stage in self.stages)
        if adapts and not same:
            yield "the stages train different things; one run leaves one adapter"
        if self.stages[-1].head is not None:
            yield f"stage {self.stages[-1].name!r} has a head, and nobody learns from it"

    @property
    def beyond_finetuning(self) -> list[str]:
        """What in it ``xzoo.finetune`` cannot do and ``xzoo.distill`` can."""
        found = [] if self.student is None else [f"student: {_short(self.student)}"]
        for stage in self.stages:
            whole = {
                "a student of its own": stage.student is not None,
                "a head": stage.head is not None,
                "teachers": bool(stage.teachers),
                f"teacher {_short(stage.teacher)}": stage.teacher not in ("none", "start"),
                "cache: true": stage.cache,
                "sampler images": stage.batch.sampler == "images",
                "train: {mode: train}": stage.train.mode == "train",
                "ema": stage.ema is not None,
                "another source": stage.batch.source not in (None, "VIS"),
                "training of other things than the first stage": stage.train != self.stages[0].train,
            }
            found += [f"stage {stage.name!r} has {what}" for what, there in whole.items() if there]
        return found

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
        found = [item for item in node if key in ("*", item.get("id") or item["name"])]
    else:
        found = [node[key]] if isinstance(node, dict) and key in node else []
    if not found:
        raise _nowhere("the recipe", place, key, node)
    for item in found:
        yield from _branches(item, rest, place)


def _short(who: str | Network) -> str:
    return who if isinstance(who, str) else who.name


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
        RecipeError: Listing every fault with its place. Its ``draft`` is the recipe as far as it can be read, so
            that what remains can be checked against networks, too.
    """
    recipe, found = _read(tree, file)
    if recipe is not None and not found:
        return recipe
    raise faulty(file, found, recipe)


class Draft(NamedTuple):
    """A recipe with faults: its file, what is wrong with it, and what can be read of it (None: nothing)."""

    file: str
    faults: list[str]
    recipe: Recipe | None


def faulty(file: str, found: list[str], recipe: Recipe | None) -> errors.RecipeError:
    """Return the error that lists all faults of a recipe, to be raised."""
    title = f"{file}: {len(found)} fault{'s' * (len(found) > 1)}."
    fault = errors.RecipeError(title, why=errors.problems(found, limit=1000))
    fault.draft = Draft(file, found, recipe)
    return fault


def _read(tree: Any, file: str) -> tuple[Recipe | None, list[str]]:
    """Return a recipe as far as it can be read, and every fault of it."""
    told: _Told = []
    try:
        recipe = Recipe.model_validate(tree, context=told)
    except ValidationError as fault:
        found = cards.faults(Recipe, fault, file)
        mended = _mended(tree, fault)
        told = []
        try:
            recipe = Recipe.model_validate(mended, context=told)
        except ValidationError:
            return None, _found_apart(tree, file)
    else:
        found = []
    wrong = {id(table): texts for table, texts in told}
    for table, place in _places(recipe, ""):
        found += [f"{file}: {place}: {text}" if place else f"{file}: {text}" for text in wrong.get(table, ())]
    return _without(recipe, set(wrong)), list(dict.fromkeys(found))


def _found_apart(tree: Any, file: str) -> list[str]:
    """Return the faults of each table whose keys are right, where the whole cannot be put together."""
    try:
        Recipe.model_validate(tree)
    except ValidationError as fault:
        return cards.faults(Recipe, fault, file)
    return []


def _mended(tree: Any, fault: ValidationError) -> Any:
    """Return a tree whose wrong keys and values are the nearest right ones, or gone: to find what else is wrong."""
    mended = copy.deepcopy(tree)
    for item in fault.errors(include_url=False):
        *path, key = [part for part in item["loc"] if not cards.is_branch(part)] or [""]
        node = mended
        try:
            for part in path:
                node = node[part]
            value = node.pop(key)
        except (AttributeError, IndexError, KeyError, TypeError):
            continue  # what is missing stays so
        if item["type"] == "extra_forbidden":
            close = errors.nearest(str(key), cards.keys_at(Recipe, tuple(path)))
            if close and close[0] not in node:
                node[close[0]] = value
        elif item["type"] == "literal_error":
            choices = re.findall(r"'([^']*)'", str(item["ctx"]["expected"]))
            close = errors.nearest(str(value), choices)
            if close:
                node[key] = close[0]
    return mended


def _places(node: Any, place: str) -> Iterator[tuple[int, str]]:
    """Yield the id of every table in a recipe, and where it stands."""
    if isinstance(node, BaseModel):
        yield id(node), place
        for name in type(node).model_fields:
            yield from _places(getattr(node, name), f"{place}.{name}".lstrip("."))
    elif isinstance(node, tuple):
        for number, part in enumerate(node):
            yield from _places(part, f"{place}[{number}]")
    elif isinstance(node, dict):
        for key, part in node.items():
            yield from _places(part, f"{place}.{key}")


def _without(recipe: Recipe, faulty: set[int]) -> Recipe:
    """Return a recipe without losses that are wrong, and with nobody where there is no such network."""

    def who(name: Who | None) -> Who | None:
        words = ("none", "start", "given", "teacher")
        if isinstance(name, Network):
            return "stage:" if id(name) in faulty else name
        unknown = name is not None and not name.startswith("stage:") and any(_in_catalogue(name, *words))
        return "stage:" if unknown else name

    if not faulty:
        return recipe
    stages = []
    for stage in recipe.stages:
        changes: dict[str, Any] = {"losses": tuple(term for term in stage.losses if id(term) not in faulty)}
        changes |= {"student": who(stage.student), "teacher": who(stage.teacher)}
        changes["teachers"] = {name: who(teacher) for name, teacher in stage.teachers.items()}
        stages.append(stage.model_copy(update=changes))
    return recipe.model_copy(update={"stages": tuple(stages), "student": who(recipe.student)})


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a recipe, for editors that complete and check YAML as it is typed."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Recipe.model_json_schema()}
