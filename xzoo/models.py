"""Make a model from its name: the one verb that builds networks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xzoo import catalog, errors, hub

if TYPE_CHECKING:
    from collections.abc import Iterable

    import torch

    from xzoo.catalog import Card, Tag
    from xzoo.families.base import Embedder
    from xzoo.hub import Weights

__all__ = ["create"]

CHECKPOINTS = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")


def create(
    name: str | Path,
    *,
    pretrained: bool | str | Path = False,
    adapter: str | Path | Mapping[str, str | Path] | None = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    allow_licences: str | Iterable[str] | None = None,
    **options: Any,
) -> Embedder:
    """Create a model by name, exactly as its card says.

    Args:
        name: ``[namespace/]name[.tag]`` of a catalogue entry, a run folder, or
            ``hf-hub:org/repo[@revision]`` of something that ``xzoo publish`` sent.
        pretrained: ``True`` for the tag in the name or else the card's default;
            a tag; a file or folder; ``hf-hub:org/repo[@revision][/file]``.
            ``False`` leaves the weights random.
        adapter: Folder of a saved adapter, or one folder for each spectrum:
            ``{"LWIR": "runs/1/adapter"}``; those serve the rows whose spectrum
            ``embed`` is told, and no others.
        device: Where the model goes; the CPU by default.
        dtype: Floating-point type; ``float32`` by default, whatever the file holds.
        allow_licences: SPDX ids, wildcards or classes (``permissive`` ...) of weights
            that may be used; ``None`` reads ``XZOO_LICENCES``.
        **options: The card's own options (``xzoo show NAME`` lists them). An
            unknown one is refused before any framework is imported.

    Returns:
        The network in evaluation mode, with ``.card``, ``.preprocess`` and ``.embed``.

    Raises:
        NotFound: No such model or tag.
        OptionError: An unknown option or an impossible value.
        LicenceRefused: The weights' licence is not allowed; nothing was fetched.
        HashMismatch, WeightsMismatch: The file is not the recorded one, or does not fit.
        Offline, HubError, MissingFile: The weights cannot be had.
        BaseMismatch: The adapter was trained on other weights.

    Example:
        >>> model = create("hybrid_fr_t2v", pretrained=True)
    """
    if isinstance(name, Path) or _is_run(name):
        from xzoo.training.run import load_run

        return load_run(Path(name), pretrained, adapter, device, dtype, allow_licences, options)
    if isinstance(name, str) and name.startswith("hf-hub:"):
        from xzoo import publishing

        return publishing.load(name, pretrained, adapter, device, dtype, allow_licences, options)
    card, named = catalog.resolve(name)
    if card.kind != "backbone":
        raise errors.OptionError(
            f"create({name!r})",
            why=f"{card.name} is a card of kind {card.kind}, not a network.",
            do="xzoo ls  lists the networks",
        )
    chosen = check_options(card, options)
    weights, source = _weights(card, named, pretrained, allow_licences)

    from dataclasses import replace

    from xzoo import loading
    from xzoo.data.preprocess import Preprocess
    from xzoo.families.base import Origin

    where, kind = loading.device_of(device), loading.dtype_of(dtype)
    recipe = loading.Blueprint.of(card, chosen)
    model = recipe.plain() if weights is None else loading.assemble(recipe, weights)
    model.card = card
    model.origin = Origin(card.name, source, dict(options))
    model.preprocess = Preprocess.from_card(card)
    if model.input_size is not None:
        model.preprocess = replace(model.preprocess, size=(3, *model.input_size))
    model.to(device=where, dtype=kind).eval()
    if adapter is not None:
        _attach(model, adapter)
    return model


def check_options(card: Card, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the full build arguments of a card, defaults filled in.

    Raises:
        OptionError: A name the card does not have, or a value of the wrong type or range.
    """
    for name, value in options.items():
        if name in card.fixed:
            raise errors.OptionError(
                f"{name}={value!r}", why=f"{card.name} fixes {name}={card.fixed[name]!r}.", do="choose another model"
            )
        if name not in card.options:
            close = errors.nearest(name, card.options) or sorted(card.options)[:3]
            raise errors.OptionError(
                f"{card.name} has no option {name!r}.",
                exists=", ".join(close) or "no options",
                do=f"xzoo show {card.name}",
            )
        _check_value(card.name, name, value, card.options[name])
    defaults = {name: spec["default"] for name, spec in card.options.items() if "default" in spec}
    return {name: _frozen(value) for name, value in {**card.fixed, **defaults, **options}.items()}


