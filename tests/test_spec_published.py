"""The published schema, page and examples say what the loader does."""

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from onearm import spec, spec_load
from onearm.boot import files
from onearm.spec_load import bodies, checks, cloud, fields, hosts, probes, services, ways
from spec_cases import GOOD, complaints

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
PAGE = ROOT / "docs/reference/spec.md"
CHECKS = ROOT / "docs/reference/checks.md"
SCHEMA = json.loads((ROOT / "docs/reference/spec.schema.json").read_text())


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_loads_and_fits_the_schema(path):
    assert spec.load(path).services
    jsonschema.validate(yaml.safe_load(path.read_text()), SCHEMA)


def test_there_are_examples():
    assert {"reference.yaml", "weights.yaml"} <= {path.name for path in EXAMPLES}


def test_the_schema_has_the_keys_and_words_that_the_loader_knows():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    parts = SCHEMA["$defs"]
    assert set(SCHEMA["properties"]) == set(spec_load.TOP)
    assert set(parts["service"]["properties"]) == set(services.SERVICE)
    assert set(parts["director"]["properties"]) == set(hosts.DIRECTOR)
    assert set(parts["real_server"]["properties"]) == set(hosts.REAL_SERVER)
    assert set(parts["member"]["properties"]) == set(bodies.MEMBER)
    assert parts["method"]["enum"] == [*ways.METHODS]
    way = parts["forwarding"]["oneOf"][-1]["properties"]
    assert set(way) == set(ways.WAY)
    assert way["type"]["enum"] == [*ways.TUNNELS]
    assert way["port"]["default"] == ways.GUE_PORT
    section = parts["openstack"]["properties"]
    assert set(section) == set(cloud.CLOUD)
    assert section["firewall"]["enum"] == [*cloud.FIREWALLS]
    assert section["director_groups"]["enum"] == [*cloud.GROUPS]
    assert set(section["director_port_security"]["enum"]) == {*cloud.SWITCH, True, False}
    assert parts["check_kind"]["enum"] == [*checks.KINDS]
    check = parts["check"]["oneOf"][-1]["properties"]
    assert set(check) == set(checks.ALL)
    assert check["through"]["enum"] == [*checks.THROUGH]
    assert check["method"]["enum"] == [*probes.METHODS]
    assert check["record"]["enum"] == [*probes.RECORDS]
    assert set(parts["arp"]["enum"]) == set(hosts.POLICIES)
    assert SCHEMA["properties"]["boot"]["enum"] == [*spec_load.BOOT, False]
    assert [*spec_load.BOOT] == ["auto", *files.names(), "off"]
    assert set(parts["keyword"]["enum"]) == set(spec_load.KEYWORDS)
    assert set(parts["flag"]["enum"]) == {
        services.ONE_PACKET,
        *(f for flags in services.SCHEDULERS.values() for f in flags),
    }
    scheduler = parts["service"]["properties"]["scheduler"]
    assert set(scheduler["enum"]) == set(services.SCHEDULERS)
    assert scheduler["default"] == services.DEFAULT_SCHEDULER
    assert parts["name"]["pattern"] == f"^{fields.NAME.pattern}$"


def test_the_reference_page_names_every_key_and_word():
    page = PAGE.read_text()
    for word in (
        *spec_load.TOP,
        *services.SERVICE,
        *bodies.MEMBER,
        *ways.METHODS,
        *ways.TUNNELS,
        *ways.WAY,
        *hosts.REAL_SERVER,
        *hosts.POLICIES,
        *spec_load.KEYWORDS,
        *spec_load.BOOT,
        *services.SCHEDULERS,
        *cloud.CLOUD,
        *cloud.FIREWALLS,
        *cloud.GROUPS,
        *cloud.SWITCH,
    ):
        assert f"`{word}`" in page, word


def test_the_page_of_checks_names_every_key_and_word():
    page = CHECKS.read_text()
    for word in (
        *checks.ALL,
        *checks.KINDS,
        *checks.THROUGH,
        *probes.METHODS,
        *probes.RECORDS,
        checks.NONE,
    ):
        assert f"`{word}`" in page, word


def test_the_page_of_checks_shows_real_specs():
    shown = re.findall(r"```yaml\n(.*?)```", CHECKS.read_text(), re.DOTALL)
    for text in shown:
        found = spec.parse(text if "services" in text else GOOD + text, "page.yaml")
        assert any(service.check for service in found.services)
    assert shown


def test_the_reference_page_shows_real_specs_and_real_complaints():
    blocks = re.findall(r"```(\w+)\n(.*?)```", PAGE.read_text(), re.DOTALL)
    shown = 0
    for (kind, text), (follows, said) in zip(blocks, [*blocks[1:], ("", "")], strict=True):
        if kind == "yaml" and follows == "text":
            assert "\n".join(complaints(text)) + "\n" == said
            shown += 1
        elif kind == "yaml":
            assert spec.parse(text if "services" in text else GOOD + text, "page.yaml")
    assert shown
