"""Recognition by body: what must hold without any data, and where each of it is tested.

1. Converter: test_part_vit.py (tokens of the network written out, golden files, wrong keys).
2. Fusion: test_part_vit.py (lengths, parts left out, a gradient to all four tokens).
3. LoRA: test_part_vit.py (24 layers, none of them the patches, merging, the base bit for bit); here on ViT-B by peft.
4. Batch-hard triplet: here against loops for both hinges; test_loss_formulas.py (soft form, separable subjects).
5. Domain-aware sampler: test_samplers.py (shape, repeatability, drop and resample); here over processes.
6. Mining statistics: test_mining.py (chance by formula and at random); test_body.py (epochs).
7. Evaluator: test_ranking.py (golden cases, tensors and arrays, block size, memory).
8. LLCM: test_readers.py (galleries of A); here the probes of B; test_protocols.py (A to D apart).
9. Labelling of IJB-MDF: test_readers.py (the rules); test_frames.py (any frames); here what has no partner.
10. Eight people in four domains: test_part_vit.py (whole, and by LoRA).
"""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch

import xzoo
from xzoo import adapters, losses
from xzoo.data import readers
from xzoo.data.manifest import Manifest, Row
from xzoo.data.people import layouts
from xzoo.data.samplers import DomainSampler
from xzoo.evaluation import protocols, run_protocol
from xzoo.evaluation.protocols.runner import chosen
from xzoo.recipes.schema import Views
from xzoo.training import fit
from xzoo.training.looks import Looks, World, shown


def flat(kind: str, subject: int, sample: int, spectrum: str, size: tuple[int, int]) -> np.ndarray:
    return np.full((*size, 3), (subject * 7 + sample) % 256, np.uint8)


def lay(name: str, folder: Path, **options: object) -> Path:
    return layouts.write(name, folder, draw=flat, size=(24, 8), progress=False, **options)


def test_lora_of_the_base_has_24_adapters_of_442_368_numbers_and_nothing_else_trains() -> None:
    model, _ = fit._skeleton("part_vit_base")  # on the meta device: nothing is computed
    assert model is not None
    model._fingerprint = "of no weights"
    adapter = adapters.add(model, "lora", rank=8, alpha=16)
    assert len(adapter.slots) == 24
    assert {path.rpartition("attn.")[2] for path in adapter.slots} == {"qkv", "proj"}
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert sum(p.numel() for p in trained.values()) == 442_368
    assert len(trained) == 48 and all(".lora_" in name for name in trained)


@pytest.mark.parametrize("margin", [0.0, 0.3])
def test_the_hinge_is_that_of_loops_over_all_pairs(margin: float) -> None:
    draw = torch.Generator().manual_seed(0)
    rows = torch.randn(18, 6, generator=draw, dtype=torch.float64)
    subjects = torch.randint(0, 5, (18,), generator=draw)
    values = []
    for i in range(18):
        far = max((rows[i] - rows[j]).norm() for j in range(18) if subjects[j] == subjects[i])
        near = min((rows[i] - rows[j]).norm() for j in range(18) if subjects[j] != subjects[i])
        values.append(max(0.0, float(margin + far - near)))
    loss = losses.create("triplet", margin=margin)(rows, labels=subjects)
    assert float(loss) == pytest.approx(sum(values) / 18, abs=1e-9)
    assert sum(value > 0 for value in values) > 0


def test_processes_that_share_a_batch_of_domains_see_different_people_each_in_every_band() -> None:
    bands = ("VIS", "MWIR", "LWIR")
    cells = [(f"s{s}", band, n) for s in range(9) for band in bands for n in range(2)]
    rows = tuple(Row(f"{s}/{b}/{n}", s, b, index=place) for place, (s, b, n) in enumerate(cells))
    manifest = Manifest(rows, Path())
    looks = Looks(Views(flip=0.0), 0)
    sampler = DomainSampler(manifest, bands, subjects=4, images=2)
    for step in range(6):
        batch = sampler.batch(step)
        seen = [shown(looks, batch, step, World(rank, 2)).rows("source") for rank in range(2)]
        assert [*seen[0], *seen[1]] == batch.source.tolist()
        people = [{rows[place].subject for place in part} for part in seen]
        assert len(people[0]) == len(people[1]) == 2 and not people[0] & people[1]
        for part in seen:
            assert sorted(rows[place].spectrum for place in part) == sorted(bands * 4)


