from __future__ import annotations

import pytest

from xzoo import errors
from xzoo.catalog.licences import CLASSES, licence_class, licence_matches, licence_terms
from xzoo.catalog.names import natural_key, parse_name


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("edgeface_xxs", (None, "edgeface_xxs", None)),
        ("edgeface_xxs.idiap", (None, "edgeface_xxs", "idiap")),
        ("acme/thermal_net", ("acme", "thermal_net", None)),
        ("acme/thermal_net.v1", ("acme", "thermal_net", "v1")),
    ],
)
def test_a_name_is_split_into_namespace_name_and_tag(text: str, parts: tuple[str | None, str, str | None]) -> None:
    assert parse_name(text) == parts


@pytest.mark.parametrize("text", ["", "Edge", "a b", "a/b/c", "a.b.c", "a.", ".a", "/a", "a/", "edge-face", "a\n"])
def test_a_malformed_name_names_nothing(text: str) -> None:
    with pytest.raises(errors.NotFound, match="a name reads"):
        parse_name(text)


def test_numbers_in_names_sort_as_people_count() -> None:
    names = ["ir_101", "ir_18", "ir_se_50", "ir_50", "ir"]
    assert sorted(names, key=natural_key) == ["ir", "ir_18", "ir_50", "ir_101", "ir_se_50"]


@pytest.mark.parametrize(
    ("spdx", "kind"),
    [
        ("MIT", "permissive"),
        ("apache-2.0", "permissive"),
        ("CC-BY-SA-4.0", "copyleft"),
        ("CC-BY-NC-SA-4.0", "non-commercial"),
        ("LicenseRef-research-only", "research-only"),
        ("CC-BY-ND-4.0", "restricted"),
        ("other", "unknown"),
        ("Something-Else-1.0", "unknown"),
    ],
)
def test_each_licence_has_one_class(spdx: str, kind: str) -> None:
    assert licence_class(spdx) == kind
    assert kind in CLASSES


@pytest.mark.parametrize("term", ["CC-BY-NC-SA-4.0", "cc-by-nc-*", "non-commercial", "*"])
def test_a_licence_matches_by_id_wildcard_and_class(term: str) -> None:
    assert licence_matches("CC-BY-NC-SA-4.0", [term])
    assert not licence_matches("CC-BY-NC-SA-4.0", ["permissive", "MIT"])


def test_a_misspelt_class_is_refused_with_the_right_one() -> None:
    with pytest.raises(errors.OptionError, match="permissive"):
        licence_terms("permisive")
