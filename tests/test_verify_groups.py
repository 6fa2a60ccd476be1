"""What connections to the ends of a group prove, and what they do not."""

from dataclasses import replace
from ipaddress import ip_address

from onearm.case import Case
from onearm.evidence import Evidence
from onearm.flows import Names, Way
from onearm.spec import End
from onearm.traffic import Attempt
from onearm.verdicts import FAIL, PASS, UNPROVED
from onearm.verify_groups import every_endpoint, one_server
from worlds import SERVICE, SPEC, VIP

OTHER = ip_address("203.0.113.9")
GROUP = replace(SERVICE, persistence_s=300, ends=(End(VIP, 80, 80), End(OTHER, 8000, 8010)))
ENDS = [(VIP, 80), (OTHER, 8000), (OTHER, 8010)]
CLIENTS = [ip_address(f"198.51.100.{n}") for n in (10, 11)]


def case(chosen, service=GROUP, blind=()):
    """Judge connections: client, end and the real server that each was handed to."""
    frames = {name: [] for name in ("d", "r1", "r2") if name not in blind}
    found = Case(SPEC, Evidence(frames=frames), Names({}), service, [])
    for n, (client, (vip, port), server) in enumerate(chosen):
        result = "connected" if server else "refused"
        attempt = Attempt(client, 40000 + n, result, target=vip, target_port=port)
        found.ways.append(Way(attempt, "client", handed_to={server} if server else set()))
    return found


def all_to(servers, ends=ENDS):
    pairs = zip(CLIENTS, servers, strict=True)
    return [(client, end, server) for client, server in pairs for end in ends]


def test_a_group_that_serves_at_all_its_ends():
    found = case(all_to(["r1", "r2"]))
    shown = "203.0.113.2:80 2, 203.0.113.9:8000 2, 203.0.113.9:8010 2"
    assert every_endpoint(found) == (PASS, f"connections to all 3 were handed on: {shown}")
    assert one_server(found) == (PASS, "each of 2 clients got one real server at up to 3 endpoints")


def test_an_end_that_nobody_serves():
    status, *texts = every_endpoint(case([*all_to(["r1", "r2"], ENDS[:2]), *missing()]))
    assert status == FAIL
    assert texts == [
        "203.0.113.9:8010: none of 1 connections was handed on (the client saw: 1 refused)"
    ]


def missing():
    return [(CLIENTS[0], ENDS[2], "")]


def test_an_end_that_was_not_tried_proves_nothing():
    assert every_endpoint(case(all_to(["r1", "r2"], ENDS[:2])))[0] == UNPROVED
    assert every_endpoint(case([]))[0] == UNPROVED
    assert every_endpoint(case(all_to(["r1", "r2"]), blind=["d"]))[0] == UNPROVED


def test_a_client_that_got_two_real_servers():
    torn = [(CLIENTS[0], ENDS[0], "r1"), (CLIENTS[0], ENDS[1], "r2"), (CLIENTS[1], ENDS[0], "r1")]
    assert one_server(case(torn)) == (
        FAIL,
        "198.51.100.10/32 got r1 at 203.0.113.2:80 and r2 at 203.0.113.9:8000",
    )
    # of one prefix, they are one client
    wide = replace(GROUP, persistence_mask=24)
    assert one_server(case(all_to(["r1", "r2"]), wide))[0] == FAIL
    assert one_server(case(all_to(["r1", "r2"], ENDS[:1])))[0] == UNPROVED


def test_of_other_services_nothing_is_said():
    ways = all_to(["r1", "r2"])
    assert every_endpoint(case(ways, SERVICE)) == one_server(case(ways, SERVICE)) == ()
    assert one_server(case(ways, replace(GROUP, persistence_s=0))) == ()
    assert one_server(case(ways, replace(GROUP, engine="sip"))) == ()
