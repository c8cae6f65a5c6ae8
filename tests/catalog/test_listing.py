from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import xzoo
from xzoo import catalog, errors
from xzoo.catalog import registry

BACKBONES = {
    *(f"edgeface_{size}" for size in ("base", "s_gamma_05", "xs_gamma_06", "xxs", "xs")),
    *(f"adaface_ir_{depth}" for depth in ("18", "34", "50", "101", "se_50")),
    "hybrid_fr_t2v",
}


@pytest.fixture(autouse=True)
def _fresh_session(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XZOO_PLUGINS", "off")
    monkeypatch.setattr(registry, "_session", {})
    yield


def test_the_promised_names_are_there() -> None:
    assert set(xzoo.list_models()) >= BACKBONES
    assert set(xzoo.list_models(kind="recipe")) >= {"xedgeface", "cross_spectral_contrastive"}
    assert set(xzoo.list_models(kind="adapter")) >= {"lora", "norms"}


def test_names_are_listed_in_natural_order() -> None:
    assert xzoo.list_models("adaface_ir_[0-9]*") == [f"adaface_ir_{depth}" for depth in (18, 34, 50, 101)]


FILTERS = [
    ("pattern", "edgeface_*"),
    ("pattern", "*.ms1m*"),
    ("exclude", "adaface_ir_50"),
    ("exclude", "*.ms1m*"),
    ("kind", "recipe"),
    ("task", "face-*"),
    ("spectrum", "LWIR"),
    ("licence", "permissive"),
]


@pytest.mark.parametrize(("name", "value"), FILTERS)
@pytest.mark.parametrize("kind", [list, tuple, set, iter, lambda items: (item for item in items)])
def test_a_string_and_an_iterable_of_it_filter_alike(name: str, value: str, kind: Callable[[list[str]], Any]) -> None:
    assert xzoo.list_models(**{name: kind([value])}) == xzoo.list_models(**{name: value})


def test_several_patterns_keep_what_fits_any() -> None:
    assert xzoo.list_models(["edgeface_xxs", "edgeface_base"]) == ["edgeface_base", "edgeface_xxs"]


def test_a_pattern_with_a_dot_lists_tags() -> None:
    assert xzoo.list_models("adaface_ir_18.*") == [f"adaface_ir_18.{tag}" for tag in ("casia", "vgg2", "webface4m")]


def test_excluding_tags_leaves_names_alone() -> None:
    assert "adaface_ir_101" in xzoo.list_models(exclude="*.ms1m*")
    assert not any("ms1m" in name for name in xzoo.list_models("*.*", exclude="*.ms1m*"))


def test_licence_classes_speak_of_the_weights() -> None:
    assert "edgeface_xxs" in xzoo.list_models(licence="non-commercial")
    assert "edgeface_xxs" not in xzoo.list_models(licence="permissive")
    assert "adaface_ir_101" in xzoo.list_models(licence="research-only")


def test_a_card_without_weights_is_judged_by_its_code() -> None:
    assert "adaface_ir_34" in xzoo.list_models(licence="permissive")


def test_spectrum_keeps_cards_made_for_any_of_the_bands() -> None:
    seen = xzoo.list_models(spectrum="LWIR")
    assert {"hybrid_fr_t2v", "part_vit_tiny"} <= set(seen) < set(xzoo.list_models())
    assert all("LWIR" in xzoo.card(name).spectra for name in seen)
    assert "edgeface_xxs" in xzoo.list_models(spectrum=["LWIR", "VIS"])


def test_pretrained_tells_cards_with_weights_from_those_without() -> None:
    assert "edgeface_xs" in xzoo.list_models(pretrained=False)
    assert "edgeface_xxs" in xzoo.list_models(pretrained=True)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"pattern": 3}, "int"),
        ({"pattern": ["a", None]}, "NoneType"),
        ({"exclude": 1.5}, "float"),
        ({"kind": "backbones"}, "backbone"),
        ({"spectrum": "lwir"}, "LWIR"),
        ({"spectrum": "IR"}, "NIR"),
        ({"licence": "permisive"}, "permissive"),
        ({"licence": 7}, "int"),
        ({"pretrained": "yes"}, "True, False"),
    ],
)
def test_an_impossible_filter_is_refused(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(errors.OptionError, match=told):
        xzoo.list_models(**arguments)


def test_looking_changes_nothing() -> None:
    before = copy.deepcopy(catalog.cards())
    for name in ("nothing_like_it", "edgeface_xxs.none", "no/such"):
        assert not xzoo.is_model(name)
    xzoo.list_models("no*", kind="recipe", licence="MIT")
    assert catalog.cards() == before


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("edgeface_xxs", True),
        ("edgeface_xxs.idiap", True),
        ("edgeface_xxs.other", False),
        ("edgeface", False),
        ("", False),
        ("Edge face", False),
    ],
)
def test_is_model_knows_names_and_tags(name: str, there: bool) -> None:
    assert xzoo.is_model(name) is there


