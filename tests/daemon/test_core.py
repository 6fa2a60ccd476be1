"""The daemon's owner over a host made of dicts: one event after the other, no kernel."""

import os
import socket
import time
from dataclasses import replace
from ipaddress import ip_address
from itertools import count

import pytest

from fakes import FakeHost
from onearm.checks import Result
from onearm.daemon import between, rounds
from onearm.daemon.core import Core
from onearm.daemon.notify import Notify
from onearm.daemon.source import Source
from onearm.errors import PlaceError
from onearm.facts import DestinationFact, ServiceFact
from onearm.model import (
    Action,
    AnnouncedVip,
    CheckMark,
    Destination,
    HeldVip,
    Mark,
    Service,
    Sysctl,
    state_key,
)
from onearm.serve.door import Door
from onearm.serve.ends import Here
from onearm.snapshot import DOWN, DRAINED, DRAINING, UNKNOWN, UP
from onearm.spec import parse

MOMENTS = count(1.0, 10.0)  # results are an interval and more apart
TEXT = """
directors: {d: 203.0.113.3}
real_servers: {r1: 203.0.113.4, r2: 203.0.113.5}
services:
  - {vip: 203.0.113.2, port: 80/tcp, scheduler: wrr, check: {kind: tcp, fall: 2}}
"""


class FakeChecks:
    """Probes nothing; tests tell the results."""

    troubles = ()

    def __init__(self, *_):
        self.targets = ()

    def set_targets(self, targets):
        self.targets = targets


class Host(FakeHost):
    """A director that can be looked at."""

    dead = ()  # what its link is not: up, carrier

    def look(self, question):
        found = self.facts(question.near)
        links = (replace(link, **dict.fromkeys(self.dead, False)) for link in found.links)
        found = replace(found, links=tuple(links))
        marked = self.kinds(CheckMark)
        more = {"net/ipv4/conf/eth0/accept_local": "0"} if marked else {}
        return replace(found, sysctls={**found.sysctls, **more})

    def services(self):
        to = {m.mark: DestinationFact(m.server, 0, 1, "direct") for m in self.kinds(CheckMark)}
        marks = [
            ServiceFact("0", None, 0, mark, "rr", destinations=(there,))
            for mark, there in to.items()
        ]
        return (*self.facts().services, *marks)

    def note(self, resources):
        for resource in resources:
            self.marks[state_key(resource)] = Mark(resource, (self.spec_name,))

    def remember_hosts(self, hosts):
        self.hosts = hosts

    def kinds(self, kind):
        return [thing for thing in self.things.values() if isinstance(thing, kind)]


class FakeNotify:
    """Keeps what systemd would be told."""

    every_s = None

    def __init__(self):
        self.said = []

    def say(self, *lines):
        self.said.append(lines)

    def reloading(self):
        self.said.append("reloading")

    def heard(self):
        said, self.said = self.said, []
        return said


class Daemon:
    """A core, its host, and the ways to move it on."""

    def __init__(self, tmp_path, text=TEXT, host=None):
        self.path = tmp_path / "web.yaml"
        self.path.write_text(text)
        self.host = host or Host("d", "203.0.113.3")
        source = Source(self.path, "d", parse(text, "web.yaml"))
        self.notify = FakeNotify()
        parts = {"place": self.host, "rules": list, "checks_made": FakeChecks}
        self.core = Core(source, notify=self.notify, **parts)
        self.core.checking.standing = lambda wanted: [
            r for r in wanted if r in self.host.things.values()
        ]
        self.round()

    def round(self):
        self.core._round()

    def good(self, *hosts, times=1):
        self._results(hosts, times, "")

    def bad(self, *hosts, times=1):
        self._results(hosts, times, "refused")

    def _results(self, hosts, times, reason):
        """Tell results of the probes through the VIP, and go through the rounds they ask for."""
        for _ in range(times):
            for target in self.core.checks.targets:
                if target.host in hosts and target.mark:
                    result = Result(target.key, not reason, reason, 0.001, next(MOMENTS))
                    self.core._take(("results", [result]))
            if self.core.dirty:
                self.round()

    def ask(self, do, **request):
        answers = []
        self.core._take(("ask", do, request, answers.append))
        if self.core.dirty:
            self.round()
        return answers[0] if answers else None

    def ask_plainly(self, do, request):
        return self.ask(do, **request)

    def noted(self):
        marks = [mark.resource for mark in self.host.marks.values()]
        return [drain for r in marks if isinstance(r, Service) for drain in r.drains]

    def weights(self):
        return {str(d.server)[-1]: d.weight for d in self.host.kinds(Destination)}

    def states(self):
        return {s.host: s.state for s in self.core.latest.services[0].servers}


