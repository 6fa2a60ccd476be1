"""Metrics: their names follow Prometheus' conventions, and no text of others becomes a label."""

import json
import re
import string
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

import pictures
from onearm.errors import Missing, PlaceError
from onearm.serve import metrics, textfile
from onearm.snapshot import Claimant

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/reference/metrics.md"
ALERTS = ROOT / "contrib/alerts.yaml"
GRAFANA = ROOT / "contrib/grafana.json"
NAME = re.compile(r"\bonearm_[a-z_]+\b")


def families(snapshot):
    text = metrics.exposition(snapshot).decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def samples(snapshot):
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in families(snapshot).values()
        for sample in family.samples
    }


def value(snapshot, name, **labels):
    """Give the only sample of a name with these labels."""
    (found,) = [
        v for key, v in samples(snapshot).items()
        if key[0] == name and set(labels.items()) <= set(key[1:])
    ]  # fmt: skip
    return found


EVERY = {family.shown for family in metrics.FAMILIES} | {
    f"{metrics.LATENCY}_{part}" for part in ("bucket", "count", "sum")
}


def test_names_and_units_follow_the_conventions():
    for family in metrics.FAMILIES:
        assert family.name.startswith("onearm_") and not family.name.endswith("_total")
        assert not re.search(r"_(ms|milliseconds|kb|percent)\b", family.name)
        assert family.help.endswith(".")
        assert family.name.endswith("_info") == (family.help != "" and "info" in family.name)


def test_a_whole_snapshot_is_read_back():
    found = families(pictures.large())
    assert set(found) == {f.name for f in metrics.FAMILIES} | {metrics.LATENCY}
    assert {s.name for f in found.values() for s in f.samples} <= EVERY


def test_figures_are_those_of_the_snapshot():
    snapshot = pictures.trouble()
    service = {"vip": "203.0.113.2", "port": "80", "protocol": "tcp"}
    down = {**service, "server": "server-3", "address": "203.0.113.5"}
    up = {**service, "server": "server-2"}
    assert value(snapshot, "onearm_server_connections_total", **up) == 97 * 3600
    assert value(snapshot, "onearm_server_incoming_bytes_total", **up) == 97 * 3600 * 400
    assert value(snapshot, "onearm_service_incoming_packets_total", **service) == 97 * 3600 * 5
    assert value(snapshot, "onearm_server_healthy", **up) == 1
    assert value(snapshot, "onearm_server_healthy", **down) == 0
    assert value(snapshot, "onearm_server_state", **down, state="down") == 1
    assert value(snapshot, "onearm_server_state", **down, state="up") == 0
    assert value(snapshot, "onearm_server_weight", **down) == 0
    assert value(snapshot, "onearm_server_active_connections", **down) == 3
    assert value(snapshot, "onearm_server_reason_info", **down, reason="vip_not_served") == 1
    assert value(snapshot, "onearm_check_failures_total", **down) == 15
    assert value(snapshot, "onearm_vip_claimants") == 1
    assert value(snapshot, "onearm_vip_claimant_info", mac="fa:16:3e:00:00:05", host="server-3")
    assert value(snapshot, "onearm_vip_owner_info", link="eth0", mac="fa:16:3e:00:00:01") == 1
    assert value(snapshot, "onearm_drift_healed_total") == 1
    assert value(snapshot, "onearm_service_servers", **service, state="down") == 1
    assert value(snapshot, "onearm_start_time_seconds") == pictures.NOW.timestamp() - 93600


def test_a_server_that_is_not_in_the_table_has_no_weight_and_one_that_drains_no_health():
    keys = samples(pictures.large())
    of = lambda name, server: [k for k in keys if k[0] == name and ("server", server) in k]
    assert len(of("onearm_server_weight", "server-8")) == 2  # of three services
    assert of("onearm_server_healthy", "server-7") == []


def test_latencies_add_up():
    server = pictures.server(2, check=pictures.check(good=10))
    snapshot = pictures.snapshot([pictures.service([server])])
    name = metrics.LATENCY
    assert value(snapshot, f"{name}_bucket", le="0.0005") == 5
    assert value(snapshot, f"{name}_bucket", le="0.001") == 10
    assert value(snapshot, f"{name}_bucket", le="+Inf") == 10
    assert value(snapshot, f"{name}_count") == value(snapshot, "onearm_check_successes_total")
    assert value(snapshot, f"{name}_sum") == pytest.approx(10 * 0.0006)


@given(st.text(max_size=60))
def test_no_text_of_others_is_a_label(text):
    server = pictures.server(2, "down", reason=text)
    stranger = replace(pictures.vip(), claimants=(Claimant(text),))
    snapshot = pictures.snapshot([pictures.service([server])], vips=(stranger,), spec_error=text)
    words = {word for word, _ in metrics.REASONS} | {metrics.OTHER, metrics.NONE}
    for name, *pairs in samples(snapshot):
        labels = dict(pairs)
        if name == "onearm_server_reason_info":
            assert labels["reason"] in words
        if name == "onearm_vip_claimant_info":
            assert labels["mac"] == "invalid" or metrics.MAC.fullmatch(text)


