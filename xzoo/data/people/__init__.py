"""Generated people: faces and bodies that belong to nobody, in five bands.

``faces`` and ``bodies`` draw pictures from numbers, ``face_labels`` and
``body_labels`` say what is in them; ``write`` fills a folder with both.
No picture of a real person took part in making this generator.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xzoo.data.people.body import BodyLabels, bodies, body_boxes, body_labels
    from xzoo.data.people.cameras import CAMERAS
    from xzoo.data.people.files import write
    from xzoo.data.people.labels import Labels, face_labels
    from xzoo.data.people.render import SPECTRA, faces

__all__ = [
    "CAMERAS",
    "SPECTRA",
    "BodyLabels",
    "Labels",
    "bodies",
    "body_boxes",
    "body_labels",
    "face_labels",
    "faces",
    "write",
]

_HOME = {
    "CAMERAS": "cameras",
    "SPECTRA": "render",
    "BodyLabels": "body",
    "Labels": "labels",
    "bodies": "body",
    "body_boxes": "body",
    "body_labels": "body",
    "face_labels": "labels",
    "faces": "render",
    "write": "files",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
