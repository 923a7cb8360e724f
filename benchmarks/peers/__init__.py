"""The contenders of side_by_side.py, each a program: python -m peers.ours first --folder /tmp/x."""
