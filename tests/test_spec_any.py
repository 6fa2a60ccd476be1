"""Whatever is thrown at the loader: a Spec comes out, or complaints, and soon."""

import contextlib
import json
import re
import time
from dataclasses import asdict
from dataclasses import fields as dataclass_fields
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from onearm import spec, spec_load
from onearm.errors import SpecError
from onearm.spec_load import (
    bodies,
    checks,
    cloud,
    fields,
    hosts,
    kinds,
    policy,
    probes,
    services,
    ways,
)
from spec_cases import GOOD, HOSTS, complaints

SCHEMA = json.loads((Path(__file__).parents[1] / "docs/reference/spec.schema.json").read_text())


def bomb(levels):
    row = "a{0}: &a{0} [{1}]".format
    above = [row(n, ", ".join([f"*a{n - 1}"] * 9)) for n in range(1, levels)]
    return "\n".join([row(0, "x, x, x, x, x, x, x, x, x"), *above])


@pytest.mark.parametrize(
    "text",
    [
        bomb(20),
        "[" * 1_000_000,
        "- " * 1_000_000,
        "? " * 1_000_000,
        "{a: " * 1_000_000,
        "&a " * 100_000,
        "a: " + "&a [" * 100 + "*a",
        f"a: &a {list(range(1000))}\nb: [{', '.join(['*a'] * 3000)}]",
        "services: &s\n  - real_servers: *s\n",
    ],
    ids=lambda text: text[:8],
)
def test_bombs_are_refused_before_they_go_off(text):
    before = time.process_time()
    assert len(complaints(text)) <= 3
    print(f"{time.process_time() - before:.2f} s of CPU")


def test_aliases_within_reason_are_fine():
    text = HOSTS + (
        "services:\n"
        "  - {vip: 1.2.3.4, port: 80/tcp, real_servers: &two [server-2, server-3]}\n"
        "  - {vip: 1.2.3.4, port: 443/tcp, real_servers: *two}\n"
    )
    first, second = spec.parse(text, "web.yaml").services
    assert first.members == second.members


def test_a_thousand_services_with_a_hundred_real_servers():
    names = [f"s{n}" for n in range(100)]
    rows = ["directors: {d: 10.0.0.1}", "real_servers:"]
    rows += [f"  {name}: 10.0.1.{n + 1}" for n, name in enumerate(names)]
    rows += ["services:"]
    for n in range(1000):
        weights = ", ".join(f"{name}: {{weight: {n % 7}}}" for name in names)
        rows.append(f"  - {{vip: 10.1.{n // 250}.{n % 250 + 1}, port: 80/tcp,")
        rows.append(f"     real_servers: {{{weights}}}}}")
    before = time.monotonic()
    found = spec.parse("\n".join(rows), "big.yaml")
    print(f"100,000 destinations loaded in {time.monotonic() - before:.2f} s")
    assert sum(len(service.members) for service in found.services) == 100_000


def test_many_mistakes_stay_linear():
    text = HOSTS + "services:\n" + "  - {vip: 1.2.3.4, port: 80, prot: 1}\n" * 5000
    assert len(complaints(text)) == 10_000


def outcome(text):
    """Give the Spec or the complaints; anything else that comes out is a failure."""
    try:
        return spec.parse(text, "any.yaml")
    except SpecError as error:
        return error.complaints


def either_way(text):
    found = outcome(text)
    assert isinstance(found, spec.Spec) or found
    if not isinstance(found, spec.Spec):
        assert all(re.match(r"any\.yaml:\d+: \S", one) for one in found)


@given(st.text())
def test_any_text(text):
    either_way(text)


@given(st.binary())
def test_any_bytes(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(data)
    with contextlib.suppress(SpecError):
        spec.load(path)


WORDS = st.sampled_from(
    [
        *spec_load.TOP,
        *services.SERVICE,
        *hosts.REAL_SERVER,
        *bodies.MEMBER,
        *services.SCHEDULERS,
        *cloud.CLOUD,
        *checks.ALL,
        *checks.KINDS,
        "server-1",
        "80/tcp",
        "1.2.3.4",
        "1.2.3.0/24",
        "5m",
        "default",
        "mh-port",
    ]
)
LEAVES = WORDS | st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | LEAVES, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(spec_load.TOP), TREES))
def test_any_tree(tree):
    either_way(yaml.safe_dump(tree))


