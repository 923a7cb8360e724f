"""The notebooks: each one's agents, its shape, and its cells in a real kernel."""
