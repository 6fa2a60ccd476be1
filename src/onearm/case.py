"""One service with all that was seen of its connections, and questions to it; pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from onearm import schedule
from onearm.evidence import Evidence, Trial
from onearm.facts import Facts, OutFact, ServiceFact
from onearm.flows import Flow, Names, Way, follow
from onearm.resting import held, of_service, partly, without
from onearm.spec import Spec, VirtualService, names_of


@dataclass
class Case:
    """One service with all that was seen of it. `strange`: flows there that are none of ours.

    `held`: real servers that were out of rotation all the time; `partly`: those that took a part
    that no scheduler promises, because their weight grew, or because they went out or came back.
    """

    spec: Spec
    evidence: Evidence
    names: Names
    service: VirtualService
    trials: list[Trial]
    ways: list[Way] = field(init=False)
    strange: set[Flow] = field(init=False)
    held: dict[str, OutFact] = field(init=False)
    partly: dict[str, OutFact] = field(init=False)

    def __post_init__(self) -> None:
        self.ways, self.strange = follow(self.spec, self.evidence, self.trials, self.names)
        self.held, self.partly = at_rest(self.evidence, self.service)

    @property
    def total(self) -> int:
        """Count the connections tried."""
        return len(self.ways)

    @property
    def served(self) -> VirtualService:
        """The service without those that are out of rotation, or not wholly in it."""
        return without(self.service, {**self.held, **self.partly})

    @property
    def wanted(self) -> dict[str, int]:
        """The weight of each real server that should take connections."""
        return schedule.weights(self.served)

    @property
    def blind(self) -> list[str]:
        """Name the hosts of this service whose frames were not recorded."""
        hosts = [director.name for director in self.spec.directors] + list(self.wanted)
        return [host for host in hosts if host not in self.evidence.frames]

    @property
    def director_blind(self) -> str:
        """Name a director whose frames were not recorded; empty when all were."""
        directors = {director.name for director in self.spec.directors}
        return next((host for host in self.blind if host in directors), "")

    @property
    def nowhere(self) -> list[Way]:
        """List the connections that neither the director nor a real server saw."""
        return [way for way in self.ways if not way.at_director and not way.at_servers]

    @property
    def disguised(self) -> list[Way]:
        """List the connections that may have come in somebody else's name, all changed by NAT."""
        unseen = self.nowhere
        answered = all(way.arrived for way in unseen)
        return unseen if answered and len(self.strange) >= len(unseen) else []

    @property
    def handed(self) -> Counter[str]:
        """Count the connections that the director handed to each machine."""
        return Counter(host for way in self.ways for host in way.handed_to)

    def watched(self, host: str) -> bool:
        """Say whether the frames of a host were recorded."""
        return host in self.evidence.frames

    def tables(self) -> tuple[list[ServiceFact], list[ServiceFact]]:
        """Give the service as the kernel counted it before and after."""
        return self._standing(self.evidence.before), self._standing(self.evidence.after)

    def _standing(self, directors: Facts) -> list[ServiceFact]:
        tables = (facts.services for facts in directors.values())
        return [s for table in tables for s in table if s.identity == self.service.identity]

    def others(self) -> int | None:
        """Count other people's connections; None: not known.

        Their frames show them at once; the service's counter may be 2 s late, as the kernel sums it
        up by a timer (net/netfilter/ipvs/ip_vs_est.c), so it can only add to them.
        """
        before, after = self.tables()
        if len(before) != 1 or len(after) != 1:
            return None
        grown = after[0].counters.connections - before[0].counters.connections
        ours = len([w for w in self.ways if w.at_director and not w.director_said])
        return max(len(self.strange), grown - ours, 0)

    def chosen(self) -> Counter[str]:
        """Count how often the scheduler chose each server, by the entries it holds for each."""
        names = names_of(self.spec.real_servers)
        found: Counter[str] = Counter()
        for sign, tables in zip((-1, 1), self.tables(), strict=True):
            for service in tables:
                for d in service.destinations:
                    held = d.active + d.inactive
                    found[names.get(d.server, str(d.server))] += sign * held
        return +found


def at_rest(
    evidence: Evidence, service: VirtualService
) -> tuple[dict[str, OutFact], dict[str, OutFact]]:
    """Say who was out of rotation all the time, and who was in it by a part or for a while."""
    before = of_service(service, evidence.rest_before)
    after = of_service(service, evidence.rest_after)
    out, later = held(service, before), held(service, after)
    both = {host: fact for host, fact in later.items() if host in out}
    some = {**out, **later, **partly(service, before), **partly(service, after)}
    return both, {host: fact for host, fact in some.items() if host not in both}
