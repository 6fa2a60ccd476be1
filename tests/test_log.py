"""The daemon's log: one line per event, whatever is in it, and what journald wants."""

import io
import json
import logging
import os
from contextlib import contextmanager

import pytest

from onearm import log

NASTY = "a\nERROR: forged\r\x1b[31mred"


@contextmanager
def logging_to(stream, how, **options):
    logger = logging.getLogger("onearm")
    before = (logger.handlers[:], logger.level, logger.propagate)
    log.begin(how, stream=stream, **options)
    try:
        yield logging.getLogger("onearm.director")
    finally:
        logger.handlers[:], logger.level, logger.propagate = before


def said(how, *calls, **options):
    stream = io.StringIO()
    with logging_to(stream, how, **options) as logger:
        for level, text, extra in calls:
            logger.log(level, "%s", text, extra=extra)
    return stream.getvalue().splitlines()


def test_a_line_has_time_level_kind_and_text():
    (line,) = said("text", (logging.WARNING, "server-3 is down", {"kind": "health"}))
    at, level, text = line.split(maxsplit=2)
    assert at.endswith("Z") and level == "warning" and text == "health: server-3 is down"


@pytest.mark.parametrize("how", log.FORMATS)
def test_an_event_is_one_line_whatever_is_in_it(how):
    (line,) = said(how, (logging.ERROR, NASTY, {"kind": "arp"}))
    assert line.isprintable()


def test_json_says_all_of_it():
    (line,) = said("json", (logging.ERROR, NASTY, {"kind": "arp"}))
    found = json.loads(line)
    assert found.pop("at").endswith("Z")
    wanted = {"onearm": 1, "kind": "event", "level": "error", "event": "arp", "text": NASTY}
    assert found == wanted


def test_what_is_no_event_goes_by_its_module():
    (line,) = said("json", (logging.INFO, "x", {}))
    assert json.loads(line)["event"] == "director"


def test_details_come_when_they_are_asked_for():
    call = (logging.DEBUG, "x", {})
    assert said("text", call) == []
    assert len(said("text", call, verbose=True)) == 1


def test_a_traceback_stays_on_the_line():
    stream = io.StringIO()
    with logging_to(stream, "text") as logger:
        try:
            int("boom")
        except ValueError:
            logger.exception("it failed")
    (line,) = stream.getvalue().splitlines()
    assert "it failed | Traceback" in line and "ValueError: invalid literal" in line


@pytest.mark.parametrize(("mine", "prefix"), [(True, "<4>"), (False, "20")])
def test_the_priority_is_for_journald_alone(tmp_path, monkeypatch, mine, prefix):
    with (tmp_path / "journal").open("w+") as stream:
        found = os.fstat(stream.fileno())
        inode = found.st_ino + (not mine)
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{inode}")
        with logging_to(stream, "text") as logger:
            logger.warning("x", extra={"kind": "drift"})
        stream.seek(0)
        line = stream.read()
    assert line.startswith(prefix)
    assert line.endswith("drift: x\n")
