"""The exercises of notebook 2."""

from tour.exercises.exercise import Exercise

__all__ = ["EXERCISES"]

EXERCISES: dict[str, Exercise] = {}
