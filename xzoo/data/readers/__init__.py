"""Readers: data sets as their owners ship them, turned into manifests.

``read(name, root)`` lists the images of a data set with what is known about
them; ``check(name, root)`` says whether they are all there. No image is copied,
renamed or decoded by ``read``.

To add a reader, write a module with one :class:`~xzoo.data.readers.core.Reader`
called ``READER``, and name it in ``HOME``.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xzoo import errors

if TYPE_CHECKING:
    from xzoo.data.manifest import Manifest
    from xzoo.data.readers.core import Found, Reader

__all__ = ["HOME", "check", "get", "names", "read"]

HOME: dict[str, str] = {
    # name of the reader: module in this folder
    "agedb_30_bin": "bins",
    "calfw": "lfw",
    "calfw_bin": "bins",
    "casia_nirvis2": "casia_nirvis2",
    "cfp_fp_bin": "bins",
    "cplfw": "lfw",
    "cplfw_bin": "bins",
    "cufsf": "cufsf",
    "gallery_probe": "enrol_probe",
    "ijb_mdf": "ijb_mdf",
    "ijbb": "ijb",
    "ijbc": "ijb",
    "lfw": "lfw",
    "lfw_bin": "bins",
    "llcm": "llcm",
    "mcxface": "enrol_probe",
    "pairs_list": "pairs_list",
    "polathermal": "enrol_probe",
    "qmul_survface": "qmul_survface",
    "regdb": "regdb",
    "rwth_thermal": "thermal_landmarks",
    "scface": "scface",
    "sf_tl54": "thermal_landmarks",
    "sysu_mm01": "sysu_mm01",
    "tfw": "thermal_landmarks",
    "tinyface": "tinyface",
    "tufts": "tufts",
    "uccs": "uccs",
}


def names() -> list[str]:
    """Return the names of all readers."""
    return sorted(HOME)


def get(name: str) -> Reader:
    """Return a reader.

    Raises:
        NotFound: No reader has that name.
    """
    if name not in HOME:
        close = errors.nearest(str(name).lower(), HOME) or names()[:3]
        raise errors.NotFound(
            f"no reader {name!r}", exists=", ".join(close), do="xzoo.data.readers.names() lists them all"
        )
    module = import_module(f"{__name__}.{HOME[name]}")
    readers: dict[str, Reader] = getattr(module, "READERS", None) or {name: module.READER}
    return readers[name]


def read(name: str, root: str | Path, **options: Any) -> Manifest:
    """Return the images of a data set as a manifest whose paths lie under ``root``.

    Example:
        >>> read("llcm", "/data/LLCM", lists="idx").spectra  # doctest: +SKIP
        ('VIS', 'NIR')

    Raises:
        NotFound: No reader has that name.
        OptionError: An option that the reader does not take.
        MissingFile: ``root``, or a list that the reader needs, is not there.
        DataError: A list with faults, or listed images that are missing: all at once.
    """
    return get(name).manifest(root, options)


def check(name: str, root: str | Path, *, deep: bool = False, **options: Any) -> Found:
    """Count a data set, compare with the published counts, and look at every image.

    Args:
        name: Of the reader.
        root: Where the data set lies.
        deep: Decode every image; otherwise only its header is read.
        options: Those of the reader.

    Returns:
        Counts beside the published ones, missing files, unreadable files and faults of
        the lists. None of these raises.

    Raises:
        NotFound: No reader has that name.
        OptionError: An option that the reader does not take.
        MissingFile: ``root``, or a list that the reader cannot do without, is not there.
    """
    return get(name).check(root, options, deep=deep)