TYPES: dict[str, tuple[type, ...]] = {
    **{"int": (int,), "float": (float, int), "str": (str,), "bool": (bool,)},
    "tuple": (tuple, list),  # JSON has no tuples: those of a saved run come back as lists
}


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _check_value(owner: str, name: str, value: Any, spec: Mapping[str, Any]) -> None:
    kind = str(spec.get("type", "str"))
    accepted = TYPES.get(kind, (object,))
    why = ""
    if not isinstance(value, accepted) or (isinstance(value, bool) and bool not in accepted):
        why = f"It is {type(value).__name__}, and {kind} is expected."
    elif spec.get("choices") and value not in spec["choices"]:
        why = "It is none of the choices."
    elif "min" in spec and not value >= spec["min"]:
        why = f"The least is {spec['min']}."
    elif "max" in spec and not value <= spec["max"]:
        why = f"The most is {spec['max']}."
    if why:
        choices = ", ".join(map(repr, spec.get("choices") or ()))
        raise errors.OptionError(f"{owner}: {name}={value!r}", why=why, exists=choices, do=f"xzoo show {owner}")


def _weights(
    card: Card, named: Tag | None, pretrained: bool | str | Path, allow: str | Iterable[str] | None
) -> tuple[Weights | None, bool | str]:
    """Return the weights asked for and how to ask for them again."""
    if pretrained is False:
        return None, False
    if pretrained is True:
        tag = named or (card.tags[card.default_tag] if card.default_tag else None)
        if tag is None:
            raise errors.NotFound(
                f"{card.name} with pretrained=True",
                why="No published weights are recorded for it, and random ones are never put in their place.",
                do=f'create("{card.name}", pretrained="path/to/weights") or pretrained=False',
            )
        return hub.fetch(card, tag, allow_licences=allow), tag.name
    if not isinstance(pretrained, str | Path) or not str(pretrained):
        raise errors.OptionError(
            f"pretrained={pretrained!r}", why="It is True, False, a tag, a path or hf-hub:org/repo."
        )
    text = os.fspath(pretrained)
    if isinstance(pretrained, str) and text in card.tags:
        return hub.fetch(card, card.tags[text], allow_licences=allow), text
    if text.startswith("hf-hub:"):
        return hub.locate(text, allow_licences=allow), text
    if isinstance(pretrained, Path) or text.endswith(CHECKPOINTS) or os.sep in text or os.path.exists(text):
        return hub.locate(text, allow_licences=allow), os.path.abspath(text)
    raise errors.NotFound(
        f"{card.name} has no tag {text!r}, and there is no such file.",
        exists=", ".join(errors.nearest(text, card.tags) or sorted(card.tags)[:3]) or "no tags",
        do=f"xzoo show {card.name}",
    )


def _is_run(name: object) -> bool:
    """Return whether a name is meant as a run folder: a path, not a catalogue name."""
    if not isinstance(name, str) or not name:
        return False
    return os.path.isfile(os.path.join(name, "run.json")) or name.startswith((".", "~", os.sep))


def _attach(model: Embedder, adapter: str | Path | Mapping[str, str | Path]) -> None:
    from xzoo import adapters

    if isinstance(adapter, Mapping):
        for spectrum, folder in adapter.items():
            adapters.attach(model, folder, name=spectrum, spectrum=spectrum)
        adapters.switch(model, None)
    elif isinstance(adapter, str | Path) and str(adapter):
        adapters.attach(model, adapter)
    else:
        raise errors.OptionError(f"adapter={adapter!r}", why="It is a folder, or a mapping from spectrum to folder.")