@pytest.fixture
def daemon(tmp_path):
    return Daemon(tmp_path)


def test_it_makes_all_but_destinations_before_their_first_good_check(daemon):
    assert daemon.weights() == {}
    assert daemon.states() == {"r1": UNKNOWN, "r2": UNKNOWN}
    assert len(daemon.host.kinds(Service)) == len(daemon.host.kinds(AnnouncedVip)) == 1
    assert len(daemon.host.kinds(CheckMark)) == 2
    assert not daemon.host.kinds(HeldVip)
    assert Sysctl("net/ipv4/conf/eth0/accept_local", "1") in daemon.host.kinds(Sysctl)
    daemon.good("r1")
    assert daemon.weights() == {"4": 1}
    daemon.good("r2")
    assert daemon.weights() == {"4": 1, "5": 1}
    assert daemon.core.latest.converged


def test_a_failing_server_goes_and_comes_back(daemon):
    daemon.good("r1", "r2")
    daemon.bad("r2", times=2)
    assert daemon.weights() == {"4": 1}
    assert daemon.states()["r2"] == DOWN
    assert any("r2 of" in e.text and e.level == "warning" for e in daemon.core.latest.events)
    daemon.good("r2", times=2)
    assert daemon.weights() == {"4": 1, "5": 1}
    assert daemon.states()["r2"] == UP


def test_drift_is_healed_and_counted(daemon):
    daemon.good("r1", "r2")
    (gone,) = [d for d in daemon.host.kinds(Destination) if d.server == ip_address("203.0.113.4")]
    daemon.host.things.pop(state_key(gone))
    daemon.round()
    assert daemon.weights() == {"4": 1, "5": 1}
    assert daemon.core.latest.drift_healed == 1
    assert [e for e in daemon.core.latest.events if e.kind == "drift"]


@pytest.mark.parametrize("kind", [Service, Destination, CheckMark])
def test_drift_of_the_table_shows_in_the_figures_before_a_round_is_due(daemon, kind):
    daemon.good("r1", "r2")
    between.refresh(daemon.core)
    assert not daemon.core.dirty
    gone = daemon.host.kinds(kind)[0]
    daemon.host.things.pop(state_key(gone))
    between.refresh(daemon.core)
    assert daemon.core.dirty


def test_a_ledger_that_somebody_removed_is_written_again_while_it_runs(daemon):
    daemon.good("r1", "r2")
    daemon.ask("drain", host="r1")
    before = dict(daemon.host.marks)
    daemon.host.marks.clear()
    daemon.bad("r2", times=2)
    assert daemon.weights() == {"4": 0}
    (gone,) = before.keys() - daemon.host.marks.keys()
    assert (gone[0], gone[4]) == ("Destination", ip_address("203.0.113.5").packed)
    assert [d.host for d in daemon.noted()] == ["r1"]
    assert len(daemon.host.kinds(CheckMark)) == 2
    said = [e.text for e in daemon.core.latest.events if "the ledger lost" in e.text]
    assert said == ["the ledger lost 8 things of ours: noted again"]
    daemon.good("r2", times=2)
    assert daemon.weights() == {"4": 0, "5": 1}
    assert daemon.core.latest.converged


def test_what_stands_and_never_was_ours_stays_so(tmp_path):
    host = Host("d", "203.0.113.3")
    service = Service("tcp", ip_address("203.0.113.2"), 80, "wrr")
    host.things[state_key(service)] = service
    daemon = Daemon(tmp_path, host=host)
    daemon.good("r1", "r2")
    daemon.round()
    assert state_key(service) not in host.marks
    assert daemon.weights() == {"4": 1, "5": 1}


