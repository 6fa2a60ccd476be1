"""One job per place: what each brought, what each lost, and no bug hidden."""

import threading

import pytest

from onearm.each import at_once, each
from onearm.errors import OnearmError, PlaceError, Unreachable, UsageError


def failing(error):
    def job():
        raise error

    return job


def test_no_jobs():
    assert each({}) == ({}, {})


def test_values_and_errors_by_place():
    lost = Unreachable("gone")
    assert each({"a": lambda: 1, "b": failing(lost), "c": lambda: None}) == (
        {"a": 1, "c": None},
        {"b": lost},
    )


@pytest.mark.parametrize("error", [ValueError("x"), OnearmError("x"), TimeoutError("x")])
def test_a_bug_comes_through(error):
    assert not isinstance(error, PlaceError)
    with pytest.raises(type(error)):
        each({"a": lambda: 1, "b": failing(error)})


def test_all_places_work_at_once_but_no_more_than_the_width():
    meet = threading.Barrier(4, timeout=10)
    assert len(each({str(n): meet.wait for n in range(8)}, width=4)[0]) == 8


def test_the_width_is_the_operators(monkeypatch):
    assert at_once() == 32
    for said, found in (("1", 1), ("1000", 1000), ("", 32)):
        monkeypatch.setenv("ONEARM_PARALLEL", said)
        assert at_once() == found
    monkeypatch.setenv("ONEARM_PARALLEL", "2")
    meet = threading.Barrier(2, timeout=10)
    assert len(each({str(n): meet.wait for n in range(4)})[0]) == 4
    monkeypatch.setenv("ONEARM_PARALLEL", "1")
    busy = threading.Semaphore(1)

    def alone():
        assert busy.acquire(blocking=False)
        busy.release()

    each(dict.fromkeys("abcd", alone))


@pytest.mark.parametrize("said", ["0", "-1", "many", "1001", "1.5", "٣", "9" * 5000])
def test_a_width_that_cannot_be_is_said(monkeypatch, said):
    monkeypatch.setenv("ONEARM_PARALLEL", said)
    with pytest.raises(UsageError, match="how many hosts at once, 1 to 1000"):
        each({"a": lambda: 1})
