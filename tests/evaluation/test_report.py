"""The report as files: what the page, the table and the Hub's block say, and that nothing is invented."""

from __future__ import annotations

import dataclasses
import html.parser
import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from xzoo.cli import main
from xzoo.data.manifest import Manifest, Row
from xzoo.errors import EvaluationError, MissingFile
from xzoo.evaluation import Pixels, Report, evaluate, run_protocol
from xzoo.evaluation.report_details import BINS, Cell, Details, Picture, collect, domain_matrix
from xzoo.evaluation.report_page import FILES
from xzoo.evaluation.report_svg import Line, chart, heatmap, linear, logarithmic, probit

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, rng = tmp_path_factory.mktemp("faces"), np.random.default_rng(0)
    lines = ["path,subject,spectrum"]
    for subject in ("a", "b", "c", "d", "e", HOSTILE):
        pattern = rng.uniform(40, 215, (8, 8))
        for spectrum, noise in (("VIS", 30), ("NIR", 60), ("LWIR", 200)):
            for number in range(3):
                pixels = np.clip(pattern + rng.normal(0, noise, (8, 8)), 0, 255).astype(np.uint8)
                name = f"{subject[0].replace('<', 'h')}_{spectrum}_{number}.png"
                Image.fromarray(pixels).save(root / name)
                lines.append(f"{name},{subject},{spectrum}")
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="module")
def report(faces: Path) -> Report:
    return evaluate(Pixels(8), faces, details=True)


