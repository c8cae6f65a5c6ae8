"""The shape of a card, and how its YAML is read.

Closed models: a key that is not known here is a fault. All faults of a file
are told at once, one flat line each: file, key, what is wrong, and the
nearest right spelling.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, cast, get_args

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from xzoo.catalog.names import KINDS
from xzoo.errors import CardError, XzooError, nearest, problems

__all__ = [
    "CardModel",
    "Closed",
    "PluginModel",
    "Text",
    "faults",
    "is_branch",
    "keys_at",
    "load_yaml",
    "parse_card",
    "read_card",
    "validated",
]

_Loader: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Yaml12(_Loader):  # type: ignore[misc]
    """YAML as people read it: ``3e-4`` is a number, ``no`` and ``12:30:45`` are text, keys appear once."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("null", r"~|null|Null|NULL|", "~nN"),
):
    _Yaml12.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first))
_Yaml12.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^$"), [""])


def _integer(loader: Any, node: yaml.ScalarNode) -> int:
    return int(loader.construct_scalar(node))  # YAML 1.1 would read 010 as eight


def _mapping(loader: Any, node: yaml.MappingNode) -> dict[Hashable, Any]:
    loader.flatten_mapping(node)
    seen: dict[Hashable, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, Hashable):
            raise yaml.constructor.ConstructorError(None, None, "a key must be plain text", key_node.start_mark)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"key {key!r} appears twice", key_node.start_mark)
        seen[key] = loader.construct_object(value_node, deep=True)
    return seen


_Yaml12.add_constructor("tag:yaml.org,2002:int", _integer)
_Yaml12.add_constructor("tag:yaml.org,2002:map", _mapping)


class _Written(_Yaml12):
    """Numbers that remember how they were written, so that a version ``1.10`` stays itself where text is due."""


class _Int(int):
    text: str


class _Float(float):
    text: str


