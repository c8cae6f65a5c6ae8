"""Who is who where only pairs are known."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import TypeVar

__all__ = ["components"]

Thing = TypeVar("Thing", bound=Hashable)


def components(genuine: Iterable[tuple[Thing, Thing]]) -> dict[Thing, Thing]:
    """Return for each thing the first one of its group, where a genuine pair joins two things.

    Things that no pair names are in no group.

    Example:
        >>> components([("a", "b"), ("c", "d"), ("b", "d")])
        {'a': 'a', 'b': 'a', 'c': 'a', 'd': 'a'}
    """
    order: dict[Thing, int] = {}
    parent: dict[Thing, Thing] = {}

    def top(thing: Thing) -> Thing:
        while parent[thing] != thing:
            parent[thing] = parent[parent[thing]]
            thing = parent[thing]
        return thing

    for pair in genuine:
        for thing in pair:
            parent.setdefault(thing, thing)
            order.setdefault(thing, len(order))
        first, second = top(pair[0]), top(pair[1])
        low, high = sorted((first, second), key=order.__getitem__)
        parent[high] = low
    return {thing: top(thing) for thing in parent}
