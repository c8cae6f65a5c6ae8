"""Batches of generated people, drawn when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from xzoo.catalog.names import SPECTRA
from xzoo.data.people import domains as facts
from xzoo.data.people.domains import MOST_SAMPLES, SESSION, Domain, whole
from xzoo.errors import OptionError, RunError
from xzoo.loading import device_of

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["SyntheticPeople"]

Drawn: TypeAlias = dict[str, Any]


class SyntheticPeople(IterableDataset[Drawn]):
    """Batches of generated people without a disk: every picture of an epoch once, in an order drawn by the seed.

    A batch is a dict:

    - ``images``: uint8 ``[B, 3, size, size]`` faces, or ``[B, 3, *body_size]`` bodies for ``kind="body"``;
    - ``bodies``: the bodies of the same moments, for ``kind="both"``;
    - ``subject``, ``domain`` (places in ``domains``), ``spectrum`` (places in
      ``xzoo.catalog.names.SPECTRA``), ``sample`` and ``session``: int64 ``[B]``;
    - ``labels`` (and ``body_labels`` for both): what the generator knows, tensors ``[B, ...]`` by
      name and ``groups``, if asked for.

    The pictures are those that ``people.write`` puts into a folder for the same numbers. A batch is
    a function of the options, the epoch and its place alone: iteration can be left and taken up anywhere
    (``state_dict``), and processes share an epoch without talking to each other. Workers of a
    ``DataLoader`` (``batch_size=None``) share the part of their process, and give it back in order.

    Args:
        subjects: How many people, or which: ``range(1000, 1200)`` are others than ``1000``.
        per_domain: Pictures of each person in each domain, at most 999.
        domains: Bands, or bands at a distance such as ``"LWIR-500m"``.
        kind: ``"face"``, ``"body"`` or ``"both"``.
        size: Side of faces in pixels, 32 to 448.
        body_size: Height and width of bodies in pixels.
        seed: The world, and the order.
        camera: The sensors, as in ``people.write``.
        batch_size: Pictures in a batch; the last of an epoch may be smaller.
        sessions: Picture n of all domains is taken in session n, as in ``people.write``.
        labels: Whether batches have ``labels``.
        shuffle: Whether the order is drawn; otherwise it is by subject, domain and sample.
        rank: Which of the processes this is.
        world_size: How many processes share an epoch, each with its own batches.
        drop_last: Leave out what would give a smaller batch, or some processes one more than others.
        device: Where to draw; CPU if None.

    Raises:
        OptionError: Impossible numbers, or unknown names.

    Example:
        >>> people = SyntheticPeople(subjects=100, per_domain=4, domains=("VIS", "LWIR"), batch_size=32)
        >>> batch = next(iter(people))
        >>> batch["images"].shape, len(people)
        (torch.Size([32, 3, 112, 112]), 25)
    """

    def __init__(
        self,
        *,
        subjects: int | range = 64,
        per_domain: int = 2,
        domains: str | Iterable[str] = ("VIS", "LWIR"),
        kind: str = "face",
        size: int = 112,
        body_size: tuple[int, int] = (384, 128),
        seed: int = 0,
        camera: str = "house",
        batch_size: int = 64,
        sessions: bool = False,
        labels: bool = False,
        shuffle: bool = True,
        rank: int = 0,
        world_size: int = 1,
        drop_last: bool = False,
        device: str | torch.device | None = None,
    ) -> None:
        self.subjects = _people(subjects)
        self.per_domain = whole(per_domain, "per_domain", 1, MOST_SAMPLES, "per_domain=2")
        self._domains = facts.parse(domains)
        self.domains = tuple(domain.name for domain in self._domains)
        self.kind = kind
        self._view: dict[str, Any] = {"size": size, "body_size": facts.pair(body_size), "seed": seed}
        facts.check(self._domains, kind=kind, camera=camera, bits=8, **self._view)
        self.camera, self.sessions, self.labels, self.shuffle = camera, sessions, labels, shuffle
        self.batch_size = whole(batch_size, "batch_size", 1, 2**20, "batch_size=64")
        self.world_size = whole(world_size, "world_size", 1, 2**20, "world_size=1")
        self.rank = whole(rank, "rank", 0, self.world_size - 1, "rank=0, below world_size")
        self.drop_last = drop_last
        self.device = device_of(device)
        # Shared, so that workers that outlive an epoch are told of the next one.
        self._at = torch.zeros(2, dtype=torch.int64).share_memory_()
        self.pictures = len(self.subjects) * len(self.domains) * self.per_domain
        if not len(self):
            raise OptionError(
                f"batches of {self.batch_size} of {self.pictures} generated pictures for {self.world_size} processes",
                why="not one would be left",
                do="a smaller batch_size, or drop_last=False",
            )

    def __len__(self) -> int:
        """Return the batches of an epoch of this process."""
        if self.drop_last:
            return self.pictures // self.batch_size // self.world_size
        batches = -(-self.pictures // self.batch_size)
        return -(-(batches - self.rank) // self.world_size)

    def __iter__(self) -> Iterator[Drawn]:
        """Yield the batches from ``position`` to the end of the epoch; then the next epoch is due."""
        worker = get_worker_info()
        if worker is not None:
            for place in range(self.position + worker.id, len(self), worker.num_workers):
                yield self.batch(place)
            return
        for place in range(self.position, len(self)):
            batch = self.batch(place)
            self._go(self.epoch, place + 1)  # before it is handed out: whoever saves now has had it
            yield batch
        self._go(self.epoch + 1, 0)

    @property
    def epoch(self) -> int:
        """Which order of the pictures is walked through."""
        return int(self._at[0])

    @property
    def position(self) -> int:
        """How many batches of the epoch this process has had, as far as it asked for them itself."""
        return int(self._at[1])

    def _go(self, epoch: int, position: int) -> None:
        self._at[0], self._at[1] = epoch, position

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of an epoch; call it before each where a ``DataLoader`` has workers, which cannot."""
        self._go(whole(epoch, "epoch", 0, 2**31, "epoch=0"), 0)

    def batch(self, place: int) -> Drawn:
        """Draw the batch of any place in the present epoch of this process; no state is read but the epoch."""
        whole(place, "place", 0, len(self) - 1, f"place=0, below {len(self)}")
        start = (place * self.world_size + self.rank) * self.batch_size
        which = np.arange(start, min(start + self.batch_size, self.pictures), dtype=np.int64)
        if self.shuffle:
            which = _shuffled(which, self.pictures, self._view["seed"], self.epoch)
        rest, number = np.divmod(which, self.per_domain)
        person, domain = np.divmod(rest, len(self.domains))
        subject = torch.from_numpy(self.subjects.start + person)
        sample = torch.tensor(
            [
                self._domains[where].moment(n, sessions=self.sessions, frames=False)
                for where, n in zip(domain.tolist(), number.tolist(), strict=True)
            ]
        )
        where = torch.from_numpy(domain)
        bands = torch.tensor([SPECTRA.index(each.spectrum) for each in self._domains])
        found: Drawn = {}
        for kind, name in zip(facts.kinds(self.kind), ("images", "bodies"), strict=False):
            found[name] = self._draw(kind, subject, sample, where)
        found |= {"subject": subject, "domain": where, "spectrum": bands[where], "sample": sample}
        found["session"] = sample // SESSION
        if self.labels:
            for kind, name in zip(facts.kinds(self.kind), ("labels", "body_labels"), strict=False):
                found[name] = self._label(kind, subject, sample, where)
        return {
            key: value.to(self.device) if isinstance(value, torch.Tensor) else value for key, value in found.items()
        }

    def _by_domain(
        self, where: torch.Tensor, ask: Callable[[Domain, torch.Tensor], Any]
    ) -> tuple[list[Any], torch.Tensor]:
        """Return an answer for the rows of each domain that occurs, and the way back to the order of the batch."""
        groups = [(where == number).nonzero()[:, 0] for number in range(len(self._domains))]
        found = [ask(domain, rows) for domain, rows in zip(self._domains, groups, strict=True) if len(rows)]
        return found, torch.cat(groups).argsort()

    def _draw(self, kind: str, subject: torch.Tensor, sample: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        more = {"camera": self.camera, "device": self.device, **self._view}
        drawn, back = self._by_domain(
            where, lambda domain, rows: facts.draw(kind, subject[rows], sample[rows], domain, **more)
        )
        together: torch.Tensor = torch.cat(drawn)
        return together[back.to(together.device)]

    def _label(self, kind: str, subject: torch.Tensor, sample: torch.Tensor, where: torch.Tensor) -> Drawn:
        who, when = subject.to(self.device), sample.to(self.device)  # labels are made where these are
        known, back = self._by_domain(
            where, lambda domain, rows: facts.label(kind, who[rows], when[rows], domain, **self._view)
        )
        return {name: _joined([each[name] for each in known], back) for name in known[0]}

    def state_dict(self) -> dict[str, object]:
        """Return the epoch, the position in it, and what it is a position of; plain JSON values."""
        return {"epoch": self.epoch, "position": self.position, **self._identity()}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Go to a saved position. Where a ``DataLoader`` has workers, put the count of batches under ``position``.

        Raises:
            RunError: The state belongs to other options, or is broken.
        """
        for key, value in self._identity().items():
            if state.get(key) != value:
                raise RunError(
                    "the saved state does not fit these generated people",
                    why=f"{key} was {state.get(key)!r}, is {value!r}",
                    do="resume with the same options, or start a new run",
                )
        epoch, position = state.get("epoch"), state.get("position")
        if not (type(epoch) is int and epoch >= 0 and type(position) is int and 0 <= position <= len(self)):
            raise RunError(
                "the saved state of generated people is broken",
                why=f"epoch is {epoch!r}, position {position!r} of {len(self)}",
                do="start a new run",
            )
        self._go(epoch, position)

    def _identity(self) -> dict[str, object]:
        return {
            "subjects": [self.subjects.start, self.subjects.stop],
            "per_domain": self.per_domain,
            "domains": list(self.domains),
            "kind": self.kind,
            "size": self._view["size"],
            "body_size": list(self._view["body_size"]),
            "seed": self._view["seed"],
            "camera": self.camera,
            "sessions": self.sessions,
            "batch_size": self.batch_size,
            "shuffle": self.shuffle,
            "drop_last": self.drop_last,
            "rank": self.rank,
            "world_size": self.world_size,
        }


def _people(subjects: int | range) -> range:
    if isinstance(subjects, range):
        if len(subjects) and subjects.step == 1 and subjects.start >= 0:
            return subjects
        raise OptionError(
            f"subjects={subjects!r} of generated people",
            why="must be a range of numbers from 0, one by one, with someone in it",
            do="subjects=range(1000, 1200)",
        )
    return range(whole(subjects, "subjects", 1, 2**40, "subjects=64"))


def _joined(parts: list[Any], back: torch.Tensor) -> Any:
    if isinstance(parts[0], torch.Tensor):
        together = torch.cat(parts)
        return together[back.to(together.device)]
    words = {name: [word for part in parts for word in part[name]] for name in parts[0]}
    return {name: [listed[place] for place in back.tolist()] for name, listed in words.items()}


# --- an order of any length, without a list of it ----------------------------------------------


def _shuffled(which: npt.NDArray[np.int64], count: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """Return where places of an order stand in it: a permutation of ``count`` numbers, place by place.

    A Feistel network permutes the next power of four; what falls outside is
    permuted again until it falls inside (cycle walking: Black and Rogaway,
    *Ciphers with Arbitrary Finite Domains*, CT-RSA 2002).
    """
    half = max(1, ((count - 1).bit_length() + 1) // 2)
    keys = np.random.Generator(np.random.PCG64([seed, 7, epoch])).integers(0, 2**63, 6, dtype=np.uint64)
    found = which.astype(np.uint64)
    outside = np.ones(len(found), dtype=bool)
    while outside.any():
        found[outside] = _feistel(found[outside], keys, half)
        outside = found >= np.uint64(count)
    return found.astype(np.int64)


def _feistel(numbers: npt.NDArray[np.uint64], keys: npt.NDArray[np.uint64], half: int) -> npt.NDArray[np.uint64]:
    bits, mask = np.uint64(half), np.uint64((1 << half) - 1)
    left, right = numbers >> bits, numbers & mask
    for key in keys:
        left, right = right, left ^ (_mixed(right + key) & mask)
    return (left << bits) | right


def _mixed(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return numbers whose bits all depend on all bits (the finaliser of SplitMix64: Steele et al., OOPSLA 2014)."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))
