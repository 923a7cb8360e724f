"""A notebook's agent as a module, and as a project that needs nothing of the tour."""

from tour.export.notebook import load, note_run, source
from tour.export.project import calls, export

__all__ = ["calls", "export", "load", "note_run", "source"]
