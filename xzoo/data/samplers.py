"""Which images meet in a training step.

All samplers are plain functions of (seed, step): nothing but a counter has
to be stored to resume, and a run that was interrupted sees the very images
that an uninterrupted one sees.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from xzoo.catalog.names import SPECTRA, as_strings
from xzoo.errors import DataError, OptionError, RunError

if TYPE_CHECKING:
    import numpy.typing as npt

    from xzoo.data.manifest import Manifest

    Indices = npt.NDArray[np.int64]

__all__ = ["BalancedSampler", "Batch", "DomainSampler", "ImageSampler", "PairSampler"]


SEEDS = 2**63 - 1
"""The largest seed that every generator takes, torch's and numpy's."""


class Batch(NamedTuple):
    """The images of one step, as places in ``manifest.rows``.

    Args:
        source: ``int64 [N]``, rows of the source spectrum.
        target: ``int64 [M]``, rows of the target spectra.
        source_subject: ``int64 [N]``, places in ``manifest.subjects``.
        target_subject: ``int64 [M]``, as above.
        same: ``bool [N]``, whether ``source[i]`` and ``target[i]`` show one
            subject; None where every source meets every target.
    """

    source: Indices
    target: Indices
    source_subject: Indices
    target_subject: Indices
    same: npt.NDArray[np.bool_] | None


class _Sampler:
    """Subjects that have both sides, and the counter of steps."""

    def __init__(
        self,
        manifest: Manifest,
        source: str,
        targets: str | Iterable[str] | None,
        seed: int,
        *,
        pooled: bool,
        settings: tuple[float, ...],
    ) -> None:
        """Group the rows; ``pooled`` treats all target spectra as one side."""
        others = tuple(name for name in manifest.spectra if name != source)
        self.source, self.targets = source, as_strings(targets, "targets") or others
        for word in (source, *self.targets):
            if word not in SPECTRA:
                raise OptionError(f"no spectrum {word!r}", exists=" ".join(SPECTRA))
        if source in self.targets:
            raise OptionError(f"spectrum {source!r} is both source and target", do="name other targets")
        self.seed, self.step = _whole(seed, "seed", 0, SEEDS), 0

        self._label = manifest.labels
        spectrum = np.array([row.spectrum for row in manifest.rows], dtype=str)
        sides = [(source,), self.targets] if pooled else [(source,), *((name,) for name in self.targets)]
        self._sides = [_Side(self._label, np.isin(spectrum, side), len(manifest.subjects)) for side in sides]
        complete = np.logical_and.reduce([side.count > 0 for side in self._sides])
        self.subjects: Indices = np.flatnonzero(complete) if self.targets else np.empty(0, np.int64)
        self.skipped = tuple(manifest.subjects[number] for number in np.flatnonzero(~complete))
        if not len(self.subjects):
            wanted = (" or " if pooled else " and ").join(self.targets) or "any other spectrum"
            raise DataError(
                f"no subject has images in {source} and in {wanted}",
                exists="spectra of the manifest: " + " ".join(manifest.spectra),
            )
        self._identity: dict[str, object] = {
            "sampler": type(self).__name__,
            "manifest": manifest.hash,
            "seed": seed,
            "settings": [source, *self.targets, *settings],
        }
        self._epochs: dict[int, Indices] = {}

    def batch(self, step: int) -> Batch:
        """Return the batch of any step; no state is read or changed."""
        raise NotImplementedError

    def next_batch(self) -> Batch:
        """Return the batch of the present step and move on to the next."""
        batch = self.batch(self.step)
        self.step += 1
        return batch

    def state_dict(self) -> dict[str, object]:
        """Return the step, and what it is a step of; plain JSON values."""
        return {"step": self.step, **self._identity}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Go to the step of a saved state.

        Raises:
            RunError: If the state belongs to other data, settings or seed.
        """
        for key, value in self._identity.items():
            if state.get(key) != value:
                raise RunError(
                    "the saved sampler state does not fit this sampler",
                    why=f"{key} was {state.get(key)!r}, is {value!r}",
                    do="resume with the same data and settings, or start a new run",
                )
        step = state.get("step")
        if isinstance(step, bool) or not isinstance(step, int) or step < 0:
            raise RunError("the saved sampler state is broken", why=f"step is {step!r}")
        self.step = step

    def _shuffled(self, epoch: int, of: Indices) -> Indices:
        """Return ``of`` in the order of one epoch; the last two orders are kept."""
        if epoch not in self._epochs:
            self._epochs = {key: order for key, order in self._epochs.items() if key == epoch - 1}
            self._epochs[epoch] = self._random(0, epoch).permutation(of)
        return self._epochs[epoch]

    def _random(self, purpose: int, number: int) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64([self.seed, purpose, number]))


