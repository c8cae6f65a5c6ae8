"""Networks built without memory and filled from a file are what their constructors would have made."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import xzoo


class Net(nn.Module):
    """A network with a buffer that no file holds, and, if asked, a constructor that reads its own values."""

    def __init__(self, reads: bool = False) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4)
        nn.init.trunc_normal_(self.linear.weight, std=0.02)
        self.register_buffer("scale", torch.arange(1.0, 4.0).mul_(2), persistent=False)
        self.steps = int(self.scale.sum().item()) if reads else 0

    def forward(self, images):
        return self.linear(images.mean((2, 3)) * self.scale)


@pytest.mark.parametrize("reads", [False, True], ids=["a buffer outside the file", "values read while building"])
def test_what_a_file_does_not_hold_is_computed_by_the_constructor(reads, tmp_path):
    made = Net(reads)
    save_file(made.state_dict(), tmp_path / "net.safetensors")
    xzoo.register("keeps_a_scale", Net, replace=True)
    model = xzoo.create("keeps_a_scale", pretrained=tmp_path / "net.safetensors", reads=reads)
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(model(images), made(images))
    assert model.network.steps == made.steps


def test_two_networks_from_one_kept_skeleton_share_nothing(tmp_path):
    save_file(xzoo.create("edgeface_xxs").state_dict(), tmp_path / "xxs.safetensors")
    first, second = (xzoo.create("edgeface_xxs", pretrained=tmp_path / "xxs.safetensors") for _ in range(2))
    before = {name: tensor.clone() for name, tensor in second.state_dict().items()}
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.add_(1)
    first.backbone.head.fc = nn.Identity()
    assert all(torch.equal(tensor, before[name]) for name, tensor in second.state_dict().items())
    third = xzoo.create("edgeface_xxs", pretrained=tmp_path / "xxs.safetensors")
    assert all(torch.equal(tensor, before[name]) for name, tensor in third.state_dict().items())
    assert all(parameter.requires_grad for parameter in third.parameters())
