"""The spec: what is accepted, and what is refused."""

from ipaddress import IPv4Address, IPv4Network, IPv6Network

import pytest
import yaml

from onearm import spec
from onearm.errors import SpecError
from onearm.spec_load import document
from spec_cases import GOOD, HOSTS, REFUSED, complaints, service


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
        clients=(IPv4Network("0.0.0.0/0"), IPv6Network("::/0")),
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


def checks_of(text):
    return [service.check for service in spec.parse(text, "web.yaml").services]


def test_a_check_and_its_defaults():
    tcp, udp, own, none = checks_of(
        HOSTS
        + """check: {interval: 500ms}
services:
  - {vip: 203.0.113.2, port: 80/tcp}
  - {vip: 203.0.113.2, port: 80/udp}
  - {vip: 203.0.113.2, port: 81/tcp, check: http}
  - {vip: 203.0.113.2, port: 82/tcp, check: none}
"""
    )
    assert tcp == spec.Check("tcp", interval_s=0.5, timeout_s=0.5)
    assert udp == spec.Check("udp", interval_s=0.5, timeout_s=0.5)
    assert own == spec.Check("http")
    assert none is None
    assert checks_of(GOOD) == [None]


def test_everything_that_a_check_can_say():
    https, udp, dns, script, icmp = checks_of(
        HOSTS
        + r"""services:
  - vip: 203.0.113.2
    port: 443/tcp
    check: {kind: https, interval: 1m, timeout: 5s, rise: 1, fall: 4, port: 8443, method: POST,
      path: "/a?b=%20", host: www.example.org, codes: [200, 204-206], body: "^ok$", verify: true,
      ca: /etc/ca.pem, through: host, address: 203.0.113.9}
  - {vip: 203.0.113.2, port: 5/udp, check: {send: "a\0\xff", expect: "\\xff"}}
  - {vip: 203.0.113.2, port: 53/udp, check: {kind: dns, query: a.example, answer: 192.0.2.1}}
  - {vip: 203.0.113.2, port: 6/tcp, check: {kind: script, argv: [/bin/test, "a b", ""], port: 7}}
  - {vip: 203.0.113.2, port: 7/udp, check: icmp}
"""
    )
    assert https == spec.Check(
        "https",
        "host",
        60,
        5,
        1,
        4,
        8443,
        IPv4Address("203.0.113.9"),
        "POST",
        "/a?b=%20",
        "www.example.org",
        ((200, 200), (204, 206)),
        "^ok$",
        verify=True,
        ca="/etc/ca.pem",
    )
    assert udp == spec.Check("udp", send=b"a\0\xff", expect=r"\xff")
    assert dns == spec.Check("dns", query="a.example", answer="192.0.2.1")
    assert script == spec.Check("script", "host", port=7, argv=("/bin/test", "a b", ""))
    assert icmp == spec.Check("icmp", "host")


def test_the_cloud_and_its_defaults():
    found = spec.parse(GOOD + "openstack: {network: public}", "web.yaml").openstack
    assert found == spec.Cloud(network="public")
    assert spec.parse(GOOD, "web.yaml").openstack is None
    found = spec.parse(
        GOOD
        + """openstack:
  cloud: lab
  ports: {server-1: a, server-2: b b, server-3: 6d0c}
  firewall: ovn
  manage_security_groups: false
  reserve_vip: false
  director_groups: replace
  director_port_security: off
  max_address_pairs: 25
""",
        "web.yaml",
    ).openstack
    assert found == spec.Cloud(
        "lab",
        None,
        {"server-1": "a", "server-2": "b b", "server-3": "6d0c"},
        "ovn",
        manage_security_groups=False,
        reserve_vip=False,
        director_groups="replace",
        director_port_security="off",
        max_address_pairs=25,
    )


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


def test_words_that_stand_twice_are_complained_of_twice():
    one = "{vip: 203.0.113.2, port: %s/tcp, real_servers: {server-2: {weight: %s}}}"
    again = HOSTS + "services:\n  - " + one % (80, 5) + "\n  - "
    assert complaints(again + one % (81, "'5'"))[0].startswith("web.yaml:8: weight '5'")
    found = complaints(again + one % (81, -1) + "\n  - " + one % (82, -1))
    assert [text.split(": ")[0] for text in found] == ["web.yaml:8", "web.yaml:9"]


def test_the_same_words_may_mean_another_port():
    body = "{server-2: {port: 8080}}"
    one = "  - {vip: 203.0.113.2, port: %s/tcp, forwarding: masq, real_servers: %s}\n"
    text = HOSTS + "services:\n" + one % (80, body) + one % (8080, body)
    ports = [service.members[0].port for service in spec.parse(text, "web.yaml").services]
    assert ports == [8080, 0]


@pytest.mark.parametrize("value", ["5", "'5'", "!!str 5", "0x5", "~", "yes", "5.0", "2001-01-01"])
def test_tags_are_those_of_yaml_wherever_a_text_stands(value):
    text = f"a: {value}\nb: [{value}, '5', {value}]\n{value}: {{c: {value}}}\n"
    plain = yaml.compose(text, Loader=yaml.SafeLoader)
    assert yaml.serialize(document.compose(text, "it")) == yaml.serialize(plain)
