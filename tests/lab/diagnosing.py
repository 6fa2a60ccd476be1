"""Doctor within the test's own process: its nodes stay, so a diagnosis costs some seconds."""

import contextlib
import os
from unittest import mock

from onearm import spec as spec_module
from onearm.doctor.gather import LARGE_BYTES, LARGE_REQUEST, Gathering
from onearm.doctor.rank import diagnose
from onearm.finding import NOTE
from onearm.probe import lab_clients
from onearm.session import Session, without_services

UDP = "  - {vip: 203.0.113.2, port: 53/udp, scheduler: rr}\n"


class Doctor:
    """A session that stays open over many diagnoses, and turns from one spec to the next."""

    def __init__(self, path):
        self.session = Session(spec_module.load(path), ask_drops=True)
        self.session.open(lock=True)  # for apply; a diagnosis needs none
        assert not self.session.out

    def __call__(self, *, passive=False):
        """Diagnose as a new run of the command would."""
        self.session.out.clear()
        self.session.again()
        clients = {} if passive else lab_clients()
        gathering = Gathering(self.session, clients, LARGE_REQUEST, LARGE_BYTES)
        self.observed, cloud = gathering.observe()
        return diagnose(self.observed, cloud)

    def apply(self, path=None):
        """Turn to a spec and apply it; without one, take all of the last one down."""
        spec = spec_module.load(path) if path else without_services(self.session.spec)
        self.session.spec = spec
        self.session.out.clear()
        self.session.again()
        outcome = self.session.run(None, adopt=True, progress=lambda _: None, stop=lambda: False)
        assert not outcome.out, outcome.out
        self.session.again()


def ids(diagnosis):
    """List what stands by itself, but for notes."""
    return [found.id for found in diagnosis.findings if found.severity != NOTE]


def told(diagnosis):
    """Show a diagnosis when a test fails."""
    return "\n".join(
        f"{one.finding.severity} {one.finding.id} {one.finding.party}: {one.finding.observed}"
        f" | explains {sorted({f.id for f in one.because})}"
        for one in diagnosis.named
    )


@contextlib.contextmanager
def diagnosing(lab, path):
    """A Doctor for a spec in a lab, by the nodes that command lines there use too."""
    with mock.patch.dict(os.environ, {"ONEARM_LAB": lab.name}):
        with lab.nodes.used():  # those of the clients too, which every diagnosis meets anew
            doctor = Doctor(path)
            with doctor.session:
                yield doctor
