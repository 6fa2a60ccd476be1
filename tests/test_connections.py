"""What `onearm connections` asks of a director and makes of its answer, whole or not."""

import json
import tracemalloc
from ipaddress import ip_address, ip_network

import pytest

from onearm import cli, connections, session
from onearm.connections import Asked
from onearm.entries import Served, Wanted
from onearm.errors import Unreachable, UsageError
from onearm.places.remote import RemotePlace
from onearm.spec import load, parse
from onearm.vitals import ConnectionsFact
from onearm.wire import encode
from pages import ROOT

SPEC = ROOT / "examples/reference.yaml"
VIP, TWO, THREE = map(ip_address, ("203.0.113.2", "203.0.113.4", "203.0.113.5"))
WEB = Served("tcp", VIP, 80)
LINE = "TCP C633640A {:04X} CB007102 0050 CB00710{} 0050 {} 57"
LINES = [
    LINE.format(0xCF8A, 4, "SYN_RECV"),
    LINE.format(0x4000, 5, "ESTABLISHED").replace("C633640A", "CB007103"),
    LINE.format(0, 5, "ASSURED"),
]
GROUPS = [
    ConnectionsFact("tcp", VIP, 80, TWO, "SYN_RECV", 40, 20),
    ConnectionsFact("tcp", VIP, 80, TWO, "ESTABLISHED", 1),
    ConnectionsFact("tcp", VIP, 80, THREE, "ASSURED", 3, kind="template"),
    ConnectionsFact("tcp", VIP, 80, THREE, "ESTABLISHED", 1, kind="probe"),
]


class Table:
    """A director's end: says its parts, and notes what it was asked."""

    def __init__(self, *parts, end):
        self.parts, self.end, self.asked, self.begins = parts, end, [], lambda: None

    def stream(self, request, rows, part):
        self.begins()
        self.asked.append((request, list(rows)))
        for data in self.parts:
            part(data)
        if isinstance(self.end, BaseException):
            raise self.end
        return self.end

    def close(self):
        pass


@pytest.fixture
def director(monkeypatch):
    """Let the only director answer as it is told."""

    def answers(*parts, end):
        table = Table(*parts, end=end)
        place = RemotePlace("server-1", [], "default", 1)
        place._conversation = table
        monkeypatch.setattr(session, "RemotePlace", lambda *_: place)
        return table

    monkeypatch.setenv("COLUMNS", "80")
    return answers


def usual(director):
    parts = ({"own": ["203.0.113.3"]}, {"lines": LINES}, {"read": 1000}, {"groups": encode(GROUPS)})
    return director(*parts, end={"read": 100, "missed": 0})


def test_people_see_rows_and_sums(director, capsys):
    table = usual(director)
    assert cli.run(["connections", str(SPEC)]) == 0
    out = capsys.readouterr().out.splitlines()
    assert [line.rstrip() for line in out] == [
        "client               service             server    state        left",
        "198.51.100.10:53130  203.0.113.2:80/tcp  server-2  SYN_RECV     0:57",
        "203.0.113.3:16384    203.0.113.2:80/tcp  server-3  ESTABLISHED  0:57  probe",
        "198.51.100.10        203.0.113.2:80/tcp  server-3  ASSURED      0:57  template",
        "",
        "server-1  41 connections  SYN_RECV 40, ESTABLISHED 1",
        "service             server    open  half-open  states",
        "203.0.113.2:80/tcp  server-2    41       48 %  SYN_RECV 40, ESTABLISHED 1",
        "                    server-3     0          -  3 templates, 1 probe",
        "the first 3 of 45 entries are shown: --limit for more",
        "45 of 99 entries of its table, the rest is not asked for or of other services",
        "(--all)",
    ]
    assert max(map(len, out)) <= 80
    ((request, rows),) = table.asked
    assert (request["wanted"], rows) == ({"limit": 20}, [WEB])


