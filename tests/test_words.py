"""Actions in people's words: every kind by every verb, in one printable line."""

from dataclasses import replace
from ipaddress import ip_address

import pytest

from onearm.model import (
    Action,
    AnnouncedVip,
    ArpSilence,
    BootFile,
    BootVip,
    Destination,
    GuePort,
    HeldVip,
    Link,
    Mark,
    Service,
    Sysctl,
    Timeout,
    TunnelLink,
)
from onearm.words import describe, file_lines, reason
from worlds import VIP

THINGS = [
    Sysctl("net/ipv4/vs/conntrack", "0"),
    Timeout("tcp", 900),
    Link("eth-vip"),
    TunnelLink("ipip-vip", "ipip", VIP),
    GuePort(6080),
    ArpSilence("eth0"),
    ArpSilence("eth0", "nft", VIP, VIP, mute=False),
    HeldVip(VIP),
    BootFile("/etc/sysctl.d/99-zz-onearm-web.conf", '"a\\nb\\n"'),
    BootVip("/etc/x", '"a\\n"'),
    Service("udp", ip_address("2001:db8::2"), 53, "mh", ("mh-port",)),
    Destination("tcp", VIP, 80, VIP, host="r1"),
    AnnouncedVip(VIP, "eth0"),
]


@pytest.mark.parametrize("thing", THINGS, ids=lambda thing: type(thing).__name__)
def test_each_kind_has_words(thing):
    made = describe(Action("h", None, thing))
    assert made.startswith("create ")
    gone = describe(Action("h", thing, None))
    assert gone.startswith("delete ")
    kept = describe(Action("h", thing, thing))
    assert kept.startswith(("note ", "announce "))
    shared = describe(Action("h", thing, None), Mark(thing, ("a", "b")))
    assert shared.startswith("release ")
    for text in (made, gone, kept, shared, reason(Action("h", None, thing))):
        assert text.isprintable()


def test_an_update_says_what_changes():
    before = Destination("tcp", VIP, 80, VIP, 1, host="r1")
    action = Action("h", before, replace(before, weight=0, draining_since="2026-01-01"))
    assert describe(action) == "update destination r1 of 203.0.113.2:80/tcp: weight 1 -> 0"
    assert reason(action).startswith("drains")


def test_persistence_is_told():
    service = Service("udp", VIP, 5060, "rr", persistence_s=300, persistence_mask=24, engine="sip")
    made = describe(Action("h", None, service))
    assert made.endswith(" rr, persistent for 300 s, clients by /24, by sip")
    action = Action("h", service, replace(service, persistence_mask=None, engine=""))
    assert describe(action).endswith(": persistence_mask 24 -> none, engine sip -> none")


def test_a_destinations_way_is_told_before_what_it_takes():
    made = Destination("tcp", VIP, 80, VIP, 3, "masq", 100, 80, "r1", own_port=8080)
    found = describe(Action("h", None, made))
    ends = " weight 3 by masq to its port 8080, at most 100 connections, again with 80"
    assert found.endswith(ends)


def test_a_restored_sysctl_says_to_what():
    thing = THINGS[0]
    found = describe(Action("h", thing, None), Mark(thing, ("a",), {"value": "1"}))
    assert found == "restore sysctl net.ipv4.vs.conntrack to 1"


def test_the_telling_of_a_silence():
    silence = ArpSilence("eth0")
    found = describe(Action("h", replace(silence, announced=False), silence))
    assert found.startswith("note that the VIP was announced")


def test_a_mark_of_another_shape_is_no_bug():
    assert describe(Action("h", THINGS[0], None), Mark(THINGS[0], ("a",), {"x": "1"}))


BEFORE, AFTER = (BootFile("/etc/x", text) for text in ('"a\\nb\\nc\\n"', '"a\\nd\\nc\\n"'))


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        (None, BEFORE, ["+a", "+b", "+c"]),
        (BEFORE, AFTER, ["-b", "+d"]),
        (BEFORE, None, ["-a", "-b", "-c"]),
        (BEFORE, replace(BEFORE, mode=0o600), []),
        (BootFile("/etc/x", "no quotes"), AFTER, ["-no quotes", "+a", "+d", "+c"]),
        (None, Link("eth-vip"), []),
    ],
)
def test_a_file_is_shown_by_its_lines(before, after, lines):
    assert file_lines(Action("h", before, after)) == lines


def test_a_file_that_changes_says_what():
    said = describe(Action("h", BEFORE, AFTER))
    assert said == "update file /etc/x: 1 lines new, 1 lines gone"
    said = describe(Action("h", BEFORE, replace(BEFORE, mode=0o600)))
    assert said == "update file /etc/x: mode 0644 -> 0600"
