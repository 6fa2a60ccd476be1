"""One real Neutron per session and generation; each test gets a network of its own in it."""

import os
import uuid
from types import SimpleNamespace

import pytest
from neutrons import Cloud, quiet

from onearm.errors import Missing
from onearm.lab.cloud import install
from onearm.lab.cloud.server import Server

CHOSEN = os.environ.get("NEUTRON", " ".join(install.GENERATIONS)).split()


def pytest_collection_modifyitems(items):
    for item in items:
        if "/tests/cloud/" in str(item.path) and "neutron" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.cloud)


@pytest.fixture(scope="session", params=CHOSEN)
def neutron(request, tmp_path_factory):
    """A running API of one generation."""
    try:
        install.environment(request.param)
    except Missing as error:
        pytest.skip(str(error))
    with Server(tmp_path_factory.mktemp(f"neutron-{request.param}"), request.param) as server:
        print(f"neutron {request.param}: answers after {server.started_s:.1f} s")
        yield server


@pytest.fixture
def cloud(neutron, monkeypatch):
    """The reference's network, subnet and ports, owned by the project `web`."""
    for name in [n for n in os.environ if n.startswith("OS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(neutron.clouds_yaml))
    made = Cloud(neutron, "owner", f"net-{uuid.uuid4().hex[:8]}")
    made.build()
    yield made
    made.remove()
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
