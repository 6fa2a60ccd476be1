"""A plan file may be anything: only what follows from its spec can be done, and nothing else."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onearm import planfile, spec
from onearm.diff import Plan
from onearm.errors import SpecError, UsageError
from onearm.model import Action, HeldVip, Link
from onearm.spec import Reach
from worlds import VIP

TEXT = """\
name: web
directors: {d: 203.0.113.3}
real_servers: {r1: 203.0.113.4, r2: {address: 203.0.113.5, arp: nft}}
services:
  - {vip: 203.0.113.2, port: 80/tcp, scheduler: mh, flags: [mh-port], drain: 24h}
  - {vip: 203.0.113.2, port: 53/udp, real_servers: {r1: {weight: 0}, r2: {weight: 7}}}
clients: [198.51.100.0/24]
shared_director: true
reach: local
"""
PREFIXED = TEXT.replace("reach: local", "reach: {r1: [ssh, -i, secret, r1]}")
PLAN = Plan(
    ({"r1": (Action("r1", None, Link("eth-vip")),)}, {"r1": (Action("r1", HeldVip(VIP), None),)})
)


def data(text=TEXT):
    return planfile.to_data(spec.parse(text, "web.yaml"), PLAN, {}, [], {})


@pytest.fixture
def kept(tmp_path):
    def write(content):
        path = tmp_path / "plan.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content, indent=1))
        return path

    return write


def test_a_plan_comes_back_as_it_was(kept):
    path = kept(data())
    assert planfile.looks_like_plan(path)
    found, actions = planfile.read(path, None)
    assert found == spec.parse(TEXT, "web.yaml")
    assert actions == planfile.listed(PLAN)


def test_a_plan_begins_as_all_our_objects_do():
    assert list(data())[:2] == ["onearm", "kind"]
    assert not data()["converged"]
    assert data()["actions"][0]["commands"][0] == "ip link add eth-vip type dummy"


def test_prefixes_never_enter_and_are_asked_for(kept):
    found = data(PREFIXED)
    assert "secret" not in json.dumps(found)
    path = kept(found)
    with pytest.raises(UsageError, match="--reach-from SPEC"):
        planfile.read(path, None)
    reach = Reach(prefixes={"r1": ("ssh", "r1")})
    back, _ = planfile.read(path, reach)
    assert back.reach == reach
    plain = spec.parse(PREFIXED, "web.yaml")
    assert back.services == plain.services
    assert back.real_servers == plain.real_servers
    assert back.clients == plain.clients
    assert back.shared_director


def test_prefixes_written_in_by_somebody_are_refused(kept):
    evil = TEXT.replace("reach: local", "reach: {d: [touch, /nowhere]}")
    path = kept(data() | {"spec": evil, "spec_digest": planfile.digest(evil)})
    for reach in (None, Reach()):
        with pytest.raises(UsageError, match="yours alone to choose"):
            planfile.read(path, reach)


EDITS = {
    "the spec": ({"spec": TEXT.replace("7", "9")}, "was edited"),
    "the digest": ({"spec_digest": "sha256:0"}, "was edited"),
    "no spec": ({"spec": None}, "'spec' is missing"),
    "a spec of half characters": ({"spec": "\ud800"}, "was edited"),
    "a version": ({"version": "9\x1b[2J"}, r"made by onearm '9\\x1b\[2J'"),
    "no version": ({"version": None}, "made by onearm None"),
    "no actions": ({"actions": None}, "'actions' is missing"),
    "actions of another shape": ({"actions": [1]}, "cannot be read"),
    "an action without a place": ({"actions": [{}]}, "cannot be read"),
    "an unknown thing": ({"actions": [{"place": "r1", "before": {"is": "X"}}]}, "cannot be read"),
    "another kind": ({"kind": "status"}, "no plan of onearm"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_plan_is_refused(kept, edit):
    change, said = EDITS[edit]
    with pytest.raises(UsageError, match=said) as caught:
        planfile.read(kept(data() | change), None)
    assert str(caught.value).isprintable()


def test_other_actions_are_only_compared(kept):
    found = data()
    found["actions"][0]["after"]["name"] = "eth9"
    _, actions = planfile.read(kept(found), None)
    assert actions != planfile.listed(PLAN)


def test_a_spec_that_is_wrong_says_so(kept):
    text = "nonsense: 1"
    with pytest.raises(SpecError):
        planfile.read(kept(data() | {"spec": text, "spec_digest": planfile.digest(text)}), None)


BROKEN = [
    "",
    "{",
    "[]",
    "1",
    "null",
    '{"onearm":1,' + "[" * 99999,
    '{"onearm":1,"a":' + "9" * 5000 + "}",
]


@pytest.mark.parametrize("text", BROKEN, ids=lambda text: text[:20])
def test_what_is_no_plan(kept, text):
    with pytest.raises(UsageError):
        planfile.read(kept(text), None)


def test_files_that_are_none(tmp_path):
    assert not planfile.looks_like_plan(tmp_path)
    assert not planfile.looks_like_plan(tmp_path / "nowhere")
    (tmp_path / "spec").write_text(TEXT)
    assert not planfile.looks_like_plan(tmp_path / "spec")
    (tmp_path / "bytes").write_bytes(b'{"onearm":1,\xff}')
    with pytest.raises(UsageError):
        planfile.read(tmp_path / "bytes", None)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
)


@given(st.dictionaries(st.sampled_from(sorted(data())), JSON))
def test_any_json_in_any_field(tmp_path_factory, edits):
    path = tmp_path_factory.mktemp("plan") / "plan.json"
    path.write_text(json.dumps(data() | edits))
    try:
        found, _ = planfile.read(path, None)
    except (UsageError, SpecError) as error:
        assert error.exit_code == 2  # noqa: PT017
    else:
        assert found == spec.parse(TEXT, "x")
