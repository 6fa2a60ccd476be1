"""What waits while a place is out, and how a run begins and ends."""

from dataclasses import replace
from ipaddress import ip_address

import pytest

from fakes import FakeHost
from onearm.each import Watch
from onearm.errors import Differs, Refused, Unreachable
from onearm.model import (
    Action,
    AnnouncedVip,
    ArpSilence,
    BootVip,
    Destination,
    HeldVip,
    Link,
    Seen,
    Service,
    Sysctl,
    Timeout,
    state,
    state_key,
)
from onearm.reconcile import Outcome, Run, held
from worlds import VIP

FED = Destination("tcp", VIP, 80, ip_address("203.0.113.4"), host="r1")
OTHER = replace(FED, server=ip_address("203.0.113.5"), host="r2")
EMPTY = replace(FED, weight=0)
SERVICE, VIPS = Service("tcp", VIP, 80, "rr"), AnnouncedVip(VIP, "eth0")
SILENCE, HELD, LINK = ArpSilence("eth0"), HeldVip(VIP), Link("eth-vip")
UNTOLD = replace(SILENCE, announced=False)
CONNTRACK, TIMEOUT = Sysctl("net/ipv4/vs/conntrack", "0"), Timeout("tcp", 60)

BOOT, BOTH = (BootVip("/etc/x", f'"# ours\\n{text}"') for text in ("1\\n", "1\\n2\\n"))

TABLE = [  # what is out, before, after, what stands on d, what is wanted there, must it wait
    ("nobody", "", FED, None, [FED], [], False),
    ("a VIP after a reboot, new", "r1", BOOT, BOTH, [BOOT], [BOTH], False),
    ("a VIP after a reboot, gone", "r1", BOTH, BOOT, [BOTH], [BOOT], True),
    ("the last VIP after a reboot", "r1", BOOT, None, [BOOT], [], True),
    ("a new destination that is there", "r2", None, FED, [], [FED], False),
    ("a new destination that is out", "r1", None, FED, [], [FED], True),
    ("its weight from 0", "r1", EMPTY, FED, [EMPTY], [FED], True),
    ("a new one of weight 0", "r1", None, EMPTY, [], [EMPTY], False),
    ("a weight that changes", "r1", FED, replace(FED, weight=3), [FED], [FED], False),
    ("one less, another stays", "r1", FED, None, [FED, OTHER], [OTHER], False),
    ("to 0, another stays", "r1", FED, EMPTY, [FED, OTHER], [EMPTY, OTHER], False),
    ("the last one", "r2", FED, None, [FED], [], True),
    ("the last one to 0", "r2", FED, EMPTY, [FED], [EMPTY], True),
    ("another that goes as well", "r2", FED, None, [FED, OTHER], [], True),
    ("another that is not there yet", "r2", FED, None, [FED], [OTHER], True),
    ("another that has no weight", "r2", FED, None, [FED, replace(OTHER, weight=0)], [OTHER], True),
    ("a service that is fed", "r1", SERVICE, None, [SERVICE, FED], [], True),
    ("a service without any", "r1", SERVICE, None, [SERVICE], [], False),
    ("a service whose VIP lingers", "r1", SERVICE, None, [SERVICE, VIPS], [], True),
    ("a service whose VIP stays", "r1", SERVICE, None, [SERVICE, VIPS], [VIPS], False),
    ("a new service", "r1", None, SERVICE, [], [SERVICE], False),
    ("a VIP that goes", "r1", VIPS, None, [VIPS], [], True),
    ("a VIP that comes", "r1", None, VIPS, [], [VIPS], False),
    ("a held VIP that goes", "r1", HELD, None, [HELD], [], True),
    ("a held VIP that comes", "r1", None, HELD, [], [HELD], False),
    ("a silence that goes", "r1", SILENCE, None, [SILENCE], [], True),
    ("a silence that is loosened", "r1", SILENCE, replace(SILENCE, mute=False), [], [], True),
    ("a silence that is told of", "r1", UNTOLD, SILENCE, [], [], False),
    ("a link that goes", "r1", LINK, None, [LINK], [], True),
    ("a sysctl that is put back", "r1", CONNTRACK, None, [CONNTRACK], [], True),
    ("a sysctl that is set", "r1", None, CONNTRACK, [], [CONNTRACK], False),
    ("a timeout that is put back", "r1", TIMEOUT, None, [TIMEOUT], [], True),
]


