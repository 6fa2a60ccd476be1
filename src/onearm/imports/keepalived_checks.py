"""keepalived's checkers -> a check of a spec."""

from __future__ import annotations

from dataclasses import dataclass, field

from onearm.imports import values, whole
from onearm.imports.found import Cannot, Check, Note, Value
from onearm.imports.keepalived_table import CHECKERS, TABLE
from onearm.imports.table import Gathered, Statement, gather
from onearm.spec_load.checks import LONGEST_TIMEOUT_S

INTERVAL, TIMEOUT = 60.0, 5.0  # keepalived's own defaults, in seconds
FALL = {"dns": 4, "script": 1}  # one more than its retries; elsewhere 2
CODES = "200-299"
NO_SMTP = "onearm speaks no SMTP: tcp asks whether the port answers, and no more"
NO_PATH = ("path", "it has no url with a path: nothing is checked")
NEEDED = {
    "http": (NO_PATH,),
    "https": (NO_PATH,),
    "script": (("argv", "it has no script that could be run: nothing is checked"),),
}
ONE_PATH = "a check asks one path: this one is not asked"


@dataclass(frozen=True)
class Asked:
    """Who is asked: the service's port and protocol, and what the levels above say of checks."""

    port: int
    protocol: str
    defaults: dict[str, Value] = field(default_factory=dict)


def check(one: Statement, asked: Asked) -> tuple[Check | None, list[Note]]:
    """Make the check of one checker; None, with the reasons, where a spec has no such check."""
    kind = CHECKERS[one.word]
    found = gather(TABLE, one.word, one.body or ())
    own = {k.partition(".")[2]: v for k, v in found.values.items() if k.startswith("check.")}
    made: dict[str, Value] = {"interval": INTERVAL, "fall": FALL.get(kind, 2), **asked.defaults}
    made |= {key: value for key, value in own.items() if key != "path"}
    made.setdefault("timeout", TIMEOUT)
    if one.word == "SMTP_CHECK":
        found.note(one._replace(body=None), NO_SMTP, differs=True)
    if kind == "script":
        made["timeout"] = own.get("timeout", min(float(str(made["interval"])), LONGEST_TIMEOUT_S))
    if kind == "dns":
        made = {"query": ".", "record": "SOA", **made}
    if kind in {"http", "https"}:
        _asks(one, made, found)
    for key, why in NEEDED.get(kind, ()):
        if key not in made:
            found.note(one, why, differs=True)
            return None, found.notes
    if any(inner.word == "misc_dynamic" for inner in one.body or ()):
        return None, found.notes
    keys = whole.check_keys(
        kind,
        made,
        (asked.port, asked.protocol),
        lambda why, differs: found.note(one._replace(rest="", body=None), why, differs=differs),
    )
    return Check(keys, tuple(found.notes)), []


def _asks(one: Statement, made: dict[str, Value], found: Gathered) -> None:
    """Add what the first url of a checker asks for."""
    urls = [inner for inner in one.body or () if inner.word == "url" and inner.body is not None]
    for other in urls[1:]:
        path = next((s.rest for s in other.body or () if s.word == "path"), "")
        found.note(other._replace(rest=f"path {path}", body=None), ONE_PATH, differs=True)
    if not urls:
        return
    url = gather(TABLE, "url", urls[0].body or ())
    made["codes"] = CODES
    made |= {k.partition(".")[2]: v for k, v in url.values.items() if k.startswith("check.")}
    if "body" in made and url.values.get("regex.options"):
        _with_options(made, url)
    found.notes += url.notes


def _with_options(made: dict[str, Value], url: Gathered) -> None:
    try:
        made["body"] = values.searched(f"(?{url.values['regex.options']!s}){made['body']!s}")
    except Cannot as reason:
        url.drop("check.body", str(reason))
        del made["body"]
