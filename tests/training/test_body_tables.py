"""The tables of the body paper: printed counts, and every table run on a handful of generated people."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import xzoo
from xzoo import errors
from xzoo.data.images import load_raw
from xzoo.data.manifest import Manifest, Row
from xzoo.training import body_llcm, body_tables
from xzoo.training.body_published import PUBLISHED, TITLES, published
from xzoo.training.body_tables import Settings, Workshop, claim, first_in, fused
from xzoo.training.engine import Images

TINY = Settings(
    train=8,
    test=6,
    frames=2,
    lengths=(3, 5, 1, 2),
    uneven=(2, 5, 1, 1),
    gallery=3,
    faces=0,
    size=(64, 32),
    steps=2,
    batch=16,
    repeats=2,
)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    folder = tmp_path_factory.mktemp("body")
    torch.manual_seed(0)
    model = xzoo.create("part_vit_tiny", input_size=TINY.size, depth=1)
    return Workshop(*body_tables.people(folder / "people", TINY), folder, settings=TINY, model=model)


def test_films_show_one_day_and_vis_at_moments_of_its_own(workshop: Workshop) -> None:
    from xzoo.data.people import bodies

    films: dict[tuple[str, str], list[Row]] = {(row.subject, row.spectrum): [] for row in workshop.bodies.rows}
    for row in workshop.bodies.rows:
        films[row.subject, row.spectrum].append(row)
    assert len(films) == 14 * 4
    for (subject, spectrum), rows in films.items():
        learnt_from = subject < f"p{TINY.train:05d}"
        place = [domain.split("-")[0] for domain in body_tables.DOMAINS].index(spectrum)
        assert len(rows) == (TINY.lengths[place] if learnt_from else TINY.frames)
    assert {row.domain for row in workshop.bodies.rows} == set(body_tables.DOMAINS)
    for spectrum, distance, frame, moment, phase in (
        ("VIS", 500.0, 1, 1, 0.0),
        ("LWIR", 30.0, 1, 5, 0.75),
        ("SWIR", 30.0, 4, 4, 0.625),  # the first moment again, the other way round in the step
    ):
        one = (films["p00003", spectrum][frame],)
        seen = load_raw(Manifest(one, workshop.bodies.root), workshop.base.preprocess)
        view: dict[str, Any] = {
            "size": TINY.size,
            "seed": body_tables.WORLD,
            "distance": distance,
            "phase": torch.tensor([phase]),
        }
        assert torch.equal(seen, bodies(torch.tensor([3]), torch.tensor([moment]), spectrum, **view))
    assert workshop.faces is not None
    assert all(row.box and row.box[2] == row.box[3] >= 8 for row in workshop.faces.rows)
    assert all(row.box is None for row in workshop.bodies.rows)


def test_faces_are_cut_where_labels_of_the_whole_picture_have_them(tmp_path: Path) -> None:
    from xzoo.data.people import body_labels

    large = TINY._replace(train=1, test=1, frames=1, lengths=(1, 1, 1, 1), size=(128, 64))
    _, faces = body_tables.people(tmp_path / "people", large)
    for row in faces.rows:
        place = [domain.split("-")[0] for domain in body_tables.DOMAINS].index(row.spectrum)
        (box,) = body_labels(
            torch.tensor([int(row.subject[1:])]),
            torch.tensor([4 * (row.spectrum != "VIS")]),
            spectrum=row.spectrum,
            size=large.size,
            seed=body_tables.WORLD,
            distance=float(str(row.distance).removesuffix("m")),
            phase=torch.tensor([place / 4]),
        ).face_box.tolist()
        assert row.box == body_tables._square(box, large.size)


class Planned(Exception):
    """A training that was asked for: its only argument is the data, or the recipe."""


@pytest.mark.parametrize(
    ("asked", "has", "taken"), [("auto", True, "bf16"), ("auto", False, "float32"), ("float32", True, "float32")]
)
def test_trainings_take_bf16_where_the_processor_has_it(
    asked: Any, has: bool, taken: str, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body_tables, "has_bf16", lambda device: has)
    settings = TINY._replace(precision=asked)
    some = Workshop(workshop.bodies, None, workshop.folder, settings=settings, model=workshop.base)
    assert some.plan(body_tables.TRAINED).stages[0].precision == taken


def test_batches_are_compared_on_the_first_pictures_of_films(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*_: Any, data: Manifest, **more: Any) -> None:
        raise Planned(data)

    monkeypatch.setattr(body_tables, "distill", asked)
    for job, lengths in ((body_tables.TRAINED, TINY.lengths), (workshop.sampled()["random"], (2, 5, 1, 1))):
        with pytest.raises(Planned) as caught:
            workshop.network(job)
        rows = caught.value.args[0].rows
        assert [row for row in rows if row.split == "test"] == list(workshop.test.rows)
        learnt = [row for row in rows if row.split == "train"]
        for domain, length in zip(body_tables.DOMAINS, lengths, strict=True):
            of = [row.path for row in learnt if row.domain == domain]
            whole = [row.path for row in workshop.bodies.select(split="train").rows if row.domain == domain]
            assert len(of) == TINY.train * length
            assert of == [path for path in whole if int(Path(path).stem) < length]


def test_bands_of_the_longer_films_are_seen_more_often(workshop: Workshop) -> None:
    assert workshop.often().tolist() == [True, False, False]  # films of 5, 1 and 1
    alike = tuple(row for row in workshop.bodies.rows if row.split == "test")
    even = Manifest((*alike, *(replace(row, split="train") for row in alike)), workshop.bodies.root)
    same = Workshop(even, None, workshop.folder, settings=TINY._replace(uneven=None), model=workshop.base)
    assert not same.often().any()


def test_llcm_takes_the_losses_of_the_tables_and_is_short_on_generated_people(
    tmp_path: Path, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*_: Any, recipe: Any, **more: Any) -> None:
        raise Planned(recipe)

    monkeypatch.setattr(body_llcm, "finetune", asked)
    long = TINY._replace(steps=body_llcm.SHORT + 7)
    with pytest.raises(Planned) as caught:
        body_llcm.table_2(None, tmp_path, settings=long, model=workshop.base, people=9, cameras=2)
    (stage,) = caught.value.args[0].stages
    assert stage.steps == body_llcm.SHORT
    assert stage.losses == workshop.plan(workshop.sampled()["domain-aware"]).stages[0].losses


@pytest.mark.parametrize(
    ("table", "row", "column", "percent"),
    [
        ("1", "body, as it came", "SWIR", 38.10),
        ("1", "face, fine-tuned", "SWIR", 59.38),
        ("3", "face + lower", "LWIR", 66.67),
        ("4", "MWIR", "LWIR", 95.58),
        ("4", "VIS", "MWIR", 5.00),
        ("5", "VIS + SWIR", "MWIR", 34.92),
        ("6", "random", "LWIR", 71.43),
        ("7", "32, LoRA", "MWIR", 71.43),
        ("7", "96, all weights", "SWIR", 82.54),
    ],
)
def test_printed_counts_give_the_printed_percentages(table: str, row: str, column: str, percent: float) -> None:
    count = published(table, row, column)
    assert count is not None
    assert round(100 * count.hits / count.trials, 2) == percent


def test_no_printed_count_has_more_hits_than_probes() -> None:
    every = [count for rows in PUBLISHED.values() for cells in rows.values() for count in cells.values()]
    assert len(every) > 60
    assert all(0 <= count.hits <= count.trials for count in every)
    assert published("4", "VIS", "VIS") is None


@pytest.mark.parametrize("number", [number for number in TITLES if number != "2"])
def test_every_table_has_a_count_beside_each_that_is_printed(workshop: Workshop, number: str) -> None:
    found = workshop.table(number)
    for row, cells in PUBLISHED.get(number, {}).items():
        if number == "7" and not row.startswith("8,"):
            continue  # eight people are all there are
        for column in cells:
            ours = found.rows[row][column]
            assert 0 <= ours.hits <= ours.trials == (14 if number == "4" else 6), (row, column)
    if number == "mining":
        assert set(found.rows) == {"farthest positive of another band", "nearest negative of the same band"}
        chance = found.rows["nearest negative of the same band"]["chance"]
        assert chance.hits == round(0.25 * chance.trials)


def test_each_network_is_trained_once_and_gone_on_with(workshop: Workshop) -> None:
    workshop.table("6")
    run = workshop.place(body_tables.TRAINED) / "run.json"
    before = run.stat().st_mtime_ns
    again = Workshop(workshop.bodies, None, workshop.folder, settings=TINY, model=workshop.base)
    assert again.table("6") == workshop.table("6")
    assert run.stat().st_mtime_ns == before


def test_so_many_are_searched_by_their_faces(workshop: Workshop) -> None:
    some = Workshop(
        workshop.bodies, workshop.faces, workshop.folder, settings=TINY._replace(faces=4), model=workshop.base
    )
    hits, every = some.face("hybrid_fr"), workshop.face("hybrid_fr")
    assert np.isfinite(hits).all(1).tolist() == [True] * 4 + [False] * 2
    assert np.isfinite(every).all()
    assert {count.trials for count in some.table_1().rows["face, as it came"].values()} == {4}
    assert {count.trials for count in some.table_1().rows["body, as it came"].values()} == {6}
    body = next(one for one in some.claims(["1"]) if one.text.startswith("body over"))
    assert np.isfinite(body.figure)


def test_who_has_no_face_is_not_searched_by_it(workshop: Workshop) -> None:
    assert workshop.faces is not None
    without = workshop.test.subjects[1]
    faces = Manifest(tuple(row for row in workshop.faces.rows if row.subject != without), workshop.faces.root)
    some = Workshop(workshop.bodies, faces, workshop.folder, settings=TINY, model=workshop.base)
    assert np.isfinite(some.face("hybrid_fr")).all(1).tolist() == [True, False, True, True, True, True]


def test_pairs_of_bands_are_searched_among_all_people(workshop: Workshop) -> None:
    whole = workshop.base.embed(workshop.bodies.paths, normalise=False).numpy()
    hits = workshop._hits("ijb_mdf.all.LWIR-SWIR", whole, workshop.bodies)
    assert np.array_equal(workshop.pairs()["LWIR", "SWIR"], hits)
    assert len(hits) == TINY.train + TINY.test


def test_people_in_one_picture_are_not_taken_for_each_other(workshop: Workshop) -> None:
    # Both sides of each picture as two rows of one path, as frames of IJB-MDF hold several people.
    rows = tuple(
        replace(row, subject=f"{row.subject}{side}", box=(16 * side, 0, 16, 64))
        for row in workshop.bodies.rows
        for side in (0, 1)
    )
    crowd = Manifest(rows, workshop.bodies.root)
    found = Workshop(crowd, None, workshop.folder, settings=TINY, model=workshop.base).pairs()
    whole = body_tables.tokens_of(workshop.base, Images(crowd, workshop.base))
    for (gallery, probe), hits in found.items():
        wanted = workshop._hits(f"ijb_mdf.all.{gallery}-{probe}", fused(whole, body_tables.PARTS), crowd)
        assert np.array_equal(hits, wanted), (gallery, probe)


def test_smaller_trainings_see_fewer_of_the_same_people(workshop: Workshop) -> None:
    names = workshop.bodies.select(split="train").subjects
    few, more = workshop._some(names, 3, 0), workshop._some(names, 5, 0)
    assert (len(few), len(more)) == (3, 5)
    assert few < more
    assert workshop._some(names, 0, 0) == set(names)
    assert workshop._some(names, 3, 1) != few


def test_recipes_of_a_table_differ_as_the_table_says(workshop: Workshop) -> None:
    full, low, random = (
        workshop.plan(job).stages[0]
        for job in (body_tables.Job(), body_tables.Job("lora"), body_tables.Job(sampler="images"))
    )
    assert full.train.groups == "all" and full.train.lora is None
    assert low.train.lora is not None and low.train.lora.rank == 8
    assert (full.batch.sampler, random.batch.sampler, random.batch.per_subject) == ("domains", "images", 4)
    for stage in (full, low, random):
        assert [term.key for term in stage.losses] == ["contrast"]
    paper = Workshop(
        workshop.bodies, None, workshop.folder, settings=TINY._replace(contrast=False, uneven=None), model=workshop.base
    )
    assert paper.sampled()["domain-aware"] == body_tables.TRAINED  # not trained twice
    by_paper = [paper.plan(body_tables.Job()), *(workshop.plan(job) for job in workshop.sampled().values())]
    for losses in (plan.stages[0].losses for plan in by_paper):
        assert [term.key for term in losses] == ["identity", "triplet"]
        assert losses[1].options == {"soft": True}  # the hinge with margin 0 draws everybody together


def test_hits_are_means_over_all_galleries_of_so_many(workshop: Workshop) -> None:
    test, random = workshop.test, np.random.default_rng(0)
    place = np.array([test.subjects.index(row.subject) for row in test.rows])
    embeddings = (np.eye(6, 5)[place] + random.normal(size=(len(place), 5))).astype(np.float32)

    def mean(spectrum: str) -> Any:
        of = np.array([row.spectrum == spectrum for row in test.rows])
        found = np.stack([embeddings[of & (place == who)].mean(0) for who in range(6)])
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    hits = workshop.search(embeddings, test)
    whole = Workshop(workshop.bodies, None, workshop.folder, settings=TINY._replace(gallery=0), model=workshop.base)
    for column, band in enumerate(("SWIR", "MWIR", "LWIR")):
        scores = mean(band) @ mean("VIS").T
        for who in range(6):
            galleries = [some for some in itertools.combinations(range(6), TINY.gallery) if who in some]
            assert len(galleries) == 10
            first = [max(some, key=lambda other: scores[who, other]) == who for some in galleries]
            assert hits[who, column] == pytest.approx(np.mean(first)), (band, who)
        assert whole.search(embeddings, test)[:, column].tolist() == (scores.argmax(1) == np.arange(6)).tolist()
    assert 0 < whole.search(embeddings, test).sum() < hits.sum() < 18


def test_a_mate_comes_first_where_nobody_before_it_is_drawn() -> None:
    assert first_in(2, 4, 2) == pytest.approx(2 / 3)  # one of three others would be first
    assert first_in(3, 4, 3) == pytest.approx(0)  # two of the three are drawn, and only one of them stands behind it
    assert [first_in(rank, 252, 63) for rank in (1, 191, 252)] == [1.0, 0.0, 0.0]
    assert [first_in(rank, 30, 63) for rank in (1, 2)] == [1.0, 0.0]


def test_sampling_is_compared_by_the_mean_of_several_trainings(workshop: Workshop) -> None:
    job = workshop.sampled()["random"]
    one, other = workshop.body(job), workshop.body(job._replace(again=1))
    assert workshop.place(job) != workshop.place(job._replace(again=1))
    assert np.array_equal(workshop.mean(job), (one + other) / 2)
    assert workshop.table("6").rows["random"]["MWIR"].hits == round(float(workshop.mean(job)[:, 1].sum()))


def test_the_mean_is_over_the_tokens_that_stay(workshop: Workshop) -> None:
    tokens = np.arange(2 * 4 * 3, dtype=np.float32).reshape(2, 4, 3)
    assert fused(tokens, ("torso", "lower_body"))[0].tolist() == [0, 1, 2, 7.5, 8.5, 9.5]
    whole = workshop.base.embed(workshop.test.paths, normalise=False).numpy()
    assert np.allclose(fused(workshop.tokens(body_tables.UNTRAINED), body_tables.PARTS), whole, atol=1e-4)


def test_a_claim_holds_where_its_interval_lies_above_nothing() -> None:
    values = np.r_[np.ones(30), np.zeros(20), -np.ones(10)][:, None]
    found = claim("one over another", values)
    assert found.figure == pytest.approx(20 / 60)
    # Standard error of a mean: sqrt((40 / 60 - (20 / 60)^2) / 60) = 0.096.
    assert found.interval == pytest.approx((20 / 60 - 1.96 * 0.0962, 20 / 60 + 1.96 * 0.0962), abs=0.015)
    assert found.holds
    assert not claim("noise", np.r_[np.ones(10), -np.ones(10)][:, None]).holds
    unknown = np.c_[np.r_[np.full(5, np.nan), np.ones(5)]]
    assert claim("half unknown", unknown).figure == 1.0


def test_claims_are_those_of_the_tables_that_were_run(workshop: Workshop) -> None:
    text = [one.text for one in workshop.claims(["1", "4", "6", "7"])]
    assert [line.split(",")[0] for line in text] == [
        *["fine-tuned over as it came"] * 3,
        *["body over the better face"] * 2,
        "MWIR and LWIR over the next closest",
        *["random batches over domain-aware ones"] * 2,
        "domain-aware batches over random ones",
        "LoRA over all weights",
    ]
    assert workshop.claims(["3"]) == []


def test_bands_lie_apart_by_their_range_and_by_the_lead_of_those_seen_most(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    even, random = workshop.sampled()["domain-aware"], workshop.sampled()["random"]
    rates = {even: [0.5, 0.5, 0.25], random: [0.75, 0.5, 0.0]}
    found = {job: np.tile(np.r_[rate], (8, 1)) for job, rate in rates.items()}
    monkeypatch.setattr(workshop, "mean", found.__getitem__)
    apart, lead, rare = workshop.claims(["6"])
    assert apart.figure == pytest.approx(0.75 - 0.25)
    assert lead.text.endswith("lead of SWIR over MWIR and LWIR")
    assert lead.figure == pytest.approx((0.75 - 0.25) - (0.5 - 0.375))
    assert rare.text == "domain-aware batches over random ones, MWIR and LWIR"
    assert rare.figure == pytest.approx(0.375 - 0.25)
    monkeypatch.setattr(workshop, "often", lambda: np.zeros(3, bool))
    assert workshop.claims(["6"]) == [apart]


def test_a_network_without_part_tokens_is_refused(tmp_path: Path, workshop: Workshop) -> None:
    with pytest.raises(errors.OptionError, match="part_vit"):
        Workshop(workshop.bodies, None, tmp_path, model="hybrid_fr", pretrained=True)


@pytest.mark.slow
def test_llcm_is_searched_by_every_protocol_with_public_lists(tmp_path: Path, workshop: Workshop) -> None:
    rows = body_llcm.table_2(None, tmp_path, settings=TINY, model=workshop.base, people=9, cameras=2)
    assert [row.protocol for row in rows.values()] == ["A", "B", "C"] * 2
    for name, row in rows.items():
        assert 0 <= (row.v2i_rank1 or 0) <= 1, name
        assert (row.i2v_rank1 is None) == (row.protocol == "B")
