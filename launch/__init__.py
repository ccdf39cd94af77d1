"""The command ``bdjax``, as a checkout's research entry: ``python -m launch.mntd``.

``--config=FILE[:argument]`` chooses the experiment, ``--config.any.field=value`` sets a
field of it; all else is as for the command.
"""

import sys

from bdjax.cli import interrupts, main

# As Python has it while ``python -m launch.x`` looks for x, before it imports that.
if sys.argv[:1] == ["-m"]:
    interrupts.install()


def translate(command: str, default: str = "") -> None:
    """Runs ``bdjax COMMAND`` with the arguments of this launcher."""
    chosen, rest = default, []
    arguments = iter(sys.argv[1:])
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name == "--config":
            chosen = value or next(arguments, "")
        else:
            rest.append(argument.replace("--config.", "--", 1))
    main([command, *filter(None, [chosen]), *rest])
