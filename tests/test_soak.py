"""A soak's judgement finds what it must: a failure without a cause, memory that grows, leaks."""

from onearm.lab.soak.judge import Sample, Window, fits, leaks, unexplained

BEGUN = 1_700_000_000.0


def result(*failures):
    return {
        "begun": "2023-11-14T22:13:20.000Z",
        "timeout_s": 3,
        "failures": [
            {"begun_s": begun, "at_s": at, "server": server} for begun, at, server in failures
        ],
    }


def window(begun, over, *costs):
    return Window(BEGUN + begun, BEGUN + over, "something", frozenset(costs))


def life(pid, kilobytes, **more):
    rest = {"fds": 8, "sockets": 3, "marks": 2, "entries": 30, **more}
    return [Sample(BEGUN + 5 * n, pid, rss, **rest) for n, rss in enumerate(kilobytes)]


def test_a_failure_belongs_to_a_trouble_that_was_on_and_could_cause_it():
    on = [window(100, 110, "server-2")]
    assert not unexplained(result((101, 104, None), (99, 102, "server-2")), on)
    assert not unexplained(result((10, 105, "server-2")), on)  # a transfer that it cut
    assert unexplained(result((101, 104, "server-3")), on)
    assert unexplained(result((10, 20, "server-2")), on)
    assert unexplained(result((113, 116, None)), on)
    assert unexplained(result((10, 120, "server-2")), on)  # a transfer long after it
    assert unexplained(result((101, 104, None)), [window(100, 110)])  # that one costs nothing


def test_memory_that_grows_is_told_from_memory_that_fills():
    steady = [27_000 + 100 * min(n, 4) + 40 * (n % 3) for n in range(40)]
    grown = [27_000 + 60 * n for n in range(40)]
    (flat,) = fits(life(7, steady))
    (steep,) = fits(life(7, grown))
    assert not flat.grows
    assert steep.grows and round(steep.kb_per_minute) == 720


def test_each_life_of_a_daemon_is_judged_for_itself():
    lives = life(7, [27_000] * 20) + life(9, [35_000] * 20) + life(11, [20_000] * 3)
    assert [(fit.pid, fit.grows) for fit in fits(lives)] == [(7, False), (9, False)]


def test_descriptors_sockets_and_marks_that_stay_are_leaks():
    quiet = life(7, [27_000])[0]
    assert not leaks(quiet, quiet._replace(fds=10, sockets=5))
    assert len(leaks(quiet, quiet._replace(fds=30, sockets=20, marks=3))) == 3
    assert leaks(quiet, quiet._replace(marks=1))
