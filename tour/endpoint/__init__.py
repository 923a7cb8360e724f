"""The in-process endpoint: services served from a kernel, registered, crashed and stopped.

It counts each try at a step for the journal, and keeps what handlers print for the cell that waits.
"""

from tour.endpoint.counting import AnyService, counted
from tour.endpoint.endpoint import Endpoint, port_of, resume_backing_off, serve, thread
from tour.endpoint.output import claim, collect, show

__all__ = ["AnyService", "Endpoint", "claim", "collect", "counted", "port_of", "resume_backing_off"]
__all__ += ["serve", "show", "thread"]
