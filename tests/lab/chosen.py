"""A part of many cases, chosen by the seed of the run, which is printed; ALL=1 is all of them."""

import os
import random

SEED = os.environ.get("SEED", "0")  # make gives every run another: SEED=... repeats a choice


def part(cases, one_of=3):
    """Choose one of three, or all."""
    if "ALL" in os.environ:
        return list(cases)
    rng = random.Random(SEED)  # noqa: S311 - a choice of tests
    chosen = set(rng.sample(range(len(cases)), -(-len(cases) // one_of)))
    return [case for n, case in enumerate(cases) if n in chosen]