def test_probes_of_llcm_b_are_the_sampled_images_of_nir_and_its_gallery_all_of_vis(tmp_path: Path) -> None:
    root = lay("llcm", tmp_path / "set", subjects=7, test=6, samples=4, cameras=4)
    manifest = readers.read("llcm", root)
    plan = protocols.load("llcm.B")
    assert plan.gallery is not None and plan.probe is not None
    everybody = [f"{subject:04d}" for subject in range(2, 8)]
    for trial in range(10):
        random.seed(trial)  # as the released script walks: subjects, then cameras, one draw each
        expected = []
        for subject in everybody:
            for camera in range(1, 10):
                folder = root / f"test_nir/cam{camera}/{subject}"
                if folder.is_dir():
                    files = sorted(f"test_nir/cam{camera}/{subject}/{file.name}" for file in folder.iterdir())
                    expected.append(random.choice(files))
        assert len(expected) == 6 * 3  # camera 3 has no NIR
        assert [manifest.rows[place].path for place in chosen(manifest, plan.probe, trial)] == expected
    gallery = [manifest.rows[place].path for place in chosen(manifest, plan.gallery, 0)]
    listed = (file.relative_to(root).as_posix() for file in (root / "test_vis").rglob("*.jpg"))
    assert sorted(gallery) == sorted(listed)


def test_ijb_mdf_counts_frames_without_a_body_and_bodies_beside_their_frame(tmp_path: Path) -> None:
    root = lay("ijb_mdf", tmp_path / "set", subjects=4, frames=2, crowded=False)
    lines = (root / "bodies.csv").read_text().splitlines()
    kept = [line for line in lines if not line.startswith("LWIR-30m-000,1,")]
    assert len(kept) == len(lines) - 2
    faces = (root / "faces.csv").read_text() + "VIS-500m-000,0,0001,-30,2,8,3\n"
    (root / "faces.csv").write_text(faces)
    (root / "bodies.csv").write_text("\n".join([*kept, "VIS-500m-000,0,-30,2,8,24,0.9"]) + "\n")
    found = readers.check("ijb_mdf", root)
    assert set(found.notes) == {"1 bodies left out: outside the frame", "1 of 16 frames with a face have no body"}
    assert len(readers.read("ijb_mdf", root)) == 4 * 4 * 2 - 2


# --- whole runs: writer, reader, protocol, figures ---------------------------------------------

SETS = {
    "llcm": {"subjects": 4, "test": 2, "samples": 2, "cameras": 2, "explicit": 1},
    "sysu_mm01": {"subjects": 5, "test": 2, "samples": 2},
    "regdb": {"subjects": 4, "samples": 2},
    "ijb_mdf": {"subjects": 4, "frames": 2},
}
COUNTS = {
    # gallery and probe images, or templates, by hand
    "llcm.A": (2 * 2, 2 * 2 * 2),
    "llcm.B": (2 * 2 * 2, 2 * 2),
    "llcm.C": (2 * 2 * 2, 2 * 2 * 2),
    "llcm.D": (2 * 2 * 2, 2 * 2 * 2),
    "sysu_mm01.agw.all.1": (2 * 4, 2 * 2 * 2),
    "sysu_mm01.agw.all.10": (2 * 4 * 2, 2 * 2 * 2),
    "sysu_mm01.agw.indoor.1": (2 * 2, 2 * 2 * 2),
    "sysu_mm01.agw.indoor.10": (2 * 2 * 2, 2 * 2 * 2),
    "regdb": (2 * 2, 2 * 2),
    "ijb_mdf.g2": (2, 2),
    "ijb_mdf.all": (4, 4),
}


@pytest.mark.parametrize("name", SETS)
def test_every_protocol_of_a_set_runs_from_generated_people_in_its_layout_to_figures(name: str, tmp_path: Path) -> None:
    root = layouts.write(name, tmp_path / "set", size=(64, 32), progress=False, **SETS[name])  # type: ignore[arg-type]
    torch.manual_seed(0)
    model = xzoo.create("part_vit_tiny", input_size=(64, 32), depth=1)
    ran = [each for each in protocols.names() if protocols.load(each).reader == name]
    assert len(ran) == {"llcm": 7, "sysu_mm01": 8, "regdb": 2, "ijb_mdf": 15}[name]
    for each in ran:
        plan = protocols.load(each)
        result = run_protocol(plan, model, root, repetitions=[plan.repetitions.first])
        first = result.repetitions[0]
        key = each.replace(".official.", ".agw.")
        expected = next(counts for prefix, counts in COUNTS.items() if key == prefix or key.startswith(f"{prefix}."))
        unit = "templates" if name == "ijb_mdf" else "images"
        assert (first.counts[f"gallery {unit}"], first.counts[f"probe {unit}"]) == expected, each
        assert first.counts["mated probes"] == expected[1]
        assert set(first.figures) == set(plan.figures)
        assert all(0 < value <= 1 or figure == "rank1" for figure, value in first.figures.items() if value is not None)
        assert first.figures["rank1"] is not None and first.figures["rank10"] == 1.0  # of two or four subjects
        low, high = result.intervals["rank1"]
        assert 0 <= low <= first.figures["rank1"] <= high <= 1
