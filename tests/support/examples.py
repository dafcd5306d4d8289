"""How many random examples a test looks at, where one costs much more than usual."""

from __future__ import annotations

from hypothesis import settings


def fewer(share: float) -> settings:
    """A share of the examples that the profile asks for, but five at least: `make test-slow` and `make soak` look further here as
    everywhere, which a number of one's own would prevent."""
    return settings(max_examples=max(5, round(settings().max_examples * share)))
