"""The daemon's parts: what probes tell, the spec file, the ARP guard, the record of events."""

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from itertools import count

from onearm.checks import Result
from onearm.daemon.checking import Checking
from onearm.daemon.guard import FRESH, MOST, Guard
from onearm.daemon.probes import probes_by_slot, shadow
from onearm.daemon.source import Source, digest
from onearm.daemon.tally import Tally
from onearm.facts import HostFacts, NeighbourFact
from onearm.health import Health
from onearm.model import Action, CheckMark, Sysctl
from onearm.snapshot import DOWN, UNKNOWN, UP
from onearm.spec import Check, parse
from worlds import SERVERS, SERVICE, SPEC

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
CHECKED = replace(SPEC, services=(replace(SERVICE, check=Check(fall=2)),))
KEYS = probes_by_slot(CHECKED)
KEY = KEYS["tcp", SERVICE.vip, 80, "r1"]
MOMENTS = count(1.0, 10.0)  # results are an interval and more apart
LET_IN = Sysctl("net/ipv4/conf/eth0/accept_local", "1")
MARKS = [CheckMark(7, KEY[1], "r1"), LET_IN]
TEXT = """
directors: {d: 203.0.113.3}
real_servers: {r1: 203.0.113.4}
services: [{vip: 203.0.113.2, port: 80/tcp}]
"""


def checking(standing=MARKS):
    made = Checking(standing=lambda wanted: [m for m in standing if m in list(wanted)])
    made.keep(CHECKED)
    return made


def result(ok, key=KEY, reason="connection refused"):
    return Result(key, ok, "" if ok else reason, 0.001, next(MOMENTS))


def take(made, *results):
    return [made.take(one, MARKS, NOW) for one in results]


def test_answers_on_each_others_heels_count_once_towards_a_rise():
    made = checking()
    interval_s = KEY[3].interval_s
    take(made, result(ok=True), result(ok=False), result(ok=False))
    begun = next(MOMENTS)

    def answers(*after):
        take(made, *[result(ok=True)._replace(at=begun + n * interval_s) for n in after])
        return made.tallies[KEY].health.status, made.tallies[KEY].health.streak

    assert answers(0.99, 1.05) == (DOWN, 1), "late, and at once again"
    assert made.tallies[KEY].good == 3, "what is shown counts both"
    assert answers(2.0) == (UP, 0)
    take(made, *[result(ok=False)._replace(at=begun + n * interval_s) for n in (3.99, 4.05)])
    assert made.tallies[KEY].health.status == DOWN, "the questions were an interval apart"


def test_a_turn_of_the_health_asks_for_a_round():
    made = checking()
    assert take(made, result(ok=True), result(ok=True)) == [True, False]
    assert take(made, result(ok=False)) == [True]  # its shadow may begin
    assert take(made, result(ok=False)) == [True]
    assert made.tallies[KEY].health.status == DOWN


def test_a_turn_counts_only_if_its_way_stands():
    made = checking()
    take(made, result(ok=True))
    made.standing = lambda _wanted: []  # somebody typed ipvsadm -C
    for _ in range(20):
        take(made, result(ok=False))
    assert made.tallies[KEY].health.status == UP
    made.standing = list
    take(made, result(ok=False), result(ok=False))
    assert made.tallies[KEY].health.status == DOWN


def test_no_server_is_taken_out_because_replies_are_not_let_in():
    made = checking(standing=[MARKS[0], replace(LET_IN, value="0")])
    made.tallies[KEY].health = Health(UP, NOW)
    take(made, *[result(ok=False)] * 9)
    assert made.tallies[KEY].health.status == UP
    made.forgive([Action("d", replace(LET_IN, value="0"), LET_IN)])
    assert made.tallies[KEY].health.streak == 0