def _remembering(kind: type[_Int] | type[_Float], read: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def construct(loader: Any, node: yaml.ScalarNode) -> Any:
        number = kind(read(loader, node))
        number.text = node.value
        return number

    return construct


_Written.add_constructor("tag:yaml.org,2002:int", _remembering(_Int, _integer))
_Written.add_constructor("tag:yaml.org,2002:float", _remembering(_Float, _Yaml12.construct_yaml_float))


def load_yaml(
    text: str, file: str | Path = "<text>", *, error: type[XzooError] = CardError, written: bool = False
) -> Any:
    """Read YAML 1.2: only true and false are booleans, ``3e-4`` is a number, no key twice.

    Args:
        text: The YAML.
        file: Where it came from, for the error.
        error: What to raise.
        written: Let numbers remember their spelling (see :data:`Text`).

    Raises:
        XzooError: of kind ``error``, with the line, where the text is not YAML.
    """
    try:
        return yaml.load(text, Loader=_Written if written else _Yaml12)  # noqa: S506  (both are safe loaders)
    except yaml.MarkedYAMLError as cause:
        line = f":{cause.problem_mark.line + 1}" if cause.problem_mark else ""
        raise error(f"{file}{line}: {cause.problem}.", why="the file is not valid YAML") from cause
    except (yaml.YAMLError, ValueError, RecursionError) as cause:
        raise error(f"{file}: not valid YAML.", why=str(cause)) from cause


def _as_written(value: Any) -> Any:
    return getattr(value, "text", value)


Text = Annotated[str, BeforeValidator(_as_written)]
"""A string; a number is taken as it was written, a boolean or a list is refused."""

Line = Annotated[Text, Field(min_length=1, pattern=r"^[^\n]*\S[^\n]*$")]
Identifier = Annotated[Text, Field(pattern=r"^[a-z0-9_]+$")]
Sha256 = Annotated[Text, Field(pattern=r"^[0-9a-f]{64}$")]
Revision = Annotated[Text, Field(pattern=r"^[0-9a-f]{40}$")]
Spectrum = Literal["VIS", "NIR", "SWIR", "MWIR", "LWIR"]
Count = Annotated[int, Field(ge=0)]
Fidelity = Literal["own", "abstract-level", "reimplementation", "converted", "reproduced"]
"""How near code and figures are to the paper: ``own`` follows none; ``abstract-level`` knows its abstract alone;
``reimplementation`` follows its text, with numbers of ours where it gives none; ``converted`` runs the authors' own
weights; ``reproduced`` had their figures come out again."""
Scalar = bool | int | float | str


class Closed(BaseModel):
    """A table that takes the keys it names, of the types it names, and nothing else."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Option(Closed):
    """One build argument that the user may set."""

    type: Literal["int", "float", "bool", "str"]
    default: Scalar | None
    help: Text = ""
    choices: list[Scalar] | None = None
    min: float | None = None
    max: float | None = None


class WeightsModel(Closed):
    """One tag: a set of weights, where it is, and how it is known to be the right one."""

    tag: Identifier
    source: Annotated[Text, Field(pattern=r"^(bundled:[^/]+|hf-hub:[^/]+/[^/]+/.+|package:[a-z0-9_]+/.+)$")]
    licence: Line
    dtype: Literal["float32", "float16", "bfloat16", "int8"]
    sha256: Sha256 | None = None
    revision: Revision | None = None
    bytes: Count | None = None
    notes: Text = ""

    @model_validator(mode="after")
    def _pinned_as_a_whole(self) -> WeightsModel:
        if self.source.startswith("hf-hub:") and (self.revision is None) != (self.sha256 is None):
            raise ValueError("a Hub file is pinned by revision and sha256 together, or trusted on first use")
        return self


class Licence(Closed):
    """Three licences, because they differ: of the code, of the weights, of the training data."""

    code: Line
    weights: Line
    data: Line
    notes: Text = ""


class Input(Closed):
    """What the network expects to be fed.

    ``alignment``: a name of ``xzoo.data.align.TEMPLATES``, or words for people. ``stretch``: bring the darkest and
    brightest value of each picture to 0 and 255 first, as for thermal counts.
    """

    size: Annotated[list[Count], Field(min_length=3, max_length=3)]
    colour: Literal["RGB", "BGR"]
    mean: Annotated[list[float], Field(min_length=3, max_length=3)]
    std: Annotated[list[float], Field(min_length=3, max_length=3)]
    alignment: Line
    interpolation: Literal["bilinear", "bicubic"] | None = None
    stretch: bool | None = None


class Output(Closed):
    """What the network returns."""

    embedding: Annotated[int, Field(ge=1)] | None = None
    normalised: bool | None = None
    compare: Literal["cosine", "euclidean"] | None = None
    points: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _one_thing(self) -> Output:
        compared = (self.embedding, self.normalised, self.compare)
        if not (all(part is not None for part in compared) if self.points is None else compared == (None,) * 3):
            raise ValueError("it has embedding, normalised and compare, or points alone")
        return self


class Size(Closed):
    """How large the network is."""

    params: Count
    mflops: Annotated[float, Field(gt=0)] | None = None
    notes: Text = ""


class TrainingData(Closed):
    """One set of images behind the weights, and whether its people agreed."""

    name: Line
    consent: Literal["scraped", "consented", "synthetic", "unknown"]
    status: Literal["available", "restricted", "withdrawn", "generated", "unknown"]
    version: Text | None = None
    identities: Count | None = None
    images: Count | None = None
    tags: list[Identifier] | None = None
    url: Text | None = None
    notes: Text = ""


class Result(Closed):
    """One figure, who measured it, and on how much."""

    protocol: Line
    metric: Line
    value: float
    source: Literal["self", "third-party", "paper"]
    unit: Literal["%", ""] = ""
    tag: Identifier | None = None
    std: Annotated[float, Field(ge=0)] | None = None
    ci95: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None
    counts: dict[str, Count] | None = None
    group: Line | None = None  # the people it holds for, "women, by their own word"; None is everybody
    evidence: Text | None = None
    notes: Text = ""

    @model_validator(mode="after")
    def _own_figures_can_be_recomputed(self) -> Result:
        if self.source == "self" and not (self.counts and self.evidence):
            raise ValueError("a figure of our own needs counts, and evidence: the file or script it comes from")
        return self


class Ancestor(Closed):
    """One link of the chain behind the weights: what they were learnt from, beside the training data."""

    role: Literal["start", "teacher", "student", "recipe", "script", "adapter", "base"]
    name: Line
    sha256: Sha256 | None = None
    tags: list[Identifier] | None = None
    notes: Text = ""


class Use(Closed):
    """What it is for, and what not."""

    intended: Line
    not_for: list[Line]
    known_failures: list[Line] | None = None
    human_review: Text | None = None


class People(Closed):
    """Whom to credit, and whom to ask."""

    authors: list[Line]
    cite: Text | None = None
    links: list[Line] | None = None
    contact: Line | None = None


Model = TypeVar("Model", bound=Closed)


class CardModel(Closed):
    """The front matter of a card."""

    schema_: Annotated[Literal[1], Field(alias="schema")] = 1
    name: Identifier
    kind: Literal["backbone", "adapter", "recipe"]
    task: Line
    summary: Line
    status: Literal["draft", "experimental", "stable", "deprecated", "withdrawn"]
    spectra: list[Spectrum]
    licence: Licence
    reason: Line | None = None
    superseded_by: Identifier | None = None
    family: Identifier | None = None
    target: Annotated[Text, Field(pattern=r"^[a-z0-9_.]+:[A-Za-z0-9_]+$")] | None = None
    fixed: dict[str, Scalar | list[Scalar]] = {}
    options: dict[Identifier, Option] | None = None
    default_tag: Identifier | None = None
    weights: list[WeightsModel] = []
    input: Input | None = None
    output: Output | None = None
    size: Size | None = None
    fidelity: Fidelity | None = None
    training_data: list[TrainingData] | None = None
    provenance: list[Ancestor] | None = None
    results: list[Result] | None = None
    use: Use
    people: People | None = None
    recipe: Text | None = None
    prose: Text = ""

    @field_validator("spectra")
    @classmethod
    def _in_order(cls, spectra: list[str]) -> list[str]:
        order = [band for band in get_args(Spectrum) if band in spectra]
        if spectra != order:
            raise ValueError(f"give each band once and in order: {', '.join(order)}")
        return spectra

    @model_validator(mode="wrap")
    @classmethod
    def _all_at_once(cls, data: Any, check: ModelWrapValidatorHandler[Self]) -> Self:
        return all_at_once(cls, data, check, _misfits)


def _misfits(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield key and fault where parts of a card do not fit together; wrong types are told elsewhere."""
    kind, default, status = data.get("kind"), data.get("default_tag"), data.get("status")
    tags = [row["tag"] for row in _tables(data, "weights") if isinstance(row.get("tag"), str)]
    if len(set(tags)) < len(tags):
        yield "weights", "a tag appears twice"
    if default is None and tags:
        yield "default_tag", "missing, there are weights"
    elif default is not None and default not in tags:
        yield "default_tag", f"{default!r} is no tag of this card{_close(nearest(str(default), tags))}"
    if kind == "backbone":
        if ("family" in data) == ("target" in data):
            yield "family", "a backbone has a family, or (in a plugin) a target"
        yield from ((key, "missing, a backbone needs it") for key in ("input", "output") if key not in data)
    elif kind in KINDS:
        yield from ((key, f"not for a card of kind {kind}") for key in ("target", "weights") if key in data)
    if status in ("deprecated", "withdrawn") and "reason" not in data:
        yield "reason", f"missing, status is {status}"
    named = [("results", row.get("tag")) for row in _tables(data, "results")]
    for key in ("training_data", "provenance"):
        named += [(key, tag) for row in _tables(data, key) for tag in row.get("tags") or ()]
    for key, tag in dict.fromkeys(named):
        if tag is not None and tag not in tags:
            yield key, f"{tag!r} is no tag of this card{_close(nearest(str(tag), tags))}"


def _tables(data: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    rows = data.get(key)
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


class PluginModel(Closed):
    """The ``xzoo.yaml`` of a plugin."""

    schema_: Annotated[Literal[1], Field(alias="schema")] = 1
    namespace: Identifier
    package: Annotated[Text, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    requires: list[Line] = []
    cards: Annotated[list[CardModel], Field(min_length=1)]


def parse_card(text: str, file: str | Path) -> CardModel:
    """Check a card: front matter between two lines of ``---``, and prose.

    Raises:
        CardError: with every fault of the card.
    """
    head, mark, prose = text.removeprefix("---\n").partition("\n---\n")
    if not text.startswith("---\n") or not mark:
        raise CardError(f"{file}: no front matter.", why="a card starts with YAML between two lines of '---'")
    data = load_yaml(head, file, written=True)
    if isinstance(data, dict) and "prose" in data:
        raise CardError(f"{file}: prose: unknown key.", why="prose stands below the front matter")
    card = validated(CardModel, data, file)
    return card.model_copy(update={"prose": prose.strip() + "\n"})


def read_card(path: str | Path) -> CardModel:
    """Read and check the card in a file, whose name must be the card's.

    Raises:
        CardError: with every fault of the card.
    """
    path = Path(path)
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as cause:
        raise CardError(f"{path.name}: cannot be read.", why=str(cause)) from cause
    card = parse_card(text, path.name)
    if card.name != path.stem:
        raise CardError(
            f"{path.name}: name: {card.name!r} differs from the file's.", do=f"call the file {card.name}.md"
        )
    if card.target:
        raise CardError(f"{path.name}: target: only plugins have one.", do="name a family")
    return card


def all_at_once(
    model: type[Model],
    data: Any,
    check: ModelWrapValidatorHandler[Model],
    misfits: Callable[[Mapping[str, Any]], Iterable[tuple[str, str]]],
) -> Model:
    """Return what ``check`` makes of ``data``, with the faults between its keys told beside those of each key.

    For a validator of mode "wrap": an "after" validator would speak only once every key is right.

    Args:
        model: The class that is checked.
        data: What was given.
        check: The handler of the validator.
        misfits: Key and fault where parts of ``data`` do not fit together.

    Raises:
        ValidationError: With all faults of both kinds.
    """
    found = [
        InitErrorDetails(type=PydanticCustomError("misfit", "{text}", {"text": text}), loc=(key,), input=None)
        for key, text in (misfits(data) if isinstance(data, dict) else ())
    ]
    try:
        made = check(data)
    except ValidationError as cause:
        known = cast(list[InitErrorDetails], cause.errors(include_url=False))
        raise ValidationError.from_exception_data(model.__name__, known + found) from cause
    if found:
        raise ValidationError.from_exception_data(model.__name__, found)
    return made


def validated(model: type[Model], data: Any, file: str | Path, error: type[XzooError] = CardError) -> Model:
    """Check data against a closed model.

    Raises:
        XzooError: of kind ``error``, with every fault, one line each.
    """
    try:
        return model.model_validate(data)
    except ValidationError as cause:
        found = faults(model, cause, file)
        title = f"{file}: {len(found)} fault{'s' * (len(found) > 1)}."
        raise error(title, why=problems(found, limit=1000)) from cause


def faults(model: type[BaseModel], error: ValidationError, file: str | Path) -> list[str]:
    """Return the faults of a file as flat lines: file, key, what is wrong, nearest spelling."""
    lines = []
    for item in error.errors(include_url=False):
        where = tuple(part for part in item["loc"] if not is_branch(part))
        key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where).lstrip(".")
        said = _said(model, where, item["type"], item["msg"], item.get("input"), item.get("ctx", {}))
        lines.append(f"{file}: {key or 'front matter'}: {said}" if key or model is CardModel else f"{file}: {said}")
    return list(dict.fromkeys(lines))


def is_branch(part: int | str) -> bool:
    """Return whether a part of a fault's location is the member of a union, which pydantic names and people do not."""
    return (
        isinstance(part, str) and part in {"bool", "int", "float", "str", "list"} or str(part).startswith("function-")
    )


def _said(
    model: type[BaseModel],
    where: tuple[int | str, ...],
    kind: str,
    message: str,
    given: Any,
    context: Mapping[str, Any],
) -> str:
    if kind == "extra_forbidden":
        close = nearest(str(where[-1]), keys_at(model, where[:-1]))
        return f"unknown key{_close(close)}"
    if kind in ("missing", "misfit"):
        return "missing" if kind == "missing" else message
    if kind in ("model_type", "dict_type"):
        return f"a table of keys is due, not {given!r}"
    if kind == "literal_error":
        expected = str(context["expected"])
        choices = re.findall(r"'([^']*)'", expected)
        close = (
            nearest(str(given), choices) or nearest(str(given).upper(), choices) or nearest(str(given).lower(), choices)
        )
        return f"{given!r} is not one of {expected}{_close(close)}"
    if kind == "value_error":
        return str(context["error"])
    if kind == "string_type":
        return f"{given!r} is no text{'; write it in quotes' if isinstance(given, bool) else ''}"
    if kind == "string_pattern_mismatch":
        return f"{_as_written(given)!r} does not match {context['pattern']}"
    told = message if kind.startswith("too_") else f"{message}, not {given!r}"
    return told[0].lower() + told[1:]


def _close(words: Iterable[str]) -> str:
    found = ", ".join(words)
    return f"; close: {found}" if found else ""


def keys_at(model: type[BaseModel], where: tuple[int | str, ...]) -> list[str]:
    """Return the keys that a model takes at a location."""
    here: Any = model
    for part in where:
        if isinstance(part, int):
            continue
        if not (isinstance(here, type) and issubclass(here, BaseModel)):
            continue  # a key of a free table: its values are what the annotation says
        fields = {(field.alias or name): field for name, field in here.model_fields.items()}
        here = _model_in(fields[part].annotation) if part in fields else None
    return [field.alias or name for name, field in here.model_fields.items()] if here else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)