def test_an_unknown_name_shows_the_nearest_and_its_tags() -> None:
    with pytest.raises(errors.NotFound) as caught:
        xzoo.card("adaface_ir_110")
    assert "adaface_ir_101" in str(caught.value)
    assert "webface12m (default)" in str(caught.value)


@pytest.mark.parametrize("spelt", ["EdgeFace-XXS", "edgeface-xxs", "Idiap/edgeface_xxs", " edgeface_xxs"])
def test_a_name_spelt_otherwise_still_finds_its_neighbour(spelt: str) -> None:
    with pytest.raises(errors.NotFound, match="close: edgeface_xxs"):
        xzoo.card(spelt)


def test_an_unknown_tag_lists_the_real_ones() -> None:
    with pytest.raises(errors.NotFound, match=r"tags: webface4m \(default\), vgg2, casia"):
        xzoo.card("adaface_ir_18.webface12m")


def test_a_name_that_is_no_string_is_an_option_error() -> None:
    with pytest.raises(errors.OptionError, match="NoneType"):
        xzoo.card(None)  # type: ignore[arg-type]


def test_a_card_can_be_copied_pickled_and_written_as_json() -> None:
    import json

    card = xzoo.card("adaface_ir_18")
    assert copy.deepcopy(card) == card
    assert pickle.loads(pickle.dumps(card)) == card
    assert json.loads(json.dumps(card.to_dict()))["tags"]["casia"]["licence_class"] == "research-only"


def test_every_card_describes_itself() -> None:
    seen = 0
    for name, card in catalog.cards().items():
        text = str(card)
        assert text.startswith(f"{name}\n{card.summary}")
        assert "{" not in text.replace("{", "", text.count("`{"))
        seen += 1
    assert seen >= 15


def test_what_nobody_measured_reads_not_reported() -> None:
    assert "results\n    not reported" in str(xzoo.card("edgeface_xs"))


def _net(width: int = 8, name: str = "x") -> None:
    return None


def test_a_registered_name_resolves_with_and_without_its_namespace() -> None:
    xzoo.register("my_net", _net)
    assert xzoo.card("my_net") == xzoo.card("local/my_net")
    assert xzoo.list_models("my_*") == ["local/my_net"]
    assert xzoo.card("my_net").options["width"] == {"type": "int", "default": 8, "help": ""}


def test_registering_twice_needs_replace() -> None:
    xzoo.register("my_net", _net, summary="first")
    with pytest.raises(errors.OptionError, match="replace=True"):
        xzoo.register("my_net", _net, summary="second")
    assert xzoo.card("my_net").summary == "first"
    xzoo.register("my_net", _net, summary="second", replace=True)
    assert xzoo.card("my_net").summary == "second"


@pytest.mark.parametrize(
    ("name", "build", "arguments"),
    [
        ("edgeface_xxs", _net, {}),
        ("edgeface_xxs", _net, {"replace": True}),
        ("acme/net", _net, {}),
        ("my_net.v1", _net, {}),
        ("My Net", _net, {}),
        ("my_net", "not a function", {}),
        ("my_net", lambda width: None, {}),
        ("my_net", lambda **options: None, {}),
        ("my_net", _net, {"spectra": "infrared"}),
        ("my_net", _net, {"input": {"sise": [3, 64, 64]}}),
    ],
    ids=[
        "built-in",
        "built-in-replace",
        "namespace",
        "tag",
        "spelling",
        "no-call",
        "no-default",
        "sink",
        "band",
        "input",
    ],
)
def test_a_refused_registration_leaves_nothing(name: str, build: Any, arguments: dict[str, Any]) -> None:
    before = catalog.cards()
    with pytest.raises(errors.OptionError):
        xzoo.register(name, build, **arguments)
    assert catalog.cards() == before
