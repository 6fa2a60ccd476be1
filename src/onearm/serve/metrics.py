"""A snapshot as Prometheus metrics: one table of families, read off anew at each scrape."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any, NamedTuple

import onearm
from onearm.alerts import in_rotation
from onearm.errors import Missing
from onearm.snapshot import (
    DOWN,
    DRAINED,
    DRAINING,
    LATENCY_BOUNDS_S,
    RAMPING,
    UNCHECKED,
    UNKNOWN,
    UP,
    Claimant,
    ServerView,
    ServiceView,
    Snapshot,
)

STATES = (UP, DOWN, UNKNOWN, DRAINING, DRAINED, RAMPING, UNCHECKED)
SERVED = {UP: 1, RAMPING: 1, UNCHECKED: 1, DOWN: 0, UNKNOWN: 0}  # a drain says nothing of health
MOST_CLAIMANTS = 16  # per VIP: a stranger may invent MACs, not time series
MAC = re.compile(r"([0-9a-f]{2}:){5}[0-9a-f]{2}")

SERVICE = ("vip", "port", "protocol")
SERVER = (*SERVICE, "server", "address")
CHECK = (*SERVER, "check", "path")

# A reason is free text; a label is one of these words, by what the text says.
REASONS = (
    ("vip_not_served", "does not serve the vip"),
    ("panic", "panic"),
    ("sorry", "sorry server"),
    ("not_checked", "not checked"),
    ("ramping", r"^\d+ of \d+$"),
    ("refused", "refused"),
    ("timeout", "no answer|timed out|timeout|within"),
    ("reset", "reset|closed|hung up"),
    ("unreachable", "unreachable|no route"),
    ("tls", "tls|certificate|handshake"),
    ("wrong_answer", "status|code|body|expected|answered"),
    ("arp", r"\barp\b|answers for"),
    ("drain", "drain|may end"),
)
OTHER, NONE = "other", "none"
Row = tuple[tuple[str, ...], float]


class Family(NamedTuple):
    """One metric: its name without `_total`, its kind, labels, help, and how its rows are read."""

    name: str
    kind: str  # gauge or counter
    labels: tuple[str, ...]
    help: str
    rows: Callable[[Snapshot], Iterator[Row]]

    @property
    def shown(self) -> str:
        """Give the name as it is scraped."""
        return f"{self.name}_total" if self.kind == "counter" else self.name


def reason_word(text: str) -> str:
    """Give the bounded word for a reason."""
    if not text:
        return NONE
    said = text.lower()
    return next((word for word, pattern in REASONS if re.search(pattern, said)), OTHER)


def _one(value: Callable[[Snapshot], float]) -> Callable[[Snapshot], Iterator[Row]]:
    return lambda snapshot: iter([((), value(snapshot))])


def _service(value: Callable[[ServiceView], float]) -> Callable[[Snapshot], Iterator[Row]]:
    return lambda snapshot: ((_of(s), float(value(s))) for s in snapshot.services)


def _server(value: Callable[[ServerView], float | None]) -> Callable[[Snapshot], Iterator[Row]]:
    def rows(snapshot: Snapshot) -> Iterator[Row]:
        for labels, server in _servers(snapshot):
            found = value(server)
            if found is not None:
                yield labels, float(found)

    return rows


def _of(service: ServiceView) -> tuple[str, ...]:
    return str(service.vip), str(service.port), service.protocol


def _servers(snapshot: Snapshot) -> Iterator[tuple[tuple[str, ...], ServerView]]:
    for service in snapshot.services:
        for server in service.servers:
            yield (*_of(service), server.host, str(server.address)), server


def _checked(snapshot: Snapshot) -> Iterator[tuple[tuple[str, ...], Any]]:
    for labels, server in _servers(snapshot):
        if server.check is not None:
            yield (*labels, server.check.kind, server.check.through), server.check


def _states(snapshot: Snapshot) -> Iterator[Row]:
    for labels, server in _servers(snapshot):
        yield from (((*labels, state), float(server.state == state)) for state in STATES)


def _reasons(snapshot: Snapshot) -> Iterator[Row]:
    return (((*labels, reason_word(s.reason)), 1.0) for labels, s in _servers(snapshot))


def _servers_by_state(snapshot: Snapshot) -> Iterator[Row]:
    for service in snapshot.services:
        held = [server.state for server in service.servers]
        yield from (((*_of(service), state), float(held.count(state))) for state in STATES)


def _owners(snapshot: Snapshot) -> Iterator[Row]:
    return (((str(v.vip), v.link, v.mac), 1.0) for v in snapshot.vips if v.announced)


def _claimants(snapshot: Snapshot) -> Iterator[Row]:
    for vip in snapshot.vips:
        latest = sorted(vip.claimants, key=lambda c: c.last_seen)[-MOST_CLAIMANTS:]
        labels = dict.fromkeys((str(vip.vip), _mac(c), c.host) for c in latest)
        yield from ((label, 1.0) for label in labels)


def _mac(claimant: Claimant) -> str:
    return claimant.mac if MAC.fullmatch(claimant.mac) else "invalid"


def _time(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def _build(snapshot: Snapshot) -> Iterator[Row]:
    return iter([((onearm.__version__, snapshot.build), 1.0)])


G, C = "gauge", "counter"
FAMILIES = (
    Family("onearm_build_info", G, ("version", "build"), "The daemon's version and build.", _build),
    Family(
        "onearm_start_time_seconds", G, (), "When the daemon started.",
        _one(lambda s: _time(s.started)),
    ),
    Family(
        "onearm_snapshot_time_seconds", G, (), "When these figures were taken.",
        _one(lambda s: _time(s.at)),
    ),
    Family("onearm_rounds", C, (), "Rounds of looking and mending.", _one(lambda s: s.rounds)),
    Family(
        "onearm_rounds_failed", C, (), "Rounds that could not look or not mend.",
        _one(lambda s: s.rounds_failed),
    ),
    Family(
        "onearm_last_round_duration_seconds", G, (), "How long the last round took.",
        _one(lambda s: s.last_round_s),
    ),
    Family(
        "onearm_converged", G, (), "1 while the kernel is as the spec and health want it.",
        _one(lambda s: s.converged),
    ),
    Family(
        "onearm_left_differences", G, (), "Differences that the last round could not mend.",
        _one(lambda s: len(s.left)),
    ),
    Family(
        "onearm_drift_healed", C, (), "Differences that somebody else made, and that were mended.",
        _one(lambda s: s.drift_healed),
    ),
    Family(
        "onearm_drain_cut_connections", C, (), "Connections that a drain's deadline cut.",
        _one(lambda s: s.drain_cut),
    ),
    Family("onearm_reloads", C, (), "Spec files taken.", _one(lambda s: s.reloads)),
    Family(
        "onearm_reloads_failed", C, (), "Spec files refused; the old one went on.",
        _one(lambda s: s.reloads_failed),
    ),
    Family(
        "onearm_spec_valid", G, (), "0 while the spec file is not the one in force.",
        _one(lambda s: not s.spec_error),
    ),
    Family(
        "onearm_troubles", G, (), "Troubles of the daemon's own, such as no free source port.",
        _one(lambda s: len(s.troubles)),
    ),
    Family(
        "onearm_vip_announced", G, ("vip",), "1 while this director announces the VIP.",
        lambda s: (((str(v.vip),), float(v.announced)) for v in s.vips),
    ),
    Family(
        "onearm_vip_owner_info", G, ("vip", "link", "mac"),
        "By which link and MAC this director announces the VIP.", _owners,
    ),
    Family(
        "onearm_vip_claimants", G, ("vip",), "Others who answer for the VIP in ARP; must be 0.",
        lambda s: (((str(v.vip),), float(len(v.claimants))) for v in s.vips),
    ),
    Family(
        "onearm_vip_claimant_info", G, ("vip", "mac", "host"),
        f"Who else answers for the VIP: the latest {MOST_CLAIMANTS}; host is empty if unknown.",
        _claimants,
    ),
    Family(
        "onearm_service_info", G, (*SERVICE, "scheduler"), "The service's scheduler.",
        lambda s: (((*_of(v), v.scheduler), 1.0) for v in s.services),
    ),
    Family(
        "onearm_service_connections", C, SERVICE, "Connections since the kernel has the service.",
        _service(lambda s: s.counters.connections),
    ),
    Family(
        "onearm_service_incoming_packets", C, SERVICE, "Packets from clients.",
        _service(lambda s: s.counters.packets_in),
    ),
    Family(
        "onearm_service_incoming_bytes", C, SERVICE,
        "Bytes from clients; replies go straight back and are not seen here.",
        _service(lambda s: s.counters.bytes_in),
    ),
    Family(
        "onearm_service_servers", G, (*SERVICE, "state"), "Real servers by state.",
        _servers_by_state,
    ),
    Family(
        "onearm_service_in_rotation", G, SERVICE, "Real servers that get new connections.",
        _service(in_rotation),
    ),
    Family(
        "onearm_service_quorum", G, SERVICE, "How many healthy real servers the service wants.",
        _service(lambda s: s.quorum),
    ),
    Family(
        "onearm_service_quorum_met", G, SERVICE, "1 while it has them.",
        _service(lambda s: s.quorum_met),
    ),
    Family(
        "onearm_service_panic", G, SERVICE,
        "1 while too few are healthy, so that all are served whatever their health.",
        _service(lambda s: s.panic),
    ),
    Family(
        "onearm_service_sorry", G, SERVICE, "1 while only the sorry server is served.",
        _service(lambda s: s.sorry),
    ),
    Family(
        "onearm_server_healthy", G, SERVER,
        "1 while it is up, ramping or unchecked, 0 while it is down or unknown; absent while it"
        " drains.",
        _server(lambda s: SERVED.get(s.state)),
    ),
    Family("onearm_server_state", G, (*SERVER, "state"), "1 for its state, 0 for others.", _states),
    Family(
        "onearm_server_reason_info", G, (*SERVER, "reason"),
        "Why, in one of these words: "
        + ", ".join([*(word for word, _ in REASONS), OTHER, NONE])
        + ".",
        _reasons,
    ),
    Family(
        "onearm_server_weight", G, SERVER,
        "Its weight in the kernel; absent while it is not in the kernel's table.",
        _server(lambda s: s.weight),
    ),
    Family(
        "onearm_server_wanted_weight", G, SERVER, "Its weight when all is well, in the same scale.",
        _server(lambda s: s.wanted),
    ),
    Family(
        "onearm_server_active_connections", G, SERVER, "Connections that are established.",
        _server(lambda s: s.active),
    ),
    Family(
        "onearm_server_inactive_connections", G, SERVER,
        "Entries of connections that begin or have ended.", _server(lambda s: s.inactive),
    ),
    Family(
        "onearm_server_connections", C, SERVER, "Connections since the kernel has it.",
        _server(lambda s: s.counters.connections),
    ),
    Family(
        "onearm_server_incoming_packets", C, SERVER, "Packets handed on to it.",
        _server(lambda s: s.counters.packets_in),
    ),
    Family(
        "onearm_server_incoming_bytes", C, SERVER, "Bytes handed on to it.",
        _server(lambda s: s.counters.bytes_in),
    ),
    Family(
        "onearm_check_successes", C, CHECK, "Checks that ended well.",
        lambda s: ((labels, float(check.good)) for labels, check in _checked(s)),
    ),
    Family(
        "onearm_check_failures", C, CHECK, "Checks that did not.",
        lambda s: ((labels, float(check.bad)) for labels, check in _checked(s)),
    ),
)  # fmt: skip
LATENCY = "onearm_check_duration_seconds"
LATENCY_HELP = "How long checks took that ended well."


class Collector:
    """What a registry of prometheus_client asks."""

    def __init__(self, snapshot: Snapshot) -> None:
        """Read off this snapshot."""
        self._snapshot = snapshot

    def collect(self) -> Iterator[Any]:
        """Give every family."""
        for family in FAMILIES:
            yield _filled(family, family.rows(self._snapshot))
        yield _histogram(self._snapshot)


def _filled(family: Family, rows: Iterable[Row]) -> Any:
    from prometheus_client import core

    kinds = {G: core.GaugeMetricFamily, C: core.CounterMetricFamily}
    metric: Any = kinds[family.kind](family.name, family.help, labels=family.labels)
    for labels, value in rows:
        metric.add_metric(labels, value)
    return metric


def _histogram(snapshot: Snapshot) -> Any:
    from prometheus_client.core import HistogramMetricFamily

    metric = HistogramMetricFamily(LATENCY, LATENCY_HELP, labels=CHECK)
    names = [*map(str, LATENCY_BOUNDS_S), "+Inf"]
    for labels, check in _checked(snapshot):
        counts = [*check.latencies, *[0] * (len(names) - len(check.latencies))]
        total, buckets = 0, []
        for name, count in zip(names, counts, strict=True):
            total += count
            buckets.append((name, float(total)))
        metric.add_metric(labels, buckets, check.latency_sum_s)
    return metric


def exposition(snapshot: Snapshot) -> bytes:
    """Write a snapshot in Prometheus' text format."""
    try:
        from prometheus_client import CollectorRegistry, generate_latest
    except ImportError as error:
        raise Missing(
            "metrics need prometheus_client, which is not installed: pip install 'onearm[metrics]'"
        ) from error
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector(snapshot))
    data: bytes = generate_latest(registry)
    return data
