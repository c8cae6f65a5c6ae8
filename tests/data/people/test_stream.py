"""Batches of generated people without a disk."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from xzoo.catalog.names import SPECTRA
from xzoo.data import SyntheticPeople, people
from xzoo.data.people import domains
from xzoo.data.people.body import bodies, body_labels
from xzoo.data.people.labels import face_labels
from xzoo.data.people.stream import _shuffled
from xzoo.errors import OptionError, RunError


def stream(**options: Any) -> SyntheticPeople:
    return SyntheticPeople(
        **{"subjects": 7, "per_domain": 3, "domains": ("VIS", "LWIR-500m"), "size": 32, "batch_size": 8} | options
    )


@pytest.fixture
def quick(monkeypatch):
    """Draw at once: a colour that is a function of the numbers."""

    def draw(kind, subjects, samples, domain, *, size, **view):
        value = (subjects * 31 + samples * 7 + len(domain.name)) % 251
        return value.to(torch.uint8)[:, None, None, None].repeat(1, 3, size, size)

    monkeypatch.setattr(domains, "draw", draw)


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_an_epoch_holds_every_picture_once_and_the_next_one_in_another_order(quick):
    data = stream()
    epochs = [list(data), list(data)]
    for batches in epochs:
        assert [len(batch["images"]) for batch in batches] == [8, 8, 8, 8, 8, 2]
        found = [
            key
            for batch in batches
            for key in zip(batch["subject"].tolist(), batch["domain"].tolist(), batch["sample"].tolist(), strict=True)
        ]
        assert len(set(found)) == len(found) == 7 * 2 * 3
    first, second = (torch.cat([batch["subject"] for batch in batches]) for batches in epochs)
    assert not torch.equal(first, second)
    assert len(data) == 6


def test_a_batch_is_what_the_generator_draws_and_says():
    data = stream(labels=True)
    batch = next(iter(data))
    assert batch["images"].shape == (8, 3, 32, 32)
    assert batch["images"].dtype == torch.uint8
    for row in range(8):
        who, when = batch["subject"][row : row + 1], batch["sample"][row : row + 1]
        near = data.domains[batch["domain"][row]] == "VIS"
        spectrum, distance = ("VIS", None) if near else ("LWIR", 500)
        drawn = people.faces(who, when, spectrum, size=32, distance=distance)
        assert torch.equal(drawn[0], batch["images"][row])
        known = face_labels(who, when, spectrum=spectrum, size=32)
        assert torch.equal(known.points68[0], batch["labels"]["points68"][row])
        assert torch.equal(known.visible5[0], batch["labels"]["visible5"][row])
        assert known.groups["age"][0] == batch["labels"]["groups"]["age"][row]
        assert SPECTRA[batch["spectrum"][row]] == spectrum
        assert batch["session"][row] == known.session[0]


def test_faces_and_bodies_of_one_moment_come_together():
    data = stream(kind="both", body_size=(96, 32), batch_size=4, labels=True)
    batch = data.batch(0)
    assert batch["images"].shape == (4, 3, 32, 32)
    assert batch["bodies"].shape == (4, 3, 96, 32)
    row = int((batch["domain"] == 1).nonzero()[0])
    who, when = batch["subject"][row : row + 1], batch["sample"][row : row + 1]
    assert torch.equal(bodies(who, when, "LWIR", size=(96, 32), distance=500)[0], batch["bodies"][row])
    known = body_labels(who, when, spectrum="LWIR", size=(96, 32), distance=500)
    assert torch.allclose(known.keypoints[0], batch["body_labels"]["keypoints"][row], atol=1e-3)
    alone = stream(kind="body", body_size=(96, 32), batch_size=4).batch(0)
    assert torch.equal(alone["images"], batch["bodies"])


def test_a_stream_and_a_folder_show_the_same_people(tmp_path):
    options = {"size": 32, "seed": 5, "sessions": True}
    people.write(tmp_path / "p", subjects=2, samples=2, spectra=("VIS", "NIR"), progress=False, **options)
    (batch,) = SyntheticPeople(subjects=2, per_domain=2, domains=("NIR", "VIS"), shuffle=False, **options)
    names = [f"p0000{who}/{band}/00{n}.png" for who in (0, 1) for band in ("VIS", "NIR") for n in (0, 1)]
    for name, picture in zip(names, batch["images"], strict=True):
        with Image.open(tmp_path / "p" / name) as image:
            assert np.array_equal(np.asarray(image.convert("RGB")), picture.permute(1, 2, 0).numpy()), name


def test_a_range_of_subjects_are_the_others(quick):
    some = {int(who) for batch in stream(subjects=range(100, 104)) for who in batch["subject"]}
    assert some == {100, 101, 102, 103}


def test_iteration_is_taken_up_where_it_was_left(quick):
    data, whole = stream(), list(stream())
    walk = iter(data)
    for _ in range(3):
        next(walk)
    state = json.loads(json.dumps(data.state_dict()))
    other = stream()
    other.load_state_dict(state)
    rest = list(other)
    assert len(rest) == 3
    assert all(same(a, b) for a, b in zip(rest, whole[3:], strict=True))
    assert (other.epoch, other.position) == (1, 0)


def test_leaving_at_the_end_of_an_epoch_goes_on_with_the_next(quick):
    data = stream()
    walk = iter(data)
    for _ in range(6):
        next(walk)
    other = stream()
    other.load_state_dict(data.state_dict())
    assert list(other) == []
    list(walk)
    assert all(same(a, b) for a, b in zip(data, other, strict=True))


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_an_epoch(quick, world):
    whole = list(stream())
    shares = [list(stream(rank=rank, world_size=world)) for rank in range(world)]
    assert [len(share) for share in shares] == [len(stream(rank=rank, world_size=world)) for rank in range(world)]
    for place, batch in enumerate(whole):
        assert same(shares[place % world][place // world], batch)


def test_processes_get_equally_many_whole_batches_if_asked(quick):
    shares = [list(stream(rank=rank, world_size=2, batch_size=10, drop_last=True)) for rank in range(2)]
    assert [[len(batch["images"]) for batch in share] for share in shares] == [[10, 10], [10, 10]]


def test_workers_give_the_batches_in_order_and_are_told_of_the_next_epoch(quick):
    data = stream(rank=1, world_size=2)
    loader = DataLoader(data, batch_size=None, num_workers=2, persistent_workers=True, multiprocessing_context="fork")
    for epoch in (0, 1):
        data.set_epoch(epoch)
        plain = stream(rank=1, world_size=2)
        plain.set_epoch(epoch)
        assert len(loader) == len(data) == 3
        assert all(same(a, b) for a, b in zip(loader, plain, strict=True))
    data.load_state_dict(data.state_dict() | {"position": 2})
    assert all(same(a, b) for a, b in zip(loader, [plain.batch(2)], strict=True)) is False, "plain is an epoch ahead"
    plain.set_epoch(1)
    assert same(next(iter(loader)), plain.batch(2))


@pytest.mark.parametrize("count", [1, 2, 3, 17, 256, 1000])
def test_the_order_is_a_permutation(count):
    every = np.arange(count)
    order = _shuffled(every, count, seed=3, epoch=0)
    assert sorted(order.tolist()) == every.tolist()
    places = _shuffled(every[count // 2 :], count, seed=3, epoch=0)
    assert np.array_equal(places, order[count // 2 :]), "a part of it needs no other part"


def test_the_order_looks_drawn():
    order = _shuffled(np.arange(4096), 4096, seed=0, epoch=0)
    assert abs(np.corrcoef(order, np.arange(4096))[0, 1]) < 0.05
    assert (order == np.arange(4096)).sum() < 8
    far = _shuffled(np.arange(10**12, 10**12 + 5), 10**13, seed=0, epoch=0)
    assert len(set(far.tolist())) == 5
    assert far.max() < 10**13


def test_a_state_of_other_options_is_refused(quick):
    with pytest.raises(RunError, match="batch_size was 8, is 4"):
        stream(batch_size=4).load_state_dict(stream().state_dict())


@pytest.mark.parametrize("change", [{"position": -1}, {"position": 7}, {"epoch": "1"}, {"position": True}])
def test_a_broken_state_is_refused(quick, change):
    with pytest.raises(RunError, match="broken"):
        stream().load_state_dict(stream().state_dict() | change)


BAD = [
    ({"subjects": 0}, "subjects=0"),
    ({"subjects": range(3, 3)}, "range"),
    ({"subjects": range(0, 9, 2)}, "range"),
    ({"subjects": 2.0}, "subjects=2.0"),
    ({"per_domain": 0}, "per_domain=0"),
    ({"domains": ()}, "no spectra"),
    ({"domains": ("VIS", "UV")}, "'UV'"),
    ({"kind": "hand"}, "hand"),
    ({"size": 8}, "size=8"),
    ({"size": "112"}, "size='112'"),
    ({"body_size": (384,)}, "body_size"),
    ({"seed": -1}, "seed=-1"),
    ({"camera": "hose"}, "hose"),
    ({"batch_size": 0}, "batch_size=0"),
    ({"rank": 2, "world_size": 2}, "rank=2"),
    ({"batch_size": 100, "drop_last": True}, "not one would be left"),
    ({"world_size": 9, "rank": 8}, "not one would be left"),
]


@pytest.mark.parametrize(("change", "says"), BAD, ids=[str(change) for change, _ in BAD])
def test_impossible_people_are_refused_before_anything_is_drawn(change, says):
    with pytest.raises(OptionError) as caught:
        stream(**change)
    assert says in str(caught.value)
    assert caught.value.do
