"""How many examples the tests with random input try."""

import os

EXAMPLES = int(os.environ.get("RRWATCH_TEST_EXAMPLES", "150"))
"""Set RRWATCH_TEST_EXAMPLES for a longer search."""
