"""The one diff: what is ours, what is shared, what is foreign, and the chain of a silence."""

from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onearm.diff import builds, diff
from onearm.model import (
    Action,
    AnnouncedVip,
    ArpSilence,
    Destination,
    HeldVip,
    Link,
    Resource,
    Seen,
    Service,
    Sysctl,
    state,
    state_key,
)
from worlds import VIP, values

OTHER = ip_address("203.0.113.20")
SERVER = ip_address("203.0.113.4")
LINK, HELD = Link("eth-vip"), HeldVip(VIP)
SILENCE, VIPS = ArpSilence("eth0"), AnnouncedVip(VIP, "eth0")
UNTOLD = replace(SILENCE, announced=False)
SERVICE = Service("tcp", VIP, 80, "rr")
DEST = Destination("tcp", VIP, 80, SERVER, host="r1")
CONNTRACK = Sysctl("net/ipv4/vs/conntrack", "0")
OURS, THEIRS = ("default",), ("web",)


NEAR = st.builds(
    Destination,
    st.sampled_from(["tcp", "udp"]),
    st.sampled_from([VIP, OTHER]),
    st.sampled_from([80, 81]),
    st.sampled_from([SERVER, OTHER]),
    own_port=st.sampled_from([0, 8080]),
)
SERVICES = st.builds(
    Service, st.sampled_from(["tcp", "udp"]), st.sampled_from([VIP, OTHER]), st.sampled_from([1, 2])
)
THINGS = st.one_of(NEAR, SERVICES, values(Resource))


@given(THINGS, THINGS)
def test_a_state_key_tells_apart_what_kind_and_key_tell_apart(one, other):
    same = (type(one), one.key) == (type(other), other.key)
    assert (state_key(one) == state_key(other)) == same
    assert state_key(one) == state_key(replace(one))


def see(*sightings):
    """Give what a place shows: pairs of a thing and the names in its mark, and the marked value."""
    found = [Seen(s[0], s[1], s[2] if len(s) > 2 else (s[0] if s[1] else None)) for s in sightings]
    return {state_key(seen.resource): seen for seen in found}


def plan(wanted, *sightings, adopt=False):
    return diff("default", {"h": state(wanted)}, {"h": see(*sightings)}, adopt=adopt)


def changes(found):
    return [(action.before, action.after) for action in found]


DIFFERENT = {
    Link: (Link("eth-vip", "bridge"), LINK),
    Service: (Service("tcp", VIP, 80, "sh"), SERVICE),
    Destination: (replace(DEST, weight=7), DEST),
    HeldVip: (replace(HELD, prefix_length=27), HELD),
    Sysctl: (Sysctl(CONNTRACK.name, "1"), CONNTRACK),
    ArpSilence: (replace(SILENCE, mute=False), SILENCE),
}
REPLACEABLE = (Sysctl, ArpSilence)


@pytest.mark.parametrize("kind", DIFFERENT, ids=lambda kind: kind.__name__)
def test_what_is_foreign_and_differs_is_refused_until_adopted(kind):
    there, wanted = DIFFERENT[kind]
    found = plan([wanted], (there, ()))
    if issubclass(kind, REPLACEABLE):
        assert changes(found)[-1][1] == wanted
        assert not found.refusals
        return
    assert not len(found)
    (refusal,) = found.refusals
    assert "in no record of ours" in refusal
    assert "--adopt" in refusal
    assert changes(plan([wanted], (there, ()), adopt=True)) == [(there, wanted)]


@pytest.mark.parametrize("kind", DIFFERENT, ids=lambda kind: kind.__name__)
def test_two_specs_that_want_it_otherwise_are_refused(kind):
    there, wanted = DIFFERENT[kind]
    for names in (THEIRS, ("default", "web")):
        found = plan([wanted], (there, names), adopt=True)
        assert not len(found)
        assert "the spec 'web' wants" in found.refusals[0]


@pytest.mark.parametrize("kind", DIFFERENT, ids=lambda kind: kind.__name__)
def test_what_is_ours_is_put_right(kind):
    there, wanted = DIFFERENT[kind]
    assert changes(plan([wanted], (there, OURS, wanted)))[-1][1] == wanted
    assert changes(plan([wanted], (there, ("default", "web"), wanted)))[-1][1] == wanted


@pytest.mark.parametrize("thing", [LINK, SERVICE, DEST, HELD, CONNTRACK, VIPS])
def test_what_stands_as_wanted(thing):
    assert not len(plan([thing], (thing, OURS)))
    assert not len(plan([thing], (thing, ()))), "foreign and right"
    assert changes(plan([thing], (thing, THEIRS))) == [(thing, thing)], "joined"
    assert changes(plan([thing], (thing, ()), adopt=True)) == [(thing, thing)], "adopted"


