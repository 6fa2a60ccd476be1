"""Doctor joins what Neutron shows with what traffic shows: a missing pair explains lost packets."""

import os

import pytest
from cloudlab import started
from labs import EXAMPLES

from onearm.errors import Missing
from onearm.lab import client
from onearm.lab.cloud import install

pytestmark = pytest.mark.lab
SPEC = EXAMPLES / "openstack.yaml"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    try:
        install.environment()
    except Missing as error:
        pytest.skip(str(error))
    made = started(f"lt-doctor-cloud-{os.getpid()}", tmp_path_factory.mktemp("doctor"))
    made.onearm("apply", SPEC, "--yes", code=0)
    yield made
    client.down(made.name)


def diagnosed(lab, code):
    data = lab.onearm("doctor", SPEC, "--json", code=code).json()
    return [f for f in data["findings"] if f["severity"] not in ("note", "warning")]


def test_what_was_applied_has_no_error(lab):
    data = lab.onearm("doctor", SPEC, "--json").json()
    wrong = [f for f in data["findings"] if f["severity"] in ("error", "critical")]
    assert wrong == []
    assert data["unproved"] == []


@pytest.mark.parametrize(
    ("host", "hop"),
    [("server-1", "hop.client_to_director"), ("server-2", "hop.director_to_server")],
)
def test_a_missing_pair_is_named_and_explains_what_traffic_shows(lab, host, hop):
    """OVN lets nothing pass from, nor to, an address that is neither the port's own nor a pair."""
    lab.set_port(host, allowed_address_pairs=[])
    first, *more = diagnosed(lab, 5)
    assert (first["id"], more) == ("cloud.pairs", [])
    assert hop in {f["id"] for f in first["explains"]}
    assert first["fix"]
    said = lab.onearm("doctor", SPEC, "--fix", "--yes").out
    assert "create address pair" in said
    assert diagnosed(lab, None) == []
