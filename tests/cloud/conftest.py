"""One real Neutron per session and generation; each test gets a network of its own in it."""

import os
import uuid
from types import SimpleNamespace
from unittest import mock

import pytest
from neutrons import Cloud, quiet

from onearm.errors import Missing
from onearm.lab.cloud import files, install
from onearm.lab.cloud.server import Server

CHOSEN = os.environ.get("NEUTRON", " ".join(install.GENERATIONS)).split()


def pytest_collection_modifyitems(items):
    for item in items:
        used = {"neutron", "routed"} & set(getattr(item, "fixturenames", ()))
        if "/tests/cloud/" in str(item.path) and used:
            item.add_marker(pytest.mark.cloud)


def started(generation, factory):
    """Run an API of one generation."""
    try:
        install.environment(generation)
    except Missing as error:
        pytest.skip(str(error))
    return Server(factory.mktemp(f"neutron-{generation}"), generation)


@pytest.fixture(scope="session", params=CHOSEN)
def neutron(request, tmp_path_factory):
    """A running API of one generation."""
    with started(request.param, tmp_path_factory) as server:
        print(f"neutron {request.param}: answers after {server.started_s:.1f} s")
        yield server


@pytest.fixture(scope="session", params=CHOSEN)
def routed(request, tmp_path_factory):
    """As `neutron`, with routers, floating IPs and networks of several segments."""
    server = started(request.param, tmp_path_factory)
    plugins = files.NEUTRON.replace("service_plugins =", "service_plugins = router,segments")
    ranges = "\n[ml2_type_vlan]\nnetwork_vlan_ranges = left:100:200,right:100:200\n"
    with mock.patch.multiple(files, NEUTRON=plugins, ML2=files.ML2 + ranges):
        server.start()
    yield server
    server.stop()


def built(server, monkeypatch):
    """Make the reference's network, subnet and ports, owned by the project `web`."""
    for name in [n for n in os.environ if n.startswith("OS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(server.clouds_yaml))
    made = Cloud(server, "owner", f"net-{uuid.uuid4().hex[:8]}")
    made.build()
    return made


@pytest.fixture
def cloud(neutron, monkeypatch):
    """The reference in a plain Neutron."""
    made = built(neutron, monkeypatch)
    yield made
    made.remove()
    quiet()


@pytest.fixture
def wide(routed, monkeypatch):
    """The reference in a Neutron with routers and segments."""
    made = built(routed, monkeypatch)
    yield made
    made.remove_routers()
    made.remove()
    made.remove_networks()
    quiet()


@pytest.fixture
def faults(monkeypatch, cloud, tmp_path):
    """A proxy before the API that breaks what it is told to break."""
    from proxy import Proxy

    with Proxy(cloud.server.url) as proxy:
        path = tmp_path / "clouds.yaml"
        path.write_text(cloud.server.clouds_yaml.read_text().replace(cloud.server.url, proxy.url))
        monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(path))
        proxy.rewrites = (cloud.server.url, proxy.url)
        yield SimpleNamespace(proxy=proxy, clouds=path)
