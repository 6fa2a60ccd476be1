"""Whole commands with a cloud: the order, the exit codes, and what is left alone."""

import json
from dataclasses import replace

import pytest

from clouds import cloud, port
from fakes import FakeHost
from onearm import operate, probe
from onearm import session as session_module
from onearm import spec as spec_module
from onearm.errors import Denied, Refused, Unreachable
from onearm.model import NEUTRON, AddressPair, AnnouncedVip, Destination, GroupMembership, Mark

TEXT = """\
directors: {d: 203.0.113.3}
real_servers: {r1: 203.0.113.4, r2: 203.0.113.5}
services: [{vip: 203.0.113.2, port: 80/tcp}]
openstack: {cloud: lab, network: public, director_groups: replace}
"""
ADDRESSES = {"d": "203.0.113.3", "r1": "203.0.113.4", "r2": "203.0.113.5"}


class FakeRemote(FakeHost):
    """A host as a session meets it."""

    noted: tuple[str, ...] = ()

    def look(self, question):
        if self.name == "this machine":
            raise Unreachable("this machine: no root here")
        servers = question.near if question.role == "director" else ()
        return replace(self.facts(servers), known_hosts={"default": tuple(self.noted)})

    def open(self):
        """Be there."""

    def lock(self):
        """Be nobody else's."""

    def close(self):
        """Keep everything for the next session."""

    def remember_hosts(self, hosts):
        self.noted = tuple(sorted(hosts))


class FakeCloud(FakeHost):
    """Neutron: the facts follow from what stands and is marked."""

    def __init__(self):
        super().__init__(NEUTRON, "192.0.2.1")
        self.base, self.fails = cloud(), None

    def look(self):
        if self.fails:
            raise self.fails
        alone = {m.resource.port_id for m in self.marks.values() if _replaced(m)}
        ports = [
            replace(p, groups=()) if p.id in alone else port(p.host, str(p.addresses[0]))
            for p in self.base.ports
        ]
        marks = [
            replace(m, was={"groups": "g-default"}) if _replaced(m) else m
            for m in self.marks.values()
        ]
        return replace(self.base, ports=tuple(ports), marks=tuple(marks))

    def close(self):
        """Stay for the next session."""


def _replaced(mark: Mark) -> bool:
    return isinstance(mark.resource, GroupMembership) and mark.resource.only


class World:
    def __init__(self, tmp_path):
        self.path = tmp_path / "web.yaml"
        self.path.write_text(TEXT)
        self.hosts = {name: FakeRemote(name, address) for name, address in ADDRESSES.items()}
        self.cloud, self.order = FakeCloud(), []
        self.hosts["this machine"] = FakeRemote("this machine", "192.0.2.9")
        for place in (*self.hosts.values(), self.cloud):
            place.after_each = lambda place=place: self.order.append(place.journal[-1])

    def plan(self, **more):
        flags = {"commands": False, "check": False, "output": None, "as_json": False}
        return operate.plan_command(self.path, **{**flags, **more})

    def apply(self, path=None, limit=(), *, as_json=False):
        path = path or self.path
        return operate.apply_command(
            path, yes=True, adopt=False, limit=limit, reach_from=None, as_json=as_json
        )

    def destroy(self):
        return operate.destroy_command(self.path, yes=True, as_json=False)

    def standing(self, kind):
        places = (*self.hosts.values(), self.cloud)
        return [t for place in places for t in place.things.values() if isinstance(t, kind)]


@pytest.fixture
def world(tmp_path, monkeypatch):
    made = World(tmp_path)
    for module in (session_module, probe):
        monkeypatch.setattr(module, "RemotePlace", lambda name, *_: made.hosts[name])
    monkeypatch.setattr(session_module, "_neutron", lambda _spec: made.cloud)
    return made


def test_the_cloud_is_first_up_and_last_down_and_all_goes_again(world):
    assert world.plan(check=True) == 5
    assert world.apply() == 0
    places = [action.place for action in world.order]
    assert places.index("d") > max(n for n, place in enumerate(places) if place == NEUTRON)
    assert world.plan(check=True) == 0
    assert world.apply() == 0
    world.order.clear()
    assert world.destroy() == 0
    places = [action.place for action in world.order]
    assert set(places[-places.count(NEUTRON) :]) == {NEUTRON}
    assert not world.cloud.things and not world.cloud.marks


def test_a_spec_without_the_section_asks_no_cloud(world, monkeypatch):
    monkeypatch.setattr(session_module, "_neutron", lambda _: pytest.fail("it was asked"))
    world.path.write_text(TEXT.rpartition("openstack")[0])
    assert world.apply() == 0
    assert not world.cloud.journal


def test_a_cloud_that_leaves_the_spec_is_told_of_until_it_is_taken_down(world, capsys):
    assert world.apply() == 0
    assert all("neutron" in world.hosts[name].noted for name in ADDRESSES)
    standing = dict(world.cloud.things)
    bare = TEXT.rpartition("openstack")[0]
    world.path.write_text(bare)
    for run, code in ((world.plan, 0), (world.apply, 0), (world.destroy, 5), (world.plan, 0)):
        assert run() == code
        said = capsys.readouterr().out
        assert "cloud.left_behind" in said and "onearm destroy" in said
    assert world.cloud.things == standing
    assert not world.standing(AnnouncedVip)
    world.path.write_text(TEXT)
    assert world.destroy() == 0
    assert not world.cloud.things
    assert not [host.noted for host in world.hosts.values() if host.noted]
    world.path.write_text(bare)
    assert world.apply() == 0
    assert "cloud.left_behind" not in capsys.readouterr().out


