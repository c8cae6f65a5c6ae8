"""Protocols: files, and whole runs from a miniature to figures that can be worked out by hand."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from PIL import Image

from xzoo import errors
from xzoo.cli import main
from xzoo.data import readers
from xzoo.data.manifest import Manifest, Pairs, Row
from xzoo.data.people import layouts
from xzoo.evaluation import protocols, run_protocol
from xzoo.evaluation.protocols.runner import chosen
from xzoo.evaluation.protocols.schema import Protocol, parse_figure


def flat(kind, subject, sample, spectrum, size):
    return np.full((*size, 3), (subject * 7 + sample) % 256, np.uint8)


def lay(name, folder, subjects=6, **options):
    return layouts.write(name, folder, subjects=subjects, draw=flat, size=(24, 8), progress=False, **options)


def one_hot(manifest):
    """Return embeddings that know everybody: one axis for each subject."""
    return np.eye(len(manifest.subjects), dtype=np.float32)[manifest.labels]


def taken_for(manifest, embeddings, other, **facts):
    """Plant an error: rows with these facts look like ``other``."""
    wrong = [place for place, row in enumerate(manifest.rows) if all(getattr(row, k) == v for k, v in facts.items())]
    assert wrong
    embeddings[wrong] = np.eye(len(manifest.subjects))[manifest.subjects.index(other)]
    return len(wrong)


# --- the files ---------------------------------------------------------------------------------


def test_every_protocol_of_the_zoo_is_sound_and_reads_a_set_that_has_a_reader():
    names = protocols.names()
    assert len(names) >= 44
    for name in names:
        plan = protocols.load(name)
        assert plan.protocol == name
        assert plan.reader in readers.names() or name == "closed_set_1n", name  # for any manifest


@pytest.mark.parametrize("direction", ["A.v2i", "A.i2v", "B", "C.v2i", "C.i2v", "D.v2i", "D.i2v"])
def test_the_protocols_of_llcm_are_kept_apart(direction):
    plan = protocols.load(f"llcm.{direction}")
    spectra = plan.gallery.where["spectrum"], plan.probe.where["spectrum"]
    assert spectra == (("NIR", "VIS") if direction.endswith("v2i") else ("VIS", "NIR"))
    drawn = {"A": (True, False), "B": (False, True)}.get(direction[0], (False, False))
    assert (plan.gallery.sample is not None, plan.probe.sample is not None) == drawn
    assert plan.repetitions.count == (10 if direction[0] in "AB" else 1)
    assert plan.exclusions == (["same_subject_same_camera"] if direction[0] in "AB" else [])
    assert plan.options == {"lists": {"C": "idx", "D": "v2"}.get(direction[0], "tree")}


def test_all_faults_of_a_protocol_are_told_at_once(tmp_path):
    (tmp_path / "bad.yaml").write_text(
        "protocol: Bad Name\n"
        "title: a\n"
        "gallery: {wher: {split: test}, sample: {count: 0}}\n"
        "pairs: {}\n"
        "exclusions: [same_camera]\n"
        "cmc: persons\n"
        "figures: [rank1, rankx, tar@2]\n"
        "repetition: 3\n"
    )
    with pytest.raises(errors.EvaluationError) as told:
        protocols.load(tmp_path / "bad.yaml")
    text = str(told.value)
    for part in (
        "protocol: 'Bad Name' does not match",
        "source: missing",
        "gallery.wher: unknown key; close: where",
        "gallery.sample.count",
        "exclusions[0]: 'same_camera' is not one of",
        "cmc: 'persons' is not one of",
        "repetition: unknown key; close: repetitions",
        "gallery: not beside pairs",
        "'rankx': No such figure.",
        "'tar@2': A rate lies between 0 and 1.",
        "'rank1' needs a gallery and probes",
    ):
        assert part in text, part


def test_a_protocol_may_be_like_another_and_not_like_itself(tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "like: llcm.A.v2i\nprotocol: mine\nrepetitions: {count: 2}\ngallery: {sample: null}\n"
    )
    plan = protocols.load(tmp_path / "mine.yaml")
    assert (plan.repetitions.count, plan.repetitions.first, plan.gallery.sample) == (2, 0, None)
    assert plan.probe == protocols.load("llcm.A.v2i").probe
    (tmp_path / "a.yaml").write_text("like: b.yaml\n")
    (tmp_path / "b.yaml").write_text("like: a.yaml\n")
    with pytest.raises(errors.EvaluationError, match="It is like itself"):
        protocols.load(tmp_path / "a.yaml")


def test_an_unknown_protocol_names_the_nearest():
    with pytest.raises(errors.NotFound, match=re.escape("llcm.A.v2i")):
        protocols.load("llcm.A.v2x")


@pytest.mark.parametrize("name", ["rank", "rank0", "tar", "map@1.5", "tpir@0.1", "auc@1", "rank1@1", "tar@zero", ""])
def test_figures_that_do_not_exist_are_refused(name):
    with pytest.raises(errors.EvaluationError):
        parse_figure(name)


def test_figures_are_read_with_rank_and_rate():
    assert parse_figure("tpir20@0.3") == ("tpir", 20, 0.3)
    assert parse_figure("map@500") == ("map", None, 500.0)
    assert parse_figure("tar_nearest@1e-3") == ("tar_nearest", None, 1e-3)


# --- whole runs --------------------------------------------------------------------------------


def test_llcm_a_counts_a_planted_error_once_for_each_probe(tmp_path):
    manifest = readers.read("llcm", lay("llcm", tmp_path / "set", test=3, cameras=2))
    known = run_protocol("llcm.A.v2i", one_hot(manifest), manifest)
    assert known.mean["rank1"] == known.mean["map"] == known.mean["minp"] == 1.0
    assert known.std["rank1"] == 0.0 and len(known.repetitions) == 10
    counts = known.repetitions[0].counts
    assert (counts["gallery images"], counts["probe images"], counts["mated probes"]) == (6, 12, 12)

    wrong = one_hot(manifest)
    many = taken_for(manifest, wrong, "0005", subject="0004", spectrum="VIS", split="test", camera="1")
    assert many == 2
    result = run_protocol("llcm.A.v2i", wrong, manifest)
    # 2 of 12 probes look like 0005. Of six gallery images those of 0005 (two) come first; the four others tie at
    # zero, among them the one mate that another camera took: ties count against it.
    assert result.mean["rank1"] == pytest.approx(10 / 12)
    assert result.mean["rank5"] == 1.0  # subjects: 0005, 0006 and its own
    assert result.mean["map"] == pytest.approx((10 + 2 / 5) / 12)
    assert result.mean["minp"] == pytest.approx((10 + 2 / 5) / 12)
    assert result.intervals["rank1"][0] < 10 / 12 < result.intervals["rank1"][1]


def test_llcm_b_samples_probes_and_c_compares_cameras_with_themselves(tmp_path):
    root = lay("llcm", tmp_path / "set", test=3, cameras=2)
    manifest = readers.read("llcm", root)
    sampled = run_protocol("llcm.B", one_hot(manifest), manifest).repetitions[0].counts
    assert (sampled["gallery images"], sampled["probe images"]) == (12, 6)
    # An embedding of the camera and a little of the person: only same-camera images are alike.
    listed = readers.read("llcm", root, lists="idx")
    vectors = {}
    for name, table in (("tree", manifest), ("idx", listed)):
        camera = np.eye(2)[[int(row.camera) - 1 for row in table.rows]]
        vectors[name] = np.concatenate([one_hot(table), 3 * camera], axis=1)
    c = run_protocol("llcm.C.v2i", vectors["idx"], listed)
    a = run_protocol("llcm.A.v2i", vectors["tree"], manifest)
    assert (c.mean["rank1"], a.mean["rank1"]) == (1.0, 0.0)
    assert "raises rank-1" in c.warnings[0]


def test_llcm_d_cuts_the_average_precision(tmp_path):
    root = lay("llcm", tmp_path / "set", test=2, cameras=1, samples=1)
    (root / "query_v2.txt").write_text("vis/0005/0005_c1_s1_f100_vis.jpg 5\n")
    (root / "gallery_v2.txt").write_text("nir/0005/0005_c1_s1_f100_nir.jpg 5\nnir/0006/0006_c1_s1_f100_nir.jpg 6\n")
    manifest = readers.read("llcm", root, lists="v2")
    result = run_protocol("llcm.D.v2i", one_hot(manifest), manifest)
    assert result.mean["map@500"] == 1.0 and result.std["map@500"] is None


def test_sysu_leaves_out_camera_2_for_camera_3_whoever_is_on_it(tmp_path):
    manifest = readers.read("sysu_mm01", lay("sysu_mm01", tmp_path / "set", test=2))
    wrong = one_hot(manifest)
    # In camera 2 the one looks like the other: that misleads camera 6 alone.
    taken_for(manifest, wrong, "0006", subject="0005", camera="2")
    taken_for(manifest, wrong, "0005", subject="0006", camera="2")
    result = run_protocol("sysu_mm01.agw.indoor.1", wrong, manifest, repetitions=[0, 1])
    # Gallery: cameras 1 and 2. Camera 3 sees camera 1 alone: all right. Camera 6: right and wrong tie at score 1,
    # subjects 0005 and 0006 each, and a tie counts against the probe.
    assert result.mean["rank1"] == pytest.approx(0.5)
    assert result.repetitions[0].counts["mated probes"] == 8


def test_official_galleries_and_seeded_ones_have_the_same_size(tmp_path):
    root = lay("sysu_mm01", tmp_path / "set", test=2, samples=12)
    for shots in (1, 10):
        counts = []
        for line in ("agw", "official"):
            plan = protocols.load(f"sysu_mm01.{line}.all.{shots}")
            manifest = readers.read("sysu_mm01", root, **plan.options)
            result = run_protocol(plan, one_hot(manifest), manifest)
            assert result.mean["rank1"] == 1.0
            counts.append(result.repetitions[9].counts)
        assert counts[0] == counts[1] and counts[0]["gallery images"] == 2 * 4 * shots


def test_regdb_takes_the_fold_of_each_repetition(tmp_path):
    manifest = readers.read("regdb", lay("regdb", tmp_path / "set", subjects=6, samples=2))
    wrong = one_hot(manifest)
    taken_for(manifest, wrong, "2", subject="1", spectrum="VIS")
    result = run_protocol("regdb.v2t", wrong, manifest)
    for one in result.repetitions:
        tested = {row.subject for row in manifest.rows if row.fold == str(one.number) and row.split == "test"}
        # Three subjects, two probes each. Those of 1 fail by being 2, or by tying with everybody.
        assert one.figures["rank1"] == pytest.approx(4 / 6 if "1" in tested else 1.0)
    rates = [one.figures["rank1"] for one in result.repetitions]
    assert result.mean["rank1"] == pytest.approx(np.mean(rates)) and result.std["rank1"] == pytest.approx(np.std(rates))
    assert "trained on people it is tested on" in result.warnings[0]
    third = run_protocol("regdb.v2t", wrong, manifest, repetitions=[3])
    assert third.mean["rank1"] == rates[2] and third.std["rank1"] is None


def test_ijb_mdf_compares_templates_and_keeps_each_hit(tmp_path):
    manifest = readers.read("ijb_mdf", lay("ijb_mdf", tmp_path / "set", subjects=8, frames=3))
    wrong = one_hot(manifest)
    # Of 0002's three frames in LWIR two look like 0004: the mean template does as well.
    frames = [place for place, row in enumerate(manifest.rows) if (row.subject, row.domain) == ("0002", "LWIR-30m")]
    wrong[frames[:2]] = np.eye(8)[manifest.subjects.index("0004")]
    result = run_protocol("ijb_mdf.g2.VIS-LWIR", wrong, manifest)
    assert result.mean["rank1"] == pytest.approx(3 / 4) and result.mean["rank5"] == 1.0
    assert result.repetitions[0].hits == {"0002": False, "0004": True, "0006": True, "0008": True}
    assert result.repetitions[0].ranks == {"0002": 2, "0004": 1, "0006": 1, "0008": 1}
    (plain,) = result.to_dict()["repetitions"]
    assert (plain["hits"], plain["ranks"]) == (result.repetitions[0].hits, result.repetitions[0].ranks)
    counts = result.repetitions[0].counts
    assert (counts["probe templates"], counts["gallery templates"], counts["probe images"]) == (4, 4, 12)
    everybody = run_protocol("ijb_mdf.all.MWIR-LWIR", wrong, manifest)
    assert everybody.mean["rank1"] == pytest.approx(7 / 8)


def test_a_gallery_without_somebody_counts_the_probe_as_unmated(tmp_path):
    manifest = readers.read("ijb_mdf", lay("ijb_mdf", tmp_path / "set", subjects=6, frames=1))
    kept = [row for row in manifest.rows if (row.subject, row.domain) != ("0002", "VIS-500m")]
    some = Manifest(tuple(kept), manifest.root)
    result = run_protocol("ijb_mdf.g2.VIS-SWIR", one_hot(some), some)
    assert result.repetitions[0].counts["unmated probes"] == 1 and result.mean["rank1"] == 1.0
    assert any("1 probes have no mate" in warning for warning in result.warnings)


def table_rows(subjects=4, probes=3, band="LWIR"):
    rows = []
    for subject in range(subjects):
        rows += [Row(f"{subject}/g{k}.png", f"s{subject}", "VIS", role="gallery") for k in range(2)]
        rows += [Row(f"{subject}/p{k}.png", f"s{subject}", band, role="probe") for k in range(probes)]
    return Manifest(tuple(rows), "/nowhere")


@pytest.mark.parametrize("name", ["gallery_probe", "mcxface.vis_thermal"])
def test_tables_make_mean_templates_and_verification_rates(name):
    manifest = table_rows()
    wrong = one_hot(manifest)
    wrong[2] = np.eye(4)[1]  # the first probe of s0 is s1
    result = run_protocol(name, wrong, manifest)
    counts = result.repetitions[0].counts
    assert (counts["genuine"], counts["impostor"], counts["gallery templates"]) == (12, 36, 4)
    assert result.mean["rank1"] == pytest.approx(11 / 12)
    # 11 genuine scores of 1 and one of 0; impostors: one of 1 (2.8 %), 35 of 0.
    assert result.mean["auc"] == pytest.approx((11 * 35 + 11 / 2 + 35 / 2) / (12 * 36))
    assert result.mean["tar@5e-2"] == pytest.approx(11 / 12)
    assert result.mean["tar_nearest@1e-2"] == 0.0  # corners at 0, 2.8 % and 100 %: 0 is nearest
    assert result.mean["tar@1e-3"] is None and any("tar@1e-3 is not reported" in w for w in result.warnings)


def test_casia_and_polathermal_run_fold_by_fold():
    for name, first in (("casia_nirvis2.view2", 1), ("polathermal.overall", 1)):
        plan = protocols.load(name)
        rows = []
        for fold in plan.repetitions.numbers:
            for row in table_rows(band="NIR").rows:
                rows.append(Row(row.path, row.subject, row.spectrum, role=row.role, fold=str(fold)))
        manifest = Manifest(tuple(rows), "/nowhere")
        wrong = one_hot(manifest)
        wrong[2] = np.eye(4)[1]  # in the first fold alone
        result = run_protocol(plan, wrong, manifest)
        many = plan.repetitions.count
        assert result.repetitions[0].number == first
        assert result.mean["rank1"] == pytest.approx(1 - 1 / 12 / many)


def test_tufts_and_cufsf_run(tmp_path):
    for folder, names in (
        ("TD_RGB_E_Set1", "ab"),
        ("TD_IR_A_Set1", "abc"),
    ):
        for subject in ("1", "2", "3"):
            for name in names:
                path = tmp_path / "tufts" / folder / subject / f"{name}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("L", (8, 8)).save(path)
    manifest = readers.read("tufts", tmp_path / "tufts")
    wrong = one_hot(manifest)
    taken_for(manifest, wrong, "2", path="TD_IR_A_Set1/1/a.png")
    assert run_protocol("tufts.vis_thermal", wrong, manifest).mean["rank1"] == pytest.approx(8 / 9)

    for subject in range(1, 5):
        for kind in ("photo", "sketch"):
            path = tmp_path / "cufsf" / kind / f"{subject:05d}fa.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8)).save(path)
    manifest = readers.read("cufsf", tmp_path / "cufsf", train=1)
    wrong = one_hot(manifest)
    taken_for(manifest, wrong, "00003", path="sketch/00002fa.png")
    assert run_protocol("cufsf.250-944", wrong, manifest).mean["rank1"] == pytest.approx(2 / 3)


def test_listed_pairs_are_compared_and_no_others():
    rows = tuple(Row(name, name, "VIS", index=place) for place, name in enumerate("abcd"))
    pairs = Pairs(np.array([0, 0, 1, 2]), np.array([1, 2, 3, 3]), np.array([True, True, False, False]))
    manifest = Manifest(rows, "/nowhere", pairs)
    vectors = np.array([[1, 0], [1, 0], [1, 1], [0, 1.0]])  # scores 1, 0.71, 0, 0.71
    result = run_protocol("pairs_list", vectors, manifest)
    assert result.mean["auc"] == pytest.approx((1 + 1 + 1 + 0.5) / 4)
    assert result.repetitions[0].counts["genuine"] == 2
    with pytest.raises(errors.EvaluationError, match="the manifest lists none"):
        run_protocol("pairs_list", vectors, Manifest(rows, "/nowhere"))


def test_pairs_in_folds_have_a_spread_of_their_own():
    rng = np.random.default_rng(0)
    rows = tuple(Row(str(place), str(place), "VIS", index=place) for place in range(80))
    first, second = np.arange(0, 80, 2), np.arange(1, 80, 2)
    same = np.arange(40) % 2 == 0
    vectors = rng.normal(size=(80, 16))
    vectors[1::2][same] = vectors[::2][same] + 0.1 * rng.normal(size=(20, 16))
    vectors[1] = -vectors[0]  # the first pair, of fold 1, is a genuine one that fails
    pairs = Pairs(first, second, same, np.repeat(np.arange(1, 5), 10))
    result = run_protocol("pairs_list.folds", vectors, Manifest(rows, "/nowhere", pairs))
    assert result.mean["accuracy"] == pytest.approx(39 / 40)
    assert result.std["accuracy"] == pytest.approx(np.std([0.9, 1, 1, 1]))
    assert set(result.mean) == {"accuracy", "val@1e-3", "auc", "eer"}


def test_pairs_of_templates_are_pairs_of_pooled_images():
    plan = Protocol(
        protocol="mine",
        title="t",
        source="s",
        pairs={"template": {"per": ["template"], "pool": "media"}},
        figures=["auc"],
    )
    cells = [("1", "m1"), ("1", "m1"), ("1", "m2"), ("2", "m3"), ("3", "m4")]
    rows = tuple(
        Row(f"{place}.png", "ab"[template == "3"], "VIS", template=template, media=medium, index=place)
        for place, (template, medium) in enumerate(cells)
    )
    pairs = Pairs(np.array(["1", "1"]), np.array(["2", "3"]), np.array([True, False]))
    vectors = np.array([[1, 0], [1, 0], [0, 1], [1, 1], [0.0, 1]])
    result = run_protocol(plan, vectors, Manifest(rows, "/nowhere", pairs))
    assert result.mean["auc"] == 1.0 and result.repetitions[0].counts["templates"] == 3
    with pytest.raises(errors.EvaluationError, match="names '9'"):
        run_protocol(plan, vectors, Manifest(rows, "/nowhere", Pairs(pairs.first, np.array(["2", "9"]), pairs.same)))


def test_an_open_set_protocol_reports_identification_beside_false_alarms():
    plan = Protocol(
        protocol="mine",
        title="t",
        source="s",
        gallery={"where": {"role": "gallery"}},
        probe={"where": {"role": ["probe", "stranger"]}},
        figures=["tpir1@0.5", "tpir1@0.1"],
    )
    rows = [Row(f"g{k}", f"s{k}", "VIS", role="gallery") for k in range(2)]
    rows += [Row(f"p{k}", f"s{k}", "VIS", role="probe") for k in range(2)]
    rows += [Row(f"x{k}", f"x{k}", "VIS", role="stranger") for k in range(2)]
    vectors = np.array([[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 1, 1], [0.9, 0, 0.1], [0.1, 0, 0.9]])
    result = run_protocol(plan, vectors, Manifest(tuple(rows), "/nowhere"))
    assert result.mean == {"tpir1@0.5": 1.0, "tpir1@0.1": None}
    assert result.repetitions[0].counts["unmated probes"] == 2


def test_each_rate_has_its_threshold_and_the_errors_counted_there(tmp_path):
    rng = np.random.default_rng(0)
    who = np.repeat(np.arange(30), 4)
    rows = tuple(
        Row(f"{k}.png", f"s{s}", "VIS", role="gallery" if k % 4 == 0 and s < 20 else "probe", index=k)
        for k, s in enumerate(who.tolist())
    )
    centre = rng.normal(size=(30, 6))
    vectors = centre[who] + 0.8 * rng.normal(size=(120, 6))
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        "protocol: mine\ntitle: t\nsource: ours\ngallery: {where: {role: gallery}}\nprobe: {where: {role: probe}}\n"
        "figures: [rank1, tpir1@0.1, tpir1@0.01, eer, tar@1e-2, tar@1e-5]\n"
    )
    result = run_protocol(plan, vectors, Manifest(rows, tmp_path))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    known = np.array([row.role == "gallery" for row in rows])
    scores, same = unit[~known] @ unit[known].T, who[~known][:, None] == who[known][None]
    (one,) = result.repetitions
    assert set(one.points) == {"tpir1@0.1", "eer", "tar@1e-2"} and result.mean["tpir1@0.01"] is None
    point = one.points["tar@1e-2"]
    bound = point["threshold"] - 1e-6
    assert point["false accepts"] == np.count_nonzero(scores[~same] >= bound) <= 0.01 * one.counts["impostor"]
    assert point["false rejects"] == np.count_nonzero(scores[same] < bound)
    assert result.mean["tar@1e-2"] == pytest.approx(1 - point["false rejects"] / one.counts["genuine"])
    point = one.points["tpir1@0.1"]
    bound = point["threshold"] - 1e-6
    mated = same.any(1)
    assert point["false positives"] == np.count_nonzero(scores[~mated].max(1) >= bound) <= 0.1 * (~mated).sum()
    best = np.where(same, scores, -2).max(1)
    found = (best == scores.max(1)) & (best >= bound) & mated
    assert point["false negatives"] == mated.sum() - found.sum()
    assert result.mean["tpir1@0.1"] == pytest.approx(found.sum() / mated.sum())
    assert "FPIR 0.1 is decided by 4 probes, fewer than 30." in result.warnings
    assert json.loads(result.to_json())["repetitions"][0]["points"]["eer"]["threshold"] < 1


def test_leave_one_out_never_compares_an_image_with_itself():
    plan = Protocol(
        protocol="mine",
        title="t",
        source="s",
        gallery={},
        probe={},
        exclusions=["same_image"],
        figures=["rank1", "auc"],
    )
    rows = tuple(Row(f"{k}.png", "ab"[k // 2], "VIS", index=k) for k in range(4))
    result = run_protocol(plan, np.array([[1, 0], [1, 0.1], [0, 1], [1, 0.05]]), Manifest(rows, "/nowhere"))
    assert result.mean["rank1"] == 0.0  # both of a have b's second image nearest; b's own are far apart
    assert result.repetitions[0].counts["genuine"] == 2


# --- what cannot be ----------------------------------------------------------------------------


def test_an_empty_side_names_what_the_columns_hold():
    with pytest.raises(errors.EvaluationError, match="gallery of protocol 'llcm.A.v2i'.*\n.*\n.*split: None"):
        run_protocol("llcm.A.v2i", np.eye(20), table_rows())


def test_embeddings_of_another_length_are_refused():
    with pytest.raises(errors.EvaluationError, match=r"shape \[3, 4\] for a manifest of 20 rows"):
        run_protocol("gallery_probe", np.eye(4)[:3], table_rows())


def test_an_image_without_a_camera_is_named():
    manifest = Manifest(
        tuple(Row(f"{b}{k}", f"s{k}", b, split="test") for b in ("VIS", "NIR") for k in range(2)), "/nowhere"
    )
    with pytest.raises(errors.EvaluationError, match="'VIS0'.*\n.*has none"):
        run_protocol("llcm.A.v2i", np.eye(4), manifest)


def test_a_repetition_that_is_not_there_is_refused():
    with pytest.raises(errors.EvaluationError, match="It has 1 to 10"):
        run_protocol("regdb.v2t", np.eye(20), table_rows(), repetitions=[0])


def test_an_embedding_that_is_not_a_number_is_named_by_its_side():
    broken = one_hot(table_rows())
    broken[2] = np.nan
    with pytest.raises(errors.EvaluationError, match="unusable"):
        run_protocol("gallery_probe", broken, table_rows())


# --- models and the command line ---------------------------------------------------------------


def test_a_model_embeds_each_image_once_however_often_it_takes_part(tmp_path):
    root = layouts.write("regdb", tmp_path / "set", subjects=4, draw=flat, size=(16, 16), samples=2, progress=False)

    class Model:
        name = "counting"
        seen = 0

        def __init__(self):
            from xzoo.data.preprocess import Preprocess

            self.preprocess = Preprocess(size=(3, 8, 8))

        def embed(self, images, *, spectrum, batch_size, normalise):
            Model.seen += len(images)
            return images.float().flatten(1)[:, :5] + 1

    result = run_protocol("regdb.v2t", Model(), root, batch_size=3)
    assert result.model == "counting" and Model.seen == 16 and len(result.repetitions) == 10


def test_results_say_what_they_are_and_survive_json(tmp_path):
    manifest = table_rows()
    result = run_protocol("gallery_probe", one_hot(manifest), manifest)
    facts = json.loads(result.to_json())
    assert facts["definition"]["gallery"]["template"]["pool"] == "mean" and len(facts["definition_sha256"]) == 64
    assert facts["mean"]["rank1"] == 1.0 and facts["mean"]["tar@1e-3"] is None
    assert "rank1              1.0000   95 %" in str(result) and "tar@1e-3           not supported" in str(result)


def test_the_command_line_reads_a_set_and_runs_a_protocol(tmp_path, capfd):
    def striped(kind, subject, sample, spectrum, size):
        picture = np.zeros((*size, 3), np.uint8)
        picture[:, subject * 8 : subject * 8 + 8] = 200
        return picture

    root = layouts.write("regdb", tmp_path / "set", subjects=4, draw=striped, size=(32, 32), samples=2, progress=False)
    call = ["evaluate", "pixels", "--data", str(root), "--protocol", "regdb.t2v"]
    assert main([*call, "--json"]) == 0
    facts = json.loads(capfd.readouterr().out)
    assert facts["protocol"] == "regdb.t2v" and facts["mean"]["rank1"] == 1.0 and len(facts["repetitions"]) == 10
    assert main([*call, "--repetition", "2", "--option", "trials=2"]) == 0
    assert "protocol regdb.t2v: RegDB" in capfd.readouterr().out
    for further, said in (
        (["--gallery", "VIS"], "leave out --gallery"),
        (["--option", "trials"], "is not KEY=VALUE"),
        (["--option", "trails=2"], "exists: trials"),
    ):
        assert main([*call, *further]) == 2
        assert said in capfd.readouterr().err


def test_the_command_line_checks_a_set_against_what_is_published(tmp_path, capfd):
    root = lay("regdb", tmp_path / "set", subjects=4, samples=2)
    assert main(["data", "check", str(root), "--reader", "regdb", "--json"]) == 1
    told = capfd.readouterr()
    facts = json.loads(told.out)
    assert facts["differences"]["images"] == [16, 8240] and facts["missing"] == []
    assert "6 counts differ" in told.err
    assert main(["data", "check", str(root), "--reader", "regdp"]) == 1
    assert "exists: regdb" in capfd.readouterr().err


def test_generated_people_take_the_layout_of_a_set_and_run_through_its_protocol(tmp_path, capfd):
    call = ["data", "layout", "llcm", str(tmp_path / "mini"), "--subjects", "3", "--option", "cameras=2"]
    assert main([*call, "--option", "samples=1"]) == 0
    assert main(["evaluate", "pixels", "--data", str(tmp_path / "mini"), "--protocol", "llcm.A.v2i", "--json"]) == 0
    assert json.loads(capfd.readouterr().out.split("\n", 1)[1])["repetitions"][0]["counts"]["probe images"] == 2


# --- the same figures by a slow, obvious version -----------------------------------------------


def plain(query, gallery, rows_q, rows_g, left_out, subjects):
    """Rank one probe after the other with plain lists; return rank-1, rank-5, mAP and mINP."""
    found = []
    for q, row in zip(query, rows_q, strict=True):
        kept = [k for k, other in enumerate(rows_g) if not left_out(row, other)]
        kept.sort(key=lambda k: -float(np.dot(q, gallery[k]) / np.linalg.norm(q) / np.linalg.norm(gallery[k])))
        names = [rows_g[k].subject for k in kept]
        places = [place for place, name in enumerate(names, start=1) if name == row.subject]
        if not places:
            continue
        counted = list(dict.fromkeys(names)) if subjects else names
        rank = counted.index(row.subject) + 1
        precision = np.mean([hit / place for hit, place in enumerate(places, start=1)])
        found.append((rank <= 1, rank <= 5, precision, len(places) / places[-1]))
    return np.mean(found, axis=0)


def same_camera(row, other):
    return row.subject == other.subject and row.camera == other.camera


def same_place(row, other):
    return row.camera == "3" and other.camera == "2"


PLAIN = {
    "llcm.A.v2i": (same_camera, True),
    "llcm.A.i2v": (same_camera, True),
    "llcm.B": (same_camera, True),
    "llcm.C.i2v": (lambda row, other: False, True),
    "sysu_mm01.agw.all.1": (same_place, True),
    "sysu_mm01.official.indoor.10": (same_place, True),
    "regdb.t2v": (lambda row, other: False, False),
}


@pytest.mark.parametrize("name", PLAIN)
def test_figures_equal_those_of_plain_lists(name, tmp_path):
    left_out, subjects = PLAIN[name]
    plan = protocols.load(name)
    options = {"llcm": {"subjects": 14, "test": 12, "cameras": 4}, "sysu_mm01": {"subjects": 14, "test": 10}}
    root = lay(plan.reader, tmp_path / "set", **options.get(plan.reader, {"subjects": 20, "samples": 2}))
    manifest = readers.read(plan.reader, root, **plan.options)
    rng = np.random.default_rng(1)
    noise, person = rng.normal(size=(len(manifest), 12)), rng.normal(size=(len(manifest.subjects), 12))
    vectors = (0.5 * person[manifest.labels] + noise).astype(np.float64)
    numbers = list(plan.repetitions.numbers)[:2]
    result = run_protocol(plan, vectors, manifest, repetitions=numbers)
    for one in result.repetitions:
        gallery, probe = (chosen(manifest, side, one.number) for side in (plan.gallery, plan.probe))
        rows_q, rows_g = ([manifest.rows[place] for place in side] for side in (probe, gallery))
        expected = plain(vectors[probe], vectors[gallery], rows_q, rows_g, left_out, subjects)
        found = [one.figures[key] for key in ("rank1", "rank5", "map", "minp")]
        assert found == pytest.approx(expected.tolist(), abs=1e-9)
        assert 0 < found[0] < 1


def test_a_manifest_with_the_columns_of_a_protocol_takes_the_readers_place(tmp_path, capfd):
    root = lay("ijb_mdf", tmp_path / "set", subjects=4, frames=1)
    manifest = readers.read("ijb_mdf", root)
    table = manifest.write_csv(tmp_path / "mine.csv")
    again = Manifest.read(table)
    name = "ijb_mdf.g2.VIS-MWIR"
    assert run_protocol(name, one_hot(again), again).mean == run_protocol(name, one_hot(manifest), manifest).mean
    assert main(["evaluate", "pixels", "--data", str(table), "--protocol", name, "--option", "kind=face"]) == 2
    assert "beside a manifest" in capfd.readouterr().err