@pytest.mark.parametrize("thing", [LINK, SERVICE, DEST, HELD, CONNTRACK, VIPS])
def test_what_is_no_longer_wanted(thing):
    assert changes(plan([], (thing, OURS))) == [(thing, None)]
    assert changes(plan([], (thing, ("default", "web")))) == [(thing, None)]
    assert not len(plan([], (thing, THEIRS)))
    assert not len(plan([], (thing, ()), adopt=True))


def test_notes_are_renewed():
    since = replace(DEST, weight=0, draining_since="2026-01-01T00:00:00+00:00")
    before = replace(since, draining_since=None)
    (action,) = plan([since], (before, OURS))
    assert action.verb == "keep"
    assert action.after.draining_since


def test_a_change_of_policy_builds_first():
    fresh = ArpSilence("eth0", "nft", VIP, SERVER)
    found = plan([fresh, HELD], (SILENCE, OURS), (HELD, OURS))
    assert changes(found) == [(None, fresh), (SILENCE, None)]


def chain(place="d", *, held=(HELD,), before=None, names=(), announcer=((VIPS, OURS),), out=False):
    desired = {"r": state([SILENCE, *held]), "d": state([v for v, _ in announcer])}
    sightings = {"r": see(*[(h, OURS) for h in held], *([(before, names)] if before else []))}
    if not out:
        sightings["d"] = see(*[pair for pair in announcer if pair[1] is not None])
    return diff("default", desired, sightings)


TOLD = [(None, UNTOLD), (VIPS, VIPS), (UNTOLD, SILENCE)]


def test_a_server_that_falls_silent_is_told_of_by_the_director():
    assert changes(chain()) == TOLD


def test_a_silence_that_was_lost_is_told_of_again():
    lost = replace(SILENCE, mute=False)
    assert changes(chain(before=lost, names=OURS)) == [(lost, UNTOLD), *TOLD[1:]]


def test_a_run_killed_before_the_telling_goes_on():
    assert changes(chain(before=UNTOLD, names=OURS)) == TOLD[1:]


def test_with_the_director_out_the_silence_waits_untold():
    assert changes(chain(out=True)) == TOLD[:1]
    assert not len(chain(out=True, before=UNTOLD, names=OURS))


def test_what_another_spec_has_yet_to_tell_is_joined():
    assert changes(chain(out=True, before=UNTOLD, names=THEIRS)) == [(UNTOLD, UNTOLD)]
    assert changes(chain(before=UNTOLD, names=THEIRS)) == TOLD[1:]


def test_a_new_vip_is_announced_by_its_making():
    assert changes(chain(announcer=((VIPS, None),))) == [
        (None, UNTOLD),
        (None, VIPS),
        (UNTOLD, SILENCE),
    ]


def test_a_foreign_vip_is_announced_too():
    assert changes(chain(announcer=((VIPS, ()),))) == TOLD


def test_two_vips_are_both_told_of():
    second = AnnouncedVip(OTHER, "eth0")
    found = chain(held=(HELD, HeldVip(OTHER)), announcer=((VIPS, OURS), (second, OURS)))
    assert changes(found) == [(None, UNTOLD), (VIPS, VIPS), (second, second), (UNTOLD, SILENCE)]


def test_a_silence_by_rules_tells_of_its_own_vip_alone():
    rules = ArpSilence("eth0", "nft", VIP, SERVER)
    second = AnnouncedVip(OTHER, "eth0")
    desired = {"r": state([rules, HELD, HeldVip(OTHER)]), "d": state([VIPS, second])}
    sightings = {
        "r": see((HELD, OURS), (HeldVip(OTHER), OURS)),
        "d": see((VIPS, OURS), (second, OURS)),
    }
    found = diff("default", desired, sightings)
    assert (VIPS, VIPS) in changes(found)
    assert (second, second) not in changes(found)


def test_a_fresh_server_is_silent_before_it_holds_anything():
    found = plan([SILENCE, HELD, LINK])
    assert changes(found) == [(None, LINK), (None, SILENCE), (None, HELD)]
    assert [len(step["h"]) for step in found.steps] == [2, 1]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (None, DEST, True),
        (DEST, None, False),
        (DEST, replace(DEST, weight=0), False),
        (replace(DEST, weight=0), DEST, True),
        (DEST, replace(DEST, weight=5), True),
        (SILENCE, replace(SILENCE, mute=False), False),
        (replace(SILENCE, mute=False), SILENCE, True),
        (UNTOLD, SILENCE, False),
        (replace(SILENCE, mute=False), UNTOLD, True),
        (SERVICE, SERVICE, True),
    ],
)
def test_what_builds(before, after, expected):
    assert builds(Action("h", before, after)) == expected
