"""The exercises of notebook 6."""

from tour.exercises.exercise import Exercise

__all__ = ["EXERCISES"]

EXERCISES: dict[str, Exercise] = {}