@pytest.mark.parametrize("case", TABLE, ids=lambda case: case[0])
def test_what_waits_while_a_place_is_out(case):
    _, out, before, after, stands, wanted, waits = case
    observed = {"d": {state_key(r): Seen(r, ("default",), r) for r in stands}}
    found = held(
        Action("d", before, after), {out: 1} if out else {}, observed, {"d": state(wanted)}
    )
    assert found == waits


def test_a_vip_that_stands_elsewhere_does_not_come_while_anything_is_out():
    observed = {"d": {}, "e": {state_key(VIPS): Seen(VIPS, ("default",), VIPS)}}
    assert held(Action("d", None, VIPS), {"r1": 1}, observed, {})
    assert not held(Action("d", None, VIPS), {}, observed, {})


def run(place, *wanted, **options):
    return Run("default", {"h": state(wanted)}, {"h": place}, **options)


def shown(place, *wanted):
    return run(place, *wanted)._look(Outcome())[0]


def test_what_was_shown_is_what_is_done():
    place = FakeHost("h", "203.0.113.4")
    plan = shown(place, LINK)
    assert [a.after for a in run(place, LINK, shown=plan).converge().done] == [LINK]
    with pytest.raises(Differs, match="changed after the plan was made"):
        run(place, LINK, shown=plan).converge()


def test_a_plan_with_refusals_changes_nothing():
    place = FakeHost("h", "203.0.113.4")
    place.things = state([Service("tcp", VIP, 80, "sh")])
    with pytest.raises(Refused, match="in no record of ours"):
        run(place, SERVICE, LINK).converge()
    assert not place.journal


def test_a_second_run_does_nothing():
    place = FakeHost("h", "203.0.113.4")
    assert len(run(place, LINK, HELD).converge().done) == 2
    again = run(place, LINK, HELD).converge()
    assert (again.done, len(again.left), again.out) == ([], 0, {})


def test_a_place_that_is_lost_is_out_and_the_run_ends():
    place = FakeHost("h", "203.0.113.4")
    place.fails_after = 1
    outcome = run(place, LINK, HELD).converge()
    assert isinstance(outcome.out["h"], Unreachable)
    assert len(outcome.done) == 1


def test_what_is_refused_for_ever_does_not_go_round_for_ever():
    place = FakeHost("h", "203.0.113.4")
    place.apply = lambda batch, done: dict.fromkeys(batch, Unreachable("no"))
    outcome = run(place, LINK).converge()
    assert str(outcome.out["h"]) == "no"
    assert not outcome.done


def test_an_interruption_ends_after_the_batch_in_hand():
    place = FakeHost("h", "203.0.113.4")
    outcome = run(place, LINK, HELD, stop=lambda: bool(place.journal)).converge()
    assert outcome.interrupted
    assert [action.after for action in outcome.done] == [LINK]
    assert [action.after for action in outcome.left] == [HELD]


def test_progress_is_told_for_each():
    told = []
    run(FakeHost("h", "203.0.113.4"), LINK, HELD, progress=told.append).converge()
    assert [action.after for action in told] == [LINK, HELD]


def test_what_was_planned_for_a_place_that_is_lost_is_kept():
    place = FakeHost("h", "203.0.113.4")
    place.fails_after = 1
    outcome = run(place, LINK, HELD).converge()
    assert [action.after for action in outcome.undone] == [HELD]
    assert not len(outcome.left)


def test_a_place_that_was_never_looked_at_has_nothing_planned():
    outcome = run(FakeHost("h", "203.0.113.4"), LINK, out={"h": Unreachable("gone")}).converge()
    assert (outcome.undone, len(outcome.left)) == ([], 0)


class Told(Watch):
    def __init__(self):
        self.said = []

    def begin(self, what, places):
        self.said.append((what, *places))

    def ended(self, place):
        self.said.append(place)


def test_a_watch_hears_what_is_done_and_where():
    watch = Told()
    run(FakeHost("h", "203.0.113.4"), LINK, HELD, watch=watch).converge()
    looks, steps = ("observing", "h"), [(f"step {n} of 2", "h") for n in (1, 2)]
    assert watch.said == [looks, "h", steps[0], "h", steps[1], "h", looks, "h"]
