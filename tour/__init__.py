"""A tour of durable AI agents."""
