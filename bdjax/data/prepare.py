"""Downloads and prepares a tensorflow-datasets data set, for source 'tfds'.

    python -m bdjax.data.prepare --name mnist [--data_dir DIR]

This is the one step that needs tensorflow (``pip install -e '.[prepare]'``); the files
that it writes are read without.
"""

import argparse
import importlib.util
import pathlib
import sys
from collections.abc import Sequence

from bdjax.data.tfds import data_root, one_line
from bdjax.types import UserError


def prepare(name: str, path: str | None = None) -> pathlib.Path:
    """Downloads and prepares a data set as array_record; does nothing if it is there.

    Args:
        name: name as tensorflow-datasets knows it, ``name`` or ``name/config``.
        path: the directory of prepared data sets; None is ``$TFDS_DATA_DIR``, or
            ``~/tensorflow_datasets``.

    Returns:
        The directory of the prepared data set.

    Raises:
        UserError: if tensorflow is missing, the name is unknown or preparing fails.
    """
    for package in ("tensorflow", "importlib_resources"):
        if importlib.util.find_spec(package) is None:
            raise UserError(
                f"preparing {name!r} needs {package}: pip install -e '.[prepare]' "
                "importlib_resources"
            )
    import tensorflow_datasets as tfds

    root = data_root(path)
    try:
        builder = tfds.builder(name, data_dir=root, file_format="array_record")
        builder.download_and_prepare(
            # One for each data set: MNIST's file names are Fashion-MNIST's too.
            download_dir=root / "downloads" / builder.name,
            download_config=tfds.download.DownloadConfig(try_download_gcs=False),
        )
    except tfds.core.DatasetNotFoundError as error:
        raise UserError(
            f"tensorflow-datasets knows no data set {name!r}: see "
            "https://www.tensorflow.org/datasets/catalog"
        ) from error
    # Any builder's own code and the network lie behind this call.
    except Exception as error:
        raise UserError(
            f"preparing {name!r} in {root} failed: {one_line(error)}"
        ) from error
    return pathlib.Path(builder.data_dir)


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
