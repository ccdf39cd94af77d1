"""What bdjax keeps on disk: populations in chunks, fitted trees, JSON.

A population is a directory of chunks, each one orbax checkpoint; a chunk whose
directory is there is done, whenever the process was killed. Nothing here is pickled,
and orbax is imported nowhere else in bdjax.
"""

from bdjax.storage.files import as_json, difference, json_text, read_json, write_json
from bdjax.storage.population import ChunkStore, open_population, read_population
from bdjax.storage.trees import load_tree, save_tree

__all__ = [
    "ChunkStore",
    "as_json",
    "difference",
    "json_text",
    "load_tree",
    "open_population",
    "read_json",
    "read_population",
    "save_tree",
    "write_json",
]
