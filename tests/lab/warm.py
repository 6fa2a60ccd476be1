"""Node processes that stay from one command line to the next, for starting them is what costs."""

import contextlib
from unittest import mock

from onearm.places import remote
from onearm.places.conversation import Conversation


class Kept:
    """A conversation as one session has it: closed, it waits for the next."""

    def __init__(self, real):
        self.open, self.ask, self.stream = real.open, real.ask, real.stream

    def close(self):
        pass


class Nodes:
    """The nodes of a lab's hosts. Those that applied hold their host's lock, until `end`."""

    def __init__(self):
        self._real = {}

    def conversation(self, host, prefix, deadline_s):
        key = (host, *prefix, deadline_s)
        if key not in self._real:
            self._real[key] = Conversation(host, prefix, deadline_s)
        return Kept(self._real[key])

    @contextlib.contextmanager
    def used(self):
        """Let every session within use them."""
        with mock.patch.object(remote, "Conversation", self.conversation):
            yield

    def end(self):
        for conversation in self._real.values():
            conversation.close()
