"""Directories of prepared tensorflow-datasets: found, made and opened.

``tfds.load`` needs tensorflow; random access to array_record files does not. A
directory is opened by itself (``tfds.builder_from_directory``), so any prepared version
is read, a data set of the user's own needs no code, and nothing asks the network.
"""

import contextlib
import importlib.util
import os
import pathlib
import re
import shlex
from collections.abc import Iterator
from typing import Any, NamedTuple

from bdjax.data.content import one_line
from bdjax.types import UserError

SPLITS = ("train", "test")
"""Those that are read, of a data set that has no test split the first; no others."""


class Prepared(NamedTuple):
    """One prepared data set.

    Attributes:
        directory: that of its version.
        remedy: what to do where it is damaged.
    """

    directory: pathlib.Path
    remedy: str

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Turns whatever tfds, protobuf, riegeli and pillow raise into one line."""
        try:
            yield
        except (UserError, MemoryError):
            raise
        except ImportError as error:
            raise UserError(
                f"cannot read {self.directory}: {one_line(error)}: pip install "
                "array_record pillow"
            ) from error
        # Damaged files surface as any of RuntimeError, ValueError, KeyError, OSError,
        # SyntaxError (pillow), ParseError (protobuf), depending on the byte.
        except Exception as error:
            raise UserError(
                f"{self.directory} is damaged ({one_line(error)}): {self.remedy}"
            ) from error

    def builder(self) -> Any:
        """Its tfds builder.

        Raises:
            UserError: it is damaged, or of a format that only tensorflow reads.
        """
        import tensorflow_datasets as tfds

        with self.reading():
            builder = tfds.builder_from_directory(self.directory)
        held = builder.info.file_format
        self.check_format(getattr(held, "value", None))
        return builder

    def check_format(self, held: str | None) -> None:
        """Raises ``UserError`` unless the format is read without tensorflow."""
        if held != "array_record":
            raise UserError(
                f"{self.directory} was prepared as {held}, only array_record is read "
                f"without tensorflow: {self.remedy}"
            )

    def splits(self, builder: Any, **decoders: Any) -> dict[str, Any]:
        """Random access to :data:`SPLITS`, as far as they have examples.

        Raises:
            UserError: it is damaged, or has nothing to train on.
        """
        held = builder.info.splits
        with self.reading():
            found = {
                split: builder.as_data_source(split=split, decoders=decoders or None)
                for split in SPLITS
                if split in held and held[split].num_examples
            }
        self.check_splits(found)
        return found

    def check_splits(self, found: dict[str, Any]) -> None:
        """Raises ``UserError`` unless there is a training split."""
        if "train" not in found:
            raise UserError(
                f"{self.directory} has no examples in a split named 'train'"
            )

    def check_classes(self, held: int, num_classes: int) -> None:
        """Raises ``UserError`` unless it has the task's number of classes."""
        if held != num_classes:
            raise UserError(
                f"{self.directory} has {held} classes, but the task has {num_classes}: "
                "choose the task that it belongs to"
            )


def find_or_prepare(name: str, path: str | None) -> Prepared:
    """The prepared data set; made first if it is not there and tensorflow is.

    Args:
        name: ``name``, ``name/config`` or either with ``:version`` (else the newest).
        path: the directory of prepared data sets; None is tfds's own default.

    Raises:
        UserError: it is not there and cannot be made, or several configurations are
            and ``name`` chooses none.
    """
    directory = _find(name, path)
    if directory is None:
        if importlib.util.find_spec("tensorflow") is None:
            raise UserError(
                f"{name!r} is not prepared in {data_root(path)}: pip install "
                f"-e '.[prepare]', then run: {_command(name, path)}"
            )
        directory = prepare(name, path)
    return Prepared(directory, f"delete {directory}, then run: {_command(name, path)}")


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


def data_root(path: str | None) -> pathlib.Path:
    """The directory of prepared data sets; None is tfds's own default."""
    default = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return pathlib.Path(path or default).expanduser()


def versions(folder: pathlib.Path) -> list[pathlib.Path]:
    """The prepared versions in a folder, oldest first."""
    found = [d for d in _folders(folder) if re.fullmatch(r"\d+\.\d+\.\d+", d.name)]
    return sorted(found, key=lambda d: tuple(map(int, d.name.split("."))))


def _command(name: str, path: str | None) -> str:
    """The command line that prepares a data set."""
    root = shlex.quote(str(data_root(path)))
    return f"python -m bdjax.data.prepare --name {shlex.quote(name)} --data_dir {root}"


def _find(name: str, path: str | None) -> pathlib.Path | None:
    """``root/name[/config]/version``, the newest version, or None."""
    base, _, version = name.partition(":")
    folder = data_root(path) / base
    try:
        if version:
            return folder / version if (folder / version).is_dir() else None
        if found := versions(folder):
            return found[-1]
        configs = [d for d in _folders(folder) if versions(d)]
        if len(configs) > 1:
            names = ", ".join(f"{base}/{d.name}" for d in configs)
            raise UserError(f"{name!r} is prepared in {folder} as {names}: choose one")
        return versions(configs[0])[-1] if configs else None
    except OSError as error:
        raise UserError(f"cannot read {folder}: {error.strerror}") from error


def _folders(folder: pathlib.Path) -> list[pathlib.Path]:
    """The folders in a folder, sorted; none if it is not there."""
    return sorted(d for d in folder.iterdir() if d.is_dir()) if folder.is_dir() else []
