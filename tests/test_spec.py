"""The spec: what is accepted, what is refused, and that nothing else ever comes out."""

import contextlib
import json
import re
import time
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from onearm import spec, spec_load
from onearm.errors import SpecError
from onearm.spec_load import document, fields, hosts, services

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
PAGE = ROOT / "docs/reference/spec.md"
SCHEMA = json.loads((ROOT / "docs/reference/spec.schema.json").read_text())

HOSTS = """\
directors:
  server-1: 203.0.113.3
real_servers:
  server-2: 203.0.113.4
  server-3: 203.0.113.5
"""
SERVICE = """\
services:
  - vip: 203.0.113.2
    port: 80/tcp
"""
GOOD = HOSTS + SERVICE


def complaints(text, name="web.yaml"):
    with pytest.raises(SpecError) as caught:
        spec.parse(text, name)
    return caught.value.complaints


def test_the_shortest_spec_and_its_defaults():
    found = spec.parse(GOOD, "web.yaml")
    assert found == spec.Spec(
        name="default",
        directors=(spec.Host("server-1", IPv4Address("203.0.113.3"), "sysctl"),),
        real_servers=(
            spec.Host("server-2", IPv4Address("203.0.113.4"), "sysctl"),
            spec.Host("server-3", IPv4Address("203.0.113.5"), "sysctl"),
        ),
        services=(
            spec.VirtualService(
                vip=IPv4Address("203.0.113.2"),
                port=80,
                protocol="tcp",
                scheduler="wlc",
                members=(spec.Member("server-2", 1), spec.Member("server-3", 1)),
            ),
        ),
        clients=(IPv4Network("0.0.0.0/0"),),
        reach=spec.Reach("ssh"),
    )
    assert found.text == GOOD


def test_everything_that_can_be_said():
    found = spec.parse(
        """
name: web
arp: arptables
shared_director: true
clients: [198.51.100.0/24, 192.0.2.7/32]
reach: {default: lab, server-1: local, server-2: [ssh, -J, b, root@x], gone: []}
directors: {server-1: {address: 203.0.113.3}}
real_servers:
  server-2: 203.0.113.4
  server-3: {address: 203.0.113.5, arp: nft}
services:
  - {vip: 203.0.113.2, port: 53/udp, scheduler: mh, flags: [mh-port, mh-fallback], drain: 1h}
  - {vip: 203.0.113.2, port: 80/tcp, scheduler: sh, flags: sh-port, drain: 0,
     real_servers: {server-3: {weight: 0}, server-2: }}
""",
        "web.yaml",
    )
    assert (found.name, found.shared_director) == ("web", True)
    assert [host.arp for host in found.real_servers] == ["arptables", "nft"]
    assert found.clients == (IPv4Network("198.51.100.0/24"), IPv4Network("192.0.2.7/32"))
    assert found.reach == spec.Reach(
        "lab", {"server-2": ("ssh", "-J", "b", "root@x"), "gone": ()}, {"server-1": "local"}
    )
    dns, web = found.services
    assert (dns.protocol, dns.flags, dns.drain_s) == ("udp", ("mh-fallback", "mh-port"), 3600)
    assert web.members == (spec.Member("server-3", 0), spec.Member("server-2", 1))
    assert (web.flags, web.drain_s) == (("sh-port",), 0)


def service(lines, hosts=HOSTS):
    return f"{hosts}services:\n  - {lines}\n"


def in_service(more):
    return service(f"{{vip: 203.0.113.2, port: 80/tcp, {more}}}")


def servers(more):
    return f"directors: {{d: 203.0.113.3}}\nreal_servers: {more}\n{SERVICE}"


