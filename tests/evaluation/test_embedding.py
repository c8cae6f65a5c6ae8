"""Embeddings of a manifest, by one process and by several."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xzoo.data.manifest import Manifest
from xzoo.errors import EvaluationError
from xzoo.evaluation import Pixels, embed_images

SCRIPT = """
import sys
import numpy as np
from xzoo.data.manifest import Manifest
from xzoo.evaluation import Pixels, embed_images, evaluate
folder, out = sys.argv[1:]
images = Manifest.read(folder)
broken = len(images) == 6
from accelerate import PartialState
state = PartialState(cpu=True)
assert state.num_processes == 2
if not broken:
    whole = embed_images(Pixels(8), images, 2)
    shared = embed_images(Pixels(8), images, 2, flip=True, folder=out)
    report = evaluate(Pixels(8), folder, gallery="VIS", probe="VIS", batch_size=2)
    np.savez(f"{out}/{state.process_index}.npz", whole=whole, shared=shared, rank1=report.rank1)
else:
    state.wait_for_everyone()
    open(f"{folder}/2.png", "wb").write(b"no image")  # in the second batch, which is the second process's
    state.wait_for_everyone()
    try:
        embed_images(Pixels(8), images, 2)
    except Exception as error:
        open(f"{out}/{state.process_index}.txt", "w").write(f"{type(error).__name__}: {error}")
state.destroy_process_group()
"""


def faces(root: Path, count: int) -> Path:
    rng = np.random.default_rng(0)
    root.mkdir()
    lines = ["path,subject,spectrum"]
    for number in range(count):
        Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(root / f"{number}.png")
        lines.append(f"{number}.png,s{number % 3},VIS")
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")
    return root


def launch(folder: Path, out: Path) -> None:
    out.mkdir()
    script = out / "script.py"
    script.write_text(SCRIPT)
    call = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    call += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    run = subprocess.run(
        [*call, str(script), str(folder), str(out)],
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
    )
    assert run.returncode == 0, run.stderr[-3000:]


@pytest.mark.slow
def test_two_processes_give_what_one_gives(tmp_path: Path) -> None:
    folder = faces(tmp_path / "faces", 7)
    launch(folder, tmp_path / "out")
    images = Manifest.read(folder)
    for process in range(2):
        found = np.load(tmp_path / "out" / f"{process}.npz")
        assert np.array_equal(found["whole"], embed_images(Pixels(8), images, 2))
        assert np.array_equal(found["shared"], embed_images(Pixels(8), images, 2, flip=True))
    assert [path.name for path in (tmp_path / "out").glob("*.npy")] == ["embeddings.npy"]


@pytest.mark.slow
def test_a_process_that_fails_is_named_by_the_others(tmp_path: Path) -> None:
    launch(faces(tmp_path / "faces", 6), tmp_path / "out")
    words = [(tmp_path / "out" / f"{process}.txt").read_text() for process in range(2)]
    assert "Process 1 failed: ImageError" in words[0]
    assert words[1].startswith("ImageError") and "2.png" in words[1]


def test_a_folder_holds_the_same_embeddings_as_a_memory_map(tmp_path: Path) -> None:
    images = Manifest.read(faces(tmp_path / "faces", 7))
    stored = embed_images(Pixels(8), images, 3, folder=tmp_path / "stored")
    assert isinstance(stored, np.memmap)
    assert np.array_equal(stored, embed_images(Pixels(8), images, 3))
    assert [path.name for path in (tmp_path / "stored").iterdir()] == ["embeddings.npy"]


def test_mirrored_images_are_added(tmp_path: Path) -> None:
    images = Manifest.read(faces(tmp_path / "faces", 2))
    plain = embed_images(Pixels(8), images).reshape(2, 8, 8)
    added = embed_images(Pixels(8), images, flip=True).reshape(2, 8, 8)
    np.testing.assert_allclose(added, plain + plain[:, :, ::-1], atol=1e-5)


def test_images_without_direction_are_counted_over_all_batches(tmp_path: Path) -> None:
    folder = faces(tmp_path / "faces", 5)
    for name in ("1.png", "4.png"):
        Image.new("L", (8, 8), 7).save(folder / name)
    with pytest.raises(EvaluationError, match=r"2 of 5 images.*\n.*1\.png, 4\.png"):
        embed_images(Pixels(8), Manifest.read(folder), 2)
