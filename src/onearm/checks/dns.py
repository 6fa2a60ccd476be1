"""The dns check: a name is asked for over UDP, and the records that come back decide."""

from __future__ import annotations

import random
from ipaddress import IPv6Address

from onearm.checks import dns_message
from onearm.checks.place import Place
from onearm.checks.udp import Asking
from onearm.checks.verdict import Verdict, clean

SHOWN = 3  # records in a reason


class Dns(Asking):
    """Another's answers (a late one, a stranger's guess) are passed over."""

    __slots__ = ("name", "number")

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.name = place.check.query or "."
        self.number = random.getrandbits(16)  # the source port is random, too

    def payload(self) -> bytes:
        return dns_message.question(self.number, self.name, self.place.check.record)

    def judge(self, data: bytes) -> Verdict | None:
        record, wanted = self.place.check.record, self.place.check.answer
        try:
            found = dns_message.answer(data, self.number, self.name, record)
        except dns_message.Malformed as flaw:
            return Verdict(ok=False, reason=f"malformed DNS answer: {flaw}")
        if found is None:
            return None
        if found.code != "NOERROR":
            return Verdict(ok=False, reason=f"DNS {found.code} for {self.name}")
        if not found.records:
            return Verdict(ok=False, reason=f"no record {record} for {self.name}")
        if wanted is not None and normal(wanted, record) not in {
            normal(one, record) for one in found.records
        }:
            shown = clean(", ".join(found.records[:SHOWN]), 80)
            return Verdict(ok=False, reason=f"{self.name} {record} is {shown}, wanted {wanted}")
        return Verdict(ok=True, reason=f"{len(found.records)} records {record}")


def normal(text: str, record: str) -> str:
    """Bring an answer into the form in which it is compared: names know no case and no last dot."""
    if record == "AAAA":
        return str(IPv6Address(text))
    return text if record == "TXT" else text.rstrip(".").lower()