def test_what_it_does_itself_is_no_drift(daemon):
    daemon.good("r1", "r2")
    daemon.bad("r2", times=2)
    daemon.good("r2", times=2)
    assert daemon.core.latest.drift_healed == 0


def test_a_table_that_somebody_emptied_takes_nobody_out(daemon):
    daemon.good("r1", "r2")
    for kind in (Service, Destination, CheckMark):
        for thing in daemon.host.kinds(kind):
            daemon.host.things.pop(state_key(thing))
    daemon.bad("r1", "r2", times=2)  # the probes end on this host now
    assert daemon.weights() == {"4": 1, "5": 1}
    assert daemon.states() == {"r1": UP, "r2": UP}


def test_a_vip_that_somebody_removed_takes_nobody_out(daemon):
    daemon.good("r1", "r2")
    (vip,) = daemon.host.kinds(AnnouncedVip)
    daemon.host.things.pop(("AnnouncedVip", *vip.key))
    daemon.bad("r1", "r2", times=2)  # the probes went where the network took them
    assert daemon.weights() == {"4": 1, "5": 1}
    assert daemon.states() == {"r1": UP, "r2": UP}
    assert daemon.host.kinds(AnnouncedVip) == [vip]


@pytest.mark.parametrize("dead", ["up", "carrier"])
def test_a_dead_link_of_its_own_takes_nobody_out(daemon, monkeypatch, dead):
    daemon.good("r1", "r2")
    daemon.host.dead = (dead,)
    daemon.core._take(("links",))
    daemon.round()
    daemon.bad("r1", "r2", times=9)
    assert daemon.weights() == {"4": 1, "5": 1}
    daemon.round()
    (said,) = daemon.core.latest.troubles
    assert said == "the link eth0 of this director is down, so nothing is known of the real servers"
    daemon.host.dead = ()
    daemon.round()
    daemon.bad("r1", times=1)  # what was bad before does not count
    assert daemon.weights() == {"4": 1, "5": 1}
    later = time.monotonic() + 61
    monkeypatch.setattr(time, "monotonic", lambda: later)
    daemon.round()
    assert daemon.core.latest.troubles == ()
    daemon.bad("r1", times=1)
    assert daemon.weights() == {"5": 1}


def test_a_drain_lasts_over_a_restart_until_it_is_ended(daemon, tmp_path):
    daemon.good("r1", "r2")
    daemon.host.connections = {d.key: 7 for d in daemon.host.kinds(Destination)}
    assert daemon.ask("drain", host="r2", deadline_s=None) == {"host": "r2"}
    assert daemon.weights() == {"4": 1, "5": 0}
    assert daemon.states()["r2"] == DRAINING
    again = Daemon(tmp_path, host=daemon.host)  # as after kill -9: nothing was said
    assert again.weights() == {"4": 1, "5": 0}
    assert again.states() == {"r1": UNKNOWN, "r2": DRAINING}
    again.ask("undrain", host="r2")
    again.good("r1", "r2")
    assert again.weights() == {"4": 1, "5": 1}


def test_a_drain_is_answered_by_the_round_that_noted_it(daemon):
    """Whoever has the answer may pull the plug: the marks, not the daemon, hold the drain."""
    daemon.good("r1", "r2")

    def asked(do):
        answers = []
        daemon.core._take(("ask", do, {"host": "r2"}, answers.append))
        assert not answers
        daemon.round()
        return answers

    assert asked("drain") == [{"host": "r2"}]
    assert [d.host for d in daemon.noted()] == ["r2"]
    assert asked("undrain") == [{"host": "r2"}]
    assert daemon.noted() == []


@pytest.mark.parametrize("first", ["drain", "undrain"])
def test_a_drain_that_cannot_be_noted_is_refused_and_taken_back(daemon, first):
    daemon.good("r1", "r2")
    if first == "undrain":
        daemon.ask("drain", host="r2")
    before = (daemon.weights(), daemon.noted())
    daemon.host.fails_after = daemon.host.count
    said = daemon.ask(first, host="r2")
    assert isinstance(said, PlaceError)
    assert "r2 could not be" in str(said) and "d: lost" in str(said)
    daemon.host.fails_after = None
    daemon.round()
    assert (daemon.weights(), daemon.noted()) == before
    assert [e.text for e in daemon.core.latest.events if "r2 is as it was" in e.text]


