"""Everything about BIRD: the text and the file of its configuration, and its control socket."""
