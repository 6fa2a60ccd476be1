"""verify within the test's own process: its session stays, so a fault costs a second or two."""

import contextlib
import os
from unittest import mock

from onearm import probe, report
from onearm import spec as spec_module
from onearm.places.look import Question
from onearm.preflight import vips_of
from onearm.reach import lab_prefix
from onearm.session import Session
from onearm.verdicts import FAIL, PASS, UNPROVED
from onearm.verify import judge

__all__ = ["FAIL", "PASS", "UNPROVED", "Found", "Proof", "proving"]
QUICK = {"ARP_S": 0.3, "SETTLE_S": 0.2}
TIMEOUT_S = 1.3  # a SYN is repeated once within it


class Found:
    """What a verification found: statuses and texts by property id, or (id, about)."""

    def __init__(self, properties, evidence):
        self.properties, self.evidence = properties, evidence

    def ids(self, status):
        return {p.id for p in self.properties if p.status == status}

    def abouts(self, status):
        return {(p.id, p.about) for p in self.properties if p.status == status}

    def text(self, identity):
        return "; ".join(
            " ".join((p.evidence, *p.details)) for p in self.properties if p.id == identity
        )

    def code(self, *, strict=False):
        return report._code(self.properties, self.evidence.out, strict=strict)

    def results(self):
        return {a.result for t in self.evidence.trials for a in t.attempts}

    def __str__(self):
        return "\n".join(f"{p.status} {p.id} {p.about}: {p.evidence}" for p in self.properties)


class Proof:
    """A session that stays open over many verifications of one spec."""

    def __init__(self, path):
        self.spec = spec_module.load(path)
        self.session = Session(self.spec, ask_drops=True)
        self.session.open()
        self.clients, out = probe.meet(self.session, probe.lab_clients())
        router = {probe.LAB_ROUTER: lab_prefix(probe.LAB_ROUTER)}
        self.bystanders, lost = probe.bystand(self.session, router)
        assert not self.session.out and not out and not lost

    def change(self, path):
        """Turn to another spec over the same hosts."""
        self.spec = self.session.spec = spec_module.load(path)

    def look_at_clients(self):
        """Look at the clients again, as a new run would."""
        question = Question(near=tuple(vips_of(self.spec)))
        self.clients = [
            probe._client(self.spec, c.name, c.place, c.place.look(question)) for c in self.clients
        ]

    def __call__(self, *, cold=False, clients=None):
        self.session.again()
        chosen = [c for c in self.clients if clients is None or c.name in clients]
        gathering = probe.Probe(self.session, chosen, cold, TIMEOUT_S)
        gathering.bystanders = self.bystanders
        with mock.patch.multiple(probe, **QUICK):
            evidence = gathering.gather()
        assert not any(evidence.lost.values()), evidence.lost
        return Found(judge(self.spec, evidence), evidence)


@contextlib.contextmanager
def proving(lab, path):
    """A Proof of a spec in a lab, by the nodes that command lines there use too."""
    with mock.patch.dict(os.environ, {"ONEARM_LAB": lab.name}):
        with lab.nodes.used():
            proof = Proof(path)
        with proof.session:
            yield proof
