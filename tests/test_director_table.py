"""A director's table: what is written to the kernel, in which order, and what lost answers mean."""

import errno
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onearm.diff import diff
from onearm.kernel import ipvs_messages as m
from onearm.kernel.ipvs import IpvsDestination, IpvsService
from onearm.kernel.ipvs_messages import GENL, change_body
from onearm.kernel.ipvs_templates import template
from onearm.kernel.netlink import NetlinkError, attributes
from onearm.model import Action, Destination, Seen, Service, state
from onearm.places import director
from onearm.places.bodies import bodies

VIP, OTHER = ip_address("203.0.113.2"), ip_address("203.0.113.20")
WEB = Service("tcp", VIP, 80, "rr")
NAME = "default"


class Kernel:
    """An IPVS table that takes bodies and keeps a journal of them; its answers may get lost."""

    def __init__(self):
        self.made, self.behind, self.journal, self.loses = {}, {}, [], False

    def __call__(self):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def send(self, sent):
        self.journal += [said(body) for body in sent]
        codes = {n: code for n, code in enumerate(map(self.take, sent)) if code}
        if self.loses:
            raise NetlinkError(errno.ENOBUFS)
        return codes

    def take(self, body):
        found = attributes(body, GENL.size)
        key = found[m.CMD_SERVICE][8:44]
        if m.CMD_DEST in found:
            table, verb = self.behind, body[0] - m.NEW_DEST
            value = m.parse_destination(body, 2)
            key += value.address.packed + value.port.to_bytes(2, "big")
        else:
            table, verb, value = self.made, body[0] - m.NEW_SERVICE, m.parse_service(body)
        if (verb == 0) == (key in table):
            return errno.ENOENT if verb else errno.EEXIST
        if verb == 2:
            del table[key]
        else:
            table[key] = value
        return 0

    def services(self):
        return list(self.made.values())

    def table(self):
        return [(service, self.destinations(service)) for service in self.services()]

    def destinations(self, service):
        key = m.service_key(service)[12:48]
        return [d for found, d in reversed(self.behind.items()) if found.startswith(key)]


def said(body):
    """Name a message: its command, and a destination's address."""
    destination = attributes(body, GENL.size).get(m.CMD_DEST, b"")
    return body[0], attributes(destination).get(m.DEST_ADDR, b"")[:4]


@pytest.fixture
def kernel(monkeypatch):
    kernel_ = Kernel()
    monkeypatch.setattr(director, "Ipvs", kernel_)
    return kernel_


def behind(vip, count, **values):
    return [
        Destination("tcp", vip, 80, IPv4Address(0x0A000000 + n), **values) for n in range(count)
    ]


def create(*resources):
    return [Action("d1", None, resource) for resource in resources]


def errors(batch):
    return {action: error for action, error in director.apply(batch, {}) if error is not None}


def test_only_what_changed_is_written(kernel):
    """One real server in a hundred gets another weight, and one leaves."""
    services = [Service("tcp", vip, 80, "rr") for vip in (VIP, OTHER)]
    wanted = [*services, *behind(VIP, 100), *behind(OTHER, 100)]
    assert errors(create(*services)) == errors(create(*wanted[2:])) == {}
    changed = wanted[7]
    after = state([*wanted[:7], replace(changed, weight=5), *wanted[8:-1]])
    seen = {
        key: Seen(resource, (NAME,), resource) for key, resource in director.read(wanted).items()
    }
    assert len(seen) == len(wanted)
    kernel.journal.clear()
    for step in diff(NAME, {"d1": after}, {"d1": seen}).steps:
        assert errors(step["d1"]) == {}
    gone = wanted[-1].server.packed
    assert kernel.journal == [(m.SET_DEST, changed.server.packed), (m.DEL_DEST, gone)]
    assert director.read(wanted) == dict(after)


def test_the_newest_is_deleted_first(kernel):
    made = behind(VIP, 5)
    errors(create(WEB))
    errors(create(*made))
    kernel.journal.clear()
    assert errors([Action("d1", one, None) for one in made]) == {}
    assert [address for _, address in kernel.journal] == [d.server.packed for d in reversed(made)]


def test_what_is_there_already_is_set_as_wanted(kernel):
    old, new = behind(VIP, 3), behind(VIP, 4, weight=7)
    errors(create(WEB, *old))
    assert errors(create(*new)) == {}
    assert {*new} <= {*director.read(new).values()}


