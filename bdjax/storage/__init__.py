"""What bdjax keeps on disk: populations in chunks, fitted trees, JSON.

A population is a directory of chunks, each one orbax checkpoint; a chunk whose
directory is there is done, whenever the process was killed. Nothing here is pickled,
and orbax and safetensors are imported nowhere else in bdjax.
"""

from bdjax.storage.checkpoint import reason, settle
from bdjax.storage.files import (
    as_json,
    difference,
    digest,
    header,
    json_text,
    read_header,
    read_json,
    write_json,
)
from bdjax.storage.manifest import is_begun
from bdjax.storage.population import ChunkStore, open_population, read_population
from bdjax.storage.processes import (
    are_tied,
    barrier,
    is_first,
    leave,
    part,
    share,
    watch,
)
from bdjax.storage.trees import load_tensors, load_tree, save_tensors, save_tree

__all__ = [
    "ChunkStore",
    "are_tied",
    "as_json",
    "barrier",
    "difference",
    "digest",
    "header",
    "is_begun",
    "is_first",
    "json_text",
    "leave",
    "load_tensors",
    "load_tree",
    "open_population",
    "part",
    "read_header",
    "read_json",
    "read_population",
    "reason",
    "save_tensors",
    "save_tree",
    "settle",
    "share",
    "watch",
    "write_json",
]
