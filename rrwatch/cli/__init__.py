"""The command line: words and tables, no work."""
