"""Restate's APIs where they are not what they seem."""

import os
import signal
import time

import httpx
import pytest

from tour import server
from tour.errors import TourError


@pytest.mark.parametrize("_", range(3))
def test_a_server_that_was_just_restarted_answers_every_query(_: int) -> None:
    server.up()
    os.kill(server.pid(), signal.SIGKILL)
    server.up()
    end = time.monotonic() + 0.3  # it lost the connection to itself in the first tenth
    while time.monotonic() < end:
        server.query("select id from sys_invocation limit 1")
        assert (
            server.query(
                "select id from sys_invocation where id = 'inv_10jdfoR4UvQV6wNzjmF4kPCqWXmfYRnYkd'"
            )
            == []
        )


def test_a_server_that_takes_too_long_is_told_as_an_error_of_the_tour() -> None:
    server.up()
    server.request("GET", "/version")
    with pytest.raises(TourError, match="Restate does not answer: ReadTimeout"):
        server.request("GET", "/version", timeout=httpx.Timeout(10, read=1e-9))
