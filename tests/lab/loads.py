"""The lab's load while a test breaks things: what it counted so far, and in the end."""

import contextlib
import itertools
import json
import signal
import subprocess
from datetime import datetime

from runs import wait_for

NUMBERS = itertools.count()


class Load:
    """`onearm lab load --json --live`, running."""

    def __init__(self, lab, *words):
        self.file = lab.folder / f"load-{next(NUMBERS)}.jsonl"
        with self.file.open("wb") as out:
            self.process = lab.start(
                "lab", "load", "--json", "--live", *words, stdout=out, stderr=subprocess.STDOUT
            )
        self.pass_seconds(1)

    def lines(self):
        """All objects so far, whole lines alone."""
        text = self.file.read_text()
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def second(self):
        """The last second that is over; None before the first."""
        lines = self.lines()
        return lines[-1] if lines else None

    def pass_seconds(self, count):
        """Let that many whole seconds begin and end."""
        until = len(self.lines()) + count + 1
        self.wait(lambda _: len(self.lines()) >= until)

    def wait(self, true):
        """Wait until something is true of the last second."""

        def now():
            assert self.process.poll() is None, self.file.read_text()[-2000:]
            last = self.second()
            return last is not None and true(last)

        wait_for(now, lambda: json.dumps(self.lines()[-3:]))

    def stop(self):
        """End it; return what it came to."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=60)
        result = self.lines()[-1]
        assert result["kind"] == "load", self.file.read_text()[-2000:]
        return result


@contextlib.contextmanager
def load(lab, *words):
    """A load for the length of a block."""
    running = Load(lab, *words)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.send_signal(signal.SIGINT)
            running.process.wait(timeout=60)


def failed(result):
    """How many of both kinds failed or were interrupted."""
    kinds = result["connections"], result["transfers"]
    return sum(sum(kind[how].values()) for kind in kinds for how in ("failed", "interrupted"))


def told(result):
    """The failures and when each was under way, as instants of this machine's clock."""
    begun = datetime.fromisoformat(result["begun"].replace("Z", "+00:00")).timestamp()
    return [(begun + one["begun_s"], begun + one["at_s"], one) for one in result["failures"]]
