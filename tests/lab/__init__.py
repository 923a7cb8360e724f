"""JupyterLab on a working copy, and hubs."""