class _Side:
    """The rows of one spectrum, grouped by subject."""

    def __init__(self, label: Indices, mask: npt.NDArray[np.bool_], subjects: int) -> None:
        rows = np.flatnonzero(mask)
        self.rows: Indices = rows[np.argsort(label[rows], kind="stable")]
        self.count: Indices = np.bincount(label[rows], minlength=subjects)
        self.start: Indices = np.cumsum(self.count) - self.count

    def of(self, subject: int) -> Indices:
        """Return all rows of one subject."""
        return self.rows[self.start[subject] : self.start[subject] + self.count[subject]]

    def pick(self, subjects: Indices, random: np.random.Generator) -> Indices:
        """Return one uniformly drawn row for each subject."""
        picked: Indices = self.rows[self.start[subjects] + random.integers(self.count[subjects])]
        return picked


class PairSampler(_Sampler):
    """Labelled pairs across spectra.

    Every source image comes once in an epoch, in a new order each time. Its
    partner is, with probability ``positive``, a target image of the same
    subject, else one of another subject, drawn uniformly over subjects.
    Subjects without images on both sides take no part (see ``skipped``).
    After xEdgeFace's pairs as this project reads them: any session or pose
    may pair.

    Args:
        manifest: The images.
        source: Spectrum of the first of each pair.
        targets: Spectra of the second; by default all others of the manifest.
        batch: Pairs in a step.
        positive: Probability that a pair shows one subject.
        seed: Whole number; with the step it decides everything.
        registered: The partner is the one picture that shows the same view: of each subject the n-th
            target belongs to the n-th source, in the order of the manifest.

    Raises:
        DataError: If no subject has both sides, negatives need a second one, or registered
            pictures do not pair off.
        OptionError: If an argument cannot be meant.
    """

    def __init__(
        self,
        manifest: Manifest,
        source: str = "VIS",
        targets: str | Iterable[str] | None = None,
        *,
        batch: int,
        positive: float = 0.5,
        seed: int = 0,
        registered: bool = False,
    ) -> None:
        """Group the rows and start at step 0."""
        self.size = _whole(batch, "batch", 1)
        if not isinstance(positive, int | float) or not 0 <= positive <= 1:
            raise OptionError(f"positive={positive!r}", why="a probability is a number in 0..1")
        self.positive = float(positive)
        settings = (batch, self.positive, *((1.0,) if registered else ()))
        super().__init__(manifest, source, targets, seed, pooled=True, settings=settings)
        self._partner = self._pair_off(manifest) if registered else None
        if registered and self.positive < 1:
            raise OptionError(f"registered pairs with positive={positive!r}", do="positive=1.0")
        if self.positive < 1 and len(self.subjects) < 2:
            raise DataError("negative pairs need two subjects with both spectra, there is one", do="positive=1.0")
        rows = self._sides[0].rows
        self._sources = rows[np.isin(self._label[rows], self.subjects)]
        self._place = np.empty(len(manifest.subjects), np.int64)
        self._place[self.subjects] = np.arange(len(self.subjects))

    @property
    def steps_per_epoch(self) -> int:
        """Steps until every source image was seen, rounded up."""
        return -(-len(self._sources) // self.size)

    def batch(self, step: int) -> Batch:
        """Return the batch of any step; no state is read or changed."""
        source = self._consecutive(_whole(step, "step", 0) * self.size)
        subject = self._label[source]
        random = self._random(1, step)
        same = random.random(self.size) < self.positive
        if self._partner is not None:
            return Batch(source, self._partner[source], subject, subject, same)
        partner = subject.copy()
        if not same.all():
            # Uniform over the other subjects: skip one's own place.
            other = random.integers(len(self.subjects) - 1, size=self.size)
            other += other >= self._place[subject]
            partner = np.where(same, subject, self.subjects[other])
        return Batch(source, self._sides[1].pick(partner, random), subject, partner, same)

    def _pair_off(self, manifest: Manifest) -> Indices:
        """Return, by place of a source row, the place of its target."""
        first, second = self._sides
        uneven = [manifest.subjects[who] for who in self.subjects.tolist() if first.count[who] != second.count[who]]
        if uneven:
            raise DataError(
                f"registered pairs of {len(uneven)} subjects do not pair off: {', '.join(uneven[:3])}",
                why=f"The n-th of {' '.join(self.targets)} shows what the n-th of {self.source} does, so there are as "
                "many of both.",
                do="leave pictures without a partner out, or all of such a subject in one of the bands",
            )
        found = np.full(len(manifest), -1, np.int64)
        for who in self.subjects.tolist():
            found[first.of(who)] = second.of(who)
        return found

    def _consecutive(self, start: int) -> Indices:
        """Return the next ``size`` source rows; a batch may reach into the next epoch."""
        epochs, places = np.divmod(np.arange(start, start + self.size), len(self._sources))
        parts = [self._shuffled(epoch, self._sources)[places[epochs == epoch]] for epoch in np.unique(epochs).tolist()]
        return np.concatenate(parts)


class BalancedSampler(_Sampler):
    """P subjects, and K images of each in every spectrum.

    An epoch goes once through the subjects, in a new order each time, and
    leaves out the few that do not fill a batch. Subjects that lack one of the
    spectra take no part (see ``skipped``). Where a subject has fewer than K
    images of a spectrum, they are repeated evenly. ``target`` holds the
    target spectra one after another, each in the order of ``source``.

    Args:
        manifest: The images.
        source: Spectrum of one side.
        targets: Spectra of the other; by default all others of the manifest.
        subjects: P, different subjects in a step.
        images: K, images of each subject in each spectrum.
        seed: Whole number; with the step it decides everything.

    Raises:
        DataError: If fewer than P subjects have images in every spectrum.
        OptionError: If an argument cannot be meant.
    """

    def __init__(
        self,
        manifest: Manifest,
        source: str = "VIS",
        targets: str | Iterable[str] | None = None,
        *,
        subjects: int,
        images: int = 1,
        seed: int = 0,
    ) -> None:
        """Group the rows and start at step 0."""
        self.per_batch, self.images = _whole(subjects, "subjects", 1), _whole(images, "images", 1)
        super().__init__(manifest, source, targets, seed, pooled=False, settings=(subjects, images))
        if len(self.subjects) < subjects:
            raise DataError(
                f"a batch of {subjects} subjects cannot be drawn",
                why=f"{len(self.subjects)} of {len(manifest.subjects)} subjects have images in "
                + " and ".join((source, *self.targets)),
                do=f"subjects={len(self.subjects)} or fewer",
            )

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in one pass over the subjects."""
        return len(self.subjects) // self.per_batch

    def batch(self, step: int) -> Batch:
        """Return the batch of any step; no state is read or changed."""
        epoch, place = divmod(_whole(step, "step", 0), self.steps_per_epoch)
        order = self._shuffled(epoch, self.subjects)
        chosen = order[place * self.per_batch : (place + 1) * self.per_batch].tolist()
        random = self._random(1, step)
        sides = [
            np.concatenate([_evenly(side.of(subject), self.images, random) for subject in chosen])
            for side in self._sides
        ]
        source, target = sides[0], np.concatenate(sides[1:])
        return Batch(source, target, self._label[source], self._label[target], None)


class ImageSampler(_Sampler):
    """Every image once in an epoch, in a new order each time, whoever and whatever it shows.

    All images are the ``source`` of their batch, which has no ``target``. A batch
    may reach into the next epoch.

    Args:
        manifest: The images.
        spectrum: Only images of this spectrum.
        batch: Images in a step.
        per_subject: So many images of a subject follow one another, as far as there are so many left.
        seed: Whole number; with the step it decides everything.

    Raises:
        DataError: If there is no image.
        OptionError: If an argument cannot be meant.
    """

    def __init__(
        self,
        manifest: Manifest,
        spectrum: str | None = None,
        *,
        batch: int,
        per_subject: int = 1,
        seed: int = 0,
    ) -> None:
        """List the images and start at step 0."""
        self.size, self.seed, self.step = _whole(batch, "batch", 1), _whole(seed, "seed", 0, SEEDS), 0
        self.together = _whole(per_subject, "per_subject", 1)
        self._label = manifest.labels
        chosen = [spectrum in (None, row.spectrum) for row in manifest.rows]
        self._rows: Indices = np.flatnonzero(chosen)
        if not len(self._rows):
            raise DataError(
                f"no image of spectrum {spectrum}" if spectrum else "no image",
                exists="spectra of the manifest: " + " ".join(manifest.spectra),
            )
        self._identity: dict[str, object] = {
            "sampler": type(self).__name__,
            "manifest": manifest.hash,
            "seed": seed,
            "settings": [spectrum, batch, *([per_subject] if per_subject > 1 else [])],
        }
        self._epochs: dict[int, Indices] = {}

    @property
    def steps_per_epoch(self) -> int:
        """Steps until every image was seen, rounded up."""
        return -(-len(self._rows) // self.size)

    def batch(self, step: int) -> Batch:
        """Return the batch of any step; no state is read or changed."""
        start = _whole(step, "step", 0) * self.size
        epochs, places = np.divmod(np.arange(start, start + self.size), len(self._rows))
        parts = [self._order(epoch)[places[epochs == epoch]] for epoch in np.unique(epochs).tolist()]
        source, none = np.concatenate(parts), np.empty(0, np.int64)
        return Batch(source, none, self._label[source], none, None)

    def _order(self, epoch: int) -> Indices:
        """Return the images of an epoch, those of one subject gathered where the first of them stands."""
        order = self._shuffled(epoch, self._rows)
        if self.together == 1:
            return order
        label = self._label[order]
        sorted_ = np.argsort(label, kind="stable")
        starts = np.searchsorted(label[sorted_], label[sorted_])
        group = (np.arange(len(order)) - starts) // self.together
        first = sorted_[starts + group * self.together]  # where the first of each group stands
        found: Indices = order[sorted_[np.lexsort((sorted_, first))]]
        return found


class DomainSampler(_Sampler):
    """P subjects, and of each K images in every one of several domains (spectra).

    The domain-aware sampling of arXiv 2503.10931: each subject of a batch is seen in all domains, so that its hardest
    partner may come from another one. All images are the ``source`` of their batch, which has no ``target``, ordered
    by subject, then by domain: ``rows.reshape(P, D, K)``. An epoch is a pass over as many images as the manifest has
    in these domains; subjects come in an order that is new in each round, and a batch holds no subject twice.
    Where a subject has fewer than K images of a domain, they are repeated evenly. The paper says no more than that
    subjects without all domains are left out; P, K and the epoch are this project's.

    Args:
        manifest: The images.
        domains: Spectra to be seen; by default all of the manifest, at least two.
        subjects: P, different subjects in a step.
        images: K, images of each subject in each domain.
        missing: ``drop`` leaves out subjects that lack one of the domains (see ``skipped``); ``resample`` keeps those
            with two domains or more, and takes what a domain lacks from the others that the subject has in turn.
        seed: Whole number; with the step it decides everything.

    Raises:
        DataError: If fewer than P subjects can be drawn.
        OptionError: If an argument cannot be meant.
    """

    def __init__(
        self,
        manifest: Manifest,
        domains: str | Iterable[str] | None = None,
        *,
        subjects: int,
        images: int = 1,
        missing: str = "drop",
        seed: int = 0,
    ) -> None:
        """Group the rows and start at step 0."""
        self.per_batch, self.images = _whole(subjects, "subjects", 1), _whole(images, "images", 1)
        self.domains = as_strings(domains, "domains") or tuple(manifest.spectra)
        for word in self.domains:
            if word not in SPECTRA:
                raise OptionError(f"no spectrum {word!r}", exists=" ".join(SPECTRA))
        if len(set(self.domains)) < 2 or len(set(self.domains)) < len(self.domains):
            raise OptionError(
                f"domains {' '.join(self.domains)}",
                why="Subjects are to be seen in two different domains or more.",
                exists="spectra of the manifest: " + " ".join(manifest.spectra),
            )
        if missing not in ("drop", "resample"):
            raise OptionError(f"missing={missing!r}", exists="drop, resample")
        self.seed, self.step = _whole(seed, "seed", 0, SEEDS), 0
        self._label = manifest.labels
        spectrum = np.array([row.spectrum for row in manifest.rows], dtype=str)
        self._sides = [_Side(self._label, spectrum == name, len(manifest.subjects)) for name in self.domains]
        held = np.sum([side.count > 0 for side in self._sides], axis=0)
        enough = held >= (len(self.domains) if missing == "drop" else 2)
        self.subjects: Indices = np.flatnonzero(enough)
        self.skipped = tuple(manifest.subjects[number] for number in np.flatnonzero(~enough))
        if len(self.subjects) < subjects:
            wanted = "all of " if missing == "drop" else "two of "
            ways = [f"subjects={len(self.subjects)} or fewer"] if len(self.subjects) else []
            ways += ["missing='resample'"] if missing == "drop" and (held >= 2).sum() >= subjects else []
            raise DataError(
                f"a batch of {subjects} subjects cannot be drawn",
                why=f"{len(self.subjects)} of {len(manifest.subjects)} subjects have images in {wanted}"
                + " ".join(self.domains),
                do=" or ".join(ways) or "take other domains",
            )
        rows = sum(int(side.count[self.subjects].sum()) for side in self._sides)
        self.steps_per_epoch = -(-rows // (subjects * len(self.domains) * images))
        self._identity: dict[str, object] = {
            "sampler": type(self).__name__,
            "manifest": manifest.hash,
            "seed": seed,
            "settings": [*self.domains, subjects, images, missing],
        }
        self._epochs: dict[int, Indices] = {}

    def batch(self, step: int) -> Batch:
        """Return the batch of any step; no state is read or changed."""
        round_, place = divmod(_whole(step, "step", 0), len(self.subjects) // self.per_batch)
        order = self._shuffled(round_, self.subjects)
        random = self._random(1, step)
        chosen = order[place * self.per_batch : (place + 1) * self.per_batch].tolist()
        source, none = np.concatenate([self._of(subject, random) for subject in chosen]), np.empty(0, np.int64)
        return Batch(source, none, self._label[source], none, None)

    def _of(self, subject: int, random: np.random.Generator) -> Indices:
        """Return the images of one subject, domain by domain."""
        there = [side for side in self._sides if side.count[subject]]
        absent, parts = 0, []
        for side in self._sides:
            if not side.count[subject]:
                side, absent = there[absent % len(there)], absent + 1
            parts.append(_evenly(side.of(subject), self.images, random))
        return np.concatenate(parts)


def _evenly(rows: Indices, count: int, random: np.random.Generator) -> Indices:
    """Return ``count`` of some rows in random order, each again only when all were taken."""
    rounds = [random.permutation(rows) for _ in range(-(-count // len(rows)))]
    return np.concatenate(rounds)[:count]


def _whole(value: int, name: str, least: int, most: int | None = None) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least or (most is not None and value > most):
        to = "" if most is None else f" to {most}"
        raise OptionError(f"{name}={value!r}", why=f"{name} is a whole number from {least}{to}")
    return value
