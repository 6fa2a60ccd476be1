"""One job per place: what each brought, what each lost, and no bug hidden."""

import threading

import pytest

from onearm.each import each
from onearm.errors import OnearmError, PlaceError, Unreachable


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
