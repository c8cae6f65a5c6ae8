"""From a manifest of small generated images to a report."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from xzoo.data.manifest import Manifest
from xzoo.errors import DataError, EvaluationError, MissingFile
from xzoo.evaluation import Pixels, Report, evaluate, pixel_baseline
from xzoo.evaluation.pixels import edge_histograms
from xzoo.evaluation.protocols.sides import Side


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six subjects with four VIS and three LWIR images; z has VIS alone; the first three train."""
    root, rng = tmp_path_factory.mktemp("faces"), np.random.default_rng(0)
    lines = ["path,subject,spectrum,split"]
    for subject in ("a", "b", "c", "d", "e", "f", "z"):
        pattern = rng.uniform(40, 215, (8, 8))
        for spectrum, count in (("VIS", 4), ("LWIR", 0 if subject == "z" else 3)):
            for number in range(count):
                seen = pattern if spectrum == "VIS" else 255 - pattern
                pixels = np.clip(seen + rng.normal(0, 30, (8, 8)), 0, 255).astype(np.uint8)
                name = f"{subject}_{spectrum}_{number}.png"
                Image.fromarray(pixels).save(root / name)
                lines.append(f"{name},{subject},{spectrum},{'train' if subject in 'abc' else 'test'}")
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")
    return root


class Spy(Pixels):
    """Pixels that remember what they were given."""

    def __init__(self) -> None:
        super().__init__(8)
        self.bands: list[str | None] = []
        self.sizes: list[int] = []
        self.normalised: set[bool] = set()

    def embed(
        self,
        images: torch.Tensor,
        *,
        spectrum: str | Sequence[str | None] | None = None,
        batch_size: int = 64,
        normalise: bool = True,
    ) -> torch.Tensor:
        self.bands += list(spectrum or ())
        self.sizes.append(len(images))
        self.normalised.add(normalise)
        return super().embed(images, spectrum=spectrum, batch_size=batch_size, normalise=normalise)


class Swapped(Pixels):
    """Knows that LWIR is VIS inverted, so it depends on the band of each row."""

    def embed(
        self,
        images: torch.Tensor,
        *,
        spectrum: str | Sequence[str | None] | None = None,
        batch_size: int = 64,
        normalise: bool = True,
    ) -> torch.Tensor:
        sign = torch.tensor([-1.0 if band == "LWIR" else 1.0 for band in spectrum or ()])[:, None]
        return sign * super().embed(images, batch_size=batch_size, normalise=normalise)


def test_the_band_of_each_row_reaches_the_model(faces: Path) -> None:
    plain, swapped = evaluate(Pixels(8), faces), evaluate(Swapped(8), faces)
    assert (plain.rank1, swapped.rank1) == (0, 1)
    assert swapped.auc == 1 and plain.auc < 0.2


def test_each_distinct_image_is_embedded_once_and_raw(faces: Path) -> None:
    spy = Spy()
    evaluate(spy, faces, gallery="VIS:1-3", probe="VIS:2-", batch_size=5)
    assert spy.bands == ["VIS"] * 28
    assert spy.sizes == [5, 5, 5, 5, 5, 3]
    assert spy.normalised == {False}


