"""Models to the Hub and back: a card of the zoo or a run, in a repository that ``create`` opens by its name.

A repository holds ``README.md`` (the card), ``xzoo.json`` (which network, with
which options, and the SHA-256 of every other file), and what was trained:
``model.safetensors``, ``adapter/``, or both. Weights of the base are left out
where everybody has them by tag. Opening one runs no code of the repository.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from xzoo import __version__, catalog, errors, hub
from xzoo.catalog.licences import licence_class
from xzoo.hub.licences import refuse_licence
from xzoo.hub.sources import HUB, HubSource, fetch_part
from xzoo.hub.upload import check_repo, upload

if TYPE_CHECKING:
    import torch

    from xzoo.catalog import Card, Tag
    from xzoo.families.base import Embedder

__all__ = ["Parcel", "load", "prepare", "push"]

FACTS = "xzoo.json"
WEIGHTS = "model.safetensors"
README = "README.md"
FORMAT = 1


class Parcel(NamedTuple):
    """What a repository will hold.

    Attributes:
        name: What is published: ``name.tag`` or the name of a run.
        repo: ``org/repo``.
        licence: SPDX id.
        files: From the name in the repository to a local file or its content.
    """

    name: str
    repo: str
    licence: str
    files: Mapping[str, Path | bytes]

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of each file."""
        return {name: _size(content) for name, content in self.files.items()}


def prepare(what: str | Path, repo: str, *, licence: str | None = None) -> Parcel:
    """Gather the files of a card's weights or of a finished run; nothing is sent.

    Args:
        what: ``name[.tag]`` of the catalogue, or a run folder.
        repo: ``org/repo`` of the Hub.
        licence: SPDX id of a run whose weights have none on record. One that is on record cannot be changed by it.

    Raises:
        NotFound, MissingFile, RunError: There is no such thing to publish.
        LicenceRefused: No licence is known, or it does not let the weights be passed on.
        OptionError: ``repo`` is no name of a repository; ``licence`` is not the one on record.
    """
    check_repo(repo)
    folder = Path(what)
    if isinstance(what, Path) or (folder / "run.json").is_file():
        return _run(folder, repo, licence)
    card, tag = catalog.resolve(what)
    tag = tag or card.tags.get(card.default_tag or "")
    if tag is None:
        raise errors.NotFound(
            f"publishing {what!r}",
            why=f"{card.name} has no weights of its own.",
            do="xzoo finetune, and publish the run",
        )
    return _card(card, tag, repo, licence)


def push(parcel: Parcel, *, private: bool = False, token: str | None = None) -> str:
    """Send a parcel in one commit and return the commit's id.

    Raises:
        Offline, HubError: See :func:`xzoo.hub.upload.upload`.
    """
    message = f"{parcel.name}, published by xzoo {__version__}"
    return upload(parcel.repo, parcel.files, message, private=private, token=token)


# --- gathering -------------------------------------------------------------------------------------------------------


def _card(card: Card, tag: Tag, repo: str, licence: str | None) -> Parcel:
    from xzoo.cards.render import hub_readme

    named = f"{card.name}.{tag.name}"
    licence = _licence(named, tag.licence or card.licence["weights"], licence)
    files: dict[str, Path | bytes] = {WEIGHTS: _safetensors(card, tag)}
    facts: dict[str, Any] = {"name": card.name, "options": {}, "weights": WEIGHTS, "base": None, "adapter": None}
    readme = hub_readme(card, tag.name, source=f"{HUB}{repo}")
    return _parcel(named, repo, licence, readme, files, {**facts, "input": card.facts.get("input")})


