"""``python -m bdjax`` is ``bdjax``."""

from bdjax.cli import main

if __name__ == "__main__":
    main()
