"""The loop: targets come and go, ports are kept to, trouble of our own is nobody's fault."""

import contextlib
import errno
import os
import queue
import resource
import socket
import threading
import time
from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from asking import (
    PATIENCE_S,
    Heard,
    Tcp,
    Udp,
    check,
    free_port,
    http,
    named,
    open_files,
    patient,
    says,
    target,
    until_closed,
)

from onearm.checks import Trouble
from onearm.checks.loop import LONG_S, patience_s
from onearm.checks.stream import Stream
from onearm.checks.troubles import SPELL_S, Troubles
from onearm.checks.verdict import THEIRS, UNSENT, Ours, early, late
from onearm.checks.wheel import TICK_S, Wheel


def rounds(heard, key, count):
    """Wait for so many results of one key."""
    found = []
    while len(found) < count:
        result = heard.next()
        if result.key == key:
            found.append(result)
    return found


def test_good_and_bad_servers_beside_each_other_do_not_disturb_each_other():
    def garbage(connection):
        with contextlib.suppress(OSError):
            while True:
                connection.sendall(os.urandom(4096))

    fine = says(http(b"200 OK", b"fine"))
    with Tcp(fine) as good, Tcp(until_closed) as hangs, Tcp(garbage) as wild:
        web = check("http", timeout_s=0.1, interval_s=0.2)
        ports = {"hangs": hangs.port, "wild": wild.port, "dead": free_port()}
        bad = [target(web, port, key=(name, n)) for name, port in ports.items() for n in range(20)]
        one = target(replace(web, timeout_s=5, interval_s=5), good.port, key="good")
        with Heard(*bad, *[named(one, ("good", n)) for n in range(20)]) as heard:
            results = heard.of(*[(name, n) for name in ("good", *ports) for n in range(20)])
            assert heard.troubles.empty()
    for (name, _), result in results.items():
        assert result.ok == (name == "good"), result
    assert {r.reason for (n, _), r in results.items() if n == "dead"} == {"connection refused"}


def test_targets_are_asked_again_and_again_and_counted():
    with Tcp(until_closed) as server, Heard(target(check("tcp"), server.port)) as heard:
        found = rounds(heard, "one", 5)
        counts = heard.checks.counts
        heard.checks.set_targets(())
        while heard.checks.counts.targets:
            pass
        assert heard.checks._flying == {}
    assert all(result.ok for result in found)
    assert [result.at for result in found] == sorted(result.at for result in found)
    assert counts.targets == 1 and counts.bad == counts.troubled == 0
    assert counts.started >= counts.good >= 5


def test_targets_change_while_it_runs():
    opened, closed = threading.Event(), threading.Event()

    def hang(connection):
        opened.set()
        until_closed(connection)
        closed.set()

    with Tcp(hang) as server, Heard(target(patient("http"), server.port, key="old")) as heard:
        assert opened.wait(PATIENCE_S)
        new = target(check("tcp"), server.port, key="new")
        heard.checks.set_targets((new,))
        assert closed.wait(PATIENCE_S), "what is in flight to one that is gone is closed"
        rounds(heard, "new", 2)
        changed = replace(new, port=free_port())
        heard.checks.set_targets((changed, replace(new, key="third")))
        assert heard.of("third")["third"].ok
        while heard.next().ok or heard.checks.counts.targets != 2:
            pass
        heard.checks.set_targets(())
        while heard.checks.counts.targets:
            pass
        assert heard.checks.counts.in_flight == 0


def test_targets_that_stay_keep_their_probe_in_flight():
    begun = queue.SimpleQueue()

    def hang(connection):
        begun.put(connection)
        until_closed(connection)

    with Tcp(hang) as server:
        stays = target(patient("http"), server.port)
        with Heard(stays) as heard:
            begun.get(timeout=PATIENCE_S)
            for n in range(20):
                other = target(check("tcp"), server.port, key=n)
                heard.checks.set_targets((replace(stays), other))
                heard.of(n)
            assert begun.empty()
            assert heard.checks.counts.started >= 21


def test_stop_closes_what_is_in_flight():
    opened, closed = threading.Event(), threading.Event()

    def hang(connection):
        opened.set()
        until_closed(connection)
        closed.set()

    with Tcp(hang) as server:
        with Heard(target(patient("http"), server.port)):
            assert opened.wait(PATIENCE_S)
        assert closed.wait(PATIENCE_S)


def peers(count, source_ports, **more):
    """Ask a few times; give the ports that the server saw."""
    seen = queue.SimpleQueue()

    def listen(connection):
        seen.put(connection.getpeername())
        says(http(b"200 OK"))(connection)

    with Tcp(listen) as server:
        one = target(check("http", timeout_s=5, interval_s=5), server.port, **more)
        asked = [named(replace(one, source_ports=source_ports), n) for n in range(count)]
        with Heard(*asked) as heard:
            heard.of(*range(count))
            return [seen.get(timeout=PATIENCE_S) for _ in range(count)], heard.checks.counts