def test_of_two_who_ask_at_once_the_last_is_heard(daemon):
    daemon.good("r1", "r2")
    first, last = [], []
    daemon.core._take(("ask", "drain", {"host": "r2", "deadline_s": 9}, first.append))
    daemon.core._take(("ask", "drain", {"host": "r2", "deadline_s": 5}, last.append))
    daemon.round()
    assert "at the same time" in str(first[0])
    assert last == [{"host": "r2"}]
    assert [d.deadline_s for d in daemon.noted()] == [5]


def test_a_drain_asked_for_at_the_very_end_is_noted_and_answered(daemon):
    daemon.good("r1", "r2")
    answers = []
    daemon.core._take(("ask", "drain", {"host": "r2"}, answers.append))
    daemon.core._end()
    assert answers == [{"host": "r2"}]
    assert [d.host for d in daemon.noted()] == ["r2"]


def test_a_drain_ends_with_the_servers_place_in_the_spec_and_that_is_said(daemon):
    daemon.good("r1", "r2")
    daemon.ask("drain", host="r2")
    daemon.path.write_text(TEXT.replace(", r2: 203.0.113.5", ""))
    daemon.ask("converge", deadline_s=9)
    assert daemon.noted() == []
    assert "r2 left the spec, and its drain ends" in [e.text for e in daemon.core.latest.events]


def test_a_drain_counts_what_its_deadline_cuts(daemon):
    daemon.good("r1", "r2")
    daemon.host.connections = {d.key: 7 for d in daemon.host.kinds(Destination)}
    daemon.ask("drain", host="r2", deadline_s=0)
    assert daemon.weights() == {"4": 1}
    assert daemon.states()["r2"] == DRAINED
    told = daemon.ask("drained", host="r2")
    assert (told["drained"], told["cut"]) == (True, 7)
    assert daemon.core.latest.drain_cut == 7


@pytest.mark.enable_socket
def test_the_names_of_an_apply_come_through_the_door_as_it_reads_them(daemon, tmp_path):
    opened = Door(tmp_path / "d.sock", lambda: daemon.core.latest, daemon.ask_plainly)
    opened.open()
    try:
        Here(tmp_path / "d.sock").ask("hosts", hosts=["d", "r1"])
    finally:
        opened.close()
    assert daemon.host.hosts == ("d", "r1")


@pytest.mark.parametrize(
    ("do", "request_", "said"),
    [
        ("drain", {"host": "x"}, "serves nothing here: known are r1, r2"),
        ("drain", {"host": "r1", "deadline_s": -1}, "a week at most"),
        ("undrain", {"host": "r1"}, "is not drained by hand"),
        ("hosts", {"hosts": "r1"}, "a list of names"),
        ("fly", {}, "knows no command 'fly'"),
    ],
)
def test_what_cannot_be_asked_is_said(daemon, do, request_, said):
    assert said in str(daemon.ask(do, **request_))


def test_a_new_spec_is_carried_out_and_a_bad_one_is_not(daemon):
    daemon.good("r1", "r2")
    daemon.path.write_text(TEXT.replace("check:", "real_servers: {r1: {weight: 5}, r2: }, check:"))
    answer = daemon.ask("converge", digest=None, deadline_s=9)
    assert daemon.weights() == {"4": 5, "5": 1}
    assert answer["converged"]
    daemon.path.write_text("nonsense")
    daemon.core._take(("file",))
    assert "nonsense" in daemon.core.source.error
    daemon.round()
    assert daemon.weights() == {"4": 5, "5": 1}


def test_what_it_cannot_do_is_said_once_and_tried_again(daemon):
    daemon.good("r1", "r2")
    daemon.host.fails_after = 0
    daemon.round()
    daemon.round()
    latest = daemon.core.latest
    assert not latest.converged
    assert [e.text for e in latest.events if e.level == "error"] == ["not done: d: no answer"]
    daemon.host.fails_after = None
    daemon.round()
    assert daemon.core.latest.converged


