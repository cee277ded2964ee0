"""BIRD: its configuration's text and file, and the conversation with it."""