REFUSED = [  # text, line, fragments
    # the file
    ("", 1, "the spec is empty"),
    ("# only a remark\n", 1, "the spec is empty"),
    ("just words", 1, "a spec is 'just words'", "a map"),
    ("[a, b]", 1, "a spec is a list"),
    ("a: [1\nb: 2", 2, "not YAML"),
    ("a: b\x00", 1, "not YAML"),
    ("a:\n\tb: c", 2, "not YAML", "cannot start any token"),
    (GOOD + "---\n" + GOOD, 9, "a second document"),
    ("a: \ud800", 1, "half a surrogate pair"),
    ("a: *b", 1, "*b has no finished &b above"),
    ("a: &a [*a]", 1, "*a has no finished &a above"),
    ("- " * 100, 1, "levels deep"),
    # keys
    ("a: 1", 1, "directors is missing", "real_servers is missing", "services is missing"),
    (GOOD + "real_server: {}", 9, "'real_server'", "did you mean 'real_servers'?"),
    (GOOD + "wholly_else: 1", 9, "'wholly_else'", "known are name, directors"),
    (GOOD + "openstack: {cloud: x}", 9, "unknown key 'openstack'"),
    (GOOD + "<<: {}", 9, "reads as a merge"),
    (GOOD + "5: 1", 9, "key 5 reads as a number"),
    (GOOD + "[a]: 1", 9, "key is a list"),
    (GOOD + "arp: nft\nname: a\narp: nft", 11, "'arp' stands twice", "first at line 9"),
    (in_service("vpi: 1"), 7, "unknown key 'vpi' in a service; did you mean 'vip'?"),
    (in_service("check: {}"), 7, "unknown key 'check' in a service"),
    (servers("{a: {adress: 1.2.3.4}}"), 2, "did you mean 'address'?", "'a' has no address"),
    ("directors: {d: {address: 1.2.3.4, arp: nft}}", 1, "unknown key 'arp' in director 'd'"),
    # hosts
    (servers("{}"), 2, "real_servers is empty"),
    (servers("null"), 2, "real_servers is nothing"),
    (servers("[a]"), 2, "real_servers is a list"),
    ("directors: {}\n" + SERVICE, 1, "directors is empty: write the director"),
    (servers("{a: 1.2.3.4, a: 1.2.3.5}"), 2, "'a' stands twice in real_servers"),
    (servers("{d: 1.2.3.4}"), 2, "host 'd' is a director already (line 1)"),
    (servers("{a: 203.0.113.3}"), 2, "203.0.113.3", "address of 'd' already (line 1)"),
    ("directors:\n  a: 1.2.3.4\n  b: 1.2.3.5", 3, "second director 'b'", "until ha"),
    (servers("{-a: 1.2.3.4}"), 2, "host name '-a'", "63 letters"),
    (servers(f"{{{'a' * 64}: 1.2.3.4}}"), 2, "63 letters"),
    (servers("{7: 1.2.3.4}"), 2, "reads as a number", "quotes"),
    (servers("{'ä': 1.2.3.4}"), 2, "63 letters"),
    (servers("{a: {address: 1.2.3.4, arp: ntf}}"), 2, "unknown arp 'ntf'; did you mean 'nft'?"),
    # addresses
    (servers("{a: 1.2.3.4/24}"), 2, "'1.2.3.4/24'", "without /prefix length"),
    (servers("{a: '2001:db8::1'}"), 2, "IPv6 comes later"),
    (servers("{a: 1.2.3}"), 2, "'1.2.3' is no IPv4 address"),
    (servers("{a: 01.2.3.4}"), 2, "no IPv4 address"),
    (servers("{a: 1.5}"), 2, "1.5 reads as a number"),
    (servers("{a: }"), 2, "is nothing"),
    (servers("{a: [1.2.3.4]}"), 2, "is a list"),
    (service("{vip: 224.0.0.1, port: 80/tcp}"), 7, "a multicast address"),
    (service("{vip: 127.0.0.1, port: 80/tcp}"), 7, "a loopback address"),
    (service("{vip: 0.0.0.0, port: 80/tcp}"), 7, "an unspecified address"),
    (service("{vip: 255.255.255.255, port: 80/tcp}"), 7, "the broadcast address"),
    (service("{vip: 169.254.1.1, port: 80/tcp}"), 7, "a link-local address"),
    (service("{vip: 203.0.113.4, port: 80/tcp}"), 7, "the own address of 'server-2' (line 4)"),
    # services
    (HOSTS + "services: []", 6, "services is empty", "onearm destroy takes everything down"),
    (HOSTS + "services: {}", 6, "services is a map"),
    (HOSTS + "services: [x]", 6, "a service is 'x'"),
    (service("{port: 80/tcp}"), 7, "a service has no vip: write vip: 203.0.113.2"),
    (service("{vip: 1.2.3.4}"), 7, "a service has no port: write port: 80/tcp"),
    (GOOD + "  - {vip: 203.0.113.2, port: 80/tcp}", 9, "203.0.113.2 80/tcp", "line 7"),
    (
        HOSTS + "services: [{vip: 1.2.3.4, port: 80/tcp}, {vip: 1.2.3.4, port: 80/tcp}]",
        6,
        "stands twice",
    ),
    (service("{vip: 1.2.3.4, port: 80}"), 7, "port 80", "write 80/tcp or 80/udp"),
    (service("{vip: 1.2.3.4, port: '80'}"), 7, "write 80/tcp or 80/udp"),
    (service("{vip: 1.2.3.4, port: 0/tcp}"), 7, "ports go from 1 to 65535"),
    (service("{vip: 1.2.3.4, port: 65536/udp}"), 7, "'65536/udp'", "1 to 65535"),
    (service("{vip: 1.2.3.4, port: 9/sctp}"), 7, "sctp is not supported"),
    (service("{vip: 1.2.3.4, port: 9/TCP}"), 7, "tcp or udp, in small letters"),
    (service("{vip: 1.2.3.4, port: tcp/80}"), 7, "'tcp/80'", "like 80/tcp"),
    (service("{vip: 1.2.3.4, port: 8.5}"), 7, "8.5 reads as a number"),
    (in_service("scheduler: wrrr"), 7, "unknown scheduler 'wrrr'; did you mean 'wrr'?"),
    (in_service("scheduler: lblc5z"), 7, "unknown scheduler"),
    (in_service("scheduler: [rr]"), 7, "scheduler is a list"),
    (in_service("scheduler: mh, flags: [sh-port]"), 7, "'sh-port'", "mh-fallback and mh-port"),
    (in_service("flags: mh-port"), 7, "unknown to scheduler wlc: it knows none"),
    (in_service("scheduler: sh, flags: [sh-port, sh-port]"), 7, "one stands twice"),
    (in_service("scheduler: sh, flags: {a: b}"), 7, "flag is a map"),
    # drain
    (in_service("drain: 30"), 7, "drain 30 has no unit", "30s, 5m or 1h"),
    (in_service("drain: 1.5m"), 7, "'1.5m'", "30s, 5m or 1h"),
    (in_service("drain: -5m"), 7, "'-5m'"),
    (in_service("drain: 25h"), 7, "longer than 24h"),
    (in_service("drain: 99999999999h"), 7, "30s, 5m or 1h"),
    (in_service("drain: true"), 7, "true has no unit"),
    (in_service("drain: null"), 7, "drain is nothing"),
    # members
    (in_service("real_servers: []"), 7, "a service without real servers"),
    (in_service("real_servers: {}"), 7, "a service without real servers"),
    (in_service("real_servers: server-2"), 7, "'server-2': write a list or map"),
    (in_service("real_servers: [server-22]"), 7, "not in real_servers; did you mean 'server-2'?"),
    (in_service("real_servers: [server-1]"), 7, "'server-1' is not in real_servers"),
    (in_service("real_servers: [server-2, server-2]"), 7, "stands twice in this service"),
    (in_service("real_servers: [{server-2: }]"), 7, "real server is a map"),
    (in_service("real_servers: {server-2: 3}"), 7, "is 3: write {weight: 3}"),
    (in_service("real_servers: {server-2: {port: 8080}}"), 7, "it is the VIP's port"),
    (in_service("real_servers: {server-2: {wieght: 3}}"), 7, "did you mean 'weight'?"),
    (in_service("real_servers: {server-2: {weight: -1}}"), 7, "weight -1", "0 to 65535"),
    (in_service("real_servers: {server-2: {weight: 65536}}"), 7, "weight 65536", "0 to 65535"),
    (in_service("real_servers: {server-2: {weight: '3'}}"), 7, "weight '3'", "without quotes"),
    (in_service("real_servers: {server-2: {weight: 1.5}}"), 7, "weight is 1.5"),
    (in_service("real_servers: {server-2: {weight: 0x10}}"), 7, "weight is 0x10"),
    (in_service("real_servers: {server-2: {weight: !!int x}}"), 7, "weight is x"),
    (in_service("real_servers: {server-2: {weight: true}}"), 7, "weight is true"),
    (in_service(f"real_servers: {{server-2: {{weight: {'9' * 5000}}}}}"), 7, "0 to 65535"),
    # the rest
    (GOOD + "name: a b", 9, "name 'a b'"),
    (GOOD + "name: ", 9, "name is nothing"),
    (GOOD + "name: !!python/object:os.system x", 9, "python/object"),
    (GOOD + "arp: iptables", 9, "did you mean 'arptables'?"),
    (GOOD + "arp: {server-2: nft}", 9, "arp is a map"),
    (GOOD + "shared_director: 'yes'", 9, "write true or false"),
    (GOOD + "clients: 10.0.0.0/8", 9, "write a list like"),
    (GOOD + "clients: []", 9, "clients is empty"),
    (GOOD + "clients: [198.51.100.7/24]", 9, "host bits", "the prefix is 198.51.100.0/24"),
    (GOOD + "clients: [198.51.100.7]", 9, "write it as 198.51.100.7/32"),
    (GOOD + "clients: [10.0.0.0/255.0.0.0]", 9, "write it as 10.0.0.0/8"),
    (GOOD + "clients: ['2001:db8::/32']", 9, "IPv6 comes later"),
    (GOOD + "clients: [lan]", 9, "'lan'", "198.51.100.0/24"),
    (GOOD + "reach: shh", 9, "did you mean 'ssh'?"),
    (GOOD + "reach: [ssh, x]", 9, "reach is a list"),
    (GOOD + "reach: {server-1: [ssh, -p, 22]}", 9, "22 reads as a number"),
    (GOOD + "reach: {server-1: [ssh, '']}", 9, "'' is no word"),
    (GOOD + 'reach: {server-1: ["a\\nb"]}', 9, "'a\\nb' is no word"),
    (GOOD + "reach: {default: [ssh]}", 9, "reach is a list"),
    (GOOD + "reach: {server-1: {a: b}}", 9, "reach is a map"),
    (GOOD + "reach: {a b: ssh}", 9, "host name 'a b'"),
]


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: " ".join(row[2].split()[-4:]))
def test_refused_with_line_value_and_cure(row):
    text, line, *fragments = row
    found = complaints(text)
    for fragment in fragments:
        hits = [one for one in found if fragment in one]
        assert hits, (fragment, found)
        assert hits[0].startswith(f"web.yaml:{line}: "), found
    assert all(len(one) < 300 and one.isprintable() for one in found)


