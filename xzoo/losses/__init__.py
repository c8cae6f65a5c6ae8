"""The losses that a recipe may name.

Each loss is a plain function of tensors in a file of its own idea, or a module
where it keeps or learns something. The table below is the whole registry:
recipes name losses from it and from nowhere else, so a recipe can be checked
without running any of its code.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import math
import typing
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from xzoo import errors

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LOSSES", "Loss", "check", "create", "get", "options"]

Labels = Literal["none", "match", "subject", "class"]
Inputs = Literal["embedding", "logits", "maps", "tokens", "points", "any"]


class Loss(NamedTuple):
    """Where a loss lives, what it compares and which labels it is given.

    ``labels`` is ``"match"`` (``labels`` ``[B]``, 1 where source and target show
    the same subject), ``"subject"`` (``labels`` and ``target_labels``, the number
    of each row's subject), ``"class"`` (``labels`` ``[B]`` alone: a subject or class
    of each row of the student) or ``"none"``.

    ``inputs`` says what student and teacher are: embeddings ``[B, D]``, logits
    ``[B, K]``, maps ``[B, C, H, W]``, tokens ``[B, N, C]``, points ``[B, L, 3]`` or any
    of these. ``code`` is the function or class where it is not called like the
    loss. ``learns`` marks modules with parameters of their own, ``keeps`` those with
    state but no parameters. ``needs`` names tensors or functions that must come
    with each batch besides labels, ``takes`` those that may.
    """

    module: str
    labels: Labels
    inputs: Inputs = "embedding"
    code: str = ""
    learns: bool = False
    keeps: bool = False
    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    experimental: bool = False

    def function(self, name: str) -> Callable[..., Any]:
        """Import the module and return the function or class behind ``name``."""
        found: Callable[..., Any] = getattr(importlib.import_module(self.module), self.code or name)
        return found


def _in(module: str, labels: Labels = "none", inputs: Inputs = "embedding", **more: Any) -> Loss:
    return Loss(f"xzoo.losses.{module}", labels, inputs, **more)


LOSSES = {
    # by the output
    "ce": _in("logits", "class", "logits"),
    "kd": _in("logits", inputs="logits"),
    "kd_logit_std": _in("logits", inputs="logits"),
    "dkd": _in("logits", "class", "logits"),
    "dist": _in("logits", inputs="logits"),
    "cosine": _in("distill"),
    "mse": _in("distill", inputs="any"),
    "gaussian": _in("distill", inputs="points"),
    "embed_distill": _in("embed", code="EmbedDistill", learns=True),
    "masked_mutual": _in("mutual", "class", "logits"),
    # by relations inside the batch
    "sp": _in("relations", inputs="any"),
    "pkt": _in("relations"),
    "rkd": _in("relations"),
    "cc": _in("relations"),
    "ird": _in("relations"),
    "rcd": _in("relations", "class", code="Rcd", learns=True),
    # by intermediate features
    "fitnets": _in("features", inputs="any", code="Fitnets", learns=True),
    "at": _in("features", inputs="maps"),
    "nst": _in("features", inputs="maps"),
    "vid": _in("vid", inputs="maps", code="Vid", learns=True),
    "reviewkd": _in("reviewkd", inputs="maps", code="ReviewKd", learns=True),
    "simkd": _in("features", inputs="maps", code="SimKd", learns=True),
    "srrl": _in("reuse", inputs="maps", code="Srrl", learns=True, takes=("head",)),
    "crosskd": _in("reuse", inputs="maps", code="CrossKd", learns=True, takes=("head",)),
    "fpn_mimic": _in("features", inputs="maps", code="FpnMimic", learns=True),
    "wkd_f": _in("moments", inputs="maps"),
    "ckd": _in("ckd", inputs="tokens"),
    "gkd_qsd": _in("gkd", inputs="tokens", code="GkdQsd", learns=True, takes=("masked",)),
    # by contrast
    "contrastive_cosine": _in("contrastive", "match"),
    "contrastive_cosine_all": _in("contrastive", "subject"),
    "infonce": _in("contrastive", "subject"),
    "infonce_x": _in("contrastive"),
    "bicross_nce": _in("contrastive"),
    "supcon": _in("contrastive", "subject"),
    "ntxent": _in("contrastive", "subject"),
    "crd": _in("crd", code="Crd", learns=True, needs=("indices",), takes=("drawn",)),
    "wcord_global": _in(
        "transport", code="WcordGlobal", learns=True, needs=("indices",), takes=("drawn",), experimental=True
    ),
    "cmkic": _in("peers", "subject"),
    # by distribution
    "mmd": _in("moments"),
    "mkmmd": _in("moments"),
    "coral": _in("moments"),
    "coral_mean": _in("moments"),
    "vicreg": _in("moments"),
    "entropic_ot": _in("transport"),
    "wcord": _in("transport"),
    # by distance to others
    "triplet": _in("metric", "subject"),
    "triplet_wrt": _in("metric", "subject"),
    "adaptive_triplet": _in("metric", "class", takes=("similarity",)),
    "deen_cpm": _in("centres", "class"),
    "centre": _in("centres", "subject"),
    "idkl_centre": _in("centres", "class"),
    "orthogonal": _in("peers"),
    "tgsa": _in("peers", takes=("own_student", "own_teacher")),
    "structure_kl": _in("peers"),
    "csa": _in("peers", inputs="logits", takes=("own_student", "own_teacher")),
    "idkl_entropy": _in("peers", inputs="logits"),
    # by heads that know the spectrum
    "spectrum_head": _in("spectra", code="SpectrumHead", learns=True),
    "subject_spectrum": _in("spectra", "subject", code="SubjectSpectrum", learns=True),
    "mixer_identity": _in("spectra", "subject", code="MixerIdentity", learns=True),
    "idkl_heads": _in("spectra", "subject", "any", code="IdklHeads", learns=True),
    # against identities
    "prototypes": _in("prototypes", "class", code="Prototypes", keeps=True),
    "proto_ssl": _in("prototypes", code="ProtoSsl", keeps=True),
    "arcface": _in("margin", "class", code="ArcFace", learns=True, takes=("norms",)),
    "cosface": _in("margin", "class", code="CosFace", learns=True, takes=("norms",)),
    "adaface": _in("margin", "class", code="AdaFace", learns=True, takes=("norms",)),
    "subcentre": _in("margin", "class", code="SubCentre", learns=True, takes=("norms",)),
    "softmax": _in("lowres", "class", code="Softmax", learns=True),
    # across resolutions
    "decoded": _in("lowres", code="Decoded", learns=True),
    "hint_cosine": _in("lowres", inputs="any"),
    "fskd_cross": _in("lowres", "class", "maps"),
    "selective": _in("lowres", "class"),
    # of landmarks
    "wing": _in("landmarks", inputs="points"),
    "smooth_l1": _in("landmarks", inputs="points"),
    "gnll": _in("landmarks", inputs="points"),
    "anisotropic": _in("landmarks", inputs="points"),
    "heatmap": _in("landmarks", inputs="maps"),
    "dikd": _in("dikd", inputs="maps", code="Dikd", learns=True, takes=("student_head", "teacher_head", "truth")),
}

# Numbers by which something is divided, or that count something.
POSITIVE = {"temperature", "epsilon", "scale", "variance", "factor", "iterations", "kernels", "width", "grid"}
POSITIVE |= {"side", "along", "across"}


def get(name: str) -> Loss:
    """Return the registry's entry for ``name``.

    Raises:
        NotFound: No loss has that name.
    """
    try:
        return LOSSES[name]
    except KeyError:
        raise errors.NotFound(
            f"no loss {name!r}.",
            why="Recipes and create() take losses from the registry alone.",
            exists=", ".join(errors.nearest(name, LOSSES) or sorted(LOSSES)[:3]),
            do="sorted(xzoo.losses.LOSSES) lists them",
        ) from None


def _parameters(name: str) -> dict[str, inspect.Parameter]:
    """Return the options of a loss: its keyword-only parameters that are no tensors."""
    found = inspect.signature(get(name).function(name)).parameters
    return {
        key: p
        for key, p in found.items()
        if p.kind is p.KEYWORD_ONLY and "Tensor" not in str(p.annotation).split(" | ")
    }


def options(name: str) -> dict[str, Any]:
    """Return the options of a loss with their defaults."""
    return {key: parameter.default for key, parameter in _parameters(name).items()}


def create(name: str, **chosen: Any) -> Callable[..., Tensor]:
    """Return the loss ``name`` with its options set.

    The result is called as ``loss(student, teacher)``, with ``labels=`` where
    the loss takes labels, and gives a scalar tensor. Losses over one batch
    (triplets, centres, heads) may be called without a teacher. A loss that
    learns or keeps something (``get(name).learns``, ``.keeps``) is an ``nn.Module``.

    Example:
        >>> import torch, xzoo.losses
        >>> pull = xzoo.losses.create("contrastive_cosine", margin=0.1)
        >>> x = torch.eye(2)
        >>> float(pull(x, x, labels=torch.tensor([1, 1])))
        0.0

    Raises:
        NotFound: No loss has that name.
        OptionError: The loss has no such option, or the option no such value.
    """
    loss, known = get(name).function(name), _parameters(name)
    for key in chosen:
        if key not in known:
            raise errors.OptionError(
                f"no option {key!r} in loss {name!r}.",
                exists=", ".join(errors.nearest(key, known) or known) or "it has no options",
                do=f"xzoo.losses.options({name!r}) shows them with their defaults",
            )
    is_class = inspect.isclass(loss)
    kinds = typing.get_type_hints(getattr(loss, "__init__") if is_class else loss)  # noqa: B009 - of a class, not an instance
    chosen = {key: _checked(name, key, value, kinds[key]) for key, value in chosen.items()}
    made: Any = loss(**chosen) if is_class else functools.partial(loss, **chosen)
    found: Callable[..., Tensor] = made
    return found


def _checked(loss: str, key: str, value: Any, kind: Any) -> Any:
    """Return an option's value, a whole float as an int where one is due."""
    words = typing.get_args(kind) if typing.get_origin(kind) is Literal else ()
    if words:
        good, wanted = value in words, ", ".join(words)
    elif kind is bool:
        good, wanted = isinstance(value, bool), "true or false"
    elif kind in (int, float):
        good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        good = (
            good
            and (kind is float or value == int(value))
            and (value > 0 or key not in POSITIVE or _unset(loss, key, value))
        )
        wanted = ("a whole number" if kind is int else "a number") + (" above 0" if key in POSITIVE else "")
        value = int(value) if good and kind is int else value
    else:
        good = isinstance(value, list | tuple) and all(isinstance(x, int | float) and x > 0 for x in value)
        good, wanted = good and len(value) > 0, "a list of numbers above 0"
    if good:
        return value
    raise errors.OptionError(
        f"{key}={value!r} in loss {loss!r}.",
        why=f"It should be {wanted}.",
        exists=", ".join(errors.nearest(str(value), words) or words) if words else f"default {options(loss)[key]!r}",
        do=f"create({loss!r}, {key}={options(loss)[key]!r})",
    )


