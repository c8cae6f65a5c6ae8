"""Make the weights of ``acme/thermal_net``: Gabor filters, and a random projection from a seed.

Run in this folder: python make_weights.py
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from acme_face.models import build_thermal
from safetensors.torch import save_file

FILE = Path(__file__).parent / "acme_face" / "weights" / "thermal_net.safetensors"


def gabor(count: int, side: int, wavelength: float = 6.0, sigma: float = 2.5) -> torch.Tensor:
    """Return ``count`` zero-mean filters ``[count, 1, side, side]``, evenly turned over half a circle."""
    axis = torch.arange(side, dtype=torch.float64) - side // 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    turned = [x * math.cos(math.pi * k / count) + y * math.sin(math.pi * k / count) for k in range(count)]
    waves = torch.stack([torch.cos(2 * math.pi * u / wavelength) for u in turned])
    filters = waves * torch.exp(-(x**2 + y**2) / (2 * sigma**2))
    filters -= filters.mean(dim=(1, 2), keepdim=True)
    return (filters / filters.flatten(1).norm(dim=1)[:, None, None]).unsqueeze(1).float()


def main() -> None:
    """Write the file."""
    network = build_thermal()
    state = network.state_dict()
    state["edges.weight"] = gabor(*state["edges.weight"].shape[::2])
    generator = torch.Generator().manual_seed(0)
    rows, columns = state["project.weight"].shape
    state["project.weight"] = torch.randn(rows, columns, generator=generator) / columns**0.5
    FILE.parent.mkdir(exist_ok=True)
    save_file(state, FILE)


if __name__ == "__main__":
    main()
