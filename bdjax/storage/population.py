"""A population on disk: a manifest with its recipe, and chunks, there or not."""

import contextlib
import operator
import os
import shutil
from pathlib import Path
from typing import Any

from bdjax.storage import checkpoint, files, manifest, processes
from bdjax.types import PyTree, UserError


class ChunkStore(contextlib.AbstractContextManager["ChunkStore"]):
    """The chunks of one population; made by `open_population` or `read_population`.

    Several processes may save different chunks of one population at once. One store is
    for one thread. What changes a population opened for reading raises RuntimeError.

    Attributes:
      directory: the population's directory.
      manifest: its manifest, with the caller's JSON under `recipe`.
      digest: tells populations apart; every chunk holds that of its own. Of the recipe
        but the chunk size, which changes no model.
    """

    def __init__(
        self,
        directory: Path,
        manifest_json: dict[str, Any],
        *,
        writable: bool,
        held: manifest.Lock | None = None,
    ):
        self.directory = directory
        self.manifest = manifest_json
        recipe = {k: v for k, v in self.recipe.items() if k != "chunk_size"}
        self.digest = files.digest(recipe)
        self._owner = f"population {self.digest}"
        self._writable = writable
        self._lock = held
        self._writer: checkpoint.Writer | None = None
        self._pending: int | None = None

    @property
    def recipe(self) -> dict[str, Any]:
        """What the caller gave to `open_population`, as JSON holds it."""
        return self.manifest["recipe"]

    @property
    def ids(self) -> range:
        """The models that the population is to have."""
        return range(*self.manifest["ids"])

    def chunks_of(self, ids: range) -> range:
        """The chunks that hold the models `ids`: `n` begins at `n * chunk_size`."""
        size = self.recipe["chunk_size"]
        return range(ids.start // size, -(-ids.stop // size))

    def path(self, n: int) -> Path:
        """The directory of chunk `n`, whether or not it is committed."""
        if (n := operator.index(n)) < 0:
            raise ValueError(f"chunk {n}: chunks count from 0")
        return self.directory / manifest.CHUNKS / str(n)

    def committed(self) -> list[int]:
        """Lists the chunks that are done, by any process, in ascending order."""
        chunks = self.directory / manifest.CHUNKS
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
        """
        path = self._free_path(n)
        if self._writer is None:
            self._writer = checkpoint.Writer()
        self._pending = n
        try:
            with checkpoint.writing(f"chunk {n}", path):
                self._writer.save(path, tree, owner=self._owner)
        except Exception:
            self._pending = None
            raise

    def wait(self) -> None:
        """Returns once every chunk given to `save` is committed.

        Raises:
          UserError: a chunk could not be written.
        """
        if self._pending is None or self._writer is None:
            return
        n, self._pending = self._pending, None
        with checkpoint.writing(f"chunk {n}", self.path(n)):
            self._writer.wait()

    def load(self, n: int) -> PyTree:
        """The tree of a committed chunk: its keys in order, dtypes, shapes and bits.

        Raises:
          UserError: the chunk is not committed, or damaged or another population's
            (then it is named).
        """
        if n == self._pending:
            self.wait()
        path = self.path(n)
        if not path.is_dir():
            raise UserError(
                f"{self.directory} has no chunk {n} (it has {len(self.committed())} "
                "chunks); train it first"
            )
        fix = "bdjax population --repair trains this chunk alone again"
        return checkpoint.read_tree(path, owner=self._owner, what=f"chunk {n}", fix=fix)

    def discard(self, n: int) -> None:
        """Takes chunk `n` out, so that it can be saved again; a missing one is fine."""
        path = self._writable_path(n)
        trash = path.with_name(f"{n}.discarded")
        shutil.rmtree(trash, ignore_errors=True)
        if path.exists():
            # Renamed first: a kill while deleting must not leave half a chunk.
            path.rename(trash)
            shutil.rmtree(trash)

    def copy(self, n: int, source: "ChunkStore") -> None:
        """Commits chunk `n` as another population of the same recipe has it.

        A kill leaves the whole chunk or none: the copy is read back and compared with
        its checksums before it counts.

        Raises:
          UserError: the chunk is already committed, cannot be written, or the copy is
            damaged.
        """
        path = self._free_path(n)
        fresh = path.with_name(f"{n}.copy")
        with checkpoint.writing(f"chunk {n}", path):
            if fresh.exists():  # of a copy that was killed
                shutil.rmtree(fresh)
            shutil.copytree(source.path(n), fresh, copy_function=_copy_synced)
            fix = "check the disk and run again"
            what = f"the copy of chunk {n} of {source.directory}"
            checkpoint.read_tree(fresh, owner=self._owner, what=what, fix=fix)
            fresh.rename(path)

    def size_bytes(self) -> int:
        """The sizes of all files of the population."""
        self.wait()
        total = 0
        for file in self.directory.rglob("*"):
            with contextlib.suppress(FileNotFoundError):  # a save is just done
                total += file.stat().st_size if file.is_file() else 0
        return total

    def close(self) -> None:
        """Waits for the chunk in flight; frees the threads and the directory.

        Raises:
          UserError: that chunk could not be written.
        """
        try:
            self.wait()
        finally:
            if self._writer is not None:
                # Where a commit failed, orbax may say so once more: `wait` has.
                with contextlib.suppress(Exception):
                    self._writer.close()
                self._writer = None
            if self._lock is not None:
                self._lock.release()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _writable_path(self, n: int) -> Path:
        if not self._writable:
            raise RuntimeError(f"{self.directory} is open for reading only")
        path = self.path(n)
        self.wait()
        return path

    def _free_path(self, n: int) -> Path:
        if (path := self._writable_path(n)).exists():
            raise UserError(
                f"chunk {n} is already in {path}; delete that directory to train it "
                "again"
            )
        return path


def open_population(
    directory: str | os.PathLike[str], recipe: dict[str, Any], ids: range
) -> ChunkStore:
    """Opens a population to add chunks to it: makes it, or resumes one of that recipe.

    One job at a time may hold it open. Under `jax.distributed` all processes of the job
    call this together; the first one makes and holds it for all.

    Args:
      directory: the population's directory; missing, empty, or a population already.
      recipe: everything that the chunks follow from, as `files.json_text` takes it;
        its `chunk_size`, of which the first process's counts, is models a chunk.
      ids: the models that it is to have, beside those that it was to have before.

    Returns:
      The store.

    Raises:
      UserError: the directory holds something else, another job holds it, its manifest
        is damaged or of a newer bdjax, its recipe differs (the first field that does is
        named), or the ids leave a gap to those it was to have.
    """
    directory = Path(directory)
    held = None
    if processes.is_first():
        manifest.refuse_foreign(directory)
        held = manifest.Lock(directory)
        try:
            manifest.claim(directory, files.as_json(recipe), ids)
        except BaseException:
            held.release()
            raise
    processes.barrier(f"opened {directory}")
    found = manifest.read(directory)
    # Chunks of the size that the first process chose, by its own devices.
    size = {k: v for k, v in found["recipe"].items() if k == "chunk_size"}
    manifest.check(directory, found, files.as_json(recipe) | size)
    return ChunkStore(directory, found, writable=True, held=held)


def read_population(directory: str | os.PathLike[str]) -> ChunkStore:
    """Opens a population to read it; what would change it raises RuntimeError.

    Raises:
      UserError: there is no population, or its manifest is damaged or of a newer bdjax.
    """
    directory = Path(directory)
    return ChunkStore(directory, manifest.read(directory), writable=False)


def _copy_synced(source: str, target: str) -> None:
    """Copies a file and waits for the disk: what is renamed next must be whole."""
    shutil.copyfile(source, target)
    with open(target, "rb") as file:
        os.fsync(file.fileno())