def test_leave_one_out_agrees_with_the_slow_plain_version(faces: Path) -> None:
    report = evaluate(Pixels(8), faces, gallery="VIS", probe="VIS")
    rows = Manifest.read(faces).select(spectrum="VIS")
    x = np.stack([np.asarray(Image.open(path), float).ravel() for path in rows.paths])
    x -= x.mean(1, keepdims=True)
    cosine = x @ x.T / np.outer(np.linalg.norm(x, axis=1), np.linalg.norm(x, axis=1))
    np.fill_diagonal(cosine, -2)
    subject = np.array([row.subject for row in rows.rows])
    assert report.rank1 == pytest.approx(np.mean(subject[cosine.argmax(1)] == subject))
    assert (report.n_probe, report.n_gallery, report.n_unmated) == (28, 28, 0)
    assert (report.n_genuine, report.n_impostor) == (7 * 6, 28 * 27 // 2 - 7 * 6)


def test_counts_of_a_cross_spectral_comparison(faces: Path) -> None:
    report = evaluate(Pixels(8), faces, split="test")
    assert (report.n_probe, report.n_gallery, report.n_subjects) == (9, 16, 4)
    assert (report.n_genuine, report.n_impostor) == (9 * 4, 9 * 16 - 9 * 4)


def test_probes_without_mate_count_as_impostors_only(faces: Path) -> None:
    report = evaluate(Swapped(8), faces, gallery="LWIR", probe="VIS")
    assert (report.n_probe, report.n_unmated, report.rank1) == (28, 4, 1)
    assert report.n_impostor == 28 * 18 - report.n_genuine
    assert report.intervals["rank1"][0] == pytest.approx(6 / (6 + 1.959964**2), abs=1e-6)  # subjects, not probes
    assert any("4 of 28 probes" in warning for warning in report.warnings)


def test_every_figure_has_an_interval_and_few_errors_are_said(faces: Path) -> None:
    report = evaluate(Pixels(8), faces)
    values = {key: getattr(report, key) for key in ("rank1", "rank5", "rank10", "map", "minp", "auc", "eer")}
    values |= {f"tar@{far}": rate for far, rate in report.tar.items() if rate is not None}
    assert set(report.intervals) == set(values)
    for key, (low, high) in report.intervals.items():
        assert low - 1e-9 <= values[key] <= high + 1e-9, key
    assert any("fewer than 30" in warning for warning in report.warnings)


def test_templates_are_means_of_raw_embeddings(faces: Path) -> None:
    class Lengths(Pixels):
        """The second image of each subject is ten times as long and points elsewhere."""

        def embed(self, images: torch.Tensor, *, spectrum: object = None, **_: object) -> torch.Tensor:  # type: ignore[override]
            return torch.tensor([[1.0, 0], [0, 10], [0, 1], [1, 0], [3, 3], [-1, 0]])[: len(images)]

    rows = Manifest.read(faces).rows
    of = {name: [row for row in rows if row.subject == name and row.spectrum == "VIS"] for name in "ab"}
    manifest = Manifest((*of["a"][:2], of["a"][2], of["b"][0], of["b"][1], of["b"][2]), faces)
    # gallery order: a1 (1, 0), a2 (0, 10), b1 (0, 1), b2 (1, 0); probes: a3 (3, 3), b3 (-1, 0)
    report = evaluate(Lengths(8), manifest, gallery="VIS:1-2", probe="VIS:3-", templates=True)
    # Template a is (0.5, 5), b is (0.5, 0.5): a3 at 45 degrees is taken for b, as normalised means would not.
    # b3 has the cosine -0.0995 to a and -0.7071 to b.
    assert (report.rank1, report.rank5, report.n_gallery) == (0, 1, 2)
    assert report.auc == pytest.approx(1 / 4)


def test_a_template_that_contains_its_probe_is_refused(faces: Path) -> None:
    with pytest.raises(EvaluationError, match="14 probe images would be part"):
        evaluate(Pixels(8), faces, gallery="VIS:1-3", probe="VIS:2-", templates=True)


def test_batch_size_does_not_matter(faces: Path) -> None:
    one, many = (evaluate(Swapped(8), faces, batch_size=size) for size in (1, 64))
    assert dataclasses.replace(one, batch_size=64) == many


def test_a_rate_that_the_data_cannot_support_is_none_with_a_word(faces: Path) -> None:
    report = evaluate(Pixels(8), faces, split="train", gallery="VIS:1", probe="LWIR:1")
    assert (report.n_impostor, report.tar) == (6, {"1e-1": None, "1e-2": None, "1e-3": None})
    assert sum("impostor comparisons cannot show" in warning for warning in report.warnings) == 3
    assert any("rank-5 and rank-10 cannot fail" in warning for warning in report.warnings)


def test_report_is_json_and_comes_back(faces: Path) -> None:
    report = evaluate(Pixels(8), faces, split="train", gallery="VIS:1", probe="LWIR:1")
    facts = json.loads(report.to_json(), parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert {"rank1", "rank5", "map", "auc", "eer", "tar", "n_probe", "n_gallery", "n_genuine", "n_impostor"} <= set(
        facts
    )
    assert facts["data_sha256"] == Manifest.read(faces).hash
    assert Report.from_dict(facts) == report


def test_report_of_another_version_is_refused(faces: Path) -> None:
    facts = evaluate(Pixels(8), faces).to_dict()
    facts["rank_1"] = facts.pop("rank1")
    with pytest.raises(EvaluationError, match="missing rank1; unknown rank_1"):
        Report.from_dict(facts)


def test_report_reads_as_a_small_table(faces: Path) -> None:
    text = str(evaluate(Swapped(8), faces))
    assert "rank-1           1.0000   95 % 0.6097 to 1.0000" in text
    assert "probe LWIR in gallery VIS, all images of" in text
    assert "18 probes, 28 gallery images of 7 subjects, 72 genuine and 432 impostor comparisons" in text


def test_pixels_by_name_are_the_best_of_the_sizes(faces: Path) -> None:
    best = evaluate("pixels", faces, gallery="VIS", probe="VIS")
    each = [evaluate(Pixels(size), faces, gallery="VIS", probe="VIS") for size in (6, 8)]
    assert best.rank1 >= max(report.rank1 for report in each)
    assert pixel_baseline(faces, gallery="VIS", probe="VIS", sizes=(8,)) == each[1]
    assert best.weights_sha256 is None


@pytest.mark.parametrize(
    ("text", "side"),
    [
        ("VIS", Side("VIS", 1, None)),
        ("VIS:1-2", Side("VIS", 1, 2)),
        ("LWIR:3-", Side("LWIR", 3, None)),
        ("NIR:4", Side("NIR", 4, 4)),
    ],
)
def test_a_side_is_a_spectrum_and_samples(text: str, side: Side) -> None:
    assert Side.parse(text) == side
    assert Side.parse(str(side)) == side


@pytest.mark.parametrize(
    "text", ["", "vis", "VIZ", "VIS:", "VIS:0-2", "VIS:-2", "VIS:2-1", "VIS:a-b", "VIS:1-2:3", None]
)
def test_a_side_that_does_not_parse_is_refused(text: str) -> None:
    with pytest.raises(EvaluationError, match="gallery=") as caught:
        Side.parse(text, "gallery")
    assert len(str(caught.value).splitlines()) <= 4


def test_a_misspelt_spectrum_is_answered_with_the_right_one() -> None:
    with pytest.raises(EvaluationError, match="exists: LWIR"):
        Side.parse("lwr")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"split": "tset"}, ["'tset'", "exists: test, train"]),
        ({"gallery": "NIR"}, ["gallery='NIR'", "exists: VIS, LWIR"]),
        ({"probe": "SWIR"}, ["probe='SWIR'", "exists: VIS, LWIR"]),
        ({"probe": "LWIR:9-"}, ["probe='LWIR:9-'", "has 9 or more"]),
        ({"gallery": "VIS:1", "probe": "VIS:1"}, ["No genuine pair", "a, b, c"]),
        ({"batch_size": 0}, ["batch_size=0"]),
        ({"gallery": "vis"}, ["gallery='vis'", "exists: VIS"]),
    ],
)
def test_wrong_arguments_say_what_there_is(faces: Path, arguments: dict[str, object], words: list[str]) -> None:
    with pytest.raises(EvaluationError) as caught:
        evaluate(Pixels(8), faces, **arguments)  # type: ignore[arg-type]
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_data_without_splits_says_so(faces: Path) -> None:
    rows = [dataclasses.replace(row, split=None) for row in Manifest.read(faces).rows]
    with pytest.raises(EvaluationError, match="no splits at all"):
        evaluate(Pixels(8), Manifest(tuple(rows), faces), split="test")


