"""YAML nodes -> Spec, level by level; everything wrong is noted before anything is refused."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Network, IPv6Network

import yaml

from onearm.model import Network
from onearm.spec import Reach, Spec
from onearm.spec_load import fields
from onearm.spec_load.checks import Checks
from onearm.spec_load.cloud import read_cloud
from onearm.spec_load.document import compose
from onearm.spec_load.hosts import Hosts
from onearm.spec_load.kinds import read_timeouts
from onearm.spec_load.notes import SECTIONS, Complaints, Fields, Wrong, entries, known, shown
from onearm.spec_load.services import Services
from onearm.spec_load.ways import without_a_cloud

TOP = (
    "name",
    "directors",
    "real_servers",
    "services",
    "check",
    "arp",
    "clients",
    "reach",
    "shared_director",
    "openstack",
    "resync",
    "isolate",
    "boot",
    "timeouts",
)
RESYNC_S = Spec.resync_s
KEYWORDS = ("ssh", "local", "lab")
BOOT = ("auto", "networkd", "networkmanager", "ifupdown", "unit", "off")
EVERYBODY = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))


def spec(text: str, source: str) -> Spec:
    """Check the whole file; raise one SpecError with all complaints, or give the Spec."""
    notes = Complaints(source)
    with _uncollected():
        found = _read(notes, text)
    notes.settle()
    return found


def _read(notes: Complaints, text: str) -> Spec:
    """Read all of it; the nodes are gone when this ends, before anybody collects cycles again."""
    root = compose(text, notes.source)
    top = known(notes, root, "a spec", TOP)
    return _spec(notes, root, top, text) if top is not None else Spec()


@contextmanager
def _uncollected() -> Iterator[None]:
    """Pause the cycle collector: walking half a million live nodes doubles the time of a load."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def _spec(notes: Complaints, root: yaml.Node, top: Fields, text: str) -> Spec:
    for section, right in SECTIONS.items():
        if section not in top:
            notes.add(root, f"{section} is missing: {right}")
    hosts = Hosts(notes, top)
    directors = hosts.read(top.get("directors"), "director")
    real_servers = hosts.read(top.get("real_servers"), "real server")
    checks = Checks(notes, top.get("check"))
    services = Services(notes, hosts, real_servers, checks).read(top.get("services"))
    checks.settle()
    without_a_cloud(notes, top.get("openstack"), services)
    name = notes.optional(top, "name", lambda n: fields.name(n, "name"), "default")
    shared = notes.optional(
        top, "shared_director", lambda n: fields.boolean(n, "shared_director"), default=False
    )
    return Spec(
        name=name or "default",
        directors=directors,
        real_servers=real_servers,
        services=services,
        clients=_clients(notes, top.get("clients")),
        reach=_reach(notes, top.get("reach")),
        shared_director=shared or False,
        resync_s=notes.optional(top, "resync", _resync, RESYNC_S) or RESYNC_S,
        isolate=notes.optional(
            top, "isolate", lambda n: fields.boolean(n, "isolate"), default=False
        )
        or False,
        boot=notes.optional(top, "boot", lambda n: _boot(n, notes), BOOT[0]) or BOOT[0],
        timeouts=read_timeouts(notes, top),
        openstack=read_cloud(notes, top.get("openstack"), hosts),
        text=text,
    )


def _resync(node: yaml.Node) -> float:
    right = "write 10s or 1m: how often a daemon compares everything with the kernel"
    seconds = fields.duration(node, "resync", right, "is longer than 1h, the longest", 3600)
    if not seconds:
        raise Wrong(f"resync {shown(node)}: {right}")
    return seconds


def _boot(node: yaml.Node, notes: Complaints) -> str:
    """Read the word; YAML 1.1 takes a bare `off` for a truth value."""
    if isinstance(node, yaml.ScalarNode) and str(node.value).lower() == "off":
        return "off"
    return fields.one_of(node, "boot", BOOT, notes)


def _clients(notes: Complaints, node: yaml.Node | None) -> tuple[Network, ...]:
    if node is None:
        return EVERYBODY
    if not isinstance(node, yaml.SequenceNode) or not node.value:
        found = "empty" if isinstance(node, yaml.SequenceNode) else shown(node)
        text = f"clients is {found}: write a list like [198.51.100.0/24], or leave it out for all"
        notes.add(node, text)
        return EVERYBODY
    made = [notes.take(child, fields.network) for child in node.value]
    return tuple(dict.fromkeys(found for found in made if found is not None))


def _reach(notes: Complaints, node: yaml.Node | None) -> Reach:
    if node is None:
        return Reach()

    def keyword(node: yaml.Node) -> str:
        return fields.one_of(node, "reach", KEYWORDS, notes)

    if isinstance(node, yaml.ScalarNode):
        return Reach(notes.take(node, keyword) or "ssh")
    if isinstance(node, yaml.SequenceNode):
        notes.add(node, "reach is a list: write ssh, local or lab, or a map {HOST: [word, ...]}")
        return Reach()
    keywords: dict[str, str] = {}
    prefixes: dict[str, tuple[str, ...]] = {}
    for host, (key, value) in (entries(notes, node, "reach") or {}).items():
        notes.take(key, lambda n: fields.name(n, "host name"))
        if isinstance(value, yaml.SequenceNode) and host != "default":
            prefixes[host] = notes.take(value, fields.words) or ()
        else:
            keywords[host] = notes.take(value, keyword) or "ssh"
    return Reach(keywords.pop("default", "ssh"), prefixes, keywords)
