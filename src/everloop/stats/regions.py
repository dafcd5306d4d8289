"""Boxes and spans that people marked: how much two of them overlap, and which of two people's mean the same thing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def iou(first: Sequence[float], second: Sequence[float]) -> float:
    """Intersection over union of two boxes ``(x, y, width, height)`` with sides along the axes. It does not change when an axis
    is stretched, so percent of a picture do as well as pixels.

    >>> round(iou((0, 0, 10, 10), (5, 0, 10, 10)), 4), iou((0, 0, 1, 1), (5, 5, 1, 1))
    (0.3333, 0.0)
    """
    wide = min(first[0] + first[2], second[0] + second[2]) - max(first[0], second[0])
    high = min(first[1] + first[3], second[1] + second[3]) - max(first[1], second[1])
    if wide <= 0 or high <= 0:
        return 0.0
    shared = wide * high
    return shared / (first[2] * first[3] + second[2] * second[3] - shared)


def overlap(first: Sequence[float], second: Sequence[float]) -> float:
    """Intersection over union of two spans ``(start, end)``.

    >>> overlap((0, 10), (5, 15)), overlap((0, 2), (2, 4))
    (0.3333333333333333, 0.0)
    """
    shared = min(first[1], second[1]) - max(first[0], second[0])
    return max(0.0, shared / (max(first[1], second[1]) - min(first[0], second[0])))


def matched(
    first: Sequence[T],
    second: Sequence[T],
    likeness: Callable[[T, T], float],
    *,
    least: float = 0.5,
) -> list[tuple[int, int, float]]:
    """Pairs of regions that mean the same thing, as ``(index, index, likeness)``: the most alike first, each region once, none
    below `least` (0.5 as in PASCAL VOC, Everingham et al. 2010). `likeness` is 0 where labels differ.

    >>> matched([(0, 0, 10, 10)], [(50, 50, 5, 5), (1, 0, 10, 10)], iou)
    [(0, 1, 0.8181818181818182)]
    """
    all_pairs = ((likeness(a, b), i, j) for i, a in enumerate(first) for j, b in enumerate(second))
    ranked = sorted(
        (each for each in all_pairs if each[0] >= least), key=lambda each: (-each[0], each[1], each[2])
    )
    found: list[tuple[int, int, float]] = []
    taken_first: set[int] = set()
    taken_second: set[int] = set()
    for alike, i, j in ranked:
        if i not in taken_first and j not in taken_second:
            found.append((i, j, alike))
            taken_first.add(i)
            taken_second.add(j)
    return found