def test_each_way_is_written_changed_in_place_and_read_as_it_was_wanted(kernel):
    plain, tunnel, masq = behind(VIP, 3, upper=9, lower=5)
    gue = {"forwarding": "tunnel", "tunnel": "gue", "tunnel_port": 6080}
    made = [
        plain,
        replace(tunnel, **gue),
        replace(masq, forwarding="masq", own_port=8080),
        replace(masq, forwarding="masq", own_port=8081),
    ]
    assert errors(create(WEB, *made)) == {}
    assert director.read(made) == state([WEB, *made])
    kernel.journal.clear()
    after = replace(plain, **gue)
    assert errors([Action("d1", plain, after), Action("d1", made[3], None)]) == {}
    assert [command for command, _ in kernel.journal] == [m.SET_DEST, m.DEL_DEST]
    assert director.read(made) == state([WEB, after, *made[1:3]])


def test_what_is_gone_already_counts_as_deleted_and_nothing_else_does(kernel):
    one, two = behind(VIP, 2)
    errors(create(WEB, one))
    update = Action("d1", two, replace(two, weight=9))
    refused = errors([Action("d1", two, None), update, Action("d1", one, None)])
    assert list(refused) == [update]
    assert not kernel.behind


def test_lost_answers_are_made_up_for_by_reading_the_table(kernel):
    one, two = behind(VIP, 2)
    errors(create(WEB, one))
    kernel.loses = True
    update = Action("d1", two, replace(two, weight=9))  # refused: it is not there
    deleted = Action("d1", one, None)
    refused = errors([deleted, update])
    assert list(refused) == [update]
    assert errors(create(two)) == {}
    assert state([two]).items() <= director.read([two]).items()


def test_any_other_loss_of_the_socket_refuses_all(kernel, monkeypatch):
    def broken(_sent):
        raise NetlinkError(errno.ETIMEDOUT)

    monkeypatch.setattr(kernel, "send", broken)
    batch = create(WEB)
    assert list(errors(batch)) == batch


ADDRESSES = st.sampled_from([VIP, OTHER, IPv4Address(7), IPv6Address(7), IPv6Address(1 << 100)])
WAYS = st.sampled_from(
    [
        {"forwarding": "direct"},
        {"forwarding": "masq"},
        {"forwarding": "masq", "own_port": 8080},
        {"forwarding": "tunnel", "tunnel": "ipip"},
        {"forwarding": "tunnel", "tunnel": "gre"},
        {"forwarding": "tunnel", "tunnel": "gue", "tunnel_port": 6080},
        {"forwarding": "tunnel", "tunnel": "gue", "tunnel_port": 7},
    ]
)
DESTINATIONS = st.builds(
    lambda way, **values: Destination(**way, **values),
    WAYS,
    protocol=st.sampled_from(["tcp", "udp"]),
    vip=st.sampled_from([VIP, OTHER]),
    port=st.sampled_from([53, 80]),
    server=st.builds(IPv4Address, st.integers(0, 3)),
    weight=st.integers(0, 3),
    upper=st.sampled_from([0, 9]),
    lower=st.sampled_from([0, 9]),
)
RESOURCES = st.one_of(DESTINATIONS, st.builds(Service, st.just("tcp"), ADDRESSES, st.just(80)))


@given(st.lists(st.tuples(st.just(0), st.sampled_from(["add", "set", "delete"]), RESOURCES)))
def test_templates_give_the_bytes_of_the_whole_encoding(wishes):
    whole = [change_body(*director._change(verb, resource)) for _, verb, resource in wishes]
    assert bodies(wishes, director._change) == whole


@given(st.sampled_from(["add", "set", "delete"]), ADDRESSES, ADDRESSES, st.sampled_from([0, 2]))
def test_a_template_fits_every_address_of_its_family(command, vip, server, forwarding):
    others = type(vip)(98), type(server)(99)
    service = IpvsService(protocol=6, address=others[0], port=80)
    made = template(command, service, IpvsDestination(others[1], 80, forwarding))
    wanted = replace(service, address=vip), IpvsDestination(server, 80, forwarding)
    filled = made[0] + vip.packed + made[1] + server.packed + made[2]
    assert filled == change_body(command, *wanted)
    head, tail = template(command, service, None)
    assert head + vip.packed + tail == change_body(command, wanted[0], None)


def test_a_service_by_mark_has_no_template():
    with pytest.raises(ValueError, match="by mark"):
        template("add", IpvsService(fwmark=7), None)