def test_an_object_is_whole_and_has_all(director, capsys):
    table = usual(director)
    assert cli.run(["connections", str(SPEC), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [entry["kind"] for entry in found["entries"]] == ["connection", "probe", "template"]
    assert found["entries"][0]["client"] == "198.51.100.10"
    seen = found["directors"]["server-1"]
    assert (seen["connections"], seen["templates"], seen["probes"], seen["table"]) == (41, 3, 1, 99)
    assert [server["host"] for server in seen["servers"]] == ["server-2", "server-3"]
    assert table.asked[0][0]["wanted"] == {}


@pytest.mark.parametrize("end", [Unreachable("server-1: gone"), KeyboardInterrupt()])
def test_an_object_is_whole_whatever_happens(director, capsys, end):
    director({"lines": LINES}, end=end)
    code = cli.run(["connections", str(SPEC), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert len(found["entries"]) == 3
    interrupted = isinstance(end, KeyboardInterrupt)
    assert (found["interrupted"], code) == (interrupted, 130 if interrupted else 4)
    assert found["out"] == ({} if interrupted else {"server-1": "server-1: gone"})


def test_very_many_entries_do_not_grow_the_asker(director, capsys, monkeypatch):
    lump = {"lines": [LINE.format(n, 4, "ESTABLISHED") for n in range(5000)]}
    table = director(*[lump] * 20, end={"read": 100_001})
    table.begins = tracemalloc.reset_peak  # what loading the spec took is no matter here
    monkeypatch.setattr(connections.sys, "stdout", Nowhere())
    tracemalloc.start()
    assert connections.connections_command(SPEC, Asked(), as_json=True) == 0
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20, peak


class Nowhere:
    def write(self, _text):
        pass


@pytest.mark.parametrize(
    ("asked", "wanted", "services"),
    [
        (Asked(), Wanted(), (WEB,)),
        (Asked(every=True), Wanted(every=True), (WEB,)),
        (Asked(state="syn_recv", limit=0), Wanted(state="SYN_RECV", limit=0), (WEB,)),
        (Asked(vip="203.0.113.2"), Wanted(vip=VIP), (WEB,)),
        (Asked(service="203.0.113.2:80/TCP", every=True), Wanted(), (WEB,)),
        (Asked(client="198.51.100.7/24"), Wanted(client=ip_network("198.51.100.0/24")), (WEB,)),
        (
            Asked(service="[2001:db8::2]:53/udp", every=True),
            Wanted(),
            (Served("udp", ip_address("2001:db8::2"), 53),),
        ),
    ],
)
def test_options_become_a_question(asked, wanted, services):
    assert connections.question(load(SPEC), asked) == (wanted, services)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (Asked(vip="x"), "--vip takes an address"),
        (Asked(client="1.2.3.4/99"), "--client an address or prefix"),
        (Asked(vip="203.0.113.9"), "the spec has 203.0.113.2; --all"),
        (Asked(service="203.0.113.2:81/tcp"), "the spec has 203.0.113.2:80/tcp; --all"),
        (Asked(service="203.0.113.2"), "write it as VIP:PORT/PROTOCOL"),
        (Asked(service="203.0.113.2:99999/tcp"), "write it as VIP:PORT/PROTOCOL"),
        (Asked(service="203.0.113.2:80/x"), "write it as VIP:PORT/PROTOCOL"),
    ],
)
def test_what_cannot_be_asked_is_refused(asked, said):
    with pytest.raises(UsageError, match=said.replace("[", r"\[")):
        connections.question(load(SPEC), asked)


GROUP = (
    SPEC.read_text()
    .replace("vip: 203.0.113.2", "vips: [203.0.113.2, 203.0.113.9]")
    .replace("port: 80/tcp", "ports: [80/tcp, 8000-8010/tcp]")
)


def test_each_end_of_a_group_is_asked_for():
    nine = ip_address("203.0.113.9")
    ends = (WEB, Served("tcp", VIP, 8000, 8010), Served("tcp", nine, 80))
    _, services = connections.question(parse(GROUP, "x"), Asked())
    assert services == (*ends, Served("tcp", nine, 8000, 8010))
    one = Served("tcp", nine, 8005)
    assert connections.question(parse(GROUP, "x"), Asked(service="203.0.113.9:8005/tcp"))[1] == (
        one,
    )
    with pytest.raises(UsageError, match=r"the spec has .*203.0.113.2:8000-8010/tcp"):
        connections.question(parse(GROUP, "x"), Asked(service="203.0.113.9:8011/tcp"))
