"""The command ``bdjax``: ``bdjax --help``.

Nothing heavy is imported before it is known what is wanted, so that help and mistakes
come at once, and an interrupt is heard from the first moment on.
"""

import sys
from collections.abc import Sequence

from bdjax.cli import interrupts


def main(arguments: Sequence[str] | None = None) -> None:
    """Does what the arguments say.

    What the user can mend ends in one line and exit status 2, an interrupt in 130,
    SIGTERM in 143, at any moment and in one line. Of `scan` and `calibrate`, mistakes
    in the command line end in 64, and both signals in 2.

    Args:
      arguments: those of the command line if None.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] in (["scan"], ["calibrate"]):  # whose statuses say what was found
        interrupts.end_in(2)
    interrupts.install()
    from bdjax.cli import arguments as known

    try:
        options = known.parse(given)
    except known.UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.status)
    from bdjax.cli import common

    common.carry_out(options)
