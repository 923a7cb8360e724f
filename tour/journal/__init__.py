"""What the server recorded of an invocation, and how often each step of it was tried.

As values, as stable text and as a picture. Nothing here calls a handler; those who run one tell
this room of each try.
"""

from tour.journal.attempts import (
    CUT_OFF,
    Attempt,
    count_model_call,
    current_invocation,
    model_calls_of,
    note_awakeable,
    noted,
    tries_of,
)
from tour.journal.journal import Journal, Kind, State, Step
from tour.journal.records import newest, read
from tour.journal.timeline import Timeline, svg

__all__ = ["CUT_OFF", "Attempt", "Journal", "Kind", "State", "Step", "Timeline", "newest", "read"]
__all__ += ["count_model_call", "current_invocation", "model_calls_of", "note_awakeable", "noted"]
__all__ += ["svg", "tries_of"]