def test_nobody_is_taken_out_before_one_probe_through_a_vip_was_answered():
    made = checking()
    made.tallies[shadow(KEY)] = Tally(shadow(KEY)[3])
    take(made, result(ok=True, key=shadow(KEY)), *[result(ok=False)] * 9)
    assert made.tallies[KEY].health.status == UNKNOWN
    assert made.suspected
    other, server = KEYS["tcp", SERVICE.vip, 80, "r2"], CheckMark(8, SERVERS[1].address, "r2")
    made.standing = list
    made.take(result(ok=True, key=other), [server, LET_IN], NOW)
    take(made, *[result(ok=False)] * 2)
    assert made.tallies[KEY].health.status == DOWN


def test_one_that_is_dead_itself_is_taken_out_at_once():
    made = checking()
    made.tallies[shadow(KEY)] = Tally(shadow(KEY)[3])
    take(made, result(ok=False, key=shadow(KEY)), *[result(ok=False)] * 2)
    assert made.tallies[KEY].health.status == DOWN


def test_the_reason_tells_a_dead_server_from_one_without_the_vip():
    made = checking()
    take(made, result(ok=True), result(ok=False), result(ok=False))
    made.keep(CHECKED)
    slot = ("tcp", SERVICE.vip, 80, "r1")
    assert made.healths(CHECKED)[slot].reason == "connection refused"
    take(made, result(ok=True, key=shadow(KEY)))
    said = "the server is up but does not serve the VIP: connection refused"
    assert made.healths(CHECKED)[slot].reason == said
    take(made, result(ok=True), result(ok=True))
    made.keep(CHECKED)
    assert shadow(KEY) not in made.tallies


def test_a_result_of_a_probe_that_is_gone_is_nothing():
    assert take(checking(), result(ok=False, key=("gone",))) == [False]


def source(tmp_path, text=TEXT):
    path = tmp_path / "web.yaml"
    path.write_text(text)
    return Source(path, "d", parse(TEXT, "web.yaml"))


def test_a_bad_file_changes_nothing_and_says_why(tmp_path):
    made = source(tmp_path, "directors: [")
    assert made.reload()
    assert "not taken, the old one goes on" in made.said()
    assert made.spec.services
    assert not made.reload()  # the same again is no news
    made.path.write_text(TEXT)
    assert made.reload()
    assert (made.error, made.taken, made.refused) == ("", 1, 1)
    assert made.digest == digest(TEXT)


def test_a_file_of_another_name_or_without_this_host_is_refused(tmp_path):
    made = source(tmp_path, TEXT + "name: other\n")
    assert made.reload()
    assert "is named 'other' now" in made.error
    made.path.write_text(TEXT.replace("{d:", "{e:"))
    assert made.reload()
    assert "d is not among its directors any more" in made.error
    made.path.unlink()
    assert made.reload()
    assert "cannot be read" in made.error


MAC = "02:00:00:00:00:05"
FACTS = HostFacts(neighbours=(NeighbourFact("eth0", ip_address("203.0.113.4"), MAC, 2),))


def test_who_answers_for_the_vip_is_named_once_and_forgotten_when_silent():
    guard = Guard()
    assert f"r1 ({MAC}) answers ARP" in guard.heard(SERVICE.vip, MAC, FACTS, SPEC, NOW)
    assert not guard.heard(SERVICE.vip, MAC, FACTS, SPEC, NOW + timedelta(seconds=1))
    assert set(guard.isolated(SPEC, NOW)) == {"r1"}
    assert guard.forget(NOW + FRESH + timedelta(seconds=2))
    assert not guard.isolated(SPEC, NOW)
    assert guard.heard(SERVICE.vip, MAC, FACTS, SPEC, NOW)  # back again is news again


def test_a_storm_of_macs_is_bounded():
    guard = Guard()
    for n in range(1000):
        guard.heard(SERVICE.vip, f"02:00:00:00:{n >> 8:02x}:{n & 255:02x}", FACTS, SPEC, NOW)
    assert len(guard.claimants[SERVICE.vip]) == MOST
