"""A plan that was kept is carried out as it was shown, or not at all; and one run at a time."""

import json

import dumps
import pytest
from labs import HOSTS, REFERENCE, reference

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module", autouse=True)
def untouched(lab):
    before = dumps.whole(lab)
    yield
    left = dumps.difference(before, dumps.whole(lab))
    assert not left, left


def test_a_kept_plan_is_the_one_that_is_done(lab):
    kept = lab.folder / "kept.json"
    lab.onearm("plan", REFERENCE, "-o", kept, code=0)
    assert lab.onearm("apply", kept, code=2).err.startswith("onearm: apply asks before")
    edited = lab.folder / "edited.json"
    edited.write_text(kept.read_text().replace("scheduler: rr", "scheduler: lc"))
    assert "was edited" in lab.onearm("apply", edited, "--yes", code=2).err
    assert "12 changes done" in lab.onearm("apply", kept, "--yes", code=0).out
    standing = dumps.small(lab)
    assert "nothing was changed" in lab.onearm("apply", kept, "--yes", code=5).err
    assert not dumps.difference(standing, dumps.small(lab))


def test_a_plan_is_refused_once_anything_moved(lab):
    kept = lab.folder / "weights.json"
    lab.onearm("plan", lab.spec(reference(rr="wrr")), "-o", kept, code=0)
    lab.sh("server-1", "ipvsadm -e -t 203.0.113.2:80 -r 203.0.113.4:80 -g -w 3")
    standing = dumps.small(lab)
    refused = lab.onearm("apply", kept, "--yes", "--json", code=5)
    assert refused.json()["kind"] == "error" and refused.json()["exit_code"] == 5
    assert not dumps.difference(standing, dumps.small(lab))


def test_command_prefixes_stay_with_the_operator(lab):
    prefix = ["onearm-secret-prefix", "--"]
    text = reference(**{"reach: lab": f"reach: {{default: lab, server-3: {json.dumps(prefix)}}}"})
    kept = lab.folder / "prefixed.json"
    lab.onearm("plan", lab.spec(text), "-o", kept, code=4)
    assert "secret-prefix" not in json.dumps(json.loads(kept.read_text())["spec"])
    assert "--reach-from" in lab.onearm("apply", kept, "--yes", code=2).err


def test_two_runs_at_once_take_turns_with_one_node_per_host(lab):
    heavy = lab.spec(reference(rr="wrr"), "heavy.yaml")
    runs = [lab.start("apply", spec, "--yes", "--json") for spec in (heavy, REFERENCE)]
    most = 0
    while any(run.poll() is None for run in runs):
        most = max(most, *(int(lab.sh(host, NODES)) for host in HOSTS))
    ends = [(*run.communicate(), run.returncode) for run in runs]
    assert [code for _, _, code in ends] == [0, 0], ends
    assert all(json.loads(out)["left"] == [] for out, _, _ in ends)
    assert most == len(runs)
    destroyed = lab.onearm("destroy", REFERENCE, "--yes", "--json", code=0).json()
    assert destroyed["kind"] == "outcome" and destroyed["left"] == []


# a host's own processes, seen by their command lines; [n] keeps grep from finding itself
NODES = "grep -l 'onearm/[n]ode-' /proc/[0-9]*/cmdline 2>/dev/null | wc -l"