@pytest.fixture(scope="module")
def written(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out") / "deep"
    assert report.write(folder) == folder / "report.html"
    return folder


class Page(html.parser.HTMLParser):
    """Collects tags, where they point, and the charts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.targets: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.targets += [value or "" for key, value in attrs if key in ("src", "href", "action", "data")]


def test_four_files_are_written(written: Path) -> None:
    assert sorted(path.name for path in written.iterdir()) == sorted(FILES)


def test_the_page_needs_no_network_and_runs_no_script(written: Path) -> None:
    text = (written / "report.html").read_text()
    page = Page(text)
    assert page.targets == [] and "img" not in page.tags
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert "url(" not in text and "@import" not in text
    assert "&lt;script&gt;" in text and HOSTILE not in text


def test_the_page_holds_every_chart_as_well_formed_svg(written: Path) -> None:
    text = (written / "report.html").read_text()
    charts = [part.split("</svg>")[0] + "</svg>" for part in text.split("<svg ")[1:]]
    names = [ElementTree.fromstring("<svg " + one)[0].text for one in charts]
    assert names == ["CMC", "ROC", "DET", "Scores", "Rank-1 between domains", "Mean cosine between domains"]


def test_the_page_states_provenance_and_protocol_but_no_path_of_this_machine(
    written: Path, report: Report, faces: Path
) -> None:
    assert report.details is not None
    text = (written / "report.html").read_text()
    for words in (
        report.data_sha256,
        report.details.images_sha256,
        "gallery: VIS",
        "numpy",
        "python",
        "Pillow".lower(),
    ):
        assert words is not None and words in text
    for name in FILES[:1] + FILES[2:]:
        assert str(faces) not in (written / name).read_text()


def test_thumbnails_come_only_when_asked_for(report: Report, tmp_path: Path) -> None:
    page = Page(report.write(tmp_path, thumbnails=True).read_text())
    assert page.targets and all(target.startswith("data:image/png;base64,") for target in page.targets)


def test_a_thumbnail_whose_image_is_gone_is_an_error_not_a_gap(report: Report, tmp_path: Path) -> None:
    assert report.details is not None
    moved = dataclasses.replace(report, details=dataclasses.replace(report.details, root=str(tmp_path)))
    with pytest.raises(MissingFile):
        moved.write(tmp_path / "out", thumbnails=True)
    assert not (tmp_path / "out").exists()


def test_the_same_data_give_the_same_bytes(faces: Path, written: Path, tmp_path: Path) -> None:
    again = evaluate(Pixels(8), faces, details=True)
    again.write(tmp_path)
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (written / name).read_bytes()


def test_json_holds_the_figures_and_the_details(written: Path, report: Report) -> None:
    facts = json.loads((written / "report.json").read_text(), parse_constant=lambda word: pytest.fail(word))
    details = facts.pop("details")
    assert Report.from_dict(facts) == report
    assert sum(details["genuine"]) == report.n_genuine and sum(details["impostor"]) == report.n_impostor
    assert details["cmc"][0] == report.rank1 and "root" not in details


def test_markdown_tells_value_interval_and_count(report: Report) -> None:
    assert report.details is not None
    low, high = report.details.intervals["rank1"]
    rows = report.to_markdown().splitlines()
    assert (
        f"| rank-1 | {report.rank1:.4f} | {low:.4f} to {high:.4f} | {round(report.rank1 * 18)} of 18 probes |" in rows
    )
    assert "| gallery \\ probe | VIS | NIR | LWIR |" in [row.replace("\\\\", "\\") for row in rows]


def test_every_figure_has_an_interval_that_contains_it(report: Report) -> None:
    assert report.details is not None
    ends = report.details.intervals
    values = {"rank1": report.rank1, "map": report.map, "minp": report.minp, "auc": report.auc, "eer": report.eer}
    values |= {f"tar@{far}": rate for far, rate in report.tar.items() if rate is not None}
    assert set(values) <= set(ends)
    assert all(ends[key][0] - 1e-9 <= value <= ends[key][1] + 1e-9 for key, value in values.items())


def test_an_unsupported_rate_is_told_as_such(faces: Path) -> None:
    few = evaluate(Pixels(8), faces, gallery="VIS:1", probe="LWIR:1")
    assert few.tar["1e-2"] is None
    assert "| TAR at FAR 1e-2 | not supported |  | 30 impostor comparisons |" in few.to_markdown()
    assert "TAR at FAR 1e-2" not in {result.metric_name for result in few.eval_results()}


def test_the_hub_block_is_a_model_index_that_the_hub_reads(written: Path, report: Report) -> None:
    from huggingface_hub.repocard_data import model_index_to_eval_results

    assert report.details is not None
    index = yaml.safe_load((written / "model-index.yaml").read_text())["model-index"]
    name, results = model_index_to_eval_results(index)
    assert name == report.model
    found = {result.metric_name: result for result in results}
    assert found["rank-1"].metric_value == report.rank1
    assert found["rank-1"].metric_args == {"interval_95": list(report.details.intervals["rank1"])}
    assert found["EER"].dataset_revision == report.data_sha256
    assert found["EER"].dataset_args is not None and found["EER"].dataset_args["n_genuine"] == report.n_genuine


def test_a_report_without_details_says_how_to_get_them(faces: Path, tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="details=True"):
        evaluate(Pixels(8), faces).write(tmp_path)


def test_details_change_no_figure(faces: Path, report: Report) -> None:
    assert evaluate(Pixels(8), faces) == report


# --- what the details count --------------------------------------------------------------------


def pictures(names: Sequence[str]) -> list[Picture]:
    return [Picture(name[0], name, "VIS") for name in names]


def test_scores_and_worst_errors_of_a_hand_made_case() -> None:
    # Unit vectors by their angle, so that every cosine is known.
    def at(*degrees: float) -> np.ndarray:
        angle = np.radians(degrees)
        return np.stack([np.cos(angle), np.sin(angle)], 1)

    found = collect(
        at(0, 90),
        at(60, 10, 90),
        np.array(["a", "b"]),
        np.array(["a", "b", "b"]),
        cmc=(0.5,),
        n_mated=2,
        probe_picture=pictures(["a1", "b1"]),
        gallery_picture=pictures(["a2", "b2", "b3"]),
        worst=2,
    )
    # genuine: a1-a2 0.5, b1-b2 cos 80, b1-b3 1; impostor: a1-b2 cos 10, a1-b3 0, b1-a2 cos 30
    assert (sum(found.genuine), sum(found.impostor)) == (3, 3)
    assert [(pair.probe.path, pair.gallery.path) for pair in found.false_non_matches] == [("b1", "b2"), ("a1", "a2")]
    assert [(pair.probe.path, pair.gallery.path) for pair in found.false_matches] == [("a1", "b2"), ("b1", "a2")]
    assert found.false_matches[0].score == pytest.approx(np.cos(np.radians(10)))
    (miss,) = found.misses
    assert (miss.probe.path, miss.first.path, miss.rank, miss.mate_score) == ("a1", "b2", 2, pytest.approx(0.5))
    thresholds, fmr, fnmr = found.curve()
    step = int(np.searchsorted(thresholds, 0.7))
    assert (fmr[step], fnmr[step]) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert (fmr[0], fnmr[0], fmr[-1], fnmr[-1]) == (1, 0, 0, 1)


def test_curves_equal_the_slow_plain_count(report: Report, faces: Path) -> None:
    assert report.details is not None
    manifest = Manifest.read(faces)
    raw = {row.path: np.asarray(Image.open(faces / row.path), float).ravel() for row in manifest.rows}
    unit = {path: (x - x.mean()) / np.linalg.norm(x - x.mean()) for path, x in raw.items()}
    scores: dict[bool, list[float]] = {True: [], False: []}
    for probe in manifest.select(spectrum="LWIR").rows:
        for known in manifest.select(spectrum="VIS").rows:
            scores[probe.subject == known.subject].append(float(unit[probe.path] @ unit[known.path]))
    thresholds, fmr, fnmr = report.details.curve()
    for place in range(0, BINS + 1, 97):
        # One score may fall on the other side of an edge by the rounding of float32.
        assert abs(fmr[place] - np.mean(np.array(scores[False]) >= thresholds[place])) <= 1.5 / report.n_impostor
        assert abs(fnmr[place] - np.mean(np.array(scores[True]) < thresholds[place])) <= 1.5 / report.n_genuine


def test_a_pair_of_images_counts_once_and_no_image_meets_itself(faces: Path) -> None:
    both = evaluate(Pixels(8), faces, gallery="VIS", probe="VIS", details=True)
    assert both.details is not None
    assert sum(both.details.genuine) == both.n_genuine == 6 * 3
    assert sum(both.details.impostor) == both.n_impostor == 18 * 17 // 2 - 18
    assert all(pair.probe != pair.gallery for pair in both.details.false_non_matches)


def test_blocks_do_not_change_what_is_found(report: Report, faces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xzoo.evaluation.report_details.BLOCK_SCORES", 20)
    assert report.details is not None
    again = evaluate(Pixels(8), faces, details=True).details
    assert again is not None
    assert (again.genuine, again.impostor) == (report.details.genuine, report.details.impostor)
    for kind in ("false_matches", "false_non_matches"):
        pairs = zip(getattr(again, kind), getattr(report.details, kind), strict=True)
        assert all(a.probe == b.probe and a.score == pytest.approx(b.score, abs=1e-6) for a, b in pairs)


def test_templates_are_named_as_such(faces: Path) -> None:
    kept = evaluate(Pixels(8), faces, templates=True, details=True).details
    assert kept is not None and kept.false_matches[0].gallery.path == "mean of 3 images"


def test_the_domain_matrix_of_a_hand_made_case() -> None:
    # a and b in VIS, a and b and c in LWIR; b looks like a in LWIR.
    embeddings = np.array([[2.0, 0], [0, 3], [1, 0], [3, 0], [4, 1], [0, 1]])
    names, cells = domain_matrix(
        embeddings,
        np.array(["a", "b", "a", "a", "b", "c"]),
        np.array(["VIS", "VIS", "LWIR", "LWIR", "LWIR", "LWIR"]),
    )
    assert names == ("VIS", "LWIR")
    known_vis, known_lwir = cells
    assert (known_vis.gallery, known_vis.probe) == ("VIS", "LWIR")
    assert (known_vis.hits, known_vis.n_probe, known_vis.n_gallery) == (1, 2, 2)
    assert (known_lwir.hits, known_lwir.n_probe, known_lwir.n_gallery) == (1, 2, 3)
    assert known_vis.genuine == pytest.approx((1 + 1 / np.sqrt(17)) / 2)
    assert known_vis.impostor == pytest.approx((0 + 4 / np.sqrt(17) + 0 + 1) / 4)


def test_equal_embeddings_win_no_search() -> None:
    cells = domain_matrix(np.ones((4, 2)), np.array(list("abab")), np.array(["VIS", "VIS", "NIR", "NIR"]))[1]
    assert [cell.hits for cell in cells] == [0, 0]


def test_domains_without_a_common_subject_have_no_rate() -> None:
    (cell, _) = domain_matrix(np.eye(2), np.array(["a", "b"]), np.array(["VIS", "NIR"]))[1]
    assert cell == Cell("VIS", "NIR", 0, 0, 1, None, 0.0, None)


# --- charts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "axis", [linear("x", 0, 1), linear("x", -0.31, 0.42), logarithmic("x", 3e-5, 1), probit("x", 1e-4, 0.99)]
)
def test_an_axis_places_its_ticks_in_order_inside(axis) -> None:
    places = [axis.place(value) for value, _ in axis.ticks]
    assert len(places) >= 4 and places == sorted(places) and places[0] >= 0 and places[-1] <= 1
    assert (axis.place(axis.low), axis.place(axis.high)) == (0, 1)


def test_lines_differ_without_colour() -> None:
    drawn = chart(
        "t", linear("x", 0, 1), linear("y", 0, 1), [Line(str(n), [(0, 0), (1, 1)], style=n) for n in range(4)]
    )
    strokes = {
        line.get("stroke-dasharray")
        for line in ElementTree.fromstring(drawn).iter("{http://www.w3.org/2000/svg}polyline")
    }
    assert len(strokes) == 4


def test_text_in_a_chart_is_escaped() -> None:
    drawn = heatmap("<b>", ["&"], ["<"], [[(0.5, "<i>", "")]], row_label="r", column_label="c")
    ElementTree.fromstring(drawn)
    assert "<b>" not in drawn


def test_a_perfect_model_still_has_every_chart() -> None:
    counts = [0] * BINS
    details = Details((1.0,), 5, tuple([*counts[:-1], 5]), tuple([7, *counts[1:]]))
    facts = {
        "model": "m", "weights_sha256": None, "adapters": (), "data": "d", "data_sha256": "0", "split": None,
        "gallery": "VIS", "probe": "LWIR", "templates": False, "batch_size": 1, "rank1": 1.0, "rank5": 1.0,
        "rank10": 1.0, "map": 1.0, "minp": 1.0, "auc": 1.0, "eer": 0.0, "eer_threshold": 1.0, "tar": {"1e-1": None},
        "thresholds": {"1e-1": None}, "n_probe": 5, "n_unmated": 0, "n_gallery": 5, "n_subjects": 5, "n_genuine": 5,
        "n_impostor": 7, "intervals": {}, "warnings": ("few",),
    }  # fmt: skip
    from xzoo.evaluation.report_page import html as page

    assert page(Report(**facts, details=details)).count("<svg ") == 4


# --- the command -------------------------------------------------------------------------------


def test_the_command_writes_the_report(faces: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "pixels", "--data", str(faces), "--report", str(tmp_path / "r"), "--json"]) == 0
    facts = json.loads(capfd.readouterr().out)
    assert facts["report"] == str(tmp_path / "r" / "report.html") and (tmp_path / "r" / "report.html").is_file()


def test_thumbnails_without_a_report_are_refused(faces: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "pixels", "--data", str(faces), "--thumbnails"]) == 2
    assert "--report" in capfd.readouterr().err


# --- protocols ---------------------------------------------------------------------------------


def scface(folder: Path) -> Path:
    """Three subjects of SCface, each a pattern of its own, the second one dimmed at a distance."""
    from xzoo.data.people.layouts import write

    def draw(kind: str, subject: int, sample: int, spectrum: str, size: tuple[int, int]) -> np.ndarray:
        rng = np.random.default_rng(subject if sample % 10 != 1 or subject != 1 else 99 + sample)
        tiles = np.repeat(rng.integers(0, 255, (4, 4, 1), np.uint8), 3, 2)
        return np.asarray(Image.fromarray(tiles).resize(size[::-1], Image.Resampling.BILINEAR))

    return write("scface", folder / "scface", subjects=3, draw=draw, progress=False, first=88)


def test_a_protocol_is_written_with_its_definition_and_first_repetition(tmp_path: Path) -> None:
    result = run_protocol("scface.far.eval", "pixels", scface(tmp_path), details=True)
    assert result == dataclasses.replace(result, details=None)
    page = result.write(tmp_path / "out").read_text()
    assert page.count("<svg ") == 4 and result.definition_sha256 in page and "camera: frontal" in page
    assert str(tmp_path) not in page
    details = json.loads((tmp_path / "out/report.json").read_text())["details"]
    first = result.repetitions[0]
    assert sum(details["genuine"]) == first.counts["genuine"] and sum(details["impostor"]) == first.counts["impostor"]
    assert details["cmc"][0] == pytest.approx(first.figures["rank1"])
    missed = 15 - round((first.figures["rank1"] or 0) * 15)
    assert missed and len(details["misses"]) == missed
    assert all(miss["probe"]["subject"] == "089" for miss in details["misses"])
    assert f"| rank1 | {result.mean['rank1']:.4f} |" in (tmp_path / "out/report.md").read_text()


def test_listed_pairs_and_templates_are_written_too(tmp_path: Path) -> None:
    from xzoo.data.manifest import Pairs, Row
    from xzoo.evaluation import run_protocol
    from xzoo.evaluation.protocols.schema import check

    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    rows = tuple(
        Row("a.png", who, "VIS", template=template, box=(0, 0, 4, 4 + place), index=place)
        for place, (who, template) in enumerate([("x", "1"), ("x", "1"), ("x", "2"), ("y", "3")])
    )
    pairs = Pairs(np.array(["1", "1"]), np.array(["2", "3"]), np.array([True, False]))
    plan = check(
        {
            "protocol": "mine", "title": "t", "source": "s", "figures": ["auc"],
            "pairs": {"template": {"per": ["template"]}},
        },
        "mine",
    )  # fmt: skip
    vectors = np.array([[1.0, 0], [1, 1], [0, 1], [1, 0]])
    result = run_protocol(plan, vectors, Manifest(rows, tmp_path, pairs), details=True)
    assert result.details is not None and result.details.cmc == ()
    (worst,) = result.details.false_matches
    assert (worst.probe.path, worst.gallery.path) == ("template 1", "template 3")
    assert worst.score == pytest.approx(2 / np.sqrt(5))
    page = result.write(tmp_path / "out", thumbnails=True).read_text()
    assert page.count("<svg ") == 3 and "data:image" not in page  # a template is no picture


def test_misses_leave_out_what_the_search_leaves_out() -> None:
    vectors = np.eye(2)[[0, 0, 1]]
    found = collect(
        vectors[:1],
        vectors,
        np.array(["a"]),
        np.array(["a", "b", "a"]),
        cmc=(0.0,),
        n_mated=1,
        probe_picture=pictures(["a0"]),
        gallery_picture=pictures(["a1", "b1", "a2"]),
        left_out=lambda rows: np.array([[True, False, False]]),
    )
    (miss,) = found.misses
    assert (miss.rank, miss.mate_score, miss.first.path) == (2, 0, "b1")
    assert sum(found.genuine) == 2  # verification counts the comparison all the same


def test_a_place_for_no_report_is_refused_before_anything_is_read(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    for place in ("file", "file/deeper"):
        assert main(["evaluate", "pixels", "--data", "/nowhere", "--report", str(tmp_path / place)]) == 2
        told = capfd.readouterr().err
        assert "is a file." in told and "nowhere" not in told
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_an_open_set_is_drawn_and_thresholds_are_marked(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    who = np.repeat(np.arange(40), 4)
    rows = []
    for place, subject in enumerate(who.tolist()):
        Image.new("L", (4, 4), place).save(tmp_path / f"{place}.png")
        role = "gallery" if place % 4 == 0 and subject < 20 else "probe"
        rows.append(Row(f"{place}.png", f"s{subject}", "VIS", role=role, index=place))
    vectors = rng.normal(size=(40, 8))[who] + 0.7 * rng.normal(size=(160, 8))
    (tmp_path / "plan.yaml").write_text(
        "protocol: mine\ntitle: t\nsource: ours\ngallery: {where: {role: gallery}}\nprobe: {where: {role: probe}}\n"
        "figures: [tpir1@0.1, tar@1e-2]\n"
    )
    found = run_protocol(tmp_path / "plan.yaml", vectors, Manifest(tuple(rows), tmp_path), details=True)
    assert found.details is not None
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    known = np.array([row.role == "gallery" for row in rows])
    scores, same = unit[~known] @ unit[known].T, who[~known][:, None] == who[known][None]
    best, mated = scores.max(1), same.any(1)
    mate = np.where(np.where(same, scores, -2).max(1) == best, best, -2)[mated]
    plain = [(np.mean(best[~mated] >= t - 1e-9), np.mean(mate < t - 1e-9)) for t in np.sort(best[~mated])[::-1]]
    np.testing.assert_allclose(found.details.open_set, plain, atol=1e-12)
    page = found.write(tmp_path / "out").read_text()
    assert "60 mated probes (rank 1), 80 others" in page and page.count("<svg ") == 5
    assert "TPIR at FPIR is 1 - FNIR" in page and ">FAR 1e-2</text>" in page
    assert "of 60 mated probes" in (tmp_path / "out" / "report.md").read_text()


def test_a_legend_leaves_thresholds_free(written: Path) -> None:
    page = (written / "report.html").read_text()
    scores = page[page.index("<title>Scores</title>") :]
    scores = scores[: scores.index("</svg>")]
    box = ElementTree.fromstring(re.search(r'<rect x="[^"]+" y="[^"]+" [^>]*fill-opacity="0.9"/>', scores)[0])  # type: ignore[index]
    left, right = float(box.get("x", 0)), float(box.get("x", 0)) + float(box.get("width", 0))
    marks = [float(x) for x in re.findall(r'<line x1="([\d.]+)" y1="34" [^>]*stroke-dasharray="4 3"/>', scores)]
    assert marks and not any(left <= x <= right for x in marks)


def test_the_command_writes_the_report_of_a_protocol(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", "pixels", "--data", str(scface(tmp_path)), "--protocol", "scface.close.eval"]
    assert main([*words, "--report", str(tmp_path / "r"), "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["report"] == str(tmp_path / "r" / "report.html")


@pytest.mark.browser
def test_a_browser_without_a_network_shows_the_charts_in_their_colours(report: Report, tmp_path: Path) -> None:
    import shutil
    import subprocess

    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no headless browser is installed")
    page = report.write(tmp_path / "out")
    shot = tmp_path / "shot.png"
    words = ["--headless", "--no-sandbox", "--disable-gpu", "--proxy-server=127.0.0.1:9", "--window-size=1100,1800"]
    subprocess.run([browser, *words, f"--screenshot={shot}", page.as_uri()], check=True, timeout=120)
    pixels = np.asarray(Image.open(shot).convert("RGB")).reshape(-1, 3)
    for colour in ((0, 114, 178), (213, 94, 0)):  # the lines of genuine and impostor scores
        assert (np.abs(pixels.astype(int) - colour).max(1) <= 2).sum() > 200