@given(st.text(alphabet="[]{}:,-?&*!|>'\"%@` \n\tab01~#", max_size=60))
def test_any_punctuation(text):
    either_way(text)
    either_way(GOOD + text)


ADDRESSES = st.integers(IPv4Address("1.0.0.0").__int__(), IPv4Address("100.0.0.0").__int__())


def mapped(members):
    """A real server behind masq with a port of its own: that no group has."""
    return any(member.port for member in members)


@st.composite
def ranges(draw, key, keys):
    """Let a service have the ports from its own on, short of the next service's; mostly not."""
    vip, port, protocol = key
    later = [p for v, p, proto in keys if (v, proto) == (vip, protocol) and p > port]
    last = draw(st.just(port) | st.integers(port, min([65536, *later]) - 1))
    return (spec.End(vip, port, last),) if last > port else ()


@st.composite
def specs(draw):
    name = st.from_regex(fields.NAME, fullmatch=True)
    names = draw(st.lists(name, min_size=2, max_size=5, unique=True))
    found = draw(st.lists(ADDRESSES, min_size=len(names) + 1, max_size=8, unique=True))
    own = dict(zip(names, (IPv4Address(number) for number in found), strict=False))
    vips = [IPv4Address(number) for number in found[len(names) :]]
    real, allowed_ways = names[1:], draw(WAYS)
    policies = st.sampled_from(hosts.POLICIES)
    keys = draw(
        st.lists(
            st.tuples(
                st.sampled_from(vips), st.integers(1, 65535), st.sampled_from(["tcp", "udp"])
            ),
            min_size=1,
            max_size=4,
            unique=True,
        )
    )
    made = []
    for vip, port, protocol in keys:
        scheduler = draw(st.sampled_from(list(services.SCHEDULERS)))
        allowed = services.SCHEDULERS[scheduler]
        flags = draw(st.sets(st.sampled_from(allowed))) if allowed else set()
        members = draw(st.lists(st.sampled_from(real), min_size=1, unique=True))
        connected = draw(allowed_ways).method == "masq"  # then the kernel must remember
        if protocol == "udp" and not connected and draw(st.booleans()):
            flags = {*flags, services.ONE_PACKET}
        weighed = tuple(
            spec.Member(
                m,
                draw(st.integers(0, 65535)),
                *draw(bounds()),
                *draw(reached(allowed_ways, port)),
            )
            for m in members
        )
        drain = draw(st.integers(0, 86400))
        made.append(
            spec.VirtualService(
                vip,
                port,
                protocol,
                scheduler,
                tuple(sorted(flags)),
                weighed,
                drain,
                draw(checked(port, protocol)),
                draw(policies_of(scheduler, weighed, real)),
                **draw(staying(protocol)),
                forwarding=draw(allowed_ways),
                ends=() if mapped(weighed) else draw(ranges((vip, port, protocol), keys)),
            )
        )
    direct = all(s.way(host) == spec.DIRECT for s in made for host in s.hosts)
    return spec.Spec(
        name=draw(name),
        directors=(spec.Host(names[0], own[names[0]]),),
        real_servers=tuple(spec.Host(n, own[n], draw(policies)) for n in real),
        services=tuple(made),
        clients=(IPv4Network("198.51.100.0/24"),),
        reach=spec.Reach(
            draw(st.sampled_from(spec_load.KEYWORDS)), {real[0]: ("ssh", "x")}, {names[0]: "lab"}
        ),
        shared_director=draw(st.booleans()),
        openstack=draw(st.none() | clouds(names)) if direct else None,
        resync_s=draw(st.integers(1, 3600)),
        isolate=draw(st.booleans()),
        boot=draw(st.sampled_from(spec_load.BOOT)),
        timeouts=tuple(
            (name, draw(st.integers(1, kinds.LONGEST_S)))
            for name in kinds.TIMEOUTS
            if draw(st.booleans())
        ),
    )


