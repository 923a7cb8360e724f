"""A notebook's agent as a project."""
