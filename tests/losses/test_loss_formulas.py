"""Every loss, value and gradient, against its formula written out in loops."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from xzoo import losses

Slow = Callable[..., Tensor]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def softmax(row: Tensor) -> Tensor:
    return row.exp() / row.exp().sum()


def kl(p: Tensor, q: Tensor) -> Tensor:
    return sum(a * torch.log(a / b) for a, b in zip(p, q, strict=True))  # type: ignore[return-value]


def unit(row: Tensor) -> Tensor:
    return row / row.norm()


def mean(values: Any) -> Tensor:
    return torch.stack(list(values)).mean()


def total(values: Any) -> Tensor:
    return torch.stack(list(values)).sum()


def gap(a: Tensor, b: Tensor) -> Tensor:
    return ((a - b) ** 2).sum().sqrt()


# Each subject's rows, in the order of the batch.
ROWS = torch.tensor([0, 0, 1, 1, 2, 2])
# Uneven: three, two and one.
UNEVEN = torch.tensor([0, 0, 0, 1, 1, 2])
SLOW: dict[str, tuple[Slow, tuple[Tensor, ...], dict[str, Any], dict[str, Any], tuple[int, ...]]] = {}


def formula(
    *inputs: Tensor, given: dict[str, Any] | None = None, teacher_learns: bool = False, **options: Any
) -> Callable[[Slow], Slow]:
    """Put a slow formula into the table, under its own name without its ending."""

    def register(function: Slow) -> Slow:
        frozen = () if teacher_learns or len(inputs) < 2 else (1,)
        SLOW[function.__name__.removesuffix("_")] = function, inputs, given or {}, options, frozen
        return function

    return register


E, T = noise(6, 5), noise(6, 5, seed=1)
A, B = noise(3, 4, 6, 6), noise(3, 4, 6, 6, seed=1)


@formula(E, given={"labels": torch.tensor([0, 1, -1, 3, 4, 0])})
def ce_(s: Tensor) -> Tensor:
    return mean(-softmax(s[i])[k].log() for i, k in enumerate([0, 1, -1, 3, 4, 0]) if k >= 0)


@formula(E, T, temperature=3)
def kd_(s: Tensor, t: Tensor) -> Tensor:
    return mean(9 * kl(softmax(b / 3), softmax(a / 3)) for a, b in zip(s, t, strict=True))


@formula(E, T, temperature=3)
def kd_logit_std_(s: Tensor, t: Tensor) -> Tensor:
    def level(row: Tensor) -> Tensor:
        centred = row - row.mean()
        return centred / (((centred**2).sum() / (len(row) - 1)).sqrt() + 1e-7)

    return mean(9 * kl(softmax(level(b) / 3), softmax(level(a) / 3)) for a, b in zip(s, t, strict=True))


@formula(E, T, given={"labels": torch.tensor([0, 1, 2, 3, 4, 0])}, alpha=2, beta=3, temperature=2)
def dkd_(s: Tensor, t: Tensor) -> Tensor:
    values = []
    for a, b, y in zip(s, t, [0, 1, 2, 3, 4, 0], strict=True):
        p, q = softmax(b / 2), softmax(a / 2)
        others = [k for k in range(5) if k != y]
        target = kl(torch.stack([p[y], 1 - p[y]]), torch.stack([q[y], 1 - q[y]]))
        values.append(4 * (2 * target + 3 * kl(p[others] / p[others].sum(), q[others] / q[others].sum())))
    return mean(values)


@formula(E, T, beta=2, gamma=3, temperature=4)
def dist_(s: Tensor, t: Tensor) -> Tensor:
    def correlation(a: Tensor, b: Tensor) -> Tensor:
        a, b = a - a.mean(), b - b.mean()
        return (a * b).sum() / (a.norm() * b.norm())

    p, q = (torch.stack([softmax(row / 4) for row in x]) for x in (s, t))
    inter = mean(1 - correlation(p[i], q[i]) for i in range(6))
    intra = mean(1 - correlation(p[:, k], q[:, k]) for k in range(5))
    return 16 * (2 * inter + 3 * intra)


@formula(E, T)
def cosine_(s: Tensor, t: Tensor) -> Tensor:
    return mean(1 - unit(a) @ unit(b) for a, b in zip(s, t, strict=True))


@formula(E, T, reduction="batchmean", space="unit")
def mse_(s: Tensor, t: Tensor) -> Tensor:
    return mean(((unit(a) - unit(b)) ** 2).sum() for a, b in zip(s, t, strict=True))


@formula(noise(2, 4, 3), noise(2, 4, 3, seed=1))
def gaussian_(s: Tensor, t: Tensor) -> Tensor:
    values = []
    for a, b in zip(s.flatten(0, 1), t.flatten(0, 1), strict=True):
        near, sure = a[2].exp(), b[2].exp()
        square = ((a[:2] - b[:2]) ** 2).sum()
        values.append(2 * torch.log(near / sure) + (2 * sure**2 + square) / (2 * near**2) - 1)
    return mean(values)


@formula(E, T, metric="l2")
def embed_distill_(s: Tensor, t: Tensor) -> Tensor:
    return mean(gap(a, b) for a, b in zip(s, t, strict=True))


@formula(E, T, given={"labels": torch.tensor([0, 1, 2, 3, 4, 0])}, teacher_learns=True, both=True)
def masked_mutual_(s: Tensor, t: Tensor) -> Tensor:
    values = []
    for a, b, y in zip(s, t, [0, 1, 2, 3, 4, 0], strict=True):
        errors = [-softmax(row.detach())[y].log() for row in (a, b)]
        shares = softmax(-torch.stack(errors))
        own, other = (share * 2 * (1 - torch.sigmoid(error)) for share, error in zip(shares, errors, strict=True))
        values.append(kl(softmax(b.detach() * other), softmax(a * other)))
        values.append(kl(softmax(a.detach() * own), softmax(b * own)))
    return total(values) / 6


@formula(E, T)
def sp_(s: Tensor, t: Tensor) -> Tensor:
    g, h = (torch.stack([unit(row) for row in x @ x.T]) for x in (s, t))
    return ((g - h) ** 2).sum() / 36


@formula(E, T)
def pkt_(s: Tensor, t: Tensor) -> Tensor:
    def chances(x: Tensor) -> list[list[Tensor]]:
        alike = [[(a @ b / (a.norm() + 1e-7) / (b.norm() + 1e-7) + 1) / 2 for b in x] for a in x]
        return [[value / sum(row) for value in row] for row in alike]

    p, q = chances(t), chances(s)
    e = 1e-7
    return mean(p[i][j] * torch.log((p[i][j] + e) / (q[i][j] + e)) for i in range(6) for j in range(6))


@formula(E, T, distance_weight=2, angle_weight=3)
def rkd_(s: Tensor, t: Tensor) -> Tensor:
    def huber(a: Tensor, b: Tensor) -> Tensor:
        d = (a - b).abs()
        return 0.5 * d**2 if d < 1 else d - 0.5

    n, zero = range(6), torch.zeros((), dtype=torch.float64)
    d = [[[gap(x[i], x[j]) if i != j else zero for j in n] for i in n] for x in (s, t)]
    m = [mean(x[i][j] for i in n for j in n if i != j) for x in d]
    near = mean(huber(d[0][i][j] / m[0], d[1][i][j] / m[1]) for i in n for j in n)

    def angle(x: Tensor, i: int, j: int, k: int) -> Tensor:
        return unit(x[j] - x[i]) @ unit(x[k] - x[i]) if i not in (j, k) else zero

    turn = mean(huber(angle(s, i, j, k), angle(t, i, j, k)) for i in n for j in n for k in n)
    return 2 * near + 3 * turn


@formula(E, T)
def cc_(s: Tensor, t: Tensor) -> Tensor:
    return mean(((s[i] - t[i]).abs() * (s[i + 1] - t[i + 1]).abs()).sum() for i in range(5))


@formula(E, T, temperature=0.5)
def ird_(s: Tensor, t: Tensor) -> Tensor:
    values = []
    for i in range(6):
        others = [j for j in range(6) if j != i]
        p, q = (softmax(torch.stack([unit(x[i]) @ unit(x[j]) / 0.5 for j in others])) for x in (t, s))
        values.append(-(p * q.log()).sum())
    return mean(values)


@formula(A, B)
def fitnets_(s: Tensor, t: Tensor) -> Tensor:
    return mean((a - b) ** 2 for a, b in zip(s.flatten(), t.flatten(), strict=True))


@formula(A, noise(3, 5, 3, 3, seed=1), power=3, form="paper")
def at_(s: Tensor, t: Tensor) -> Tensor:
    def where(maps: Tensor) -> Tensor:
        return unit(sum(channel.abs() ** 3 for channel in maps).flatten())  # type: ignore[union-attr]

    pooled = [
        torch.stack(
            [torch.stack([c[i : i + 2, j : j + 2].mean() for i in (0, 2, 4) for j in (0, 2, 4)]).view(3, 3) for c in x]
        )
        for x in s
    ]
    return mean(gap(where(a), where(b)) for a, b in zip(pooled, t, strict=True))


@formula(A, B)
def nst_(s: Tensor, t: Tensor) -> Tensor:
    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return mean((unit(a.flatten()) @ unit(b.flatten())) ** 2 for a in x for b in y)

    return mean(kernel(b, b) + kernel(a, a) - 2 * kernel(a, b) for a, b in zip(s, t, strict=True))


@formula(A, B)
def reviewkd_(s: Tensor, t: Tensor) -> Tensor:
    def pooled(x: Tensor, grid: int) -> Tensor:
        edges = [(math.floor(i * 6 / grid), math.ceil((i + 1) * 6 / grid)) for i in range(grid)]
        return torch.stack([x[:, :, a:b, c:d].mean((2, 3)) for a, b in edges for c, d in edges])

    parts = [((s - t) ** 2).mean()] + [((pooled(s, g) - pooled(t, g)) ** 2).mean() for g in (4, 2, 1)]
    return (parts[0] + parts[1] / 2 + parts[2] / 4 + parts[3] / 8) / 1.875


@formula(A, B, given={"head": lambda x: x**2 @ torch.ones(4, 2, dtype=x.dtype)}, head_weight=0.5)
def srrl_(s: Tensor, t: Tensor) -> Tensor:
    a, b = (torch.stack([torch.stack([c.mean() for c in image]) for image in x]) for x in (s, t))
    answer = [torch.stack([(row**2).sum(), (row**2).sum()]) for x in (a, b) for row in x]
    first, second = torch.stack(answer[:3]), torch.stack(answer[3:])
    return ((a - b) ** 2).mean() + 0.5 * ((first - second) ** 2).mean()


@formula(A, B, given={"head": lambda x: x.mean((2, 3)) ** 2}, distance="kd", temperature=2)
def crosskd_(s: Tensor, t: Tensor) -> Tensor:
    channels = []
    for c in range(4):
        ours, theirs = s[:, c], t[:, c]
        deviation = ((ours - ours.mean()) ** 2).sum() / (ours.numel() - 1)
        goal = (((theirs - theirs.mean()) ** 2).sum() / (theirs.numel() - 1)).sqrt()
        channels.append((ours - ours.mean()) / (deviation.sqrt() + 1e-6) * goal + theirs.mean())
    aligned = torch.stack(channels, 1)
    answers = ((x.mean((2, 3)) ** 2) for x in (aligned, t))
    return mean(4 * kl(softmax(b / 2), softmax(a / 2)) for a, b in zip(*answers, strict=True))


@formula(A, B)
def fpn_mimic_(s: Tensor, t: Tensor) -> Tensor:
    places = [unit(s[i, :, r, c]) - unit(t[i, :, r, c]) for i in range(3) for r in range(6) for c in range(6)]
    return mean((place**2).mean() for place in places)


@formula(A, B, mean_weight=3, grid=2)
def wkd_f_(s: Tensor, t: Tensor) -> Tensor:
    values = []
    for r in (0, 3):
        for c in (0, 3):
            for a, b in zip(
                s[:, :, r : r + 3, c : c + 3].flatten(0, 1), t[:, :, r : r + 3, c : c + 3].flatten(0, 1), strict=True
            ):
                values.append(3 * (a.mean() - b.mean()) ** 2 + ((a.var() + 1e-5).sqrt() - (b.var() + 1e-5).sqrt()) ** 2)
    return total(values) / 3 / 4


@formula(noise(2, 7, 3), noise(2, 7, 3, seed=1), teacher_learns=True, style_weight=2, content_weight=3)
def ckd_(s: Tensor, t: Tensor) -> Tensor:
    style, content = [], []
    for i in range(2):
        for c in range(3):
            a, b, fixed = s[i, :, c], t[i, :, c], t[i, :, c].detach()
            style.append((a.mean() - b.mean()) ** 2 + (a.std() - b.std()) ** 2)
            x, y = ((z - z.mean()) / (((z - z.mean()) ** 2).mean() + 1e-5).sqrt() for z in (a, fixed))
            content.append(((x - y) ** 2).mean())
    return 2 * mean(style) + 3 * mean(content)


@formula(E, T, given={"labels": torch.tensor([1, 0, 1, 1, 0, 0])}, teacher_learns=True, margin=0.1)
def contrastive_cosine_(s: Tensor, t: Tensor) -> Tensor:
    cosines = [unit(a) @ unit(b) for a, b in zip(s, t, strict=True)]
    return mean(1 - c if y else (c - 0.1).clamp(min=0) for c, y in zip(cosines, [1, 0, 1, 1, 0, 0], strict=True))


def pick(a: Tensor, b: Tensor, i: int, partners: list[int], rivals: list[int], temperature: float) -> Tensor:
    """-ln of the share of the partners among the rivals, for row ``i`` of ``a``."""
    score = {j: torch.exp(unit(a[i]) @ unit(b[j]) / temperature) for j in {*partners, *rivals}}
    return -torch.log(total(score[j] for j in partners) / total(score[j] for j in rivals))


@formula(E, T, given={"labels": UNEVEN}, teacher_learns=True, temperature=0.5)
def infonce_(s: Tensor, t: Tensor) -> Tensor:
    ways = ((t, s), (s, t))
    same = [[j for j in range(6) if UNEVEN[j] == UNEVEN[i]] for i in range(6)]
    return mean(mean(pick(a, b, i, same[i], list(range(6)), 0.5) for i in range(6)) for a, b in ways)


@formula(E, T, given={"labels": UNEVEN}, teacher_learns=True, margin=0.1, positive=0.3)
def contrastive_cosine_all_(s: Tensor, t: Tensor) -> Tensor:
    pairs = [(i, j, unit(s[i]) @ unit(t[j])) for i in range(6) for j in range(6)]
    pulled = mean(1 - c for i, j, c in pairs if UNEVEN[i] == UNEVEN[j])
    return 0.3 * pulled + 0.7 * mean((c - 0.1).clamp(min=0) for i, j, c in pairs if UNEVEN[i] != UNEVEN[j])


@formula(E, T, teacher_learns=True, temperature=0.5)
def infonce_x_(s: Tensor, t: Tensor) -> Tensor:
    return mean(mean(pick(a, b, i, [i], list(range(6)), 0.5) for i in range(6)) for a, b in ((t, s), (s, t)))


@formula(E, T, teacher_learns=True, temperature=2)
def bicross_nce_(s: Tensor, t: Tensor) -> Tensor:
    return mean(-softmax(torch.stack([t[i] @ row / 2 for row in s]))[i].log() for i in range(6))


@formula(E, given={"labels": UNEVEN}, temperature=0.5)
def supcon_(s: Tensor) -> Tensor:
    anchors = []
    for i in range(6):
        partners = [j for j in range(6) if j != i and UNEVEN[j] == UNEVEN[i]]
        rivals = [j for j in range(6) if j != i]
        if partners:
            anchors.append(mean(pick(s, s, i, [p], rivals, 0.5) for p in partners))
    return mean(anchors)


@formula(E, given={"labels": UNEVEN}, temperature=0.5)
def ntxent_(s: Tensor) -> Tensor:
    pairs = [(i, p) for i in range(6) for p in range(6) if i != p and UNEVEN[i] == UNEVEN[p]]
    strangers = [[j for j in range(6) if UNEVEN[j] != UNEVEN[i]] for i in range(6)]
    return mean(pick(s, s, i, [p], [p, *strangers[i]], 0.5) for i, p in pairs)


@formula(E, T, given={"labels": UNEVEN}, teacher_learns=True, positives=2, temperature=0.5)
def cmkic_(s: Tensor, t: Tensor) -> Tensor:
    sides = []
    for a, b in ((s, t), (t, s)):
        anchors = []
        for i in range(6):
            partners = [j for j in range(6) if UNEVEN[j] == UNEVEN[i]]
            hard = sorted(partners, key=lambda j: (unit(a[i]) @ unit(b[j])).item())[:2]
            strangers = [j for j in range(6) if UNEVEN[j] != UNEVEN[i]]
            anchors.append(mean(pick(a, b, i, [p], [p, *strangers], 0.5) for p in hard))
        sides.append(mean(anchors))
    return total(sides)


@formula(E, noise(4, 5, seed=1), teacher_learns=True, kernels=3, factor=3)
def mmd_(s: Tensor, t: Tensor) -> Tensor:
    rows = [*s, *t]
    squares = {(i, j): ((a - b) ** 2).sum() for i, a in enumerate(rows) for j, b in enumerate(rows)}
    base = total(squares.values()).detach() / 90

    def kernel(i: int, j: int) -> Tensor:
        return total(torch.exp(-squares[i, j] / (base * f)) for f in (1 / 3, 1, 3))

    ours, theirs = range(6), range(6, 10)
    blocks = [mean(kernel(i, j) for i in a for j in b) for a, b in ((ours, ours), (theirs, theirs), (ours, theirs))]
    return blocks[0] + blocks[1] - 2 * blocks[2]


@formula(E, T, teacher_learns=True, alphas=[0.5, 3])
def mkmmd_(s: Tensor, t: Tensor) -> Tensor:
    rows = [*s, *t]
    squares = {(i, j): ((a - b) ** 2).sum() for i, a in enumerate(rows) for j, b in enumerate(rows)}
    width = mean(squares.values()).detach()

    def kernel(i: int, j: int) -> Tensor:
        return total(torch.exp(-squares[i, j] / (2 * alpha * width)) for alpha in (0.5, 3))

    within = [kernel(i + o, j + o) for o in (0, 6) for i in range(6) for j in range(6) if i != j]
    across = [kernel(i, j + 6) for i in range(6) for j in range(6)]
    return total(within) / 30 - 2 * total(across) / 36 + 2 / 5


def covariance(x: Tensor) -> Tensor:
    return total(torch.outer(row - x.mean(0), row - x.mean(0)) for row in x) if len(x) == 1 else torch.cov(x.T)


@formula(E, T, teacher_learns=True)
def coral_(s: Tensor, t: Tensor) -> Tensor:
    return ((covariance(s) - covariance(t)) ** 2).sum() / 100


@formula(E, T, teacher_learns=True)
def coral_mean_(s: Tensor, t: Tensor) -> Tensor:
    return ((s.mean(0) - t.mean(0)) ** 2).mean() + ((covariance(s) - covariance(t)) ** 2).mean()


@formula(E, T, teacher_learns=True, invariance_weight=2, variance_weight=3, covariance_weight=4)
def vicreg_(s: Tensor, t: Tensor) -> Tensor:
    value = 2 * ((s - t) ** 2).mean()
    for x in (s, t):
        c = covariance(x)
        spread = mean((1 - (c[d, d] + 1e-4).sqrt()).clamp(min=0) for d in range(5))
        value = value + 3 * spread / 2 + 4 * total(c[d, e] ** 2 for d in range(5) for e in range(5) if d != e) / 5
    return value


def moved(s: Tensor, t: Tensor, cost: Callable[[Tensor, Tensor], Tensor], epsilon: float, steps: int) -> Tensor:
    costs = torch.stack([torch.stack([cost(a, b) for b in t]) for a in s])
    kernel = torch.exp(-costs.detach() / epsilon)
    u, v = torch.ones(len(s), dtype=s.dtype), torch.ones(len(t), dtype=s.dtype)
    for _ in range(steps):
        u = 1 / len(s) / (kernel @ v)
        v = 1 / len(t) / (kernel.T @ u)
    return (u[:, None] * kernel * v[None] * costs).sum()


@formula(E, noise(4, 5, seed=1), teacher_learns=True, cost="squared", epsilon=0.5, iterations=20)
def entropic_ot_(s: Tensor, t: Tensor) -> Tensor:
    return moved(s, t, lambda a, b: ((a - b) ** 2).mean(), 0.5, 20)


@formula(E, T, epsilon=0.2, iterations=20)
def wcord_(s: Tensor, t: Tensor) -> Tensor:
    return moved(s, t, lambda a, b: 1 - unit(a) @ unit(b), 0.2, 20)


@formula(E, T, given={"labels": UNEVEN}, teacher_learns=True, soft=True)
def triplet_(s: Tensor, t: Tensor) -> Tensor:
    rows, subjects = [*s, *t], [*UNEVEN.tolist()] * 2
    values = []
    for i, a in enumerate(rows):
        far = max(gap(a, b) for j, b in enumerate(rows) if subjects[j] == subjects[i] and j != i)
        near = min(gap(a, b) for j, b in enumerate(rows) if subjects[j] != subjects[i])
        values.append(torch.log(1 + torch.exp(far - near)))
    return mean(values)


@formula(E, given={"labels": ROWS})
def triplet_wrt_(s: Tensor) -> Tensor:
    values = []
    for i in range(6):
        d = torch.stack([gap(s[i], s[j]) if j != i else torch.tensor(1e-6, dtype=s.dtype) for j in range(6)])
        same, other = d[ROWS[i] == ROWS], d[ROWS[i] != ROWS]
        w, v = (same - same.max()).exp(), (-other).exp()
        hard, near = (w * same).sum() / (w.sum() + 1e-6), (v * other).sum() / (v.sum() + 1e-6)
        values.append(torch.log(1 + torch.exp(hard - near)))
    return mean(values)


ALIKE = (noise(6, 6, seed=3) + noise(6, 6, seed=3).T).tanh()


@formula(E, given={"labels": torch.tensor([0, 0, 0, 1, 1, 1]), "similarity": ALIKE}, margin=0.4, order_weight=0.5)
def adaptive_triplet_(s: Tensor) -> Tensor:
    values = []
    for i in range(6):
        mates = [j for j in range(6) if j // 3 == i // 3 and j != i]
        p, q = sorted(mates, key=lambda j: -float(gap(s[i].detach(), s[j].detach())))[:2]
        near = min(gap(s[i], s[j]) for j in range(6) if j // 3 != i // 3)
        first, second = gap(s[i], s[p]), gap(s[i], s[q])
        a, b = ALIKE[i, p], ALIKE[i, q]
        y = -1 if a < b else 1
        hinge = (first + 0.4 * (a - 1) - near + 0.4).clamp(min=0)
        values.append(hinge + 0.5 * (-y * (second - first - 0.4 * (a - b - y)) + 0.4).clamp(min=0))
    return mean(values)


CPM = torch.tensor([0, 0, 0, 1, 1, 2])


@formula(noise(24, 5), given={"labels": CPM.repeat(4)}, margin=0.5)
def deen_cpm_(s: Tensor) -> Tensor:
    v, i, vk, ik = ([group[k].mean(0) for k in (slice(0, 3), slice(3, 5), slice(5, 6))] for group in s.chunk(4))

    def one(own: Any, grown: Any, other: Any) -> Tensor:
        values = []
        for n in range(3):
            p, q = gap(other[n], grown[n]), gap(own[n], grown[n]).detach()
            m, r = (min(gap(c[n], c[j]) for j in range(3) if j != n) for c in (grown, own))
            h = [(p - x + 0.5).clamp(min=0) for x in (q, m, r)]
            values.append(h[0] + h[1] / 2 + h[2] / 2)
        return mean(values)

    return (one(v, vk, i) + one(i, ik, v)) / 2


@formula(E, given={"labels": UNEVEN}, pull_margin=0.1, push_margin=3)
def centre_(s: Tensor) -> Tensor:
    means = [s[k == UNEVEN].mean(0) for k in range(3)]
    # A row that is its own centre is nearer than the margin.
    pull = [(gap(s[i], means[int(UNEVEN[i])]) - 0.1).clamp(min=0) for i in range(5)]
    push = [(3 - gap(means[j], means[k])).clamp(min=0) for j in range(3) for k in range(3) if j != k]
    return total(pull) / 6 + mean(push)


@formula(noise(12, 5), noise(12, 5, seed=1), given={"labels": UNEVEN.repeat(2)}, teacher_learns=True)
def idkl_centre_(s: Tensor, t: Tensor) -> Tensor:
    values = []
    for k in range(3):
        after, before = (gap(x[:6][k == UNEVEN].mean(0), x[6:][k == UNEVEN].mean(0)) for x in (s, t))
        values.append((after - before).clamp(min=0))
    return mean(values)


@formula(E, T, teacher_learns=True, form="cosine")
def orthogonal_(s: Tensor, t: Tensor) -> Tensor:
    return mean((unit(a) @ unit(b)).abs() for a, b in zip(s, t, strict=True))


def both_ways(a: Tensor, b: Tensor) -> Tensor:
    return mean(kl(softmax(x), softmax(y)) + kl(softmax(y), softmax(x)) for x, y in zip(a, b, strict=True))


def structure(x: Tensor) -> Tensor:
    return torch.stack([torch.stack([gap(x[i], x[j]) for j in range(len(x)) if j != i]) for i in range(len(x))])


OWN = noise(6, 4, seed=5)


@formula(E, T, given={"own_student": OWN, "own_teacher": OWN[[1, 0, 3, 2, 5, 4]]}, teacher_learns=True, own_weight=0.5)
def tgsa_(s: Tensor, t: Tensor) -> Tensor:
    v, i, m = structure(s), structure(t), structure(torch.stack([*s[:3], *t[:3]]))
    own = both_ways(v, structure(OWN)) + both_ways(i, structure(OWN[[1, 0, 3, 2, 5, 4]]))
    return both_ways(v, i) + both_ways(v, m) + both_ways(m, i) + 0.5 * own


@formula(E, T, given={"own_student": T.flip(0)}, teacher_learns=True, own_weight=0.5, images=2)
def csa_(s: Tensor, t: Tensor) -> Tensor:
    def join(x: Tensor) -> Tensor:
        return torch.stack([torch.cat([x[2 * p + k] for p in range(3)]) for k in range(2)])

    own = T.flip(0)
    plain = both_ways(s, t) + 0.5 * both_ways(s, own)
    return plain + both_ways(join(s), join(t)) + 0.5 * both_ways(join(s), join(own))


@formula(E, T, teacher_learns=True)
def idkl_entropy_(s: Tensor, t: Tensor) -> Tensor:
    def entropy(row: Tensor) -> Tensor:
        return -(softmax(row) * softmax(row).log()).sum()

    return mean((entropy(b) - entropy(a)).clamp(min=0).exp() - 1 for a, b in zip(s, t, strict=True))


@formula(E, T, given={"labels": UNEVEN}, classes=4, scale=5)
def prototypes_(s: Tensor, t: Tensor) -> Tensor:
    # At the first batch each prototype is its class's mean; the fourth class was never seen.
    means = [torch.cat([s[k == UNEVEN], t[k == UNEVEN]]).mean(0).detach() for k in range(3)]
    return mean(-softmax(torch.stack([5 * unit(s[i]) @ unit(m) for m in means]))[UNEVEN[i]].log() for i in range(6))


LOGITS = 3 * noise(6, 4, seed=8)


@formula(E, LOGITS, classes=4, scale=5)
def proto_ssl_(s: Tensor, z: Tensor) -> Tensor:
    named = z.argmax(1).tolist()
    present = sorted(set(named))
    means = {k: torch.stack([s[i] for i in range(6) if named[i] == k]).mean(0).detach() for k in present}
    values = []
    for a, b in zip(s, z, strict=True):
        zero = torch.zeros((), dtype=s.dtype)
        cosines = torch.stack([unit(a) @ unit(means[k]) if k in means else zero for k in range(4)])
        values.append(kl(softmax(softmax(b.detach())[present]), softmax(softmax(5 * cosines)[present])))
    return mean(values)


@pytest.mark.parametrize("name", sorted(SLOW))
def test_loss_and_its_gradient_equal_the_formula_in_loops(name: str, agree: Any) -> None:
    slow, inputs, given, options, frozen = SLOW[name]

    def loss(*tensors: Tensor) -> Tensor:
        return losses.create(name, **options)(*tensors, **given)

    agree(loss, slow, *inputs, detached=frozen)


LEARNED_ELSEWHERE = {
    "rcd",
    "vid",
    "simkd",
    "gkd_qsd",
    "crd",
    "wcord_global",
    "arcface",
    "cosface",
    "adaface",
    "subcentre",
}


LANDMARKS = {"wing", "smooth_l1", "gnll", "anisotropic", "heatmap", "dikd"}
FEW_PIXELS = {"softmax", "decoded", "hint_cosine", "fskd_cross", "selective"}
"""Held to plain versions in ``test_landmark_losses.py`` and ``test_lowres_losses.py``."""


SPECTRA = {"structure_kl", "spectrum_head", "subject_spectrum", "mixer_identity", "idkl_heads"}
"""Held to plain versions in ``test_peer_losses.py``."""


def test_every_loss_has_a_slow_formula_here_or_in_a_file_of_its_own() -> None:
    assert set(SLOW) | LEARNED_ELSEWHERE | LANDMARKS | FEW_PIXELS | SPECTRA == set(losses.LOSSES)
    assert len(losses.LOSSES) >= 55


def test_supcon_of_two_spectra_is_that_of_all_their_rows() -> None:
    both = losses.create("supcon")(E, T, labels=UNEVEN, target_labels=UNEVEN + 1)
    rows = losses.create("supcon")(torch.cat([E, T]), labels=torch.cat([UNEVEN, UNEVEN + 1]))
    torch.testing.assert_close(both, rows)


@pytest.mark.parametrize("name", ["supcon", "ntxent", "triplet", "triplet_wrt", "centre"])
def test_the_same_rows_given_twice_count_once(name: str) -> None:
    loss = losses.create(name)
    torch.testing.assert_close(loss(E, E, labels=UNEVEN), loss(E, labels=UNEVEN), rtol=0, atol=0)


def test_cpm_of_two_spectra_apart_is_that_of_all_rows_in_order() -> None:
    rows = noise(24, 5)
    v, i, vk, ik = rows.chunk(4)
    whole = losses.create("deen_cpm")(rows, labels=CPM.repeat(4))
    apart = losses.create("deen_cpm")(torch.cat([v, vk]), torch.cat([i, ik]), labels=CPM.repeat(2))
    torch.testing.assert_close(whole, apart, rtol=0, atol=0)


@pytest.mark.parametrize("soft", [False, True])
def test_triplet_of_separable_subjects_is_small_with_a_finite_gradient(soft: bool) -> None:
    rows = (100 * F.one_hot(ROWS, 5).double() + 0.01 * E).requires_grad_()
    value = losses.create("triplet", soft=soft)(rows, labels=ROWS)
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-12)
    assert torch.isfinite(rows.grad).all()


def test_triplet_of_one_subject_alone_is_zero_with_a_finite_gradient() -> None:
    rows = E.clone().requires_grad_()
    for name in ("triplet", "triplet_wrt", "ntxent"):
        value = losses.create(name)(rows, labels=torch.zeros(6))
        assert torch.isfinite(value)
        assert torch.isfinite(torch.autograd.grad(value, rows)[0]).all()


def test_dkd_of_extreme_logits_is_finite_where_the_two_bin_logarithm_overflows() -> None:
    student, teacher = torch.zeros(2, 3), torch.tensor([[400.0, 0, 0], [0, 0, 400]])
    student[:, 1] = 4000.0
    student.requires_grad_()
    value = losses.create("dkd")(student, teacher, labels=torch.tensor([0, 2]))
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(student.grad).all()


def test_rows_that_coincide_have_finite_gradients() -> None:
    rows = torch.cat([E[:3], E[:3]]).requires_grad_()
    for name in ("rkd", "sp", "pkt", "mmd", "coral", "wcord"):
        value = losses.create(name)(rows, T)
        assert torch.isfinite(torch.autograd.grad(value, rows)[0]).all(), name
    value = losses.create("centre")(rows, labels=torch.tensor([0, 1, 2, 0, 1, 2]))
    assert torch.isfinite(torch.autograd.grad(value, rows)[0]).all()
