"""Snapshots as a daemon would make them: small and well, in trouble, and large."""

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address

from onearm.facts import Counters
from onearm.snapshot import (
    LATENCY_BOUNDS_S,
    Change,
    CheckView,
    Claimant,
    Event,
    ServerView,
    ServiceView,
    Snapshot,
    VipView,
)

NOW = datetime(2026, 3, 14, 15, 9, 26, tzinfo=timezone.utc)
NO_VIP = "the server is up but does not serve the VIP: no answer to SYN within 1 s"


def at(seconds_ago=0.0, now=NOW):
    moment = now - timedelta(seconds=seconds_ago)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def check(good=3580, bad=0, reason="", latency=0.0006):
    spread = (good // 2, good - good // 2, *[0] * (len(LATENCY_BOUNDS_S) - 1))
    return CheckView("http", "vip", good, bad, latency, spread, good * 0.0006, reason)


def server(number, state="up", since=3600.0, now=NOW, **fields):
    rate = fields.pop("rate", 50 if state in ("up", "ramping") else 0)
    past = fields.pop("history", ((since + 900, "unknown", ""), (since, state, "")))
    counters = Counters(
        connections=rate * 3600,
        packets_in=rate * 3600 * 5,
        bytes_in=rate * 3600 * 400,
        connections_per_s=rate,
        packets_in_per_s=rate * 5,
        bytes_in_per_s=rate * 400,
    )
    served = state in ("up", "ramping", "unchecked")
    defaults = {
        "weight": 1 if served else 0,
        "active": rate // 5,
        "inactive": rate,
        "check": check(),
        "counters": counters,
        "history": tuple(Change(at(ago, now), what, why) for ago, what, why in past),
    }
    address = ip_address("203.0.113.2") + number
    return ServerView(f"server-{number}", address, state, at(since, now), **{**defaults, **fields})


def service(servers, port=80, vip="203.0.113.2", **fields):
    total = lambda name: sum(getattr(one.counters, name) for one in servers)
    names = ("connections", "packets_in", "bytes_in", "connections_per_s", "bytes_in_per_s")
    counters = Counters(**{name: total(name) for name in names})
    kind = {"protocol": "tcp", "scheduler": "wlc", **fields}
    return ServiceView(ip_address(vip), port, servers=tuple(servers), counters=counters, **kind)


def vip(address="203.0.113.2", **fields):
    return VipView(ip_address(address), "eth0", "fa:16:3e:00:00:01", announced=True, **fields)


def snapshot(services, now=NOW, **fields):
    plain = {
        "name": "web",
        "host": "server-1",
        "at": at(0, now),
        "started": at(93600, now),
        "spec_path": "/etc/onearm/web.yaml",
        "spec_digest": "sha256:" + "7c" * 32,
        "build": "4f1d" * 16,
        "pid": 812,
        "vips": (vip(),),
        "rounds": 9371,
        "last_round_s": 0.0123,
        "converged": True,
        "events": (
            Event(at(93600, now), "start", "began with 1 service and 2 real servers"),
            Event(at(4500, now), "health", "server-2: unknown -> up"),
            Event(at(3600, now), "health", "server-3: unknown -> up"),
        ),
    }
    return Snapshot(services=tuple(services), **{**plain, **fields})


def small(now=NOW):
    """One service, two servers, all well."""
    return snapshot([service([server(2, now=now), server(3, now=now, rate=48)])], now)


def trouble(now=NOW):
    """One server lost the VIP, and another machine answers for it."""
    past = ((3600, "up", ""), (1700, "down", NO_VIP), (1500, "ramping", ""), (1440, "up", ""))
    down = server(
        3, "down", 12, now, rate=0, reason=NO_VIP, weight=0, history=(*past, (12, "down", NO_VIP)),
        check=check(3420, 15, NO_VIP), active=3,
    )  # fmt: skip
    stranger = Claimant("fa:16:3e:00:00:05", "server-3", at(9, now), at(1, now))
    held = vip(claimants=(stranger,))
    events = (
        Event(at(93600, now), "start", "began with 1 service and 2 real servers"),
        Event(at(3600, now), "health", "server-3: unknown -> up"),
        Event(at(1700, now), "health", f"server-3: up -> down: {NO_VIP}", "warning"),
        Event(at(1500, now), "health", "server-3: down -> ramping up"),
        Event(at(1440, now), "health", "server-3: ramping up -> up"),
        Event(at(620, now), "drift", "203.0.113.2:80/tcp: destination server-2: want weight 1, have 7; healed", "warning"),  # noqa: E501
        Event(at(12, now), "health", f"server-3: up -> down: {NO_VIP}", "warning"),
        Event(at(9, now), "arp", "fa:16:3e:00:00:05 (server-3) answers for 203.0.113.2", "error"),
    )  # fmt: skip
    return snapshot(
        [service([server(2, now=now, rate=97), down])], now, vips=(held,), events=events,
        drift_healed=1,
    )  # fmt: skip


def large(now=NOW):
    """Three services, twenty servers, a few of them in every other state."""
    refused = "connection refused by 203.0.113.10:443"
    until = at(-154, now)

    def one(number, port):
        rate = (number * 37 + port) % 90 + 10
        if number == 7:
            return server(
                7,
                "draining",
                146,
                now,
                rate=0,
                active=41,
                reason="41 connections may end",
                drain_deadline=until,
                weight=0,
                history=((7000, "up", ""), (146, "draining", "")),
            )
        if number == 12 and port != 53:
            return server(
                12,
                "ramping",
                18,
                now,
                rate=7,
                weight=3,
                wanted=10,
                history=((9000, "up", ""), (400, "down", refused), (18, "ramping", "")),
            )
        if number == 8 and port == 443:
            return server(
                8,
                "down",
                265,
                now,
                rate=0,
                reason=refused,
                weight=None,
                check=check(3000, 88, refused),
                history=((9000, "up", ""), (265, "down", refused)),
            )
        if number == 17:
            return server(
                17,
                "drained",
                5400,
                now,
                rate=0,
                active=0,
                reason="drained by hand; undrain brings it back",
                history=((9000, "up", ""), (5400, "drained", "")),
            )
        if number == 20 and port == 53:
            return server(20, "unknown", 3, now, rate=0, weight=10, history=((3, "unknown", ""),))
        return server(number, now=now, rate=rate, weight=10, wanted=10)

    every = lambda port: [replace(one(n, port), wanted=10) for n in range(2, 22)]
    services = [
        service(every(80), 80),
        service(every(443), 443),
        service(every(53), 53, "203.0.113.30", protocol="udp", scheduler="sh"),
    ]
    events = tuple(
        Event(at(9000 - 450 * n, now), "health", f"server-{n + 2} of 203.0.113.2:80/tcp is up")
        for n in range(18)
    )
    events += (
        Event(
            at(265, now), "health", f"server-8 of 203.0.113.2:443/tcp is down: {refused}", "warning"
        ),
        Event(at(146, now), "drain", "server-7 is drained by hand"),
        Event(at(18, now), "health", "server-12 of 203.0.113.2:80/tcp is ramping: 3 of 10"),
    )
    return snapshot(services, now, events=events, vips=(vip(), vip("203.0.113.30")), drift_healed=3)


def hostile(now=NOW):
    """What an attacker would like the page to swallow."""
    evil = '<img src=x onerror="document.title=1"></script><script>boom()</script>'
    bad = replace(server(3, "down", 5, now, reason=evil), host="<b>x</b>")
    stranger = Claimant(evil, evil)
    return snapshot(
        [service([server(2, now=now), bad])], now, name=evil, vips=(vip(claimants=(stranger,)),),
        events=(Event(at(1, now), evil, evil, evil),), troubles=(evil,), spec_error=evil,
    )  # fmt: skip


ALL = {"small": small, "trouble": trouble, "large": large, "hostile": hostile}