def test_a_cloud_that_was_never_reached_is_not_noted_and_one_that_is_out_stays_so(world):
    world.cloud.fails = Unreachable("neutron: no answer within 20 s")
    assert world.apply() == 4
    assert "neutron" not in world.hosts["d"].noted
    world.cloud.fails = None
    assert world.apply() == 0
    world.cloud.fails = Unreachable("neutron: no answer within 20 s")
    assert world.apply() == 4
    assert world.destroy() == 4
    assert "neutron" in world.hosts["d"].noted


def test_a_403_that_is_foreseen_ends_it_before_anything_is_changed(world, capsys):
    world.cloud.base = replace(world.cloud.base, pairs_right=False)
    assert world.plan() == 4
    assert "net.owner" in capsys.readouterr().out
    with pytest.raises(Denied, match=r"nothing was changed:.*403.*--as-admin"):
        with_dots(world.apply)
    assert not world.order
    assert world.plan(as_admin=True) == 4
    reserve = (
        "openstack port create --project project --network n-1 --fixed-ip ip-address=203.0.113.2"
        " --disable --device-owner onearm:vip --no-security-group onearm-vip-203.0.113.2"
    )
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("openstack")]
    assert said == [
        reserve,
        "openstack port set --allowed-address ip-address=0.0.0.0/0 p-d",
        "openstack port set --allowed-address ip-address=203.0.113.2 p-d",
        "openstack port set --allowed-address ip-address=203.0.113.2/32 p-r1",
        "openstack port set --allowed-address ip-address=203.0.113.2/32 p-r2",
    ]


def with_dots(call):
    """Let a message of several lines be matched as one."""
    try:
        call()
    except Denied as error:
        raise Denied(str(error).replace("\n", " ")) from error


def test_what_is_dangerous_is_refused(world):
    world.path.write_text(TEXT.replace("replace", "keep"))
    assert world.plan() == 3
    with pytest.raises(Refused, match="director_groups: replace"):
        world.apply()
    assert not world.order


def test_a_cloud_that_says_no_at_once_ends_it(world):
    world.cloud.fails = Denied("neutron: 401: the password is wrong")
    for run in (world.plan, world.apply, world.destroy):
        with pytest.raises(Denied, match="401"):
            run()
    assert not world.order


def test_while_the_cloud_is_out_no_packet_starts_and_nothing_is_taken_from_it(world):
    world.cloud.fails = Unreachable("neutron: no answer within 20 s")
    assert world.apply() == 4
    assert not [d for d in world.standing(Destination) if d.weight]
    world.cloud.fails = None
    assert world.apply() == 0
    assert len([d for d in world.standing(Destination) if d.weight]) == 2
    pairs = world.standing(AddressPair)
    world.cloud.fails = Unreachable("neutron: no answer within 20 s")
    assert world.destroy() == 4
    assert world.standing(AddressPair) == pairs


def test_a_cloud_that_is_lost_in_the_middle(world):
    world.cloud.fails_after = 5
    assert world.apply() == 4
    assert not [d for d in world.standing(Destination) if d.weight]
    world.cloud.fails_after = None
    assert world.apply() == 0
    assert world.plan(check=True) == 0


def test_nothing_is_taken_from_the_cloud_while_a_host_is_out(world):
    assert world.apply() == 0
    before = dict(world.cloud.things)
    world.hosts["r2"].fails_after = 0
    assert world.destroy() == 4
    assert world.cloud.things == before
    assert world.standing(AnnouncedVip)
    world.hosts["r2"].fails_after = None
    assert world.destroy() == 0
    assert not world.cloud.things


def test_an_unknown_driver_is_tried_when_all_stands_and_without_a_client_unproved(world, capsys):
    world.cloud.base = replace(world.cloud.base, firewall="")
    assert world.apply(limit=(NEUTRON,), as_json=True) == 4
    assert json.loads(capsys.readouterr().out)["properties"] == []
    for _ in ("all to do", "nothing to do"):
        assert world.apply(as_json=True) == 0
        (found,) = json.loads(capsys.readouterr().out)["properties"]
        assert (found["id"], found["status"]) == ("path.stateless_director", "unproved")
        assert "no root here" in found["evidence"] and "--client" in found["evidence"]
    assert world.destroy() == 0
    assert "stateless_director" not in capsys.readouterr().out


def test_the_cloud_may_be_left_aside(world):
    assert world.apply(limit=("d", "r1", "r2")) == 4
    assert not world.cloud.journal
    assert world.apply(limit=(NEUTRON,)) == 4
    assert world.cloud.things and not [d for d in world.standing(Destination) if d.weight]
    assert world.apply() == 0


def test_a_plan_file_holds_the_cloud_and_no_more(world, tmp_path, capsys):
    file = tmp_path / "plan.json"
    world.path.write_text(TEXT + "reach: {d: [ssh, secret-bastion]}\n")
    assert world.plan(output=file, as_json=True) == 0
    data = json.loads(file.read_text())
    assert data == json.loads(capsys.readouterr().out)
    again = spec_module.parse(data["spec"], "plan")
    assert again.openstack == spec_module.load(world.path).openstack
    assert "secret-bastion" not in file.read_text()
    pair = next(a for a in data["actions"] if "pair 203.0.113.2/32" in a["text"])
    assert pair["place"] == NEUTRON and pair["after"]["is"] == "AddressPair"
    assert pair["commands"][0].startswith("openstack port set --allowed-address")
    world.path.write_text(TEXT)
    assert world.plan(output=file) == 0
    assert world.apply(file) == 0