def test_a_flood_of_strangers_is_no_flood_of_series():
    many = tuple(Claimant(f"02:00:00:00:{n // 256:02x}:{n % 256:02x}") for n in range(1000))
    snapshot = pictures.snapshot([], vips=(pictures.vip(claimants=many),))
    shown = [key for key in samples(snapshot) if key[0] == "onearm_vip_claimant_info"]
    assert len(shown) == metrics.MOST_CLAIMANTS
    assert value(snapshot, "onearm_vip_claimants") == 1000


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "none"),
        ("the server is up but does not serve the VIP: no answer", "vip_not_served"),
        ("connection refused", "refused"),
        ("no answer to SYN within 1 s", "timeout"),
        ("connection reset by peer", "reset"),
        ("no route to host", "unreachable"),
        ("drained by hand; undrain brings it back", "drain"),
        ("2 connections may end", "drain"),
        ("3 of 10", "ramping"),
        ("gremlins", "other"),
    ],
)
def test_reasons_have_words(text, word):
    assert metrics.reason_word(text) == word


def test_without_the_library_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "prometheus_client", None)
    with pytest.raises(Missing, match=r"pip install 'onearm\[metrics\]'"):
        metrics.exposition(pictures.small())


def test_the_page_names_every_metric_and_no_other():
    text = PAGE.read_text()
    rows = re.findall(r"^\| `(onearm_\w+)` \| (\w+) \| (.*?) \| (.*) \|$", text, re.MULTILINE)
    told = {name: (kind, labels, help_) for name, kind, labels, help_ in rows}
    wanted = {
        f.shown: (f.kind, " ".join(f"`{n}`" for n in f.labels), f.help) for f in metrics.FAMILIES
    }
    labels = " ".join(f"`{name}`" for name in metrics.CHECK)
    wanted[metrics.LATENCY] = ("histogram", labels, metrics.LATENCY_HELP)
    assert told == wanted


# --- the file


def test_the_file_is_replaced_whole_and_goes_with_the_daemon(tmp_path):
    path = tmp_path / "onearm.prom"
    box = [pictures.small()]
    file = textfile.Textfile(path, lambda: box[0], every_s=0.01)
    file.open()
    old = metrics.exposition(box[0])
    reader = path.open("rb")
    assert path.read_bytes() == old
    assert path.stat().st_mode & 0o777 == 0o644
    box[0] = pictures.trouble()
    while path.read_bytes() != metrics.exposition(box[0]):
        assert path.read_bytes().endswith(b"\n")
    with reader:
        assert reader.read() == old  # who had begun to read, reads what he began
    file.close()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_told_at_the_start(tmp_path):
    file = textfile.Textfile(tmp_path / "no" / "onearm.prom", pictures.small)
    with pytest.raises(PlaceError, match=r"--metrics-file .*onearm\.prom"):
        file.open()


def test_a_full_disk_is_logged_once_and_over_when_it_is_over(tmp_path, caplog, monkeypatch):
    turns = iter([True, True, False, True])

    def write(self):
        if next(turns, None):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(textfile.Textfile, "write", write)
    file = textfile.Textfile(tmp_path / "x", pictures.small)
    waits = iter([False, False, False, False, True])
    monkeypatch.setattr(file._stop, "wait", lambda _: next(waits))
    file._run()
    assert [record.getMessage().count("No space") for record in caplog.records] == [1, 1]


# --- contrib


def rules():
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels(board):
    for panel in board["panels"]:
        yield panel
        yield from panel.get("panels", ())


def expressions():
    for rule in rules():
        yield rule["alert"], rule["expr"]
    board = json.loads(GRAFANA.read_text())
    for panel in panels(board):
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["query"]["query"]


@pytest.mark.parametrize(("what", "expr"), list(expressions()))
def test_what_contrib_asks_for_exists(what, expr):
    asked = set(NAME.findall(expr))
    assert asked and asked <= EVERY, what
    labels = {label for family in metrics.FAMILIES for label in family.labels}
    labels |= {*metrics.CHECK, "le", "instance", "job"}
    used = set(re.findall(r"\b(\w+)\s*(?:=~|!=|!~|=)\s*\"", expr))
    for group in re.findall(r"\b(?:by|on|ignoring|group_left)\s*\(([^)]*)\)", expr):
        used |= {name.strip() for name in group.split(",") if name.strip()}
    assert used <= labels, what
    assert expr.count("(") == expr.count(")")


def test_alerts_say_what_to_do():
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names) >= 10
    for rule in rules():
        assert set(rule["annotations"]) == {"summary", "description"}
        assert rule["labels"]["severity"] in ("critical", "warning")
        for text in rule["annotations"].values():
            for label in re.findall(r"\$labels\.(\w+)", text):
                assert any(label in f.labels for f in metrics.FAMILIES) or label == "instance"


def test_the_dashboard_is_whole():
    board = json.loads(GRAFANA.read_text())
    ids = [panel["id"] for panel in panels(board)]
    assert len(set(ids)) == len(ids)
    assert all(panel["gridPos"]["w"] <= 24 for panel in panels(board))
    assert "__inputs" not in board, "it is imported without questions"
    assert set(board["uid"]) <= set(string.ascii_lowercase + "-")
    for panel in panels(board):
        assert panel["type"] == "row" or panel["datasource"]["uid"] == "${datasource}"
