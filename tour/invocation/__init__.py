"""Invocations: call or send a handler, wait for it, answer what it waits for, stop it.

Nothing here knows Jupyter: what is said while a cell waits is said by print.
"""

from tour.invocation.invocation import Finished, Invocation, approve, call, latest, reject, send
from tour.invocation.patience import Patience

__all__ = ["Finished", "Invocation", "Patience", "approve", "call", "latest", "reject", "send"]