def test_all_complaints_come_at_once_in_the_order_of_the_file():
    found = complaints("name: '-'\n" + HOSTS + service("{vip: x, port: 1}", "") + "arp: no\nz: 1\n")
    assert [int(one.split(":")[1]) for one in found] == [1, 8, 8, 9, 10]


def test_a_slip_in_one_place_is_one_complaint():
    for row in REFUSED[14:]:
        if "directors" not in row[0] or not row[0].startswith(HOSTS):
            continue
        assert len(complaints(row[0])) == 1, row


def test_files_that_cannot_be_read(tmp_path):
    def refusal(path):
        with pytest.raises(SpecError) as caught:
            spec.load(path)
        return str(caught.value)

    assert "No such file" in refusal(tmp_path / "missing.yaml")
    assert "Is a directory" in refusal(tmp_path)
    assert "null byte" in refusal("a\0b")
    bad = tmp_path / "bad.yaml"
    bad.write_bytes(b"a: b\nc: \xff\n")
    assert refusal(bad) == f"{bad}:2: byte 0xff is not UTF-8"
    bad.write_bytes(b"#" * (document.BYTES + 1))
    assert "larger than 16 MiB" in refusal(bad)
    bad.write_text(GOOD.replace("80/tcp", "80"))
    assert refusal(bad).startswith(f"{bad}:8: port 80")
    bad.write_text("\ufeff" + GOOD.replace("\n", "\r\n"))
    assert spec.load(bad).directors


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


