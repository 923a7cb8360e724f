"""The exercises: what is asked of each, judged from the journal of the learner's own invocation."""

from tour.exercises.judging import EXERCISES, Verdict, check, hint, solution

__all__ = ["EXERCISES", "Verdict", "check", "hint", "solution"]
