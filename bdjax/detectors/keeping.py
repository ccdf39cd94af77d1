"""Findings that are dear: computed once, kept at once with what they follow from."""

import abc
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bdjax import storage
from bdjax.detectors.base import Detector, Finding, unjudged
from bdjax.detectors.resources import Group, Resources
from bdjax.models import Model
from bdjax.types import CapacityError, UserError, Variables

_CONFIG, _KIND = "config.json", "bdjax solution"

Arrays = dict[str, np.ndarray]


class Solving(Detector):
    """A detector whose every finding follows from a solution of its own."""

    @abc.abstractmethod
    def solve(
        self, network: Model, variables: Variables, resources: Resources
    ) -> tuple[Arrays, dict[str, Any]]:
        """What is kept of one network: arrays, none of them empty, and JSON.

        Raises:
          UserError: it cannot be judged.
        """

    @abc.abstractmethod
    def conclude(self, id_: int, arrays: Arrays, meta: dict[str, Any]) -> Finding:
        """The finding that follows; ``meta`` has ``seconds``."""

    @abc.abstractmethod
    def settings(self, resources: Resources) -> dict[str, Any]:
        """What solutions follow from beside network and images; JSON."""

    @property
    def folder(self) -> str:
        """Where solutions are kept; detectors that share them name the same."""
        return self.slug

    def check(self, resources: Resources) -> None:
        """See :meth:`Detector.check`."""
        resources.execution.local_devices()  # or UserError
        if resources.directory:
            claim(resources.directory / self.folder, self.settings(resources))

    def examine(self, networks: Group, resources: Resources) -> Iterator[Finding]:
        """See :meth:`Detector.examine`."""
        for i, id_ in enumerate(networks.ids_M.tolist()):
            network = {"population": networks.digest, "model": id_}
            made_from = self.settings(resources) | network
            path = resources.directory
            path = path and path / self.folder / f"{networks.name}-{id_}"
            kept = read(path, made_from)
            if kept is None:
                start = time.perf_counter()
                try:
                    arrays, meta = self.solve(
                        networks.network, networks.one(i), resources
                    )
                except CapacityError:
                    raise  # of any network
                except UserError as error:
                    yield unjudged(id_, error, time.perf_counter() - start)
                    continue
                kept = arrays, meta | {"seconds": time.perf_counter() - start}
                keep(path, *kept, made_from)
            yield self.conclude(id_, *kept)


def claim(folder: Path, settings: dict[str, Any]) -> None:
    """Binds a folder to what its contents are computed by.

    Raises:
      UserError: it holds what was computed otherwise: the field that differs is named.
    """
    path, settings = folder / _CONFIG, storage.as_json(settings)
    if not path.exists():
        storage.write_json(path, settings)
        return
    if difference := storage.difference("config", storage.read_json(path), settings):
        raise UserError(
            f"{folder} holds another run: {difference}; remove {folder} to compute it "
            "again, or use another --workdir"
        )


def read(
    path: Path | None, provenance: dict[str, Any]
) -> tuple[Any, dict[str, Any]] | None:
    """Arrays and JSON that were kept; None if there are none.

    Raises:
      UserError: they are damaged, or were made from something else.
    """
    if path is None or not (path / "meta.json").exists():
        return None
    return storage.load_tree(path, kind=_KIND, provenance=provenance)


def keep(
    path: Path | None, arrays: Any, meta: dict[str, Any], provenance: dict[str, Any]
) -> None:
    """Writes them, if there is a path.

    Raises:
      UserError: they cannot be written.
    """
    if path is not None:
        storage.save_tree(path, arrays, meta, kind=_KIND, provenance=provenance)
