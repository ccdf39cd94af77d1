"""Entry points: flags, one library call, tables."""

import sys

from launch import interrupts

# As Python has it while ``python -m launch.x`` looks for x, before it imports that.
if sys.argv[:1] == ["-m"]:
    interrupts.install()
