"""The daemon's log on stderr: one line per event, as text for people and journald, or as JSON."""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import datetime, timezone
from typing import TextIO

FORMATS = ("text", "json")
# syslog's numbers, which journald takes off the head of a line
PRIORITIES = {logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6, logging.DEBUG: 7}
NAMES = {logging.ERROR: "error", logging.WARNING: "warning", logging.INFO: "info"}


def begin(how: str, *, verbose: bool = False, stream: TextIO | None = None) -> None:
    """Write what this package logs from now on; called again, it takes the place of before."""
    out = stream or sys.stderr
    handler = logging.StreamHandler(out)
    handler.setFormatter(Json() if how == "json" else Line(priority=to_journal(out)))
    logger = logging.getLogger("onearm")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    logger.propagate = False


def to_journal(stream: TextIO) -> bool:
    """Say whether journald itself reads this stream: it names the very file in $JOURNAL_STREAM."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):  # no file at all, as in tests
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


class Line(logging.Formatter):
    """One line of text: when (journald knows that itself), what kind of event, and the event."""

    def __init__(self, *, priority: bool) -> None:
        """With `priority` each line begins with journald's `<4>`."""
        super().__init__()
        self._priority = priority

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        text = f"{_kind(record)}: {_flat(_text(record))}"
        if self._priority:
            return f"<{PRIORITIES.get(record.levelno, 6)}>{text}"
        return f"{_at(record)} {_level(record):<7} {text}"


class Json(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        found = {
            "onearm": 1,
            "kind": "event",
            "at": _at(record),
            "level": _level(record),
            "event": _kind(record),
            "text": _text(record),
        }
        return json.dumps(found)


def _at(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _level(record: logging.LogRecord) -> str:
    return NAMES.get(record.levelno, record.levelname.lower())


def _kind(record: logging.LogRecord) -> str:
    """Give the kind of an event; what is logged otherwise goes by its module."""
    return str(getattr(record, "kind", record.name.rpartition(".")[2]))


def _text(record: logging.LogRecord) -> str:
    text = record.getMessage()
    if record.exc_info:
        text += "\n" + logging.Formatter().formatException(record.exc_info)
    return text


def _flat(text: str) -> str:
    """Keep it on one line: what others say cannot look like a line of its own."""
    lines = " | ".join(text.splitlines())
    return "".join(c if c.isprintable() else "?" for c in lines)
