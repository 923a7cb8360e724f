"""A tour of durable AI agents: what a notebook needs to serve, call, break and read them."""

from tour.endpoint import serve
from tour.errors import InvocationFailed, TourError
from tour.exercises import check, hint
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
    "offline",
    "reject",
    "send",
    "serve",
    "start",
]
