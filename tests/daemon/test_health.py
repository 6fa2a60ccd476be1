"""Health is a pure step: rise, fall, the first good result, and patience with those that flap."""

from datetime import datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from onearm.health import FLAPS, STRICTEST, WINDOW, Health, step, strictness
from onearm.snapshot import DOWN, UNKNOWN, UP

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)


def told(results, *, rise=2, fall=3, health=None, every_s=1):
    """Give the health after results, one a second."""
    health = health or Health()
    for n, ok in enumerate(results):
        now = NOW + timedelta(seconds=n * every_s)
        health = step(health, ok, "" if ok else "refused", now, rise, fall)
    return health


def test_the_first_good_result_is_trusted():
    assert told([True]).status == UP
    assert told([False, False, True]).status == UP


def test_an_unknown_one_falls_like_any_other():
    assert told([False, False]).status == UNKNOWN
    assert told([False, False, False]).status == DOWN


def test_rise_and_fall_count_results_in_a_row():
    up = told([True])
    assert told([False, False, True, False, False], health=up).status == UP
    down = told([False, False, False], health=up)
    assert (down.status, down.reason) == (DOWN, "refused")
    assert told([True], health=down).status == DOWN
    assert told([True, False, True], health=down).status == DOWN
    assert told([True, True], health=down).status == UP


def test_the_reason_is_the_newest_one():
    down = told([False] * 3)
    assert step(down, ok=False, reason="HTTP 503", now=NOW, rise=2, fall=3).reason == "HTTP 503"


def test_one_that_flaps_has_to_prove_more_each_time():
    health, needed = told([True]), []
    for n in range(FLAPS + 6):
        health = told([False], fall=1, health=health)
        count = 0
        while health.status == DOWN:
            health = step(health, True, "", NOW + timedelta(seconds=n), 2, 1)  # noqa: FBT003
            count += 1
        needed.append(count)
    assert needed[:FLAPS] == [2] * FLAPS
    assert needed[FLAPS:] == [4, 8, *[2 * STRICTEST] * 4]
    assert strictness(health, NOW + WINDOW + timedelta(minutes=1)) == 1


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 5), st.integers(1, 5))
def test_any_results(results, rise, fall):
    """A status turns only after enough results in a row that speak for the other one."""
    health, row = Health(), []
    for n, ok in enumerate(results):
        before = health
        health = step(health, ok, "x", NOW + timedelta(seconds=n), rise, fall)
        row = [*row, ok] if not row or row[-1] == ok else [ok]
        if health.status != before.status:
            least = 1 if before.status == UNKNOWN else rise
            assert len(row) >= (least if ok else 1)
            assert health.status == (UP if ok else DOWN)
            if before.status == UP:
                assert len(row) >= fall
    if results and all(results):
        assert health.status == UP