# One behind masq is so in every service, and a cloud has no ports for what is not direct.
WAYS = st.sampled_from(
    [
        st.just(spec.DIRECT),
        st.just(spec.Forwarding("masq")),
        st.sampled_from(
            [
                spec.DIRECT,
                *(spec.Forwarding("tunnel", kind) for kind in ("ipip", "gre")),
                *(spec.Forwarding("tunnel", "gue", port) for port in (1, ways.GUE_PORT)),
            ]
        ),
    ]
)


@st.composite
def reached(draw, allowed_ways, port):
    """Draw how packets get to a real server, and on which port it answers."""
    own = draw(st.none() | allowed_ways)
    masq = draw(allowed_ways).method == "masq"
    ports = st.just(0) | st.integers(1, 65535).filter(lambda other: other != port)
    return own, draw(ports) if masq else 0


@st.composite
def bounds(draw):
    """Draw how many connections a real server takes."""
    upper = draw(st.just(0) | st.integers(1, kinds.MOST))
    return upper, draw(st.integers(0, upper))


@st.composite
def staying(draw, protocol):
    """Draw how long clients stay."""
    seconds = draw(st.just(0) | st.integers(1, kinds.LONGEST_S))
    if not seconds:
        return {}
    engines = ["", *(kinds.ENGINES if protocol == "udp" else ())]
    return {
        "persistence_s": seconds,
        "persistence_mask": draw(st.none() | st.integers(1, 31)),
        "engine": draw(st.sampled_from(engines)),
    }


@st.composite
def policies_of(draw, scheduler, members, servers):
    """Draw what health does to the weights of a service."""
    spare = [name for name in servers if name not in {member.host for member in members}]
    return spec.Policy(
        draw(st.sampled_from(policy.ON_FAILURE)),
        draw(st.integers(0, 100)),
        draw(st.integers(1, len(members))),
        draw(st.sampled_from([None, *spare])),
        draw(st.integers(0, 3600)) if scheduler in policy.WEIGHING else 0,
    )


@st.composite
def checked(draw, port, protocol):
    """Draw a check that suits a service."""
    kind = draw(st.none() | st.sampled_from([*checks.KINDS]))
    if kind is None:
        return None
    through = "host" if kind in checks.HOST_ONLY else draw(st.sampled_from(checks.THROUGH))
    sends = protocol if kind in checks.FREE else "udp" if kind in checks.UDP else "tcp"
    interval = draw(st.integers(100, 3_600_000))
    known = {
        "path": st.from_regex(probes.PATH, fullmatch=True),
        "method": st.sampled_from(probes.METHODS[2:]),
        "host": st.sampled_from(["a", "www.example.org"]),
        "codes": st.lists(
            st.tuples(st.integers(200, 400), st.integers(400, 599)), min_size=1, unique=True
        ).map(tuple),
        "body": st.sampled_from(["OK", "^a|b$", "ä+"]),
        "verify": st.just(True),  # noqa: FBT003 - a value, not a parameter
        "ca": st.sampled_from([None, "/etc/ca.pem"]),
        "send": st.binary(max_size=9),
        "expect": st.sampled_from(["\xff", r"\xff*"]),
        "query": st.sampled_from([".", "a.b"]),
        "record": st.sampled_from(probes.RECORDS),
        "argv": st.just(("/bin/x", "a b", "")),
    }
    values = {key: draw(known[key]) for key in checks.KINDS[kind] if key in known}
    if kind != "icmp" and (sends != protocol or draw(st.booleans())):
        values["port"] = port
    if through == "host":
        values["address"] = draw(st.none() | ADDRESSES.map(IPv4Address).filter(usable))
    return spec.Check(
        kind,
        through,
        interval / 1000,
        draw(st.integers(100, min(interval, 60_000))) / 1000,
        draw(st.integers(1, 100)),
        draw(st.integers(1, 100)),
        **values,
    )


def usable(address):
    return not (address.is_loopback or address.is_link_local)