# --- anything may be thrown at it ---


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
        *services.MEMBER,
        *services.SCHEDULERS,
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


@st.composite
def specs(draw):
    name = st.from_regex(fields.NAME, fullmatch=True)
    names = draw(st.lists(name, min_size=2, max_size=5, unique=True))
    found = draw(st.lists(ADDRESSES, min_size=len(names) + 1, max_size=8, unique=True))
    own = dict(zip(names, (IPv4Address(number) for number in found), strict=False))
    vips = [IPv4Address(number) for number in found[len(names) :]]
    real = names[1:]
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
        weighed = tuple(spec.Member(m, draw(st.integers(0, 65535))) for m in members)
        drain = draw(st.integers(0, 86400))
        made.append(
            spec.VirtualService(
                vip, port, protocol, scheduler, tuple(sorted(flags)), weighed, drain
            )
        )
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
    )


def written(value):
    return {
        "name": value.name,
        "directors": {host.name: str(host.address) for host in value.directors},
        "real_servers": {
            host.name: {"address": str(host.address), "arp": host.arp}
            for host in value.real_servers
        },
        "services": [
            {
                "vip": str(one.vip),
                "port": f"{one.port}/{one.protocol}",
                "scheduler": one.scheduler,
                "flags": list(one.flags),
                "real_servers": {m.host: {"weight": m.weight} for m in one.members},
                "drain": f"{one.drain_s}s",
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


@given(specs().filter(lambda value: "default" not in written(value)["real_servers"]))
def test_a_valid_spec_round_trips(value):
    tree = written(value)
    jsonschema.validate(tree, SCHEMA)
    assert spec.parse(yaml.safe_dump(tree, sort_keys=False), "made.yaml") == value


# --- what is published ---


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_loads_and_fits_the_schema(path):
    assert spec.load(path).services
    jsonschema.validate(yaml.safe_load(path.read_text()), SCHEMA)


def test_there_are_examples():
    assert {"reference.yaml", "weights.yaml"} <= {path.name for path in EXAMPLES}


def test_the_schema_has_the_keys_and_words_that_the_loader_knows():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    parts = SCHEMA["$defs"]
    assert set(SCHEMA["properties"]) == set(spec_load.TOP)
    assert set(parts["service"]["properties"]) == set(services.SERVICE)
    assert set(parts["director"]["properties"]) == set(hosts.DIRECTOR)
    assert set(parts["real_server"]["properties"]) == set(hosts.REAL_SERVER)
    assert set(parts["member"]["properties"]) == set(services.MEMBER)
    assert set(parts["arp"]["enum"]) == set(hosts.POLICIES)
    assert set(parts["keyword"]["enum"]) == set(spec_load.KEYWORDS)
    assert set(parts["flag"]["enum"]) == {
        f for flags in services.SCHEDULERS.values() for f in flags
    }
    scheduler = parts["service"]["properties"]["scheduler"]
    assert set(scheduler["enum"]) == set(services.SCHEDULERS)
    assert scheduler["default"] == services.DEFAULT_SCHEDULER
    assert parts["name"]["pattern"] == f"^{fields.NAME.pattern}$"


def test_the_reference_page_names_every_key_and_word():
    page = PAGE.read_text()
    for word in (
        *spec_load.TOP,
        *services.SERVICE,
        *hosts.REAL_SERVER,
        *hosts.POLICIES,
        *spec_load.KEYWORDS,
        *services.SCHEDULERS,
    ):
        assert f"`{word}`" in page, word


def test_the_reference_page_shows_real_specs_and_real_complaints():
    blocks = re.findall(r"```(\w+)\n(.*?)```", PAGE.read_text(), re.DOTALL)
    shown = 0
    for (kind, text), (follows, said) in zip(blocks, [*blocks[1:], ("", "")], strict=True):
        if kind == "yaml" and follows == "text":
            assert "\n".join(complaints(text)) + "\n" == said
            shown += 1
        elif kind == "yaml":
            assert spec.parse(text if "services" in text else GOOD + text, "page.yaml")
    assert shown
