"""`onearm lab forward`: a port of a lab host's loopback as a port of this machine's loopback."""

from __future__ import annotations

import os
import queue
import socket
import sys
import threading

from onearm.errors import OnearmError, PlaceError, UsageError
from onearm.lab import client, paths
from onearm.lab.streams import Streams

READY_S = 10.0


def forward_command(name: str | None, host: str, port: int, listen: int) -> int:
    """Forward until Ctrl-C; says where, once it listens."""
    name = paths.lab_name(name)
    client.info(name)  # raises where no such lab runs
    with _listener(listen) as listener:
        address, here = listener.getsockname()
        sys.stdout.write(f"http://{address}:{here}/ is port {port} of {host} in lab {name}\n")
        sys.stdout.flush()
        carry(name, host, port, listener)
    return 0


def _listener(port: int) -> socket.socket:
    try:
        return socket.create_server(("127.0.0.1", port), backlog=128)
    except OSError as error:
        raise UsageError(
            f"--listen {port}: nothing can listen there ({error.strerror}): choose another port"
        ) from error


def carry(name: str, host: str, port: int, listener: socket.socket) -> None:
    """Carry connections until Ctrl-C; raises when the lab's end ends."""
    to_relay, from_relay = os.pipe(), os.pipe()
    ended: queue.SimpleQueue[str | OnearmError] = queue.SimpleQueue()
    relay = ["python3", "-ISsB", str(client.START), "relay", str(port)]

    def run() -> None:
        try:
            code = client.run(name, host, relay, stdin=to_relay[0], stdout=from_relay[1])
            ended.put(f"the relay on {host} ended with code {code}")
        except OnearmError as error:
            ended.put(error)
        finally:
            os.close(from_relay[1])

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        Streams(from_relay[0], to_relay[1]).run(listener)
    except KeyboardInterrupt:
        return
    finally:
        os.close(to_relay[1])
        thread.join(READY_S)
    said = ended.get(timeout=READY_S)
    raise said if isinstance(said, OnearmError) else PlaceError(said)
