"""The lab host's end of `onearm lab forward`: opens connections to a port of its loopback."""

from __future__ import annotations

import socket
import sys

from onearm.lab.streams import Streams

PATIENCE_S = 5.0


def main() -> None:
    """Relay between stdin, stdout and the port until stdin ends."""
    port = int(sys.argv[1])
    Streams(0, 1, lambda: socket.create_connection(("127.0.0.1", port), PATIENCE_S)).run()


if __name__ == "__main__":
    main()
