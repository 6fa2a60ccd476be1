"""An API that refuses, hangs, cuts or babbles: one clear sentence, in time, and no secret in it."""

import json
import logging
import time

import pytest
from neutrons import converge, settled
from test_kinds import R

from onearm.errors import PlaceError

SECRETS = ("lab-owner", "owner:web:member")
STATUS = {
    401: "credentials",
    403: "administrator",
    404: "run plan again",
    409: "look at it",
    412: "somebody else",
    429: "fewer requests",
    500: "out of order",
    503: "overloaded",
}


def neutron_only(fault, methods=("GET", "POST", "PUT", "DELETE")):
    def decide(method, path, _number):
        return fault if path.startswith("/v2.0") and method in methods else None

    return decide


def leaks(text):
    return [secret for secret in SECRETS if secret in text]


@pytest.fixture
def words(caplog):
    """All that was logged, and what a test adds."""
    caplog.set_level(logging.DEBUG)
    said = []
    yield said
    assert not leaks("\n".join(said) + caplog.text)


@pytest.mark.parametrize("status", STATUS)
def test_a_status_on_reading(cloud, faults, words, status):
    body = json.dumps({"NeutronError": {"message": f"echo {SECRETS[0]}", "type": "X"}}).encode()
    fault = {"status": status, "body": body, "headers": {"Retry-After": "1"}}
    faults.proxy.fault = neutron_only(fault)
    place = cloud.place(call_s=2)
    began = time.monotonic()
    with pytest.raises(PlaceError) as caught:
        place.observe([])
    assert time.monotonic() - began < 20
    words += [str(caught.value), repr(caught.value), repr(place), repr(place.__dict__)]
    assert str(status) in str(caught.value) and STATUS[status] in str(caught.value)


@pytest.mark.parametrize("fault", [{"hang": 20}, {"drip": 20}, {"cut": 1}, {"close": 1}])
def test_no_whole_answer(cloud, faults, words, fault):
    faults.proxy.fault = neutron_only(fault)
    began = time.monotonic()
    with pytest.raises(PlaceError) as caught:
        cloud.place(call_s=2).observe([])
    assert time.monotonic() - began < 15
    words.append(str(caught.value))
    assert "try again" in str(caught.value)


@pytest.mark.parametrize("body", [b"<html>login</html>", b"[]", b'{"ports": 3}', b"{" * 9999])
def test_no_json(cloud, faults, words, body):
    faults.proxy.fault = neutron_only({"status": 200, "body": body})
    with pytest.raises(PlaceError, match="answer") as caught:
        cloud.place(call_s=2).observe([])
    words.append(str(caught.value))


def test_retry_after_is_honoured(cloud, faults):
    fault = {"status": 503, "headers": {"Retry-After": "1"}}
    answers = []

    def once(_method, path, _number):
        if "/v2.0/security-groups" in path and not answers:
            answers.append(time.monotonic())
            return fault
        return None

    faults.proxy.fault = once
    assert cloud.place().observe([]) == {}
    assert time.monotonic() - answers[0] >= 1


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("fault", [{"close": 1}, {"status": 500}, {"cut": 1}])
def test_a_write_that_breaks_is_repaired_by_the_next_run(cloud, faults, words, fault, after):
    """`after`: the API had done it, and only its answer was lost."""
    cloud.set_port(R, allowed_address_pairs=[{"ip_address": "192.0.2.7"}])
    before = cloud.snapshot()
    wanted = [cloud.pair(R, "203.0.113.2/32")]
    faults.proxy.fault = neutron_only({**fault, "after": after}, ("PUT",))
    outcome = converge(cloud.place(call_s=2), wanted)
    words.append(str(outcome.out["neutron"]))
    faults.proxy.fault = None
    assert not converge(cloud.place(), wanted).out and settled(cloud.place(), wanted)
    converge(cloud.place(), [])
    assert cloud.snapshot() == before


def edited(faults, **auth):
    clouds = json.loads(faults.clouds.read_text())
    clouds["clouds"]["owner"]["auth"].update(auth)
    faults.clouds.write_text(json.dumps(clouds))


def test_a_wrong_password(cloud, faults, words):
    edited(faults, password="planted-secret")  # noqa: S106 - planted
    with pytest.raises(PlaceError, match="credentials") as caught:
        cloud.place().observe([])
    assert "planted-secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/v3", "http://no-such-host.invalid/v3", "http://[::1"]
)
def test_an_auth_url_that_leads_nowhere(cloud, faults, words, url):
    edited(faults, auth_url=url)
    with pytest.raises(PlaceError) as caught:
        cloud.place(call_s=2).observe([])
    words.append(str(caught.value))
    assert "cloud 'owner'" in str(caught.value)


def test_no_auth_url(cloud, faults, words):
    clouds = json.loads(faults.clouds.read_text())
    del clouds["clouds"]["owner"]["auth"]["auth_url"]
    faults.clouds.write_text(json.dumps(clouds))
    with pytest.raises(PlaceError, match="auth_url") as caught:
        cloud.place().observe([])
    words.append(str(caught.value))


def test_an_unknown_cloud(cloud, words):
    with pytest.raises(PlaceError, match="nosuch") as caught:
        cloud.place(cloud="nosuch").observe([])
    words.append(str(caught.value))


@pytest.mark.parametrize("who", ["member", "reader"])
def test_rights_that_do_not_suffice(neutron, cloud, words, who):
    cloud.ask("PUT", f"/networks/{cloud.network}", {"network": {"shared": True}}, who="admin")
    if who == "member":
        for host, address in (("server-1", "203.0.113.13"), ("server-2", "203.0.113.14")):
            cloud.ports[host] = cloud.make_port(f"m-{host}", address, project="guest")
    ports = {host: cloud.ports[host] for host in ("server-1", "server-2")}
    before = cloud.snapshot()
    place = cloud.place(cloud=who, ports=ports | {"server-3": ports["server-2"]})
    facts = place.look()
    assert facts.pairs_right is False and facts.port_security_right is False
    outcome = converge(place, [cloud.pair(R, "203.0.113.2/32")])
    text = str(outcome.out["neutron"])
    words.append(text)
    assert "(HTTP 403)" in text and "administrator" in text
    assert cloud.snapshot() == before


def test_admin_may(cloud):
    assert cloud.place(cloud="admin").look().pairs_right is True


def test_a_host_that_fits_several_ports_or_none(cloud):
    cloud.make_port("twin", "203.0.113.20", device_id="x")
    cloud.make_port("twin", "203.0.113.21", device_id="x")
    with pytest.raises(PlaceError, match=r"fits 2: .*203.0.113.2[01].*203.0.113.2[01]"):
        cloud.place(ports={"server-1": "twin"}).look()
    with pytest.raises(PlaceError, match="is not there"):
        cloud.place(network="nosuch").look()
