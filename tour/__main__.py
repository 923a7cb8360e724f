"""`python -m tour` is the `tour` command."""

from tour.cli import main

main()
