"""Invocations: called, sent, awaited, answered, stopped."""
