"""Logged in as the openstack client is, by file or variables; hosts' ports found in every way."""

import json
import os
import re
import subprocess

import pytest
from neutrons import HOSTS
from nova import Nova

from onearm import spec as specs
from onearm.errors import PlaceError
from onearm.lab.cloud import install
from onearm.places.neutron import NeutronPlace
from onearm.places.neutron_api import Api

# the client is one, and so is Nova's fake: one generation will do
pytestmark = pytest.mark.parametrize("neutron", install.GENERATIONS[:1], indirect=True)
OWNER = {
    "OS_USERNAME": "owner",
    "OS_PASSWORD": "lab-owner",
    "OS_PROJECT_NAME": "web",
    "OS_USER_DOMAIN_NAME": "Default",
    "OS_PROJECT_DOMAIN_NAME": "Default",
}
ADMIN = {"OS_USERNAME": "admin", "OS_PASSWORD": "lab-admin", "OS_PROJECT_NAME": "admin"}
LEAKS = re.compile("lab-owner|planted")
URL, FILE = "OS_AUTH_URL", "OS_CLIENT_CONFIG_FILE"


def variables(cloud, monkeypatch, *, file=False, **more):
    """Set OS_* variables and no others; `{url}` is the cloud's."""
    for name in [n for n in os.environ if n.startswith("OS_")]:
        monkeypatch.delenv(name)
    if file:
        more[FILE] = str(cloud.server.clouds_yaml)
    for name, value in more.items():
        monkeypatch.setenv(name, value.replace("{url}", cloud.server.url))