def test_images_of_one_subject_alone_are_refused(faces: Path) -> None:
    rows = tuple(row for row in Manifest.read(faces).rows if row.subject == "a")
    with pytest.raises(EvaluationError, match="nobody to take them for"):
        evaluate(Pixels(8), Manifest(rows, faces))


def test_an_image_without_direction_is_named(faces: Path, tmp_path: Path) -> None:
    Image.new("L", (8, 8), 77).save(tmp_path / "flat.png")
    rows = Manifest.read(faces).rows
    flat = dataclasses.replace(rows[0], path=str(tmp_path / "flat.png"))
    with pytest.raises(EvaluationError, match="flat.png"):
        evaluate(Pixels(8), Manifest((flat, *rows[1:]), faces))


def test_faults_of_the_data_come_before_the_model_is_loaded(faces: Path) -> None:
    with pytest.raises(EvaluationError, match="'tset'"):
        evaluate("no_such_model", faces, split="tset")
    with pytest.raises(MissingFile):
        evaluate("no_such_model", faces / "absent.csv")
    (faces / "broken.csv").write_text("path,subject\nx,y\n")
    with pytest.raises(DataError):
        evaluate("no_such_model", faces / "broken.csv")


def test_something_that_is_no_model_is_refused(faces: Path) -> None:
    with pytest.raises(EvaluationError, match=r"'int'.*\n.*\.embed"):
        evaluate(3, faces)  # type: ignore[arg-type]


def test_importing_the_package_costs_no_framework() -> None:
    import subprocess
    import sys

    code = "import sys, xzoo.evaluation; print(sorted({'torch', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(("turned", "shares"), [(False, {0: 1.0}), (True, {4: 0.5, 5: 0.5})], ids=["across", "down"])
def test_edges_of_a_ramp_lie_in_one_direction(turned: bool, shares: dict[int, float]) -> None:
    ramp = torch.arange(32.0).expand(32, 32)
    pictures = (ramp.T if turned else ramp).expand(2, 3, 32, 32)
    found = edge_histograms(pictures).view(2, 9, -1)
    assert found.shape[2] == 36 and torch.equal(found[0], found[1])  # cells of 8 every 4 in 30 x 30
    share = found[0].sum(1) / found[0].sum()
    assert {place: pytest.approx(float(share[place]), abs=1e-5) for place in range(9) if share[place] > 1e-5} == shares
    # Light and contrast make no difference.
    torch.testing.assert_close(edge_histograms(3 * pictures + 40), edge_histograms(pictures))
