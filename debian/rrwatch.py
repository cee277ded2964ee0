#!/usr/bin/python3 -I
"""The command rrwatch of the Debian package: its modules are in a folder of their own, which takes precedence."""

import sys

sys.path.insert(0, "/usr/lib/rrwatch")

from rrwatch.__main__ import main

main()
