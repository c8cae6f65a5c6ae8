"""The tables of *Multi-Domain Biometric Recognition using Body Embeddings* (arXiv 2503.10931), run again.

Every table needs some of the same few networks: the house weights that saw VIS alone, and what the recipe ``body_md``
makes of them. A :class:`Workshop` trains each of them once, in a run folder of its own, and searches with each once;
tables and claims are read from its hits.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from xzoo import errors, hub, recipes
from xzoo.data.manifest import Manifest, Row
from xzoo.data.people.files import as_image
from xzoo.data.people.traits import SESSION
from xzoo.evaluation import embed_images, run_protocol
from xzoo.evaluation.intervals import Interval, draws, percentiles
from xzoo.families.base import Embedder, still
from xzoo.families.part_vit.fusion import fuse
from xzoo.families.part_vit.options import PARTS
from xzoo.hub.files import whole_folder
from xzoo.models import create
from xzoo.recipes.schema import Recipe
from xzoo.training import distill
from xzoo.training.body_published import BANDS, SUBJECTS, Count
from xzoo.training.engine import Images, has_bf16
from xzoo.training.mining import mean

__all__ = ["DEFAULTS", "Claim", "Job", "Settings", "Table", "Workshop", "people"]

DOMAINS = ("VIS-500m", "SWIR-30m", "MWIR-30m", "LWIR-30m")
ALL = ("VIS", *BANDS)
WORLD = 61
"""The generator's seed here: nobody of the house weights' world."""

FACES = {"face, as it came": "hybrid_fr", "face, fine-tuned": "hybrid_fr_x2v"}
"""House networks in the place of AdaFace: taught on generated faces in VIS, and brought to all bands."""

RATE = 1e-4
"""Of AdamW, for all weights and for low-rank updates alike: the paper names none, and says only which weights move.
Chosen by this project for all weights, on people of another world than these tables'."""