def by_the_client():
    """Ask the real client who one is; None when it cannot log in."""
    client = install.environment() / "bin" / "openstack"
    argv = [client, "token", "issue", "-f", "json"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    return json.loads(done.stdout)["project_id"] if done.returncode == 0 else None


def by_us(name=None):
    api = Api(name)
    try:
        project, _ = api.identity()
        api.list("cannot list networks", "networks")
    except PlaceError as error:
        return None if not LEAKS.search(str(error)) else f"leaked: {error}"
    finally:
        api.close()
    return project


@pytest.mark.parametrize(
    ("file", "given", "project"),
    [
        (False, {URL: "{url}/identity/v3", **OWNER}, "web"),
        (False, {URL: "{url}/identity/v3", "OS_REGION_NAME": "lab", **OWNER}, "web"),
        (False, {URL: "{url}/identity/v3", **OWNER, "OS_PASSWORD": "planted"}, None),
        (True, {"OS_CLOUD": "owner"}, "web"),
        (True, {"OS_CLOUD": "owner", **ADMIN}, "admin"),  # variables are over the file
        (True, {"OS_CLOUD": "owner", "OS_PASSWORD": "planted"}, None),
        (True, {"OS_CLOUD": "owner", "OS_REGION_NAME": "nowhere"}, None),
        (True, {"OS_CLOUD": "owner", "OS_USERNAME": ""}, "web"),
        (True, {"OS_CLOUD": "nosuch"}, None),
        (True, {URL: "{url}/identity/v3", **OWNER}, "web"),
        (False, {}, None),
    ],
)
def test_one_is_who_the_openstack_client_is(cloud, monkeypatch, file, given, project):
    variables(cloud, monkeypatch, file=file, **given)
    assert (by_us(), by_the_client()) == (project, project)


def test_the_specs_cloud_comes_before_the_variable(cloud, monkeypatch):
    variables(cloud, monkeypatch, file=True, OS_CLOUD="admin")
    assert (by_us("owner"), by_us()) == ("web", "admin")


def test_a_file_without_a_password_and_a_variable_with_it(cloud, monkeypatch, tmp_path):
    clouds = json.loads(cloud.server.clouds_yaml.read_text())
    del clouds["clouds"]["owner"]["auth"]["password"]
    (tmp_path / "clouds.yaml").write_text(json.dumps(clouds))
    given = {FILE: str(tmp_path / "clouds.yaml"), "OS_PASSWORD": "lab-owner"}
    variables(cloud, monkeypatch, **given)
    assert by_us("owner") == "web"


TEXT = """\
directors: {server-1: 203.0.113.3}
real_servers: {server-2: 203.0.113.4, server-3: 203.0.113.5}
services: [{vip: 203.0.113.2, port: 80/tcp}]
openstack: %s
"""


def test_a_spec_without_a_cloud_is_planned_by_the_variables(cloud, monkeypatch):
    variables(cloud, monkeypatch, **{URL: "{url}/identity/v3", **OWNER})
    for section in ({"network": cloud.name}, {"ports": cloud.ports}):
        place = NeutronPlace(specs.parse(TEXT % json.dumps(section), "web.yaml"))
        cloud.places.append(place)
        facts = place.look()
        assert facts.project_id == "web" and facts.network.name == cloud.name
        assert {port.host: port.id for port in facts.ports if port.host} == cloud.ports


# --- which port is a host's


@pytest.fixture
def nova(cloud, monkeypatch):
    """Nova's fake in place of the catalogue's compute service, by the endpoint override."""

    def start(*servers, **more):
        made = Nova(*servers, **more)
        made.__enter__()
        stack.append(made)
        monkeypatch.setenv("OS_COMPUTE_ENDPOINT_OVERRIDE", made.url)
        return made

    stack = []
    yield start
    for made in stack:
        made.__exit__()


def found(cloud, **openstack):
    facts = cloud.place(**openstack).look()
    return {port.host: port.id for port in facts.ports if port.host}


def elsewhere(cloud, host, last, *more):
    """Give a host's server one port, or more, with other addresses than the spec's."""
    cloud.ask("DELETE", f"/ports/{cloud.ports[host]}", who="admin")
    ids = [
        cloud.make_port(f"{host}-{number}", f"203.0.113.{number}", device_id=f"id-{host}")
        for number in (last, *more)
    ]
    cloud.ports[host] = ids[0]


def test_by_the_servers_name_and_by_its_id(cloud, nova):
    elsewhere(cloud, "server-2", 14)
    fake = nova(("id-server-2", "server-2"), ("x", "server-22"))
    assert found(cloud) == cloud.ports
    assert [path for path in fake.asked if "/servers" in path] == ["/v2.1/servers"]
    nova(("id-server-2", "another-name"), ("server-2", "whatever"))
    with pytest.raises(PlaceError, match=r"the port of server-2 .* is not there"):
        found(cloud)
    cloud.ask("PUT", f"/ports/{cloud.ports['server-2']}", {"port": {"device_id": "server-2"}},
              who="admin")  # fmt: skip
    assert found(cloud) == cloud.ports


def test_a_server_on_a_later_page(cloud, nova):
    elsewhere(cloud, "server-3", 15)
    crowd = [(f"id-{n}", f"other-{n}") for n in range(7)]
    fake = nova(*crowd, ("id-server-3", "server-3"), max_limit=3)
    assert found(cloud) == cloud.ports
    assert len(fake.asked) == 3


def test_of_a_servers_several_ports_the_one_with_the_address(cloud, nova):
    elsewhere(cloud, "server-2", 14, 4, 15)
    nova(("id-server-2", "server-2"))
    by_address = {row["fixed_ips"][0]["ip_address"]: row["id"]
                  for row in cloud.all("ports", network_id=cloud.network)}  # fmt: skip
    assert found(cloud)["server-2"] == by_address["203.0.113.4"]


def test_several_ports_of_a_server_are_listed(cloud, nova):
    elsewhere(cloud, "server-2", 14, 15)
    nova(("id-server-2", "server-2"))
    with pytest.raises(PlaceError, match=r"fits 2: .*203\.0\.113\.1[45].*203\.0\.113\.1[45]"):
        found(cloud)


def test_several_servers_of_one_name_are_listed(cloud, nova):
    nova(("id-a", "server-2"), ("id-b", "server-2"))
    with pytest.raises(PlaceError, match=r"2 servers are called 'server-2' \(id-a, id-b\)"):
        found(cloud)


@pytest.mark.parametrize("status", [401, 403, 500])
def test_a_compute_service_that_does_not_answer_is_no_hindrance(cloud, nova, status):
    nova().status = status
    assert found(cloud) == cloud.ports


def test_by_the_ports_id_or_name_or_the_address_in_the_network(cloud):
    assert found(cloud) == cloud.ports  # by addresses: the lab's catalogue knows no servers
    assert found(cloud, ports={"server-2": cloud.ports["server-2"]}) == cloud.ports
    cloud.set_port("server-2", name=f"by-name-{cloud.name}")
    assert found(cloud, ports={"server-2": f"by-name-{cloud.name}"}) == cloud.ports
    other = cloud.make("network", name=f"other-{cloud.name}", project_id="web")["id"]
    cloud.make("subnet", network_id=other, ip_version=4, cidr="203.0.113.0/27", project_id="web")
    twin = cloud.make("port", network_id=other, project_id="web",
                      fixed_ips=[{"ip_address": HOSTS["server-2"]}])["id"]  # fmt: skip
    assert found(cloud) == cloud.ports
    cloud.ask("DELETE", f"/ports/{twin}", who="admin")
    cloud.ask("DELETE", f"/networks/{other}", who="admin")