def block(size):
    """Find a run of free ports, below those that the kernel gives away by itself."""
    for start in range(20_000, 32_000, size):
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for port in range(start, start + size):
                stack.enter_context(socket.socket()).bind(("127.0.0.9", port))
            return range(start, start + size)
    raise AssertionError("no free run of ports")


def test_the_source_is_bound_and_its_ports_are_taken_in_turn():
    ports = block(4)
    found, _ = peers(1, ports, source=IPv4Address("127.0.0.9"))
    assert found[0][0] == "127.0.0.9" and found[0][1] in ports
    with Udp(lambda _: [b"x"]) as server:
        one = target(check("udp", timeout_s=5, interval_s=0.1), server.port, source_ports=ports)
        with Heard(one) as heard:
            assert all(result.ok for result in rounds(heard, "one", 6))


def test_a_source_without_ports_has_the_kernel_choose():
    found, _ = peers(1, None, source=IPv4Address("127.0.0.9"))
    assert found[0][0] == "127.0.0.9"


def test_a_taken_port_is_passed_over_and_a_taken_block_is_no_result():
    ports = block(3)
    source = IPv4Address("127.0.0.9")
    with contextlib.ExitStack() as stack:
        for port in ports[:2]:
            stack.enter_context(socket.socket()).bind((str(source), port))
        found, counts = peers(1, ports, source=source)
        assert found[0] == (str(source), ports[2])
        assert counts.starved == 0
        stack.enter_context(socket.socket()).bind((str(source), ports[2]))
        starving = target(check("tcp"), free_port(), source=source, source_ports=ports)
        with Heard(starving) as heard:
            trouble = heard.trouble()
            while heard.checks.counts.starved < 3:
                pass
            assert heard.results.empty() and heard.troubles.empty()
    assert trouble.kind == "starved"
    assert f"no free source port for server-2 among {ports[0]}-{ports[2]}" in trouble.text


def test_the_mark_is_set_or_that_it_may_not_be_is_trouble(monkeypatch):
    marks = []
    close = Stream.close

    def look(probe, watch):
        if probe.sock is not None:
            marks.append(probe.sock.getsockopt(socket.SOL_SOCKET, socket.SO_MARK))
        close(probe, watch)

    monkeypatch.setattr(Stream, "close", look)
    with Tcp(says(http(b"200 OK"))) as server:
        with Heard(target(patient("http"), server.port, mark=0x10001)) as heard:
            if os.geteuid():
                assert "CAP_NET_ADMIN" in heard.trouble().text
                return
            assert heard.next().ok
    assert marks == [0x10001]


def test_a_source_that_is_not_ours_is_trouble_and_no_result():
    with Heard(target(check("tcp"), 80, source=IPv4Address("192.0.2.1"))) as heard:
        trouble = heard.trouble()
        while heard.checks.counts.troubled < 3:
            pass
        assert heard.results.empty() and heard.troubles.empty(), "told once"
        assert heard.checks.troubles == (trouble,)
    assert trouble.kind == "EADDRNOTAVAIL"
    assert "from 192.0.2.1" in trouble.text and "not this host's" in trouble.text


def test_no_descriptor_left_is_trouble_and_passes():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Tcp(until_closed) as server, Heard() as heard:
        used = max(number for number, _ in open_files())
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 1, hard))
        taken = []
        try:
            with contextlib.suppress(OSError):
                while True:
                    taken.append(os.dup(0))
            heard.checks.set_targets((target(check("tcp"), server.port),))
            trouble = heard.trouble()
            assert heard.results.empty()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for fd in taken:
                os.close(fd)
        assert heard.next().ok
    assert trouble.kind == "EMFILE"
    assert "raise the limit of open files" in trouble.text


def test_a_bug_is_told_and_leaves_the_others_alone(monkeypatch, caplog):
    monkeypatch.setattr("onearm.checks.http.Http.opened", lambda _: 1 / 0)
    with Tcp(says(http(b"200 OK"))) as server:
        broken = target(check("http"), server.port, key="broken")
        with Heard(broken, target(check("tcp"), server.port, key="fine")) as heard:
            assert heard.trouble().kind == "bug"
            assert all(result.ok for result in rounds(heard, "fine", 3))
    assert "ZeroDivisionError" in caplog.text


def test_many_rounds_leave_nothing_open():
    with Tcp(says(http(b"200 OK"))) as server, Udp(lambda data: [data]) as echo:
        kinds = [("tcp", server), ("http", server), ("tls", server), ("udp", echo)]
        many = [target(check(k), s.port, key=(k, n)) for k, s in kinds for n in range(10)]
        with Heard(*many) as heard:
            for key in [t.key for t in many]:
                rounds(heard, key, 1)
            before = len(open_files())
            while heard.checks.counts.started < 1000:
                heard.next()
            heard.checks.set_targets(())
            while heard.checks.counts.targets or heard.checks.counts.in_flight:
                pass
            assert not heard.checks._flying
            assert len(open_files()) <= before
            assert heard.troubles.empty()


