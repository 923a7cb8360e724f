"""The watch that keeps clients on this machine sees what leaves it."""

import socket
import urllib.request
from contextlib import suppress

import pytest


def test_a_connection_elsewhere_is_stopped_and_noted(connections_elsewhere: list[str]) -> None:
    with pytest.raises(PermissionError), socket.socket() as plain:
        plain.connect(("192.0.2.1", 80))
    with suppress(OSError):
        urllib.request.urlopen("http://example.invalid")
    assert connections_elsewhere == [
        "socket.connect to '192.0.2.1'",
        "socket.getaddrinfo to 'example.invalid'",
    ]
    connections_elsewhere.clear()
