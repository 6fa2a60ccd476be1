"""One target under one engine for some seconds, as a process of its own; prints its figures.

    fuzz_run.py atheris|hypothesis TARGET SECONDS SEED FOLDER

It ends with another code than 0 where an input did what none may: raise an error that is not
ours, or take more than CPU_S or MEMORY_MB. The input is then in FOLDER.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
import time
from pathlib import Path

CPU_S = 10  # of one input, which is at most 16 KiB long
MEMORY_MB = 1024
ROUND = 300  # examples of hypothesis between two looks at the clock


class TooSlow(BaseException):  # so that no target swallows it
    """One input took too long."""


def _too_slow(_number: int, _frame: object) -> None:
    raise TooSlow


def bounded(run, data: bytes) -> None:
    """Run a target on one input in bounded time."""
    signal.signal(signal.SIGVTALRM, _too_slow)
    signal.setitimer(signal.ITIMER_VIRTUAL, CPU_S)
    try:
        run(data)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def inputs(target):
    """Give a strategy: bytes, seeds with something cut out or put in, and words in a row."""
    from hypothesis import strategies as st

    piece = st.sampled_from(target.words) | st.binary(max_size=8)
    made = st.lists(piece, max_size=60).map(b"".join)
    ways = [st.binary(max_size=200), made]
    seeds = [seed for seed in target.seeds() if seed]
    if seeds:
        cut = st.tuples(st.sampled_from(seeds), st.integers(0, 1 << 14), st.integers(0, 40), piece)
        ways.append(cut.map(_changed))
    return st.one_of(ways).map(lambda data: data[: target.longest])


def _changed(cut) -> bytes:
    whole, at, gone, piece = cut
    at %= len(whole) + 1
    return whole[:at] + piece + whole[at + gone :]


def by_hypothesis(target, seconds: float, seed: int, folder: Path) -> int:
    """Try examples until the time is over; return how many."""
    import hypothesis

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MB << 20, MEMORY_MB << 20))
    until, count = time.monotonic() + seconds, 0

    def one(data: bytes) -> None:
        nonlocal count
        if time.monotonic() >= until:
            return  # the rest of the round; a busy machine may take long for one
        count += 1
        folder.joinpath("last").write_bytes(data)
        bounded(target.run, data)

    every = list(hypothesis.HealthCheck)
    settings = hypothesis.settings(
        max_examples=ROUND, database=None, deadline=None, suppress_health_check=every
    )
    while time.monotonic() < until:
        hypothesis.seed(seed)(settings(hypothesis.given(inputs(target))(one)))()
        seed += 1
    return count


def by_atheris(name: str, seconds: float, seed: int, folder: Path) -> None:
    """Let coverage lead; libFuzzer prints its own figures and ends the process."""
    import atheris

    with atheris.instrument_imports(include=["onearm", "fuzz_targets"]):
        from fuzz_targets import TARGETS
    target = TARGETS[name]
    for part, found in (("found", []), ("seeds", target.seeds())):
        (folder / part).mkdir()
        for number, data in enumerate(found):
            (folder / part / str(number)).write_bytes(data)
    (folder / "words").write_text("".join(map(_listed, target.words)))
    options = {
        "max_total_time": int(seconds),
        "seed": seed,
        "max_len": target.longest,
        "timeout": CPU_S,
        "rss_limit_mb": MEMORY_MB,
        "print_final_stats": 1,
        "dict": folder / "words",
        "artifact_prefix": f"{folder}/",
    }
    argv = [sys.argv[0], *(f"-{key}={value}" for key, value in options.items())]
    atheris.Setup([*argv, str(folder / "found"), str(folder / "seeds")], target.run)
    atheris.Fuzz()


def _listed(word: bytes) -> str:
    """Write a word for libFuzzer's dictionary."""
    digits = "".join(f"\\x{byte:02x}" for byte in word)
    return f'"{digits}"\n'


def main() -> None:
    engine, name, seconds, seed, folder = sys.argv[1:]
    if engine == "atheris":
        by_atheris(name, float(seconds), int(seed), Path(folder))
        return
    from fuzz_targets import TARGETS

    count = by_hypothesis(TARGETS[name], float(seconds), int(seed), Path(folder))
    print(json.dumps({"executions": count}))


if __name__ == "__main__":
    main()
