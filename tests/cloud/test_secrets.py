"""Whole commands with a password in the environment: it is in nothing that is printed or kept."""

import json
import os
import subprocess
import sys

import pytest

from onearm import cli
from onearm.lab.cloud import install
from onearm.places.neutron import NeutronPlace

pytestmark = pytest.mark.parametrize("neutron", install.GENERATIONS[:1], indirect=True)
PASSWORD, TOKEN = "lab-owner", "owner:web:member"
PLANTED = "planted-password"
TEXT = """\
directors: {server-1: 203.0.113.3}
real_servers: {server-2: 203.0.113.4, server-3: 203.0.113.5}
services: [{vip: 203.0.113.2, port: 80/tcp}]
openstack: {network: %s, director_groups: replace, firewall: ovn}
reach: {server-1: ["false"], server-2: ["false"], server-3: ["false"]}
"""
ROUNDS = (
    ("plan", "--json"),
    ("plan", "--commands"),
    ("plan", "--as-admin", "--commands"),
    ("plan", "-o", "{kept}"),
    ("apply", "--yes", "--json"),
    ("apply", "--yes", "--limit", "neutron"),
    ("destroy", "--yes"),
)


@pytest.fixture
def home(cloud, monkeypatch, tmp_path):
    """A spec whose hosts do not answer and whose cloud is that of the variables."""
    monkeypatch.delenv("OS_CLIENT_CONFIG_FILE")
    given = {
        "auth_url": f"{cloud.server.url}/identity/v3", "username": "owner", "password": PASSWORD,
        "project_name": "web", "user_domain_name": "Default", "project_domain_name": "Default",
    }  # fmt: skip
    for name, value in given.items():
        monkeypatch.setenv(f"OS_{name.upper()}", value)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "web.yaml").write_text(TEXT % cloud.name)
    return tmp_path


def clean(text):
    return [secret for secret in (PASSWORD, TOKEN, PLANTED) if secret in text] == []


def run(home, *words):
    argv = [sys.executable, "-I", "-m", "onearm", "-v", words[0], str(home / "web.yaml")]
    argv += [word.format(kept=home / "plan.json") for word in words[1:]]
    return subprocess.run(argv, capture_output=True, text=True, timeout=200, env=os.environ)


def test_no_command_prints_or_keeps_the_password_or_a_token(cloud, home):
    for words in ROUNDS:
        done = run(home, *words)
        assert done.returncode == 4, (words, done.stderr[-800:])  # the hosts are out
        assert clean(done.stdout) and clean(done.stderr), words
        assert "GET /v2.0" in done.stderr  # -v tells of requests, and so could have told more
        if words == ("plan", "--json"):
            assert [a for a in json.loads(done.stdout)["actions"] if a["place"] == "neutron"]
    assert json.loads((home / "plan.json").read_text())["actions"]
    kept = [path for path in home.rglob("*") if path.is_file()]
    assert all(clean(path.read_text()) for path in kept)
    marks = json.dumps(cloud.snapshot())
    assert PASSWORD not in marks and TOKEN not in marks


def test_a_password_that_is_refused_is_not_repeated(cloud, home, monkeypatch):
    monkeypatch.setenv("OS_PASSWORD", PLANTED)
    for words in (("plan",), ("plan", "--json"), ("apply", "--yes")):
        done = run(home, *words)
        assert done.returncode == 4 and "credentials" in done.stderr
        assert clean(done.stdout) and clean(done.stderr)


def test_a_traceback_holds_none_either(cloud, home, monkeypatch, capsys):
    def broken(self, _wanted):
        self._api.base()
        raise RuntimeError(f"odd: {self._api!r} {self!r}")

    monkeypatch.setattr(NeutronPlace, "observe", broken)
    assert cli.run(["plan", str(home / "web.yaml")]) == 1
    said = capsys.readouterr()
    (kept,) = (home / "state").rglob("traceback-*.txt")
    text = kept.read_text()
    assert "RuntimeError: odd" in text and "observe" in text
    assert clean(text) and clean(said.out) and clean(said.err)
