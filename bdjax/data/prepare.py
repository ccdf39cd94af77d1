"""Downloads and prepares a tensorflow-datasets data set, for source 'tfds'.

    python -m bdjax.data.prepare --name mnist [--data_dir DIR]

This is the one step that needs tensorflow (``pip install -e '.[prepare]'``); the files
that it writes are read without.
"""

import argparse
import sys
from collections.abc import Sequence

from bdjax.data.prepared import prepare
from bdjax.types import UserError


def main(argv: Sequence[str] | None = None) -> int:
    """Prepares one data set; returns 0, or 2 after one line on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m bdjax.data.prepare",
        description="Download and prepare a data set for source 'tfds'.",
    )
    parser.add_argument("--name", required=True, help="name[/config], such as mnist")
    parser.add_argument(
        "--data_dir", help="default: $TFDS_DATA_DIR, or ~/tensorflow_datasets"
    )
    flags = parser.parse_args(argv)
    try:
        directory = prepare(flags.name, flags.data_dir)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"prepared: {directory}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
