"""A population on disk: a manifest with its recipe, and chunks, there or not."""

import operator
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any

from bdjax.storage import checkpoint, files
from bdjax.types import PyTree, UserError

_SCHEMA = 1
_KIND = "bdjax population"
_MANIFEST = "manifest.json"
_CHUNKS = "chunks"


class ChunkStore:
    """The chunks of one population; made by `open_population` or `read_population`.

    Several processes may save different chunks of one population at once. One store is
    for one thread.

    Attributes:
      directory: the population's directory.
      manifest: its manifest, with the caller's JSON under `recipe`.
    """

    def __init__(self, directory: Path, manifest: dict[str, Any], *, writable: bool):
        self.directory = directory
        self.manifest = manifest
        self._writable = writable
        self._writer: checkpoint.Writer | None = None
        self._pending: int | None = None

    @property
    def recipe(self) -> dict[str, Any]:
        """What the caller gave to `open_population`, as JSON holds it."""
        return self.manifest["recipe"]

    def path(self, n: int) -> Path:
        """The directory of chunk `n`, whether or not it is committed."""
        if (n := operator.index(n)) < 0:
            raise ValueError(f"chunk {n}: chunks count from 0")
        return self.directory / _CHUNKS / str(n)

    def committed(self) -> list[int]:
        """Lists the chunks that are done, by any process, in ascending order."""
        chunks = self.directory / _CHUNKS
        names = os.listdir(chunks) if chunks.is_dir() else []
        # A save that was killed leaves a directory with a longer name.
        return sorted(int(n) for n in names if n.isdecimal() and n == str(int(n)))

    def save(self, n: int, tree: PyTree) -> None:
        """Begins to commit chunk `n` in the background; first waits for the one before.

        What a killed save of the same chunk left behind is replaced. `tree` is copied
        before this returns, so its buffers may be changed or donated.

        Args:
          n: the chunk, counted from 0.
          tree: nested dicts of arrays (JAX or NumPy) of any shape, numbers or bool.

        Raises:
          UserError: the chunk is already committed, the tree holds something else than
            arrays, or this or the earlier save failed.
          RuntimeError: the population was opened by `read_population`.
        """
        path = self._writable_path(n)
        self.wait()
        if path.exists():
            raise UserError(
                f"chunk {n} is already in {path}; delete that directory to train it "
                "again"
            )
        if self._writer is None:
            self._writer = checkpoint.Writer()
        self._pending = n
        try:
            self._writer.save(path, tree)
        except UserError:
            self._pending = None
            raise
        except Exception as error:
            self._pending = None
            raise _not_written(n, path, error) from error

    def wait(self) -> None:
        """Returns once every chunk given to `save` is committed.

        Raises:
          UserError: a chunk could not be written.
        """
        if self._pending is None or self._writer is None:
            return
        n, self._pending = self._pending, None
        try:
            self._writer.wait()
        except Exception as error:
            raise _not_written(n, self.path(n), error) from error

    def load(self, n: int) -> PyTree:
        """Reads a committed chunk.

        Args:
          n: the chunk.

        Returns:
          The tree that was saved, of NumPy arrays: same keys in the same order, same
          dtypes, shapes and bits.

        Raises:
          UserError: the chunk is not committed, or damaged (then it is named).
        """
        if n == self._pending:
            self.wait()
        path = self.path(n)
        if not path.is_dir():
            raise UserError(
                f"{self.directory} has no chunk {n} (it has {len(self.committed())} "
                "chunks); train it first"
            )
        fix = "delete that directory and run again: only this chunk is trained again"
        return checkpoint.read_tree(path, what=f"chunk {n}", fix=fix)

    def discard(self, n: int) -> None:
        """Takes chunk `n` out, so that it can be saved again; a missing one is fine.

        Args:
          n: the chunk.

        Raises:
          RuntimeError: the population was opened by `read_population`.
        """
        path = self._writable_path(n)
        self.wait()
        trash = path.with_name(f"{n}.discarded")
        shutil.rmtree(trash, ignore_errors=True)
        if path.exists():
            # Renamed first: a kill while deleting must not leave half a chunk.
            path.rename(trash)
            shutil.rmtree(trash)

    def size_bytes(self) -> int:
        """Adds up the sizes of all files of the population."""
        self.wait()
        return sum(f.stat().st_size for f in self.directory.rglob("*") if f.is_file())

    def close(self) -> None:
        """Waits for the chunk in flight and frees the threads.

        Raises:
          UserError: that chunk could not be written.
        """
        try:
            self.wait()
        finally:
            if self._writer is not None:
                self._writer.close()
                self._writer = None

    def __enter__(self) -> "ChunkStore":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        del kind, error, traceback
        self.close()

    def _writable_path(self, n: int) -> Path:
        if not self._writable:
            raise RuntimeError(f"{self.directory} is open for reading only")
        return self.path(n)


def open_population(
    directory: str | os.PathLike[str], recipe: dict[str, Any]
) -> ChunkStore:
    """Opens a population to add chunks to it: makes it, or resumes one of that recipe.

    Args:
      directory: the population's directory; missing, empty, or a population already.
      recipe: everything that the chunks follow from, as `files.json_text` takes it.

    Returns:
      The store.

    Raises:
      UserError: the directory holds something else, its manifest is damaged or of a
        newer bdjax, or its recipe differs (the first field that does is named).
    """
    directory = Path(directory)
    recipe = files.as_json(recipe)
    if not (directory / _MANIFEST).exists():
        _refuse_foreign(directory)
        manifest = {**files.header(_SCHEMA, _KIND), "recipe": recipe}
        files.write_json(directory / _MANIFEST, manifest)
    manifest = _read_manifest(directory)
    if difference := files.difference("recipe", manifest["recipe"], recipe):
        raise UserError(
            f"{directory}: {difference}; use another directory or the same recipe"
        )
    (directory / _CHUNKS).mkdir(exist_ok=True)
    return ChunkStore(directory, manifest, writable=True)


def read_population(directory: str | os.PathLike[str]) -> ChunkStore:
    """Opens a population to read it.

    Args:
      directory: the population's directory.

    Returns:
      The store; its `save` and `discard` raise RuntimeError.

    Raises:
      UserError: there is no population, or its manifest is damaged or of a newer bdjax.
    """
    directory = Path(directory)
    if not (directory / _MANIFEST).exists():
        raise UserError(
            f"no population in {directory}: it has no {_MANIFEST}; check the path"
        )
    return ChunkStore(directory, _read_manifest(directory), writable=False)


def _read_manifest(directory: Path) -> dict[str, Any]:
    return files.read_header(
        directory / _MANIFEST, schema=_SCHEMA, kind=_KIND, fields={"recipe": dict}
    )


def _refuse_foreign(directory: Path) -> None:
    """Raises unless `directory` is missing or as empty as a kill at birth leaves it."""
    if directory.exists() and not directory.is_dir():
        raise UserError(f"{directory} is a file; choose a directory for the population")
    if directory.is_dir():
        for entry in directory.iterdir():
            if not files.is_temporary(entry):
                raise UserError(
                    f"{directory} holds {entry.name} and no {_MANIFEST}, so it is no "
                    "population; choose an empty directory"
                )


def _not_written(n: int, path: Path, error: Exception) -> UserError:
    return UserError(
        f"chunk {n} could not be written to {path} ({checkpoint.reason(error)}); check "
        "free space and permissions and run again"
    )
