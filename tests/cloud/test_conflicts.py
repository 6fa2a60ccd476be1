"""Others write to the same ports meanwhile, and runs are killed: nothing foreign is lost."""

import threading

import pytest
from neutrons import VIP, converge, settled
from test_kinds import D, R, reference

from onearm.model import PortSecurity, SecurityGroup, VipPort
from onearm.places.neutron_api import Api

ROUNDS = 100
WRITES = ("POST", "PUT", "DELETE")


class Killed(BaseException):
    """The run ended here, as by kill -9."""


def before_write(monkeypatch, hook):
    """Call `hook(method, path)` before each write of the place."""
    real = Api.call

    def call(self, what, method, path, **more):
        if method in WRITES:
            hook(method, path)
        return real(self, what, method, path, **more)

    monkeypatch.setattr(Api, "call", call)


def test_a_port_edited_between_read_and_write_is_read_again(cloud, monkeypatch):
    edits = []

    def edit(method, path):
        if method == "PUT" and "tags" not in path and len(edits) < 3:
            edits.append({"ip_address": f"192.0.2.{len(edits)}"})
            cloud.set_port(R, allowed_address_pairs=edits)

    before_write(monkeypatch, edit)
    outcome = converge(cloud.place(), [cloud.pair(R, "203.0.113.2/32")])
    assert not outcome.out and len(edits) == 3
    assert cloud.pairs(R) == ["192.0.2.0", "192.0.2.1", "192.0.2.2", "203.0.113.2/32"]


def test_a_port_that_never_rests_is_given_up_unchanged(cloud, monkeypatch):
    edits = []

    def edit(method, path):
        if method == "PUT" and "tags" not in path:
            edits.append(path)
            cloud.set_port(R, description=f"edit {len(edits)}")

    before_write(monkeypatch, edit)
    outcome = converge(cloud.place(), [cloud.pair(R, "203.0.113.2/32")])
    assert "changed by somebody else" in str(outcome.out["neutron"]) and len(edits) == 8
    assert cloud.pairs(R) == []


def test_a_port_deleted_between_read_and_write(cloud, monkeypatch):
    def delete(method, path):
        if method == "PUT" and "tags" not in path:
            cloud.ask("DELETE", f"/ports/{cloud.ports[R]}", who="admin", good=False)

    before_write(monkeypatch, delete)
    outcome = converge(cloud.place(), [cloud.pair(R, "203.0.113.2/32")])
    assert "not there" in str(outcome.out["neutron"])


def test_foreign_pairs_and_tags_added_all_the_while(cloud):
    """Another client adds and never removes, by the same rule as we: read, merge, If-Match."""
    added, done = [], threading.Event()

    def client():
        for n in range(ROUNDS):
            pair = {"ip_address": f"192.0.2.{n % 4}", "mac_address": f"02:00:00:00:00:{n:02x}"}
            while True:
                port = cloud.port(R)
                pairs = [p for p in port["allowed_address_pairs"] if p not in added[:-3]]
                body = {"port": {"allowed_address_pairs": [*pairs, pair]}}
                guard = {"If-Match": f"revision_number={port['revision_number']}"}
                path = f"/ports/{port['id']}"
                if cloud.ask("PUT", path, body, headers=guard, good=False).ok:
                    break
            added.append(pair)
            if not n % 5:
                cloud.tag("ports", cloud.ports[R], f"foreign-{n // 5}")
        done.set()

    other = threading.Thread(target=client)
    other.start()
    place, turns = cloud.place(), 0
    while not done.is_set():
        converge(place, [cloud.pair(R, "203.0.113.2/32")] if turns % 2 else [])
        turns += 1
    other.join()
    converge(cloud.place(), [])
    stored = cloud.port(R)["allowed_address_pairs"]
    assert all(pair in stored for pair in added[-3:]) and "203.0.113.2/32" not in cloud.pairs(R)
    foreign = {t for t in cloud.port(R)["tags"] if t.startswith("foreign-")}
    assert len(foreign) == ROUNDS // 5
    print(f"{turns} turns of ours against {ROUNDS} of another client")


@pytest.mark.parametrize("open_port", [False, True])
def test_killed_before_and_after_every_write(cloud, monkeypatch, open_port):
    cloud.set_port(R, allowed_address_pairs=[{"ip_address": "192.0.2.7"}])
    cloud.tag("ports", cloud.ports[D], "keep-me")
    before = cloud.snapshot()
    wanted = [
        SecurityGroup("onearm-web", stateful=False),
        VipPort(cloud.network, VIP),
        *(r for r in reference(cloud)[2:4]),
        cloud.pair(R, "203.0.113.2/32"),
        PortSecurity(cloud.ports[D], enabled=False)
        if open_port
        else cloud.member(D, "onearm-web", stateful=False, only=True),
    ]
    fuel = [0]

    def burn(*_):
        fuel[0] -= 1
        if fuel[0] < 0:
            raise Killed

    before_write(monkeypatch, burn)
    for goal in (wanted, []):
        kills = 0
        while True:
            fuel[0] = 1 if kills < 60 else 1000  # one more write each time, whatever it is
            try:
                converge(cloud.place(), goal)
            except Killed:
                kills += 1
            else:
                break
        assert 5 <= kills < 60
        fuel[0] = 1000
        assert settled(cloud.place(), goal)
    assert cloud.snapshot() == before
