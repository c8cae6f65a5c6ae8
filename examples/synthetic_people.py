"""Draw contact sheets of generated people: subjects x bands, and one subject through what can happen to a picture.

    python examples/synthetic_people.py sheets/

writes ``faces.png``, ``nuisances.png`` and ``bodies.png``. Nobody in them exists.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from xzoo.data.people import SPECTRA, bodies, faces
from xzoo.data.people.traits import moment, person

SEED = 3
MARGIN, LINE = 44, 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of the sheets")
    parser.add_argument("--subjects", type=int, default=10)
    parser.add_argument("--format", choices=("png", "jpg"), default="png")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    who = torch.arange(options.subjects)
    names = [f"p{subject}" for subject in who.tolist()]
    rows = {
        band: list(faces(who, torch.full_like(who, 8 * place), band, seed=SEED)) for place, band in enumerate(SPECTRA)
    }
    sheet(rows, names).save(options.out / f"faces.{options.format}")
    sheet(*nuisances()).save(options.out / f"nuisances.{options.format}")
    rows = {
        band: list(bodies(who, torch.full_like(who, 8 * place), band, size=(192, 64), seed=SEED))
        for place, band in enumerate(SPECTRA)
    }
    sheet(rows, names).save(options.out / f"bodies.{options.format}")


def nuisances() -> tuple[dict[str, list[Tensor]], list[str]]:
    """Return one subject with glasses in every band, moment by moment, and what each moment shows."""
    crowd = torch.arange(200)
    subject = int(torch.nonzero(person(SEED, crowd)["wears_glasses"][:, 0])[2])
    samples = torch.arange(600)
    now = moment(SEED, torch.full_like(samples, subject), samples)
    clear = (now["hat"] + now["mask"] + now["covered"])[:, 0] == 0

    def most(value: Tensor, among: Tensor = clear) -> int:
        return int(torch.where(among, value[:, 0], -torch.inf).argmax())

    bare = clear & (now["glasses_on"][:, 0] == 0)
    worn = ("hat", "mask", "covered")
    only = {name: (now[name][:, 0] > 0) & (sum(now[each][:, 0] for each in worn) == 1) for name in worn}
    calm = -now["yaw"].abs() - now["pitch"].abs()
    shown: dict[str, dict[str, float]] = {
        "passport": {"sample": 0, "nuisances": 0.0},
        "any moment": {"sample": most(calm)},
        "yaw left": {"sample": most(-now["yaw"])},
        "yaw right": {"sample": most(now["yaw"])},
        "pitch": {"sample": most(now["pitch"].abs())},
        "smile": {"sample": most(now["smile"] - now["yaw"].abs())},
        "no glasses": {"sample": most(calm, bare)},
        "hat": {"sample": most(calm, only["hat"])},
        "mask": {"sample": most(calm, only["mask"])},
        "covered": {"sample": most(calm, only["covered"])},
        "30 m": {"sample": most(calm), "distance": 30},
        "500 m": {"sample": most(calm), "distance": 500},
    }
    rows = {band: [_one(subject, band, **view) for view in shown.values()] for band in SPECTRA}
    return rows, list(shown)


def _one(subject: int, band: str, sample: float, **view: float) -> Tensor:
    return faces(torch.tensor([subject]), torch.tensor([int(sample)]), band, seed=SEED, **view)[0]


def sheet(rows: dict[str, list[Tensor]], columns: list[str]) -> Image.Image:
    """Return one picture of rows of pictures, uint8 ``[3, H, W]`` each, with a name for each row and column."""
    high, wide = next(iter(rows.values()))[0].shape[1:]
    page = Image.new("RGB", (MARGIN + len(columns) * wide, LINE + len(rows) * high), "white")
    pen = ImageDraw.Draw(page)
    for place, name in enumerate(columns):
        pen.text((MARGIN + place * wide + 4, 2), name, fill="black")
    for line, (name, pictures) in enumerate(rows.items()):
        pen.text((4, LINE + line * high + high // 2 - 6), name, fill="black")
        for place, picture in enumerate(pictures):
            page.paste(Image.fromarray(picture.permute(1, 2, 0).numpy()), (MARGIN + place * wide, LINE + line * high))
    return page


if __name__ == "__main__":
    main()
