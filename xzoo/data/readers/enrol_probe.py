"""Data sets whose protocol is a table of enrolment images and a table of probes.

``gallery_probe`` reads any such pair of csv files; ``mcxface`` and ``polathermal``
read the tables that bob ships for these sets, in its folders:
``<protocol>/norm/train_world.csv``, ``<protocol>/{dev,eval}/{for_models,for_probes}.csv``.
"""

from __future__ import annotations

from xzoo import errors
from xzoo.catalog.names import SPECTRA
from xzoo.data.images import SUFFIXES
from xzoo.data.readers.core import Listing, Reader

__all__ = ["READERS"]

_PATHS = ("SPATH", "PATH", "path", "spath")
_SUBJECTS = ("SUBJECT_ID", "subject_id", "SUBJECT", "subject", "REFERENCE_ID", "reference_id")
_BANDS = ("MODALITY", "modality", "SPECTRUM", "spectrum")


def gallery_probe(
    listing: Listing,
    *,
    enroll: str = "enroll.csv",
    probe: str = "probe.csv",
    train: str = "",
    gallery_spectrum: str = "VIS",
    probe_spectrum: str = "LWIR",
) -> None:
    """List two tables: who is enrolled with which image, and the probes.

    Args:
        listing: To be filled.
        enroll: csv with the columns REFERENCE_ID (or SUBJECT_ID) and SPATH (or PATH), relative to the root.
        probe: Alike.
        train: Alike, with a column MODALITY; none by default.
        gallery_spectrum: Band of enrolment images; a column MODALITY or SPECTRUM goes before it.
        probe_spectrum: Band of probes, alike.
    """
    for name, band in (("gallery_spectrum", gallery_spectrum), ("probe_spectrum", probe_spectrum)):
        if band not in SPECTRA:
            raise errors.OptionError(f"{name}={band!r}", why="no such band", exists=", ".join(SPECTRA))
    _table(listing, enroll, "gallery", "test", gallery_spectrum)
    _table(listing, probe, "probe", "test", probe_spectrum)
    if train:
        _table(listing, train, "train", "train", "")


def mcxface(listing: Listing, *, protocol: str = "VIS-THERMAL", group: str = "dev", lists: str = "") -> None:
    """List MCXFace.

    Args:
        listing: To be filled.
        protocol: Such as VIS-THERMAL, VIS-NIR, VIS-SWIR or VIS-VIS: band of the gallery, band of the probes.
        group: dev or eval.
        lists: Folder of the tables under the root; the root by default.
    """
    first, _, second = protocol.partition("-")
    bands = {"VIS": "VIS", "THERMAL": "LWIR", "NIR": "NIR", "SWIR": "SWIR"}
    if first not in bands or (second not in bands and second != "UNIVERSAL"):
        raise errors.OptionError(
            f"protocol={protocol!r} of reader 'mcxface'",
            why="it names two channels",
            exists="VIS-THERMAL, VIS-NIR, VIS-SWIR, VIS-VIS, VIS-UNIVERSAL (with a column MODALITY)",
        )
    _bob(listing, lists, protocol, group, bands[first], bands.get(second, ""))
    if (protocol, group) != ("VIS-THERMAL", "dev"):
        listing.published.clear()


def polathermal(listing: Listing, *, splits: int = 5, protocol: str = "VIS-thermal-overall", lists: str = "") -> None:
    """List the polarimetric thermal database: one fold for each split.

    Args:
        listing: To be filled.
        splits: How many of the splits to read.
        protocol: Its tables lie in ``<protocol>-split<k>``.
        lists: Folder of the tables under the root; the root by default.
    """
    if isinstance(splits, bool) or not isinstance(splits, int) or splits < 1:
        raise errors.OptionError(f"splits={splits!r} of reader 'polathermal'", why="must be a whole number from 1")
    for split in range(1, splits + 1):
        _bob(listing, lists, f"{protocol}-split{split}", "dev", "VIS", "LWIR", fold=str(split))
    if protocol != "VIS-thermal-overall":
        listing.published.clear()


def _bob(
    listing: Listing, lists: str, protocol: str, group: str, first: str, second: str, fold: str | None = None
) -> None:
    folder = f"{lists}/{protocol}" if lists else protocol
    _table(listing, f"{folder}/{group}/for_models.csv", "gallery", "test", first, fold)
    _table(listing, f"{folder}/{group}/for_probes.csv", "probe", "test", second, fold)
    _table(listing, f"{folder}/norm/train_world.csv", "train", "train", first, fold, needed=False)


def _table(
    listing: Listing, file: str, role: str, split: str, band: str, fold: str | None = None, *, needed: bool = True
) -> None:
    rows = listing.table(file, (), needed=needed)
    columns = list(rows[0][1]) if rows else []
    path, subject = _first(_PATHS, columns), _first(_SUBJECTS, columns)
    if rows and (not path or not subject):
        raise errors.DataError(
            f"table {file!r} in {str(listing.root)!r}",
            why="no column of paths" if not path else "no column that says who is in an image",
            exists=", ".join(columns),
            do="name the columns REFERENCE_ID and SPATH",
        )
    said = _first(_BANDS, columns)
    for where, cells in rows:
        spectrum = (cells[said].upper() if said else "") or band
        spectrum = {"THERMAL": "LWIR", "RGB": "VIS"}.get(spectrum, spectrum)
        if spectrum not in SPECTRA:
            listing.faults.append(f"{where}: spectrum {spectrum!r} is not one of {' '.join(SPECTRA)}")
            continue
        name = _with_ending(listing, cells[path].replace("\\", "/"))
        listing.add(name, cells[subject], spectrum, listed=where, role=role, split=split, fold=fold)


def _first(names: tuple[str, ...], columns: list[str]) -> str:
    return next((name for name in names if name in columns), "")


def _with_ending(listing: Listing, path: str) -> str:
    """Return a path with the ending of the file that is there: some tables list paths without one."""
    if listing.has(path):
        return path
    return next((path + ending for ending in SUFFIXES if listing.has(path + ending)), path)


READERS = {
    "gallery_probe": Reader(
        name="gallery_probe",
        title="any set with a table of enrolment images and one of probes",
        source="the two-table form of HFR-MLLM and bob",
        scan=gallery_probe,
        layout="enroll.csv and probe.csv with columns REFERENCE_ID,SPATH",
    ),
    "mcxface": Reader(
        name="mcxface",
        title="MCXFace, faces in many channels",
        source="George et al., bob.bio.face; lists of HFR-MLLM",
        scan=mcxface,
        published={"gallery images": 199, "gallery subjects": 28, "probe images": 399, "probe subjects": 25},
        layout="<protocol>/{dev,eval}/{for_models,for_probes}.csv and the images they list",
    ),
    "polathermal": Reader(
        name="polathermal",
        title="polarimetric thermal faces, 60 subjects",
        source="Hu et al., CVPR workshops 2016; lists of bob.bio.face",
        scan=polathermal,
        published={
            "fold:1 gallery images": 140,
            "fold:1 gallery subjects": 35,
            "fold:1 probe images": 1_680,
        },
        layout="VIS-thermal-overall-split<1-5>/dev/{for_models,for_probes}.csv and the images they list",
    ),
}
