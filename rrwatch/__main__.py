"""`python -m rrwatch`."""

from rrwatch.cli import main

main()
