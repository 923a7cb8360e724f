"""JupyterLab on a working copy of the notebooks, and Restate's UI where the lab is in a hub."""

from tour.lab.copy import refresh
from tour.lab.hub import restate_ui
from tour.lab.lab import FIRST, run

__all__ = ["FIRST", "refresh", "restate_ui", "run"]