def optimiser(steps: int) -> dict[str, Any]:
    """Return the optimiser of every training of so many steps."""
    return {"name": "adamw", "lr": RATE, "weight_decay": 0.01, "schedule": "cosine", "warmup": min(20, steps // 4)}


PROCESSOR = torch.device("cpu")
"""Where networks are trained that come without a device of their own."""

LOSSES: tuple[dict[str, Any], ...] = (
    {"name": "softmax", "id": "identity", "on": ["student.source"], "options": {"neck": True}},
    {"name": "triplet", "on": ["student.source"], "options": {"soft": True}},
)
"""The paper's two. Its margin of 0 is read as PASS writes it, as no margin: the hinge at 0 drew everybody together."""
CONTRAST: tuple[dict[str, Any], ...] = ({"name": "supcon", "id": "contrast", "on": ["student.source"]},)
"""Supervised contrast (Khosla et al., arXiv 2004.11362), this project's in the place of the paper's two losses."""

KEPT = {
    "face + torso + lower": PARTS,
    "torso + lower": ("torso", "lower_body"),
    "face + lower": ("face", "lower_body"),
    "face + torso": ("face", "torso"),
}


class Settings(NamedTuple):
    """How much is drawn and trained.

    Attributes:
        train: Generated people to learn from.
        test: Generated people to search for.
        faces: Of these, so many are searched by their faces as well; 0 is all.
        frames: Pictures of each of these in a band: frames of one video.
        lengths: Pictures of each of those to learn from, in each of ``DOMAINS``: films of unequal length, so that
            batches drawn at random see some bands more than others. Long are those of the bands that the network
            tells apart best before training: in the paper SWIR, here MWIR and LWIR. Chosen by this project on
            people of another world; how long the videos of IJB-MDF are is not known to it.
        uneven: As many of these pictures, the first of each film, are what Table VI and the statistics of mining learn
            from: the more unequal films are, the less batches drawn at random see of some band. None is all. Best of
            six on people of another world; taken after ``lengths`` had shown nothing on the people of the table.
        gallery: Generated people are searched in galleries of so many, as many as the paper has probes in a band; a hit
            is the mean over all such galleries (:func:`first_in`). 0 is one gallery of all.
        size: Height and width of generated pictures.
        steps: Of each training: by default what the recipe ``body_md`` takes.
        batch: Images in a step.
        seed: Of batches, and of which subjects a smaller training gets.
        repeats: Trainings, each of the next seed, whose hits are averaged in Table VI.
        precision: Of training: ``float32``, ``bf16`` (products alone, weights stay single) or ``auto``, which is bf16
            where the processor has instructions for it. PASS trains in mixed precision.
        contrast: Train by contrast, in the place of the paper's losses, but for Table VI and the statistics of mining:
            by the paper's losses strangers among generated people were found less well, and batches with every domain
            are there for the hardest positives that one of these mines.
    """

    train: int = 96
    test: int = 756
    faces: int = 252
    frames: int = 4
    lengths: tuple[int, int, int, int] = (4, 4, 32, 32)
    uneven: tuple[int, int, int, int] | None = (4, 1, 32, 32)
    gallery: int = 63
    size: tuple[int, int] = (384, 128)
    steps: int = 600
    batch: int = 64
    seed: int = 0
    repeats: int = 2
    precision: Literal["auto", "float32", "bf16"] = "auto"
    contrast: bool = True


DEFAULTS = Settings()


class Job(NamedTuple):
    """One training: which weights, on whom, in which bands, by which batches; ``mode`` is ``none`` for no training."""

    mode: str = "full"
    subjects: int = 0  # 0 is all
    bands: tuple[str, ...] = ALL
    sampler: str = "domains"
    paper: bool = False  # by the paper's losses, whatever the settings
    films: tuple[int, ...] = ()  # the first pictures of each in ``ALL``; empty is all
    again: int = 0  # added to the seed

    @property
    def folder(self) -> str:
        """The name of its run folder."""
        named = [self.mode, str(self.subjects or "all"), "".join(self.bands), self.sampler]
        films = ["films" + ".".join(map(str, self.films))] if self.films else []
        return "-".join([*named, *["paper"] * self.paper, *films]).lower()


UNTRAINED, TRAINED = Job("none"), Job()


class Table(NamedTuple):
    """A table: ``rows[row][column]`` are our counts."""

    number: str
    columns: tuple[str, ...]
    rows: dict[str, dict[str, Count]]
    notes: tuple[str, ...] = ()


class Claim(NamedTuple):
    """Something that the paper says, the figure that speaks of it, and its 95 % interval over subjects.

    It holds where the interval lies above zero.
    """

    text: str
    figure: float
    interval: Interval

    @property
    def holds(self) -> bool:
        """Whether the interval excludes the opposite."""
        return self.interval[0] > 0


Hits = npt.NDArray[np.float64]
"""``[subjects, bands]``: 1 where the mate came first, 0 where not, NaN where nobody asked; or means of such, over
galleries or trainings."""
Figure = Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
"""From column means ``[..., K]`` to what is told of them, ``[...]``."""


def people(folder: str | Path, settings: Settings = DEFAULTS, seed: int = WORLD) -> tuple[Manifest, Manifest]:
    """Draw people as IJB-MDF films them, and return bodies and the faces cut out of the same pictures.

    Everybody walks towards the camera, past it and away, on one day: the same clothes, each frame another moment.
    VIS at 500 m has moments of its own. The infrared cameras at 30 m film the same ones, each at another phase of the
    step. Films of people to learn from are as long as ``settings.lengths`` says, all others ``settings.frames``.
    """
    target = hub.as_path(folder, "folder")
    bodies, faces = target / "bodies.csv", target / "faces.csv"
    if not faces.is_file():
        with whole_folder(target) as part:
            count = settings.train + settings.test
            sides = ((0, settings.train, settings.lengths), (settings.train, count, (settings.frames,) * len(DOMAINS)))
            rows = [
                row
                for first, end, lengths in sides
                for start in range(first, end, 16)
                for row in _films(part, settings, seed, range(start, min(start + 16, end)), lengths)
            ]
            Manifest(tuple(replace(row, box=None) for row in rows), part).write_csv(part / bodies.name)
            Manifest(tuple(rows), part).write_csv(part / faces.name)
    return Manifest.read(bodies), Manifest.read(faces)


def _films(folder: Path, settings: Settings, seed: int, subjects: range, lengths: Sequence[int]) -> list[Row]:
    """Draw and save the films of some people; boxes of the rows hold the faces."""
    from xzoo.data.people import bodies, body_boxes

    who, found = torch.tensor(subjects), list[Row]()
    half = SESSION // 2
    for place, (domain, length) in enumerate(zip(DOMAINS, lengths, strict=True)):
        spectrum, distance = domain.split("-")
        for frame in range(length):
            again, moment = divmod(frame, half)
            phase = (again + place / len(DOMAINS)) / (1 + (length - 1) // half)
            numbers = who, torch.full_like(who, moment + half * (spectrum != "VIS"))
            view: dict[str, Any] = {
                "size": settings.size,
                "seed": seed,
                "phase": torch.full((len(who),), phase),
            }
            boxes = body_boxes(*numbers, **view)["face_box"].tolist()
            pictures = bodies(*numbers, spectrum, distance=float(distance.removesuffix("m")), **view)
            for subject, picture, box in zip(subjects, pictures, boxes, strict=True):
                name = f"p{subject:05d}"
                path = folder / name / domain / f"{frame:03d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                as_image(picture, spectrum).save(path, compress_level=1)  # a sixth larger, in a third of the time
                split = "train" if subject < settings.train else "test"
                found.append(
                    Row(
                        str(path.relative_to(folder)),
                        name,
                        spectrum,
                        split=split,
                        box=_square(box, settings.size),
                        distance=distance,
                        media=f"{name}-{domain}",
                    )
                )
    return found


def _square(box: Sequence[float], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the square of a head, crown to chin, that the crops of faces show: all but a tenth of its height."""
    # Labels count from the middle of the first pixel, so its left edge is at -0.5.
    left, top, right, bottom = (round(edge + 0.5) for edge in box)
    side = min(max(8, round(0.9 * (bottom - top))), size[1])
    x = min(max(0, (left + right - side) // 2), size[1] - side)
    y = min(max(0, bottom - side), size[0] - side)
    return x, y, side, side


class Workshop:
    """Trains what tables need, each network once, and keeps what its searches hit.

    Args:
        bodies: People, with splits ``train`` and ``test`` and domains as IJB-MDF has them.
        faces: The faces of the same people, or None.
        folder: Where runs are kept, and gone on with.
        settings: How much is trained.
        model: A network of the family ``part_vit``, or its name.
        pretrained: Its weights where it is named: a tag or a file.
        report: Called with a line for each thing done.
    """

    def __init__(
        self,
        bodies: Manifest,
        faces: Manifest | None,
        folder: str | Path,
        *,
        settings: Settings = DEFAULTS,
        model: str | Embedder = "body_md_tiny",
        pretrained: bool | str | Path = "vis_v2",
        report: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.settings, self.report = settings, report
        self.folder = hub.as_path(folder, "output")
        self.base: Any = create(model, pretrained=pretrained) if isinstance(model, str) else model
        if not hasattr(self.base, "tokens"):
            raise errors.OptionError(
                f"the tables of bodies by {model!r}",
                why="They compare part tokens, which networks of the family part_vit have.",
                do='model="body_md_tiny"',
            )
        self.bodies, self.faces = bodies, faces
        self.test = bodies.select(split="test")
        self._tokens: dict[Job, npt.NDArray[np.float32]] = {}
        self._faces: dict[str, Hits] = {}
        self._pairs: dict[tuple[str, str], Hits] = {}

    # --- training and searching ----------------------------------------------------------------

    def plan(self, job: Job) -> Recipe:
        """Return the recipe ``body_md`` as a job changes it."""
        seen, steps = recipes.load("body_md"), self.settings.steps
        changes: dict[str, Any] = {
            "stages.adapt.losses": list(CONTRAST if self.settings.contrast and not job.paper else LOSSES),
            "stages.adapt.steps": steps,
            "stages.adapt.batch.size": self.settings.batch,
            "stages.adapt.optimiser": optimiser(steps),
            "stages.adapt.precision": precision_of(self.settings, next(self.base.parameters()).device),
        }
        if job.sampler == "domains":
            changes["stages.adapt.batch.targets"] = list(job.bands[1:])
        else:
            changes["stages.adapt.batch"] = {"sampler": "images", "size": self.settings.batch, "per_subject": 4}
        if job.mode == "full":
            changes["stages.adapt.train"] = {"groups": "all"}
        return seen.with_(changes)

    def place(self, job: Job) -> Path:
        """Return the run folder of a job."""
        return self.folder / f"{job.folder}-{self._seed(job)}"

    def _seed(self, job: Job) -> int:
        return self.settings.seed + job.again

    def network(self, job: Job) -> Any:
        """Return the network of a job, trained if it was not yet."""
        if job.mode == "none":
            return self.base
        rows = (*self.learnt_from(job), *(row for row in self.bodies.rows if row.split != "train"))
        place = self.place(job)
        resumed = (place / "run.json").is_file()
        run = distill(
            student=self.base,
            data=Manifest(rows, self.bodies.root),
            recipe=self.plan(job),
            seed=self._seed(job),
            output=place,
            resume=resumed,
            evaluate=False,
        )
        self.report(f"trained: {place.name}")
        return run.model

    def learnt_from(self, job: Job) -> list[Row]:
        """Return the pictures that a job learns from."""
        train = self.bodies.select(split="train")
        chosen = self._some(train.subjects, job.subjects, self._seed(job))
        most = dict(zip(ALL, job.films, strict=True)) if job.films else {}
        shown, found = Counter[tuple[str, str]](), []
        for row in train.rows:
            shown[row.subject, row.spectrum] += 1
            kept = shown[row.subject, row.spectrum] <= most.get(row.spectrum, math.inf)
            if kept and row.subject in chosen and row.spectrum in {"VIS", *job.bands}:
                found.append(row)
        return found

    def _some(self, subjects: Sequence[str], count: int, seed: int) -> set[str]:
        """Return some subjects; of one seed, fewer of them are among more."""
        order = np.random.default_rng(seed).permutation(len(subjects))
        return {subjects[place] for place in order[: count or None]}

    def tokens(self, job: Job) -> npt.NDArray[np.float32]:
        """Return the four tokens of every test image, ``[N, 4, D]``."""
        if job not in self._tokens:
            self._tokens[job] = tokens_of(self.network(job), self._images)
        return self._tokens[job]

    @functools.cached_property
    def _images(self) -> Images:
        return Images(self.test, self.base)

    def body(self, job: Job, parts: Sequence[str] = PARTS) -> Hits:
        """Return what a network hits in each infrared band by its body embeddings."""
        found = fused(self.tokens(job), parts)
        return self.search(found, self.test)

    def face(self, name: str) -> Hits:
        """Return what a face network hits by the faces of the same pictures."""
        if self.faces is None:
            raise errors.OptionError("faces of these bodies", why="None were given.", do="Workshop(bodies, faces, ...)")
        if name not in self._faces:
            kept = set(self.test.subjects[: self.settings.faces or None])
            faces = self.faces.select(split="test")
            faces = replace(faces, rows=tuple(row for row in faces.rows if row.subject in kept))
            hits = self.search(embed_images(create(name, pretrained=True), faces), faces)
            found, nobody = dict(zip(faces.subjects, hits, strict=True)), np.full(len(BANDS), np.nan)
            self._faces[name] = np.stack([found.get(subject, nobody) for subject in self.test.subjects])
        return self._faces[name]

    def search(self, embeddings: npt.NDArray[Any], images: Manifest) -> Hits:
        """Search every infrared template among those of VIS, in galleries of the settings' size."""
        size = self.settings.gallery or len(images.subjects)
        return np.stack([self._hits(f"ijb_mdf.g2.VIS-{band}", embeddings, images, size) for band in BANDS], axis=1)

    def _hits(
        self, protocol: str, embeddings: npt.NDArray[Any], images: Manifest, size: int | None = None
    ) -> npt.NDArray[np.float64]:
        found = run_protocol(protocol, embeddings, images).repetitions[0]
        people = found.counts["gallery templates"]
        return np.array(
            [
                first_in(found.ranks[name], people, size or people) if name in found.ranks else np.nan
                for name in images.subjects
            ]
        )

    # --- the tables ----------------------------------------------------------------------------

    def table(self, number: str) -> Table:
        """Run one of Tables I and III to VII, or the statistics of mining.

        Raises:
            OptionError: There is no such table here.
        """
        run = {
            "1": self.table_1,
            "3": self.table_3,
            "4": self.table_4,
            "5": self.table_5,
            "6": self.table_6,
            "7": self.table_7,
            "mining": self.mining,
        }
        if number not in run:
            raise errors.OptionError(f"table {number!r} of the body tables", exists=", ".join(run))
        return run[number]()

    def table_1(self) -> Table:
        """Table I: as they come and fine-tuned, body and face."""
        rows: dict[str, dict[str, Count]] = {}
        if self.faces is not None:
            rows |= {name: counts(self.face(network)) for name, network in FACES.items()}
        rows |= {
            "body, as it came": counts(self.body(UNTRAINED)),
            "body, fine-tuned": counts(self.body(TRAINED)),
        }
        return Table("1", BANDS, rows, ("faces by hybrid_fr and hybrid_fr_x2v, not by AdaFace",))

    def table_3(self) -> Table:
        """Table III: tokens left out in testing, the mean over those that stay."""
        rows = {name: counts(self.body(TRAINED, parts)) for name, parts in KEPT.items()}
        return Table("3", BANDS, rows, ("tokens are left out in testing; the paper does not say when it does",))

    def table_4(self) -> Table:
        """Table IV: the untrained network, all subjects, every band in every other."""
        pairs = self.pairs()
        rows = {gallery: {probe: _count(pairs[gallery, probe]) for probe in ALL if probe != gallery} for gallery in ALL}
        return Table("4", ALL, rows, ("rows are galleries, columns probes",))

    def pairs(self) -> dict[tuple[str, str], Hits]:
        """Return hits ``[subjects]`` of every gallery and probe band, by the untrained network, all subjects."""
        if not self._pairs:
            known = np.array([row.split == "test" for row in self.bodies.rows])
            others = replace(self.bodies, rows=tuple(itertools.compress(self.bodies.rows, ~known)))
            tested = self.tokens(UNTRAINED)
            tokens = np.empty((len(known), *tested.shape[1:]), np.float32)
            tokens[known], tokens[~known] = tested, tokens_of(self.base, Images(others, self.base))
            found = fused(tokens, PARTS)
            self._pairs = {
                (gallery, probe): self._hits(f"ijb_mdf.all.{gallery}-{probe}", found, self.bodies)
                for gallery in ALL
                for probe in ALL
                if probe != gallery
            }
        return self._pairs

    def table_5(self) -> Table:
        """Table V: more bands in training."""
        jobs = {"VIS": UNTRAINED, "VIS + SWIR": Job(bands=("VIS", "SWIR")), "VIS + SWIR + MWIR + LWIR": TRAINED}
        return self._jobs("5", jobs, ("VIS: the network as it came",))

    def table_6(self) -> Table:
        """Table VI: batches of random pictures, four of each person, and of everybody in every band."""
        rows = {name: counts(self.mean(job)) for name, job in self.sampled().items()}
        runs, films = self.settings.repeats, self.settings.uneven
        notes = [f"hits are means of {runs} trainings, rounded"] * (runs > 1)
        if films is not None:
            notes.append(f"films to learn from, {' '.join(ALL)}: {' '.join(map(str, films))} pictures")
        return Table("6", BANDS, rows, tuple(notes))

    def sampled(self) -> dict[str, Job]:
        """Return the trainings by either kind of batch, by the paper's losses.

        Domains are brought together for the hardest positives, which its triplet mines.
        """
        # Where all take these losses and whole films, it is the training of the other tables.
        even = Job(paper=self.settings.contrast, films=self.settings.uneven or ())
        return {"random": even._replace(sampler="images"), "domain-aware": even}

    def mean(self, job: Job) -> Hits:
        """Return what a job hits by body embeddings, as the mean over trainings of successive seeds."""
        every = [self.body(job._replace(again=again)) for again in range(max(1, self.settings.repeats))]
        return np.asarray(np.mean(every, 0))

    def table_7(self) -> Table:
        """Table VII: fewer training subjects, by all weights and by low-rank updates."""
        jobs: dict[str, Job] = {}
        for count in self.sizes():
            jobs |= {f"{count}, all weights": self.sized("full", count), f"{count}, LoRA": self.sized("lora", count)}
        note = f"subjects at random (seed {self.settings.seed}), fewer among more; the paper does not name its own"
        return self._jobs("7", jobs, (note,))

    def sizes(self) -> list[int]:
        """Return the numbers of training subjects of Table VII that these data have."""
        held = len(self.bodies.select(split="train").subjects)
        return [count for count in SUBJECTS if count <= held]

    def sized(self, mode: str, count: int) -> Job:
        """Return the training on so many subjects; of all of them, it is that of the other tables."""
        held = len(self.bodies.select(split="train").subjects)
        return Job(mode, 0 if count == held else count)

    def _jobs(self, number: str, jobs: Mapping[str, Job], notes: Iterable[str] = ()) -> Table:
        return Table(number, BANDS, {name: counts(self.body(job)) for name, job in jobs.items()}, tuple(notes))

    def mining(self) -> Table:
        """Return the shares of the first and the last epoch as counts of anchors, chance beside them."""
        job = self.sampled()["domain-aware"]
        self.network(job)
        lines = (self.place(job) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        steps = [row["mined"] for row in map(json.loads, lines) if "loss" in row and row.get("mined")]
        epoch = max(1, min(len(steps) // 2, -(-len(self.learnt_from(job)) // self.settings.batch)))
        first, last = mean(steps[:epoch]), mean(steps[-epoch:])
        trials = epoch * self.settings.batch

        def row(name: str) -> dict[str, Count]:
            shares = {"start": first[name], "end": last[name], "chance": last[f"{name}_chance"]}
            return {key: Count(round(trials * (share or 0.0)), trials) for key, share in shares.items()}

        rows = {
            "farthest positive of another band": row("cross_positive"),
            "nearest negative of the same band": row("same_negative"),
        }
        note = f"{epoch} steps at either end; anchors of one batch are not independent, so intervals are too narrow"
        return Table("mining", ("start", "end", "chance"), rows, (note,))

    # --- the claims ----------------------------------------------------------------------------

    def claims(self, numbers: Iterable[str]) -> list[Claim]:
        """Return what the paper says of some tables, with intervals over subjects."""
        asked, found = set(numbers), list[Claim]()
        if "1" in asked:
            found += self._claims_1()
        if "4" in asked:
            found.append(self._closest())
        if "6" in asked:
            found += self._claims_6()
        if "7" in asked and (small := [count for count in self.sizes() if count <= 32]):
            low, full = (
                np.nanmean([self.body(self.sized(mode, count)) for count in small], 0) for mode in ("lora", "full")
            )
            found.append(claim("LoRA over all weights, 8 to 32 subjects, all bands", low - full))
        return found

    def _claims_1(self) -> list[Claim]:
        before, after = self.body(UNTRAINED), self.body(TRAINED)
        found = [
            claim(f"fine-tuned over as it came, {band}", after[:, [place]] - before[:, [place]])
            for place, band in enumerate(BANDS)
        ]
        if self.faces is not None:
            faces = [self.face(network) for network in FACES.values()]
            for place, band in enumerate(BANDS[1:], 1):
                rates = [float(np.nanmean(hits[:, place])) for hits in faces]
                best = faces[int(np.argmax(rates))]
                found.append(claim(f"body over the better face, {band}", after[:, [place]] - best[:, [place]]))
        return found

    def _closest(self) -> Claim:
        """MWIR and LWIR, both directions, against the next closest two bands."""
        pairs = self.pairs()
        both = {frozenset((a, b)): np.nanmean([pairs[a, b], pairs[b, a]], 0) for a in ALL for b in ALL if a < b}
        heat = both.pop(frozenset(("MWIR", "LWIR")))
        name, other = max(both.items(), key=lambda pair: float(np.nanmean(pair[1])))
        text = f"MWIR and LWIR over the next closest, {' and '.join(sorted(name, key=ALL.index))}"
        return claim(text, (heat - other)[:, None])

    def _claims_6(self) -> list[Claim]:
        """How far apart either kind of batch leaves the bands.

        The paper's claim is of their range. Noise alone keeps a range above zero; the lead of the bands that random
        batches see most of over the others has no such bias, and says where the range comes from.
        """
        random, even = (self.mean(job) for job in self.sampled().values())
        both, count = np.concatenate([random, even], 1), len(BANDS)

        def more(apart: Figure) -> Figure:
            return lambda rates: apart(rates[..., :count]) - apart(rates[..., count:])

        text = "random batches over domain-aware ones"
        found = [claim(f"{text}, range of the three bands", both, more(lambda rates: np.ptp(rates, axis=-1)))]
        often = self.often()
        if often.any():
            most, rest = (" and ".join(itertools.compress(BANDS, some)) for some in (often, ~often))
            lead = more(lambda rates: np.asarray(rates[..., often].mean(-1) - rates[..., ~often].mean(-1)))
            found.append(claim(f"{text}, lead of {most} over {rest}", both, lead))
            found.append(claim(f"domain-aware batches over random ones, {rest}", (even - random)[:, ~often]))
        return found

    def often(self) -> npt.NDArray[np.bool_]:
        """Return which of ``BANDS`` Table VI has more pictures of than in their mean, to learn from."""
        held = Counter(row.spectrum for row in self.learnt_from(self.sampled()["random"]))
        shown = np.array([held[band] for band in BANDS])
        return np.asarray(shown > shown.mean())


def precision_of(settings: Settings, device: torch.device = PROCESSOR) -> Literal["float32", "bf16"]:
    """Return the precision that a training takes on a device."""
    if settings.precision != "auto":
        return settings.precision
    return "bf16" if has_bf16(device) else "float32"


def tokens_of(model: Any, images: Images, rows: int = 64) -> npt.NDArray[np.float32]:
    """Return global and part tokens of every image, ``[N, 4, D]``, raw."""
    count = len(images.manifest)
    with still(model):
        found = [model.trunk(model.preprocess.normalise(images[some])) for some in torch.arange(count).split(rows)]
    return torch.cat(found).view(count, 1 + len(PARTS), -1).numpy().copy()


def fused(tokens: npt.NDArray[np.float32], parts: Sequence[str]) -> npt.NDArray[np.float32]:
    """Return embeddings ``[N, 2 D]`` of tokens ``[N, 4, D]``: the global one, and the mean of some parts."""
    seen = torch.from_numpy(tokens)
    return fuse(seen[:, 0], [seen[:, 1 + PARTS.index(part)] for part in parts]).numpy()


def first_in(rank: int, people: int, size: int) -> float:
    """Return the chance that a mate comes first in a gallery of fewer people, the others drawn at random.

    Of the ``people - 1`` others, ``rank - 1`` stand before it; ``size - 1`` are drawn, and it comes first where none of
    those is among them (hypergeometric). It is the mean over all galleries that hold the mate.

    Args:
        rank: Of the mate among all people, from 1.
        people: All of them, the mate included.
        size: Of the gallery, the mate included; not less than ``people`` is all of them.
    """
    others, asked = people - 1, min(size, people) - 1
    return math.comb(others - (rank - 1), asked) / math.comb(others, asked)


def counts(hits: Hits) -> dict[str, Count]:
    """Return hits and trials of each infrared band."""
    return {band: _count(hits[:, place]) for place, band in enumerate(BANDS)}


def _count(hits: Hits) -> Count:
    return Count(round(float(np.nansum(hits))), int(np.isfinite(hits).sum()))


def claim(text: str, values: Hits, figure: Figure | None = None) -> Claim:
    """Return a claim on a figure of column means, whose interval draws subjects again with all they have.

    Args:
        text: What is claimed.
        values: ``[subjects, K]``, NaN where there is none.
        figure: From means ``[..., K]`` to the figure ``[...]``; their mean by default.
    """
    told = figure or (lambda rates: np.asarray(rates.mean(-1)))
    known = np.isfinite(values)
    sums, trials = np.where(known, values, 0.0), known.astype(np.float64)
    drawn = []
    for weights in draws(len(values)):
        asked = weights @ trials
        drawn.append(told(np.divide(weights @ sums, asked, out=np.zeros_like(asked), where=asked > 0)))
    return Claim(text, float(told(sums.sum(0) / trials.sum(0))), percentiles(np.concatenate(drawn)))
