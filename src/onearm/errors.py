"""The error tree: every kind knows its exit code and whether trying again can help.

OnearmError                 1   a bug of ours, when raised bare
├── UsageError              2   the command line is wrong
├── SpecError               2   the file is wrong; carries every complaint at once
├── Refused                 3   unsafe or not ours; says the numbers and the flag that forces it
├── PlaceError              4   a place failed
│   ├── Unreachable         4   no answer, or none in time (retry)
│   ├── Denied              4   the place says no: rights, invalid
│   ├── Busy                4   another run holds the place (retry)
│   └── Missing             4   a kernel feature, module or tool is not there
└── Differs                 5   not converged, not verified, or not as planned
"""

from __future__ import annotations

from collections.abc import Sequence


class OnearmError(Exception):
    """Root of all our errors: one sentence with what, where, why and what to do."""

    exit_code = 1
    retry = False


class UsageError(OnearmError):
    """The command line asks for something that cannot be."""

    exit_code = 2


class SpecError(OnearmError):
    """The spec is wrong; `complaints` holds every one of them, each as `file:line: …`."""

    exit_code = 2

    def __init__(self, complaints: Sequence[str]) -> None:
        """Keep all complaints: the reader repairs them in one go."""
        self.complaints = tuple(complaints)
        super().__init__("\n".join(self.complaints))


class Refused(OnearmError):  # noqa: N818 - the field's word, not an adjective to hide behind Error
    """The plan would be unsafe, or would touch what is not ours."""

    exit_code = 3


class PlaceError(OnearmError):
    """A place could not do what was asked of it."""

    exit_code = 4


class Unreachable(PlaceError):  # noqa: N818
    """A place did not answer, or not in time."""

    retry = True


class Denied(PlaceError):  # noqa: N818
    """A place answered no."""


class Busy(PlaceError):  # noqa: N818
    """Another run holds the place; wait for its end."""

    retry = True


class Missing(PlaceError):  # noqa: N818
    """A place lacks a kernel feature, module or tool."""


class Differs(OnearmError):  # noqa: N818
    """What is does not match what was wanted, shown or proved."""

    exit_code = 5


KINDS: dict[str, type[OnearmError]] = {
    kind.__name__: kind
    for kind in (UsageError, Refused, PlaceError, Unreachable, Denied, Busy, Missing, Differs)
}


def revive(kind: str, text: str) -> OnearmError:
    """Rebuild an error that crossed the wire; an unknown kind is a PlaceError."""
    return KINDS.get(kind, PlaceError)(text)
