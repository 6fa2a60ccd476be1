"""The rules that mark the packets of groups, as a kind of the director's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Optional

from onearm.errors import PlaceError
from onearm.kernel import mark_rules
from onearm.kernel.faults import translate
from onearm.model import Action, MarkRule

Verdict = tuple[Action, Optional[PlaceError]]


def read(wanted: Iterable[MarkRule]) -> list[MarkRule]:
    """Show what stands for the endpoints of the families that are asked for."""
    return all_of({rule.vip.version for rule in wanted})


def all_of(versions: Iterable[int]) -> list[MarkRule]:
    """Show every rule of our form of some families."""
    return [rule for version in sorted(versions) for rule in mark_rules.standing(version)]


def apply(batch: Iterable[Action]) -> Iterator[Verdict]:
    """Set or delete each; one that is already so counts as done."""
    for action in batch:
        try:
            _one(action)
        except PlaceError as error:
            yield action, error
        except OSError as error:
            yield action, translate(error, f"the rule {action.resource}")
        else:
            yield action, None


def _one(action: Action) -> None:
    before, after = action.before, action.after
    if isinstance(after, MarkRule) and before != after:
        mark_rules.put(after)
    elif after is None and isinstance(before, MarkRule):
        mark_rules.remove(before)
