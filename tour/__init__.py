"""A tour of durable AI agents: what a notebook needs to serve, call, break and read them."""

from tour import server
from tour.endpoint import serve
from tour.errors import InvocationFailed, TourError
from tour.exercises import check, hint, solution
from tour.export import load, source
from tour.invocation import approve, call, latest, reject, send
from tour.session import offline, start

__all__ = [
    "InvocationFailed",
    "TourError",
    "approve",
    "call",
    "check",
    "hint",
    "latest",
    "load",
    "offline",
    "reject",
    "send",
    "serve",
    "server",
    "solution",
    "source",
    "start",
]
