"""What BIRD ran before, and what it must keep running: the history, freezes and rollbacks, all in `state_dir`."""
