"""The cache of teachers: exact, kept by view, shared, limited, and safe from crashes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

import xzoo
from xzoo import errors, hub
from xzoo.data.manifest import Manifest
from xzoo.families.base import Embedder
from xzoo.recipes.schema import Stage
from xzoo.training import cache, engine
from xzoo.training.cache import LIMIT, Answers, pixel_key, teacher_key
from xzoo.training.looks import Looks, shrunk

KEYS = [bytes([number]) * 32 for number in range(6)]
ROWS = {"": torch.arange(12.0).view(6, 2), "0": torch.arange(36.0).view(6, 2, 3)}


def answers(folder: Path, view: str = "source", **more: int) -> Answers:
    return Answers(folder, "t" * 64, {"view": view}, ["", "0"], **more)


def filled(folder: Path, view: str = "source", **more: int) -> Answers:
    made = answers(folder, view, **more)
    made.put(KEYS, ROWS)
    made.flush()
    return made


def test_what_was_put_is_got_by_a_later_run_in_any_order(tmp_path: Path) -> None:
    filled(tmp_path)
    again = answers(tmp_path)
    assert len(again) == 6
    found = again.get([KEYS[4], KEYS[0], KEYS[4]])
    assert torch.equal(found[""], ROWS[""][[4, 0, 4]]) and torch.equal(found["0"], ROWS["0"][[4, 0, 4]])


def test_another_view_or_another_signal_knows_nothing(tmp_path: Path) -> None:
    filled(tmp_path)
    assert len(answers(tmp_path, "mirrored")) == 0
    assert len(Answers(tmp_path, "t" * 64, {"view": "source"}, [""])) == 0
    assert len(Answers(tmp_path, "u" * 64, {"view": "source"}, ["", "0"])) == 0


def damage(shard: Path) -> None:
    shard.write_bytes(shard.read_bytes()[:-5])


def empty(shard: Path) -> None:
    shard.write_bytes(b"")


def foreign(shard: Path) -> None:
    from xzoo import hub

    hub.write({"keys": torch.zeros(2, 32, dtype=torch.uint8), "": torch.zeros(3, 2), "0": torch.zeros(2, 2, 3)}, shard)


@pytest.mark.parametrize("harm", [damage, empty, foreign], ids=lambda harm: harm.__name__)
def test_a_damaged_shard_is_thrown_away_and_the_others_stay(harm: object, tmp_path: Path) -> None:
    first = answers(tmp_path)
    first.put(KEYS[:4], {name: rows[:4] for name, rows in ROWS.items()})
    first.flush()
    (bad,) = first.folder.glob("*.safetensors")
    first.put(KEYS[4:], {name: rows[4:] for name, rows in ROWS.items()})
    first.flush()
    harm(bad)  # type: ignore[operator]
    again = answers(tmp_path)
    assert [key in again for key in KEYS] == [False] * 4 + [True] * 2
    assert not bad.exists()


def test_a_file_that_is_half_written_is_not_read(tmp_path: Path) -> None:
    made = filled(tmp_path)
    (made.folder / ".ab12.part.safetensors").write_bytes(b"half")
    assert len(answers(tmp_path)) == 6


def test_the_oldest_views_make_room_and_a_view_too_large_is_not_kept(tmp_path: Path) -> None:
    size = sum(path.stat().st_size for path in filled(tmp_path, "old").folder.iterdir())
    filled(tmp_path, "new", limit=2 * size)
    assert (len(answers(tmp_path, "old")), len(answers(tmp_path, "new"))) == (6, 6)
    filled(tmp_path, "newer", limit=2 * size)
    assert [len(answers(tmp_path, view)) for view in ("old", "new", "newer")] == [0, 6, 6]
    large = filled(tmp_path, "large", limit=10)
    assert len(answers(tmp_path, "large")) == 0
    large.forget()
    large.put(KEYS[:1], {name: rows[:1] + 1 for name, rows in ROWS.items()})
    assert torch.equal(large.get(KEYS[:1])[""], ROWS[""][:1] + 1)  # still right, and no longer hoarded
    assert len(large) == 1


def test_what_a_killed_run_was_writing_makes_room_and_what_another_writes_stays(tmp_path: Path) -> None:
    made = filled(tmp_path, "old")
    size = sum(path.stat().st_size for path in made.folder.iterdir())
    left, busy = (made.folder / f".{name}.part.safetensors" for name in ("left", "busy"))
    for part in (left, busy):
        part.write_bytes(bytes(size))
    os.utime(left, (0, 0))
    filled(tmp_path, "new", limit=3 * size)
    assert not left.exists() and busy.exists()
    assert (len(answers(tmp_path, "old")), len(answers(tmp_path, "new"))) == (6, 6)
    filled(tmp_path, "newer", limit=2 * size)
    assert busy.exists() and len(answers(tmp_path, "old")) == 0


def test_a_full_disk_ends_the_keeping_and_not_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(*_: object) -> None:
        raise errors.DiskFull("no room")

    monkeypatch.setattr(hub, "write", write)
    made = filled(tmp_path)
    assert made.full and torch.equal(made.get(KEYS)[""], ROWS[""])
    made.forget()
    assert len(made) == 0


def test_a_teacher_is_known_by_weights_preprocessing_and_precision(toy: Embedder) -> None:
    first = teacher_key(toy)
    assert teacher_key(toy) == first != teacher_key(toy, "bf16")
    with torch.no_grad():
        toy.get_parameter("network.6.bias")[0] += 1e-6
    assert teacher_key(toy) != first


def stage(**more: object) -> Stage:
    term = {"name": "mse", "on": ["student.source", "teacher.source"]}
    plain = {"name": "only", "train": {"groups": "all"}, "teacher": "start", "losses": [term], "cache": True}
    return Stage.model_validate({**plain, "batch": {"sampler": "images", "size": 8}, **more})


def begun(
    plan: Stage, network: Embedder, manifest: Manifest, cache: Path | None, seed: int = 0, limit: int = LIMIT
) -> engine.Progress:
    images = engine.Images(manifest, network)
    teachers = {"teacher": engine.frozen_copy(network)}
    options = engine.Options(cache=cache, limit=limit)
    return engine.begin(plan, network, images, source="VIS", seed=seed, teachers=teachers, options=options)


def taught(progress: engine.Progress, index: int) -> Tensor:
    found = engine._signals(progress, progress.sampler.batch(index), index)
    return found["teacher", "source", ""]


@pytest.mark.parametrize(
    "views",
    [{"flip": 0.0}, {"flip": 0.5, "bank": 4, "gamma": 0.3, "crop": [0.6, 1.0]}],
    ids=["nothing random", "a bank of four"],
)
def test_every_answer_from_the_cache_has_the_bits_of_a_teacher_that_runs(
    views: dict[str, object], manifest: Manifest, tmp_path: Path
) -> None:
    network = xzoo.create("edgeface_xxs")
    plan = stage(views=views)
    live, kept = begun(plan, network, manifest, None), begun(plan, network, manifest, tmp_path)
    for index in (0, 1, 0, 6):  # unknown, wholly known and partly known batches
        assert torch.equal(taught(live, index), taught(kept, index))
    engine.flush(kept)
    later = begun(plan, network, manifest, tmp_path)
    assert len(later.teachers["teacher"].answers["source"]) == len(kept.teachers["teacher"].answers["source"]) > 0
    assert torch.equal(taught(live, 1), taught(later, 1))


@pytest.mark.parametrize("shards", [1, 10**9], ids=["found out at once", "found out at the end"])
def test_a_cache_without_room_gives_the_bits_of_a_teacher_that_runs(
    shards: int, toy: Embedder, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches that share some rows with those before them, and lack others."""
    monkeypatch.setattr(cache, "SHARD", shards)
    plan = stage(views={"flip": 0.5, "bank": 2}, batch={"sampler": "images", "size": 3})
    tight = begun(plan, toy, manifest, tmp_path, limit=10)
    free = begun(plan, toy, manifest, None)
    once = -(-len(manifest) // 3)
    for number in range(3 * once):
        if number == once + 1:
            engine.flush(tight)
        assert torch.equal(taught(tight, number), taught(free, number))
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_mirrored_image_is_a_view_of_its_own(toy: Embedder, manifest: Manifest, tmp_path: Path) -> None:
    plan = stage(views={"flip": 0.5, "bank": 2}, batch={"sampler": "images", "size": 48})
    progress = begun(plan, toy, manifest, tmp_path)
    for index in range(8):
        taught(progress, index)
    known = progress.teachers["teacher"].answers["source"]
    assert 48 < len(known) <= 96


def test_a_bank_is_the_same_in_runs_of_other_seeds(toy: Embedder, manifest: Manifest) -> None:
    looks = [Looks(stage(views={"bank": 3}).views, seed) for seed in (0, 1)]
    tables = [{tuple(column.tolist()) for column in look.draw(5, 64).T} for look in looks]
    assert tables[0] == tables[1] and len(tables[0]) == 3
    assert not torch.equal(looks[0].variants(5, 64), looks[1].variants(5, 64))


def test_pixels_are_known_by_their_values(toy: Embedder) -> None:
    one = torch.zeros(3, 4, 4, dtype=torch.uint8)
    other = one.clone()
    other[0, 0, 0] = 1
    assert pixel_key(one) == pixel_key(one.clone()) != pixel_key(other)


def test_shrunk_pictures_lose_what_few_pixels_cannot_hold() -> None:
    board = (torch.arange(16)[:, None] + torch.arange(16)) % 2 * 255
    picture = board.to(torch.uint8).expand(1, 3, 16, 16)
    assert torch.equal(shrunk(picture, 16), picture)
    assert (shrunk(picture, 4).float() - 127.5).abs().max() < 10
    flat = torch.full((2, 3, 16, 16), 77, dtype=torch.uint8)
    assert torch.equal(shrunk(flat, 5), flat)
