"""The ``lora`` kind: low-rank changes of linear and convolution layers, by peft (arXiv 2106.09685).

peft makes the layers; which of them are in the network, and when, is ours to
say. peft is imported when the first LoRA is made, since that takes seconds.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from xzoo import errors
from xzoo.adapters.base import AttachedAdapter, Kind, Slot, register_kind
from xzoo.adapters.norms import copies, parameters_of
from xzoo.adapters.options import LoraOptions

if TYPE_CHECKING:
    from xzoo.families.base import Embedder

__all__ = ["LORA", "find_targets"]

# Each adapter has layers of its own, so peft's name for it inside them says nothing.
_INNER = "default"
# What peft puts before every name in a file.
_PREFIX = "base_model.model."


def _adaptable(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1)


def find_targets(model: Embedder, targets: str | None) -> list[str]:
    """Return the names of the modules to adapt: those that ``targets`` matches, or the family's.

    A family's expression may match more than LoRA can adapt; a user's may not,
    because the user asked for it.

    Raises:
        OptionError: It matches nothing, or what cannot be adapted.
    """
    own = targets is not None
    expression = targets if targets is not None else model.lora_targets
    try:
        pattern = re.compile(expression)
    except re.error as cause:
        raise errors.OptionError(
            f"targets={expression!r}", why=f"It is not a regular expression: {cause}.", do=r'targets=r".*\.qkv"'
        ) from cause
    modules = dict(model.named_modules())
    matched = [path for path in modules if path and pattern.fullmatch(path)]
    fit = [path for path in matched if _adaptable(modules[path])]
    if own and len(fit) < len(matched):
        path = next(path for path in matched if path not in fit)
        module = modules[path]
        grouped = isinstance(module, nn.Conv2d)
        what = f"a convolution of {module.groups} groups" if grouped else f"a {type(module).__name__}"
        raise errors.OptionError(
            f"targets={expression!r}",
            why=f"It matches {path!r}, {what}; LoRA adapts linear layers and convolutions of one group.",
            exists=f"{len(fit)} of its {len(matched)} matches can be adapted",
            do="narrow the expression, or leave targets out for the family's choice",
        )
    if not fit:
        choices = [path for path, module in modules.items() if _adaptable(module)]
        close = [path for path in choices if expression in path] or errors.nearest(expression, choices) or choices
        raise errors.OptionError(
            f"targets={expression!r}",
            why=f"It matches no module of {model.card.name} as a whole name.",
            exists=", ".join(close[:3]),
            do=r"write .*\. before the end of a name, or leave targets out for the family's choice" if own else "",
        )
    return fit


def _peft_config(options: LoraOptions, paths: list[str], base: str) -> Any:
    from peft import LoraConfig

    return LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules="|".join(re.escape(path) for path in paths),
        base_model_name_or_path=base,
    )


def _build(model: Embedder, options: LoraOptions, empty: bool) -> dict[str, Slot]:
    paths = find_targets(model, options.targets)
    extra = parameters_of(model, str(options.also_train), "also_train") if options.also_train else []
    inside = tuple(f"{path}." for path in paths)
    layers = _peft_layers(model, options, paths, empty)
    return layers | copies(model, [name for name in extra if not name.startswith(inside)])


def _peft_layers(model: Embedder, options: LoraOptions, paths: list[str], empty: bool) -> dict[str, Slot]:
    """Let peft inject its layers, take them out again and leave the model as it was."""
    from peft import inject_adapter_in_model

    originals = {path: model.get_submodule(path) for path in paths}
    trainable = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    try:
        inject_adapter_in_model(_peft_config(options, paths, model.card.name), model, _INNER, low_cpu_mem_usage=empty)
        return {path: model.get_submodule(path) for path in paths}
    finally:
        for path, module in originals.items():
            model.set_submodule(path, module)
        for name, flag in trainable.items():
            model.get_parameter(name).requires_grad_(flag)
        if hasattr(model, "peft_config"):
            del model.peft_config


def _owned(layer: nn.Module) -> dict[str, Tensor]:
    pairs: Any = layer
    return {"lora_A.weight": pairs.lora_A[_INNER].weight, "lora_B.weight": pairs.lora_B[_INNER].weight}


def _bake(layer: nn.Module) -> nn.Module:
    lora: Any = layer
    with torch.no_grad():
        # The safe way adds to a copy: the base's weights may be a file mapped into memory.
        lora.merge(safe_merge=True)
    plain: nn.Module = lora.get_base_layer()
    return plain


def _foreign_config(adapter: AttachedAdapter, keys: list[str]) -> dict[str, Any]:
    """Return peft's own configuration, so that peft reads the folder, too.

    Not where whole groups are trained beside the LoRA: peft would leave those
    tensors out without a word.
    """
    if adapter.options.also_train:
        return {}
    end = ".lora_A.weight"
    paths = [key.removeprefix(_PREFIX).removesuffix(end) for key in keys if key.endswith(end)]
    config: dict[str, Any] = _peft_config(adapter.options, paths, adapter.base).to_dict()
    return config | {"inference_mode": True}


LORA = Kind(
    name="lora",
    summary="Low-rank changes of linear and convolution layers",
    options=LoraOptions,
    build=_build,
    owned=_owned,
    bake=_bake,
    prefix=_PREFIX,
    foreign_config=_foreign_config,
)
register_kind(LORA)
