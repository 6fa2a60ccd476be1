"""Every command block of README and docs is run, every example planned, every JSON field found.

A plain run takes README and one of three of the other pages, by its seed; ALL=1 takes all.
"""

import json
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from chosen import part
from labs import EXAMPLES, REFERENCE

from onearm.lab import client
from pages import PAGES, ROOT, Scratch, failures, runs

pytestmark = pytest.mark.lab
RUN = [page for page in PAGES if runs(page)]
FRONT, *OTHERS = RUN  # the README, whose way the others go on from
CHOSEN = [FRONT, *part(OTHERS)]
JSON_PAGE = ROOT / "docs/reference/json.md"
AT_ONCE = 2
MAPS = {"out", "directors", "vips", "vips.NAME", "forgotten", "frames", "frames_lost"}
MAPS |= {"forgotten_neighbours", "directors.NAME.states", "directors.NAME.servers[].states"}
WHOLE = {"actions[].before", "actions[].after"}  # resources: model.py has their fields
WHOLE |= {"connections", "seconds[]"}  # of a load: as its transfers
WHOLE |= {f"transfers.{counts}" for counts in ("failed", "interrupted", "servers", "on")}


STARTED = {}  # pages that were begun ahead of their tests


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """Run all pages, some at a time, each in a lab of its own; give what failed of one."""

    def run(page):
        scratch = Scratch(tmp_path_factory.mktemp(page.stem))
        try:
            return list(failures(page, scratch))
        finally:
            scratch.down()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        if not STARTED:
            STARTED.update({page: pool.submit(run, page) for page in CHOSEN})
        yield lambda page: (STARTED.pop(page, None) or pool.submit(run, page)).result()


@pytest.mark.parametrize("page", CHOSEN, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_does_what_it_says(page, said):
    assert said(page) == []


def test_pages_that_show_the_way_are_among_those_run():
    names = {page.name for page in RUN}
    assert FRONT.name == "README.md"
    assert {"README.md", "first-load-balancer.md", "lab.md", "drain.md"} <= names


OTHERWISE = {"tunnel.yaml", "masq.yaml"}  # need another lab or other routes: see test_ways
HERE = [
    path
    for path in sorted(EXAMPLES.glob("*.yaml"))
    if "openstack:" not in path.read_text() and path.name not in OTHERWISE
]


@pytest.mark.parametrize("path", HERE, ids=lambda path: path.name)
def test_every_example_is_planned(lab, path):
    """In the lab, however it says that its hosts are reached; with a cloud, in test_cloud_cases."""
    text = re.sub(r"^reach:.*\n(?:[ \t]+.*\n)*", "", path.read_text(), flags=re.MULTILINE)
    spec = lab.spec(f"{text}\nreach: lab\n", path.name)
    done = lab.onearm("plan", spec, "--json")
    plan = done.json()
    errors = [f["id"] for f in plan["findings"] if f["severity"] == "error"]
    no_nft = "arp: nft" in text and client.info(lab.name).backend == "uml"
    assert (done.code, errors) == ((3, ["host.arp_nft"]) if no_nft else (0, []))
    assert plan["actions"]


def paths(data, at=""):
    """Give the path of every field of an object, as the page writes it."""
    if isinstance(data, list):
        for item in data:
            yield from paths(item, f"{at}[]")
    elif isinstance(data, dict) and at not in WHOLE:
        for key, value in data.items():
            name = "NAME" if at in MAPS else key
            here = f"{at}.{name}" if at else name
            yield here
            yield from paths(value, here)


def documented(kind):
    section = JSON_PAGE.read_text().split(f"\n## {kind}\n")[1].split("\n## ")[0]
    return set(re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE))


def written(kind, objects):
    """Check the fields of real objects against the page: none unknown, all at the top there."""
    found = {path for data in objects for path in paths(data)}
    page = documented(kind)
    repeated = r".*\.counters|left\[\]|findings\[\](\.explains\[\])?|properties\[\]|\w+\.NAME"
    as_above = re.compile(rf"({repeated})(\..*)?")
    unknown = {path for path in found - page if not as_above.fullmatch(path)}
    top = {path for path in page if re.fullmatch(r"\w+", path)}
    assert unknown == set()
    assert top <= found
    assert all(data["onearm"] == 1 and data["kind"] == kind for data in objects)
    assert all(list(data)[:2] == ["onearm", "kind"] for data in objects)


def test_every_field_that_is_printed_is_documented(lab):
    lab.sh("server-1", "ipvsadm -A -u 203.0.113.9:53 -s sh -b sh-port -p 60")  # a stranger's
    plans = [lab.onearm("plan", REFERENCE, "--json").json()]
    outcomes = [lab.onearm("apply", REFERENCE, "--yes", "--json").json()]
    proofs = [lab.onearm("verify", REFERENCE, "--json").json()]
    states = [lab.onearm("status", REFERENCE, "--json").json()]
    tables = [lab.onearm("connections", REFERENCE, "--json", code=0).json()]
    traces = [lab.onearm("trace", REFERENCE, "--json").json()]
    lab.sh("server-2", "ip address del 203.0.113.2/32 dev eth-vip")
    diagnoses = [lab.onearm("doctor", REFERENCE, "--json").json()]
    outcomes.append(lab.onearm("destroy", REFERENCE, "--yes", "--json").json())
    written("plan", plans)
    written("outcome", outcomes)
    written("verification", proofs)
    written("status", states)
    written("connections", tables)
    written("diagnosis", diagnoses)
    written("trace", traces)
    load = lab.process("lab", "load", "--json", "--seconds", "2", "--timeout", "1")
    written("load", [load.json()])
    written("lab", [lab.onearm("lab", "up", "--name", lab.name, "--json").json()])
    written("faults", [lab.onearm("lab", "fault", "list", "--json", code=0).json()])
    written("error", [json.loads(lab.onearm("plan", "nothing.yaml", "--json", code=2).out)])
