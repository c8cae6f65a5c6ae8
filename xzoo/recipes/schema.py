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

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Discriminator, Field, Tag, model_validator

from xzoo import errors, losses
from xzoo.cards.schema import Closed, Line, Scalar, Spectrum, Text, load_yaml, validated

__all__ = [
    "Batch",
    "Decay",
    "Degrade",
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

    @model_validator(mode="after")
    def _known(self) -> Network:
        _in_catalogue(self.name)
        return self


def _kind(value: Any) -> str:
    return "function-table" if isinstance(value, Mapping | Network) else "str"


# Told apart by what was written, so that a fault in one form is not also told of the other.
Who = Annotated[
    Annotated[Text, Tag("str")] | Annotated[Network, Tag("function-table")],
    Discriminator(_kind),
]


def _in_catalogue(name: str, *words: str) -> None:
    """Refuse a name that is neither one of ``words`` nor in the catalogue."""
    from xzoo import catalog

    try:
        card, _ = catalog.resolve(name)
    except errors.NotFound as fault:
        known = [*words, *catalog.list_models()]
        close = errors.nearest(name, known) or [*words[:2], known[-1]]
        raise ValueError(f"{name!r} is not one of the networks of the catalogue; close: {', '.join(close)}") from fault
    if card.kind != "backbone":
        raise ValueError(f"{name!r} is a card of kind {card.kind}, not a network")


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

    @model_validator(mode="after")
    def _something(self) -> Train:
        if not self.groups and not self.lora and not self.petalface:
            raise ValueError("nothing trains; write groups: norms+st or lora: {rank: 8}")
        if self.petalface and (self.groups or self.lora):
            raise ValueError("petalface trains alone, without groups and lora")
        return self

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

    @model_validator(mode="after")
    def _whole_subjects(self) -> Batch:
        if self.sampler == "balanced" and self.size % self.per_subject:
            raise ValueError(f"size {self.size} is not a multiple of per_subject {self.per_subject}")
        if self.targets is not None and (not self.targets or (self.source or "VIS") in self.targets):
            raise ValueError(f"targets {list(self.targets)} are to be other spectra than the source")
        if self.sampler == "images" and self.targets is not None:
            raise ValueError("sampler images draws no targets")
        if self.registered and (self.sampler != "pairs" or self.positive < 1):
            raise ValueError("registered is for sampler pairs with positive: 1.0")
        if self.missing != "drop" and self.sampler != "domains":
            raise ValueError(f"missing: {self.missing} is for sampler domains, and this is {self.sampler}")
        return self

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

    @model_validator(mode="after")
    def _in_order(self) -> Changes:
        if not 0 < self.crop[0] <= self.crop[1]:
            raise ValueError(f"crop {list(self.crop)} is not (smallest, largest), above 0")
        return self

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

    @model_validator(mode="after")
    def _known(self) -> Degrade:
        try:
            self.operator()
        except errors.XzooError as fault:
            said = "; ".join(part for part in (fault.asked.rstrip("."), fault.why.rstrip(".")) if part)
            raise ValueError(f"{said}; close: {fault.exists}" if fault.exists else said) from fault
        return self

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

    @model_validator(mode="after")
    def _one_way(self) -> View:
        if self.pixels is not None and self.degrade is not None:
            raise ValueError("pixels and degrade both say how resolution is lost; write one of them")
        return self

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

    @model_validator(mode="after")
    def _names(self) -> Views:
        for name in self.named:
            if name in ("source", "target", "both"):
                raise ValueError(f"view {name!r} is there already; choose another name")
        return self


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

    @model_validator(mode="after")
    def _known(self) -> LossTerm:
        if self.name not in losses.LOSSES:
            close = errors.nearest(self.name, losses.LOSSES) or sorted(losses.LOSSES)[:3]
            raise ValueError(f"no loss {self.name!r}; close: {', '.join(close)}")
        entry = losses.LOSSES[self.name]
        ours = self.signals[0]
        if ours.who != "student":
            raise ValueError(f"loss {self.name!r} looks at {self.on[0]} first; the student comes first")
        if entry.inputs == "maps" and not ours.paths:
            raise ValueError(f"loss {self.name!r} compares maps; name a module, as in {self.on[0]}:MODULE")
        if len(ours.paths) > 1 and self.name not in LEVELS:
            raise ValueError(f"loss {self.name!r} compares one level; those of several are {', '.join(LEVELS)}")
        if len(self.signals) == 2 and len(self.signals[1].paths) != len(ours.paths) and len(ours.paths) > 1:
            raise ValueError(f"{self.on[0]} and {self.on[1]} have different numbers of levels")
        if entry.labels == "match" and [part.view for part in self.signals] != ["source", "target"]:
            raise ValueError(f"loss {self.name!r} compares source with target, not {' with '.join(self.on)}")
        if self.head and ("head" not in entry.takes or self.signals[-1].who == "student"):
            raise ValueError(f"loss {self.name!r} looks through no teacher's head; {_taking('head')} do")
        if self.masked and "masked" not in entry.takes:
            raise ValueError(f"loss {self.name!r} takes no masked view; {_taking('masked')} does")
        if len(self.on) < 2 and not _alone(self.name):
            raise ValueError(f"loss {self.name!r} compares two things; write on: [{self.on[0]}, WHO.VIEW]")
        known = losses.options(self.name)
        for key in self.options:
            if key not in known:
                close = errors.nearest(key, known) or list(known) or ["it has none"]
                raise ValueError(f"no option {key!r} in loss {self.name!r}; close: {', '.join(close)}")
        if self.options.get("across"):
            raise ValueError(f"loss {self.name!r} with across: true is for loops of your own; write shards: PARTS")
        # Those that count the data are filled in when the data are there.
        counts = {key: 2 for key in COUNTS if key in known and not self.options.get(key)}
        try:
            losses.create(self.name, **{**counts, **self.options})
        except errors.OptionError as fault:
            raise ValueError(f"{fault.asked.rstrip('.')}: {fault.why}") from fault
        return self


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

    @model_validator(mode="after")
    def _milestones(self) -> Optimiser:
        if (self.schedule == "steps") != bool(self.milestones) or list(self.milestones) != sorted(self.milestones):
            raise ValueError("schedule steps and rising milestones go together, as in milestones: [0.5, 0.75]")
        return self


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

    @model_validator(mode="after")
    def _fits(self) -> Stage:
        # Said here and not by a minimal length: that would also complain of a list whose only item is wrong.
        if not self.losses:
            raise ValueError("there is no loss")
        keys = [term.key for term in self.losses]
        if len(set(keys)) < len(keys):
            raise ValueError("two losses have the same name; tell them apart by id: NAME")
        if not any(term.weight for term in self.losses):
            raise ValueError("every loss has weight 0, so nothing would train")
        for name in ("student", "none", TRUTH, *(("teacher",) if self.teacher != "none" else ())):
            if name in self.teachers:
                raise ValueError(f"a teacher cannot be called {name!r}")
        for name, who in self.taught.items():
            if isinstance(who, str) and who not in ("start", "given") and not who.startswith("stage:"):
                try:
                    _in_catalogue(who, "none", "start", "given")
                except ValueError as fault:
                    raise ValueError(f"{name}: {fault}, or stage:NAME") from fault
        for term in self.losses:
            self._fitting(term)
        for name in self.taught if self.cache else ():
            drawn = [view for view in self.views_of(name) if view in self.views.named and self.views.named[view].drawn]
            if drawn:
                raise ValueError(f"cache: true, but view {drawn[0]!r} of {name} loses resolution at random")
            loose = [view for view in self.views_of(name) if self.random(view)]
            if loose and not self.views.bank:
                raise ValueError(
                    f"cache: true, but view {loose[0]!r} of {name} changes at random; write views: {{flip: 0}}, "
                    "or views: {bank: 8} to draw from eight fixed changes"
                )
        if self.batch.registered and self.views.bank:
            raise ValueError("registered pairs are flipped and cut alike, which views: {bank: ...} does not do")
        if self.cache and not self.taught:
            raise ValueError("cache: true, but there is no teacher")
        return self

    def masks(self, view: str) -> bool:
        """Return whether a view hides patches of a picture."""
        return view in self.views.named and self.views.named[view].mask is not None

    def random(self, view: str) -> bool:
        """Return whether a view of one picture may differ from step to step."""
        own = self.views.named.get(view)
        return self.views.random or (own is not None and own.random)

    def _fitting(self, term: LossTerm) -> None:
        pairs, none = self.batch.sampler == "pairs", not self.batch.two_sided
        views = ["source", "target", "both", *self.views.named]
        for text, part in zip(term.on, term.signals, strict=True):
            if part.who not in ("student", TRUTH, *self.taught):
                hint = "; write teacher: start" if part.who == "teacher" else ""
                have = ", ".join(self.taught) or "none"
                raise ValueError(f"loss {term.key!r} looks at {text}, but teacher is {have}{hint}")
            if part.view not in views:
                close = [f"{part.who}.{view}" for view in errors.nearest(part.view, views) or views[:3]]
                raise ValueError(f"loss {term.key!r} looks at {text}: no such view; close: {', '.join(close)}")
            if part.who == TRUTH and (part.paths or part.view == "both"):
                raise ValueError(f"loss {term.key!r} looks at {text}; landmarks are known of one view, as truth.source")
            own = self.views.named.get(part.view)
            if none and (part.view in ("target", "both") or (own is not None and own.of == "target")):
                raise ValueError(f"loss {term.key!r} looks at {text}, but sampler {self.batch.sampler} draws no target")
        for part in term.signals:
            if part.who not in ("student", TRUTH) and self.masks(part.view):
                raise ValueError(
                    f"loss {term.key!r} shows {part.who} the masked view {part.view!r}; write masked: VIEW"
                )
        if term.masked and not self.masks(term.masked):
            have = ", ".join(view for view in self.views.named if self.masks(view)) or "none"
            raise ValueError(f"loss {term.key!r}: {term.masked!r} is no view with a mask; there are: {have}")
        entry = losses.LOSSES[term.name]
        if "student_head" in entry.takes and any(part.paths != ("trunk",) for part in term.signals):
            raise ValueError(
                f"loss {term.key!r} sends maps through heads; write on: [student.VIEW:trunk, WHO.VIEW:trunk]"
            )
        if entry.labels == "match" and not pairs:
            raise ValueError(f"loss {term.key!r} needs labelled pairs; write batch: {{sampler: pairs}}")
        if len({part.view for part in term.signals}) < 2:
            return
        if entry.labels == "subject" and pairs and self.batch.positive < 1:
            raise ValueError(f"loss {term.key!r} needs a partner for every image; write batch: {{positive: 1.0}}")


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

    @model_validator(mode="after")
    def _in_order(self) -> Recipe:
        if not self.stages:
            raise ValueError("there is no stage")
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ValueError("two stages have the same name")
        if isinstance(self.student, str) and self.student != "given":
            _in_catalogue(self.student, "given")
        for number, stage in enumerate(self.stages):
            who = stage.student
            if isinstance(who, str) and who not in ("given", "teacher") and not who.startswith("stage:"):
                _in_catalogue(who, "given", "teacher")
            for word in (who, *stage.taught.values()):
                if isinstance(word, str) and word.startswith("stage:") and word[6:] not in names[:number]:
                    earlier = ", ".join(names[:number]) or "none"
                    raise ValueError(f"stage {stage.name!r}: {word} is no earlier stage; there are: {earlier}")
        adapts = any(stage.train.adapts for stage in self.stages)
        same = all(stage.train == self.stages[0].train and stage.student is None for stage in self.stages)
        if adapts and not same:
            raise ValueError("the stages train different things; one run leaves one adapter")
        if self.stages[-1].head is not None:
            raise ValueError(f"stage {self.stages[-1].name!r} has a head, and nobody learns from it")
        return self

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
        RecipeError: As :func:`parse`.
    """
    return validated(Recipe, tree, file, errors.RecipeError)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a recipe, for editors that complete and check YAML as it is typed."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Recipe.model_json_schema()}
