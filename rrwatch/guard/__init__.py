"""May sessions end that nobody asked to end, and what survives a restart so that this can be decided then too."""
