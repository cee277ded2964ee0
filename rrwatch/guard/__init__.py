"""Whether a change may go ahead, and what has to outlive a restart for that."""