def clouds(hosts):
    text = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=9)
    return st.builds(
        spec.Cloud,
        cloud=st.none() | text,
        network=text,
        ports=st.dictionaries(st.sampled_from(hosts), text),
        firewall=st.sampled_from(cloud.FIREWALLS),
        manage_security_groups=st.booleans(),
        reserve_vip=st.booleans(),
        director_groups=st.sampled_from(cloud.GROUPS),
        director_port_security=st.sampled_from(cloud.SWITCH),
        max_address_pairs=st.integers(1, cloud.MOST_PAIRS),
    )


def written(value):
    part = {"openstack": written_cloud(value.openstack)} if value.openstack else {}
    if value.timeouts:
        part["timeouts"] = {name: f"{seconds}s" for name, seconds in value.timeouts}
    return part | {
        "resync": f"{value.resync_s:.0f}s",
        "isolate": value.isolate,
        "boot": value.boot,
        "name": value.name,
        "directors": {host.name: str(host.address) for host in value.directors},
        "real_servers": {
            host.name: {"address": str(host.address), "arp": host.arp}
            for host in value.real_servers
        },
        "services": [
            {
                "vip": str(one.vip),
                "port": written_port(one),
                "scheduler": one.scheduler,
                "flags": list(one.flags),
                "real_servers": {m.host: written_member(m) for m in one.members},
                **written_persistence(one),
                "forwarding": written_way(one.forwarding),
                "drain": f"{one.drain_s}s",
                "check": written_check(one.check) if one.check else "none",
                **written_policy(one.policy),
            }
            for one in value.services
        ],
        "clients": [str(network) for network in value.clients],
        "reach": {
            "default": value.reach.default,
            **value.reach.keywords,
            **{host: list(words) for host, words in value.reach.prefixes.items()},
        },
        "shared_director": value.shared_director,
    }


def written_port(one):
    last = f"-{one.ends[0].last}" if one.ends else ""
    return f"{one.port}{last}/{one.protocol}"


def written_member(member):
    said = {"weight": member.weight, "upper": member.upper, "lower": member.lower}
    said["port"] = member.port
    found = {key: value for key, value in said.items() if value or key == "weight"}
    way = {"forwarding": written_way(member.forwarding)} if member.forwarding else {}
    return {**found, **way}


def written_way(way):
    said = {"method": way.method, "type": way.tunnel, "port": way.port}
    return {key: value for key, value in said.items() if value}


def written_persistence(one):
    if not one.persistence_s:
        return {}
    said = {"netmask": one.persistence_mask, "engine": one.engine or None}
    said = {key: value for key, value in said.items() if value is not None}
    return {"persistence": {"timeout": f"{one.persistence_s}s", **said}}


def written_cloud(part):
    return {name: value for name, value in asdict(part).items() if value not in (None, {})}


def written_policy(policy):
    sorry = {"sorry_server": policy.sorry} if policy.sorry else {}
    return sorry | {
        "on_failure": policy.on_failure,
        "panic": policy.panic,
        "quorum": policy.quorum,
        "slow_start": f"{policy.slow_start_s:.0f}s",
    }


def written_check(check):
    """Write what a check says beside the defaults, in the spec's own form."""
    said = {
        f.name: getattr(check, f.name)
        for f in dataclass_fields(check)
        if f.name == "timeout_s" or getattr(check, f.name) != f.default
    }
    found = {**said, "kind": check.kind, "through": check.through}
    for key in {"interval_s", "timeout_s"} & said.keys():
        found[key.removesuffix("_s")] = f"{round(found.pop(key) * 1000)}ms"
    if "address" in said:
        found["address"] = str(check.address)
    if "codes" in said:
        found["codes"] = [f"{low}-{high}" for low, high in check.codes]
    if "send" in said:
        found["send"] = check.send.decode("latin-1")
    if "argv" in said:
        found["argv"] = list(check.argv)
    return found


def plain(value):
    """Say whether no host has a name that means something else."""
    return "default" not in written(value)["real_servers"] and "neutron" not in str(written(value))


@given(specs().filter(plain))
def test_a_valid_spec_round_trips(value):
    tree = written(value)
    jsonschema.validate(tree, SCHEMA)
    assert spec.parse(yaml.safe_dump(tree, sort_keys=False), "made.yaml") == value