def _unset(loss: str, key: str, value: float) -> bool:
    return bool(options(loss)[key] == value)


def check(
    name: str,
    student: Sequence[int] | Sequence[Sequence[int]],
    teacher: Sequence[int] | Sequence[Sequence[int]] | None = None,
    **chosen: Any,
) -> None:
    """Find out whether a loss fits features of given shapes, without computing anything.

    Args:
        name: Of a loss.
        student: Shape of the student's tensor, or one for each level.
        teacher: Shape of the teacher's; none for losses over one batch.
        chosen: The loss's options.

    Raises:
        NotFound: No loss has that name.
        OptionError: The options or the shapes do not fit; says which shapes.
    """
    import torch
    from torch import nn

    entry, loss = get(name), create(name, **chosen)

    def empty(shape: Sequence[Any]) -> Any:
        nested = bool(shape) and not isinstance(shape[0], int)
        return [empty(level) for level in shape] if nested else torch.empty(*shape, device="meta")

    ours, theirs = empty(student), None if teacher is None else empty(teacher)
    rows = (ours[0] if isinstance(ours, list) else ours).shape[0]
    numbers = torch.empty(rows, dtype=torch.long, device="meta")
    given = {} if entry.labels == "none" else {"labels": numbers}
    given |= dict.fromkeys(entry.needs, numbers)
    if entry.labels == "subject" and isinstance(theirs, torch.Tensor):
        given["target_labels"] = torch.empty(theirs.shape[0], dtype=torch.long, device="meta")
    try:
        if isinstance(loss, nn.Module):
            prepare: Any = getattr(loss, "prepare")  # noqa: B009 - every module of the registry has it
            prepare(ours, theirs)
            loss.to("meta")
        value = loss(ours, theirs, **given) if theirs is not None else loss(ours, **given)
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        if isinstance(error, errors.XzooError):
            raise
        raise errors.OptionError(
            f"loss {name!r} does not fit shapes {student!r} and {teacher!r}.",
            why=str(error).splitlines()[0],
            exists=f"it compares {entry.inputs}",
            do="choose other tensors, or another loss",
        ) from error
    if value.shape != ():
        raise errors.OptionError(f"loss {name!r} gives {list(value.shape)} for shapes {student!r} and {teacher!r}.")
