"""`python -m rrwatch`."""

from rrwatch.cli.main import main

main()