def _safetensors(card: Card, tag: Tag) -> Path | bytes:
    """Return the weights as safetensors: the very file, or the tensors of somebody's checkpoint under our names."""
    weights = hub.fetch(card, tag)
    if not weights.foreign:
        return weights.path
    from safetensors.torch import save

    from xzoo.models import create

    model = create(card.name, pretrained=tag.name)
    return bytes(save({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, {"format": "pt"}))


def _run(folder: Path, repo: str, licence: str | None) -> Parcel:
    from xzoo.training.run import ADAPTER, BASE, STUDENT, Run

    run = Run.open(folder)
    facts = run.facts
    base = facts["base"]
    card, tag = catalog.resolve(base["name"])
    student = base["pretrained"] == STUDENT
    known = None if student else base.get("licence")
    files: dict[str, Path | bytes] = {}
    kept = base["pretrained"]
    if kept in (BASE, STUDENT):
        files[WEIGHTS] = folder / kept
    elif not (kept in card.tags or str(kept).startswith(HUB)):
        path = Path(kept)
        if path.suffix != ".safetensors":
            raise errors.RunError(
                f"publishing {str(folder)!r}",
                why=f"Its base is {str(path)!r}, and a repository of xzoo holds safetensors only.",
                do="save the base as safetensors, and train from that file",
            )
        files[WEIGHTS] = hub.locate(path).path
    if not student:
        inside = sorted(file for file in (folder / ADAPTER).iterdir() if file.is_file() and file.name != README)
        files |= {f"{ADAPTER}/{file.name}": file for file in inside}
    licence = _licence(str(folder), known, licence, derived=True)
    stated = {
        "name": base["name"],
        "options": base["options"],
        "weights": WEIGHTS if WEIGHTS in files else None,
        "base": None if WEIGHTS in files else {"pretrained": kept, "sha256": base["sha256"]},
        "adapter": None if student else ADAPTER,
        "input": card.facts.get("input"),
        **({"preprocess": base["preprocess"]} if "preprocess" in base else {}),
    }
    named = f"{card.name}.{kept}" if kept in card.tags else base.get("source", "")
    readme = _run_readme(run, card, repo, licence, "" if student else named, declared=known is None)
    return _parcel(facts["name"], repo, licence, readme, files, stated)


def _run_readme(run: Any, card: Card, repo: str, licence: str, base: str, *, declared: bool) -> str:
    """Return the run's own card under front matter that the Hub reads, loading from the repository."""
    from xzoo.cards.render import front_matter

    if base.startswith(HUB):
        base = HubSource.parse(base).repo
    elif not re.fullmatch(r"[\w.-]+", base):  # a path, or random weights: nothing that the Hub could point to
        base = ""
    bands = [f"spectrum-{band.lower()}" for band in run.facts["data"]["spectra"]]
    head = front_matter(
        run.facts["name"],
        licence,
        task=card.task,
        tags=["adapter" if base else "backbone", *bands],
        base=base or None,
        relation="adapter" if base else None,
        results=_figures(run.after),
    )
    text = (run.folder / README).read_text(encoding="utf-8")
    body = text.split("---\n", 2)[2].lstrip() if text.startswith("---\n") else text
    body = re.sub(r"xzoo\.create\([^)\n]*\)", lambda _: f'xzoo.create("{HUB}{repo}")', body, count=1)
    by = "declared by who published it" if declared else "that of its base, which binds what is made from it"
    return f"---\n{head}---\n\n{body.rstrip()}\n\n## Licence\n\nWeights: {licence}, {by}.\n"


def _figures(report: Any) -> list[dict[str, Any]]:
    """Return the figures of a run's report as rows of a card."""
    if report is None:
        return []
    where = f"split {report.split}" if report.split else "all images"
    protocol = f"own manifest, {where}: {report.probe} probe to {report.gallery} gallery"
    counts = {key: getattr(report, f"n_{key}") for key in ("probe", "gallery", "genuine", "impostor")}
    same = {"protocol": protocol, "source": "self", "counts": counts}
    named = {"rank-1": "rank1", "rank-5": "rank5", "mAP": "map", "AUC": "auc", "EER": "eer"}
    rows = []
    for metric, key in named.items():
        row = {**same, "metric": metric, "value": getattr(report, key)}
        rows.append({**row, "ci95": list(report.intervals[key])} if key in report.intervals else row)
    return [row for row in rows if row["value"] is not None]


def _parcel(
    name: str, repo: str, licence: str, readme: str, files: dict[str, Path | bytes], facts: dict[str, Any]
) -> Parcel:
    hashes = {file: _sha256(content) for file, content in files.items()}
    facts = {"format": FORMAT, "xzoo_version": __version__, **facts, "licence": licence, "files": hashes}
    text = json.dumps(facts, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
    return Parcel(name, repo, licence, {README: readme.encode(), FACTS: text.encode(), **files})


def _sha256(content: Path | bytes) -> str:
    return hub.sha256_of(content) if isinstance(content, Path) else hashlib.sha256(content).hexdigest()


def _size(content: Path | bytes) -> int:
    return content.stat().st_size if isinstance(content, Path) else len(content)


def _licence(what: str, known: str | None, given: str | None, *, derived: bool = False) -> str:
    """Return the licence to publish under.

    Raises:
        LicenceRefused: There is none, or it does not let the weights be passed on.
        OptionError: Another one was given than is on record.
    """
    known = None if known in (None, "", "none") else known
    if known and given and given.lower() != known.lower():
        raise errors.OptionError(
            f"licence={given!r}", why=f"The weights of {what} are under {known}.", do="leave it out"
        )
    licence = known or given
    if licence is None:
        raise errors.LicenceRefused(
            f"{what} was not published.",
            why="no licence of its weights is on record, and nobody may use what has none.",
            do="--licence SPDX-ID, where the weights are yours to license",
        )
    kind = licence_class(licence)
    if kind in ("unknown", "research-only") or (derived and kind == "restricted"):
        raise errors.LicenceRefused(
            f"{what} was not published.",
            why=f"{licence} ({kind}) does not say that weights may be passed on"
            + (" when they were changed." if kind == "restricted" else "."),
            do="ask its authors; xzoo ls --licence permissive  lists weights that may be",
        )
    return licence


# --- opening ---------------------------------------------------------------------------------------------------------


def load(
    source: str,
    pretrained: object = False,
    adapter: object = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    allow_licences: str | Iterable[str] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Embedder:
    """Open a repository that xzoo published: what ``create("hf-hub:org/repo[@revision]")`` does.

    ``xzoo.json`` comes first; its licence is asked before any weights are fetched, and every file must have the
    hash that it states. The first use is locked, as for every Hub source.

    Raises:
        OptionError: The source names a file; weights, an adapter or options were given.
        NotFound: The repository was not published by xzoo, or its network is unknown here.
        LicenceRefused: The licence is not allowed.
        HashMismatch, WeightsMismatch: A file is not the stated one, or was made for another input.
        Offline, HubError, DiskFull: It could not be fetched.
    """
    from xzoo import adapters
    from xzoo.models import create
    from xzoo.training.run import prepared

    asked = HubSource.parse(source)
    if asked.file or not isinstance(pretrained, bool) or adapter is not None or options:
        raise errors.OptionError(
            f"create({source!r})",
            why="A published repository fixes its network, weights, options and adapter.",
            do=f"create('{HUB}{asked.repo}'), or create(NAME, pretrained={source!r}, ...)",
        )
    try:
        found = fetch_part(asked, FACTS)
    except errors.NotFound as fault:
        raise errors.NotFound(
            f"create({source!r})",
            why=f"{fault.why} A repository that xzoo published holds {FACTS}.",
            do=f"xzoo.create(NAME, pretrained={source!r})",
        ) from fault
    exact = HubSource.parse(found.source)._replace(file=None)
    facts = _facts(found.path.read_bytes(), source)
    card, _ = catalog.resolve(facts["name"])
    refuse_licence(source, facts["licence"], allow_licences)
    stated = card.facts.get("input")
    if facts["input"] != stated:
        raise errors.WeightsMismatch(
            f"create({source!r})",
            why=f"it was made for input {facts['input']}, and {card.name} takes {stated} here.",
            do=f"install the xzoo that published it: {facts['xzoo_version']}",
        )
    paths = {file: fetch_part(exact, file, sha256=sha256).path for file, sha256 in facts["files"].items()}
    allow: str | Iterable[str] | None
    if facts["weights"]:
        weights, allow = str(exact._replace(file=facts["weights"])), "*"  # its licence was asked above
    else:
        weights, allow = facts["base"]["pretrained"], allow_licences
        if not (weights in card.tags or weights.startswith(HUB)):
            raise _broken(source, f"{card.name} has no tag {weights!r}")
    model = create(card.name, pretrained=weights, device=device, dtype=dtype, allow_licences=allow, **facts["options"])
    if facts["weights"] and model.weights is not None:
        model.weights = model.weights._replace(licence=facts["licence"])
    if facts["adapter"]:
        folder = next((path.parent for file, path in paths.items() if file.startswith(f"{facts['adapter']}/")), None)
        if folder is None:
            raise _broken(source, "it has no files of the adapter")
        adapters.attach(model, folder)
    return prepared(model, facts, source)


_SHAPE: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "options": (dict,),
    "licence": (str,),
    "files": (dict,),
    "weights": (str, type(None)),
    "base": (dict, type(None)),
    "adapter": (str, type(None)),
    "input": (dict, type(None)),
    "xzoo_version": (str,),
}


def _facts(content: bytes, source: str) -> dict[str, Any]:
    """Return what ``xzoo.json`` says, checked: it was written by somebody else."""
    try:
        facts = json.loads(content)
    except ValueError as fault:
        raise _broken(source, str(fault)) from fault
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise _broken(source, f"its format is not {FORMAT}")
    wrong = [key for key, kinds in _SHAPE.items() if key not in facts or not isinstance(facts[key], kinds)]
    files = facts["files"] if "files" not in wrong else {}
    wrong += [f"files.{file}" for file, sha256 in files.items() if not re.fullmatch(r"[0-9a-f]{64}", str(sha256))]
    if not wrong and facts["weights"] is None and not isinstance((facts["base"] or {}).get("pretrained"), str):
        wrong.append("base.pretrained")
    if not wrong and facts["weights"] is not None and facts["weights"] not in files:
        wrong.append("weights")
    if wrong:
        raise _broken(source, f"missing or wrong: {', '.join(wrong)}")
    return facts


def _broken(source: str, why: str) -> errors.WeightsMismatch:
    return errors.WeightsMismatch(f"{FACTS} of {source} cannot be used.", why=why, do="ask who published it")
