"""The loop, and the one pass that it runs."""