def test_a_stall_of_ours_is_no_timeout_of_theirs():
    wheel = Wheel(100.0)
    wheel.slot(1.0).expiries.append("late")
    wheel.slot(1.0 + 2 * TICK_S).begins.append("next")
    assert wheel.wait_s(100.5) == pytest.approx(0.5)
    assert wheel.late_s(100.9) is None
    late_s = wheel.late_s(109.0)
    assert late_s == pytest.approx(8.0)
    wheel.pause(late_s)
    assert wheel.take().expiries == ["late"]
    assert wheel.late_s(109.0) is None, "the next tick is as far behind as it was"
    assert wheel.wait_s(109.0) == pytest.approx(2 * TICK_S)
    assert wheel.take().begins == ["next"]
    assert wheel.wait_s(109.0) is None and wheel.late_s(109.0) is None


def test_the_loop_makes_up_for_a_stall_by_being_late_with_all_that_follows():
    with Heard() as heard:  # without targets its thread sleeps
        checks = heard.checks
        checks._wheel = Wheel(100.0)
        checks._wheel.slot(1.0).begins.append("first")
        checks._wheel.slot(1.0 + 3 * TICK_S).begins.append("second")
        for now in (100.9, 109.0, 109.0, 109.0 + 2 * TICK_S):
            checks._tick(now)
        assert list(checks._due) == ["first"]
        assert checks.counts.paused_s == checks.counts.late_most_s == pytest.approx(8.0)
        checks._tick(109.0 + 3.5 * TICK_S)
        assert list(checks._due) == ["first", "second"]
        assert checks.counts.paused_s == pytest.approx(8.0), "what is late by less than a tick"
        checks._due.clear()


def test_a_stall_of_the_thread_is_counted():
    stalls = iter([1.0])
    with Tcp(says(http(b"200 OK"))) as server:
        heard = Heard(target(check("http", timeout_s=2, interval_s=0.1), server.port))

        def tell(results):
            time.sleep(next(stalls, 0))
            heard._take(results)

        heard.checks._tell = tell
        with heard:
            assert all(result.ok for result in rounds(heard, "one", 5))
            assert heard.checks.counts.paused_s > 0


def test_what_is_due_never_comes_early():
    wheel = Wheel(0.0)
    for n in range(200):
        wheel.slot(n * 0.013).begins.append(n * 0.013)
    now = 0.0
    while (wait_s := wheel.wait_s(now)) is not None:
        now += wait_s
        assert all(due <= now + 1e-9 for due in wheel.take().begins)


@pytest.mark.parametrize("timeout_s", [0.1, 0.25, 0.5, 1.0, 60.0])
def test_a_timeout_ends_with_a_tick_never_after_it_and_a_long_one_spares_one(timeout_s):
    """Else a dead server is out later than interval x fall + timeout, by a tick and a round."""
    spared = TICK_S if timeout_s >= LONG_S else 0.0
    for n in range(1, 1000):
        begun = n * 0.00137
        wheel = Wheel(0.0)
        wheel.slot(begun + patience_s(timeout_s))
        waited = (wheel.wait_s(0.0) or 0.0) - begun
        assert timeout_s - spared - TICK_S - 1e-9 <= waited <= timeout_s - spared + 1e-9


def test_trouble_is_told_once_a_spell():
    told = []
    troubles = Troubles(told.append)
    one, other = Trouble("EMFILE", "a"), Trouble("starved", "b")
    for now in (0, 1, SPELL_S, SPELL_S + 2):
        troubles.add(one, now)
    troubles.add(other, SPELL_S + 2)
    assert told == [one, other]
    assert troubles.lately(2 * SPELL_S + 1) == (one, other)
    assert troubles.lately(3 * SPELL_S) == ()
    troubles.add(one, 3 * SPELL_S)
    assert told == [one, other, one]


@pytest.mark.parametrize("code", [errno.EHOSTUNREACH, errno.ENETUNREACH])
def test_no_route_of_our_own_is_trouble_and_a_routers_word_is_not(code):
    assert not late(code).ok
    with pytest.raises(Ours, match="a probe: "):
        early(code, "a probe")


def test_each_errno_is_theirs_or_ours_and_connect_itself_blames_only_ours():
    for code in errno.errorcode:
        for judge in (late, lambda code: early(code, "a probe")):
            if code in THEIRS and (judge is late or code not in UNSENT):
                assert judge(code) == (False, THEIRS[code])
            else:
                with pytest.raises(Ours, match=errno.errorcode[code]):
                    judge(code)