def test_at_its_end_what_serves_stays_and_what_only_it_used_goes(daemon):
    daemon.good("r1", "r2")
    daemon.core._end()
    assert daemon.weights() == {"4": 1, "5": 1}
    assert not daemon.host.kinds(CheckMark)
    assert len(daemon.host.kinds(AnnouncedVip)) == 1


def test_withdrawn_it_leaves_nothing(daemon):
    daemon.good("r1", "r2")
    daemon.ask("withdraw")
    daemon.core._end()
    assert daemon.host.things == {}


def test_a_bug_costs_a_round_and_not_the_daemon(daemon, monkeypatch):
    daemon.good("r1", "r2")
    with monkeypatch.context() as bent:
        bent.setattr(daemon.host, "look", lambda _question: 1 / 0)
        daemon.round()
    assert not daemon.core.latest.converged
    assert "a bug of ours while making a round" in daemon.core.latest.left[0]
    daemon.round()
    assert daemon.core.latest.converged


def test_a_file_that_no_event_told_of_is_seen_at_the_next_round(daemon):
    daemon.path.with_suffix(".new").write_text(TEXT.replace("scheduler: wrr", "scheduler: rr"))
    daemon.path.with_suffix(".new").replace(daemon.path)
    daemon.round()
    assert daemon.host.kinds(Service)[0].scheduler == "rr"


STANDS = "STATUS=director d of the spec default: all stands as wanted"


def test_systemd_is_told_what_is_news_and_when_a_start_and_a_reload_are_done(daemon):
    assert daemon.notify.heard() == [("READY=1", STANDS)]
    daemon.good("r1", "r2")
    assert daemon.notify.heard() == []
    daemon.path.write_text("nonsense")
    daemon.core._take(("hup",))
    assert daemon.notify.heard() == ["reloading"]
    daemon.round()
    ((ready, status),) = daemon.notify.heard()
    assert ready == "READY=1"
    assert status.startswith(f"{STANDS}; the spec in the file is not taken: ")
    daemon.path.write_text(TEXT)
    daemon.core._take(("file",))
    daemon.host.fails_after = 0
    daemon.round()
    daemon.round()
    lost = "STATUS=director d of the spec default: not done: d: no answer"
    assert daemon.notify.heard() == [(lost,)]
    daemon.core._end()
    assert daemon.notify.heard() == [("STOPPING=1",)]


def test_a_word_to_systemd_is_one_datagram_and_costs_nothing_where_nobody_listens(
    tmp_path, monkeypatch
):
    path = tmp_path / "notify"
    monkeypatch.setenv("NOTIFY_SOCKET", str(path))
    monkeypatch.setenv("WATCHDOG_USEC", "4000000")
    notify = Notify()
    assert notify.every_s == 2
    assert "NOTIFY_SOCKET" not in os.environ
    notify.say("READY=1")  # nobody is there
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(path))
        before = time.monotonic_ns() // 1000
        notify.reloading()
        first, second = systemd.recv(1000).decode().splitlines()
        assert first == "RELOADING=1"
        assert before <= int(second.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000
        notify.alive()
        notify.alive()  # too early
        assert systemd.recv(1000) == b"WATCHDOG=1"
        with pytest.raises(BlockingIOError):
            systemd.recv(1000, socket.MSG_DONTWAIT)


def test_the_watchdog_of_somebody_else_is_not_fed(monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "4000000")
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert Notify().every_s is None


def test_a_round_with_very_many_changes_tells_of_the_first_and_counts_them_all(monkeypatch):
    monkeypatch.setattr(rounds, "MOST_TOLD", 2)
    said = []
    told = rounds.Told("d: {}", said.append)
    for n in range(5):
        told(Action("d", None, Sysctl(f"net/a{n}", "1")), 7 if n == 3 else 0)
    told.end()
    assert said == [
        "d: create sysctl net.a0 = 1",
        "d: create sysctl net.a1 = 1",
        "d: create sysctl net.a3 = 1 (7 connections cut)",
        "d: and 2 more, 5 in all",
    ]
