"""Every notebook in JupyterLab in a real browser: by `make browser`."""
