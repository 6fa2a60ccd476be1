"""The CPU that a guest has: it stays while there is room, goes where most is, and goes whole."""

import os
import subprocess
import sys

import pytest

from onearm.lab import children, seat

TICKS = int(seat.LOOK_S * seat.TICKS)


@pytest.mark.parametrize(
    ("room", "to"),
    [
        ({0: TICKS, 1: TICKS}, 0),
        ({0: TICKS // 2, 1: TICKS}, 0),
        ({0: 0, 1: TICKS}, 1),
        ({0: 0, 1: 0}, 0),
        ({0: 0, 1: TICKS // 5}, 0),
        ({0: 0, 1: TICKS // 2, 2: TICKS}, 2),
        ({0: 0, 3: TICKS}, 0),
    ],
    ids=["idle", "half", "full", "both", "little", "most", "forbidden"],
)
def test_a_guest_moves_only_from_a_full_cpu_to_one_with_room(room, to):
    before = dict.fromkeys(room, 7)
    after = {cpu: 7 + ticks for cpu, ticks in room.items()}
    assert seat.choose(0, sorted(room.keys() - {3} | {1}), before, after) == to


def test_every_cpu_tells_how_long_it_was_idle():
    found = seat.idle()
    assert os.sched_getaffinity(0) <= found.keys()
    assert all(ticks > 0 for ticks in found.values())


def test_it_moves_with_all_that_it_made():
    """A shell and its child: both are where the first is sent, wherever that is."""
    command = ["sh", "-c", "sleep 60 & echo; wait"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as shell:
        shell.stdout.readline()
        members = children.session(shell.pid)
        assert len(members) == 2
        try:
            for cpu in os.sched_getaffinity(0):
                seat.move(shell.pid, cpu)
                assert [os.sched_getaffinity(pid) for pid in members] == [{cpu}] * 2
        finally:
            children.clear(shell.pid)


def test_what_is_launched_has_one_cpu_from_its_first_moment(tmp_path):
    log, reader = tmp_path / "log", os.open(os.devnull, os.O_RDONLY)
    argv = [sys.executable, "-c", "import os; print(os.sched_getaffinity(0))"]
    wanted = max(os.sched_getaffinity(0))
    pid = children.launch(argv, dict(os.environ), keep=reader, log=log, dying=15, cpu=wanted)
    os.waitpid(pid, 0)
    os.close(reader)
    assert log.read_text() == f"{{{wanted}}}\n"


def test_a_seat_looks_twice_and_then_rests(monkeypatch):
    """With its CPU full and another idle it moves, with what it was asked to tend."""
    here = seat.Seat()
    here.allowed, here.cpu = [0, 1], 0
    looks = iter([{0: 5, 1: 5}, {0: 5, 1: 5 + TICKS}])
    moved = []
    monkeypatch.setattr(seat, "idle", lambda: next(looks))
    monkeypatch.setattr(seat, "move", lambda *where: moved.append(where))
    assert here.tend(42) == seat.LOOK_S
    assert moved == []
    assert here.tend(42) > seat.LOOK_S
    assert (moved, here.cpu) == ([(42, 1)], 1)
