"""How many models a device advances at once, by its memory."""

from typing import Any

from bdjax.attacks import Attack
from bdjax.models import Model
from bdjax.population.cost import model_footprint
from bdjax.population.examples import Examples
from bdjax.population.recipe import Execution, Recipe

# The rest is left to the data set, to results on their way and to fragments.
SHARE = 0.8

FIX = (
    "lower execution.chunk_size, whose batches and results are kept beside, or "
    "batch_size"
)
"""What can be done where one model at a time does not fit."""


def widest(models: int, room_bytes: int, footprint_bytes: int) -> int:
    """The most models side by side that fit, at least one.

    A divisor of a device's ``models``, since a remainder would be compiled apart.
    """
    most = max(1, min(models, room_bytes // footprint_bytes))
    return next(width for width in range(most, 0, -1) if models % width == 0)


def choose_width(
    network: Model,
    attack: Attack,
    recipe: Recipe,
    examples: Examples,
    *,
    chunk_size: int,
    execution: Execution,
    limit_bytes: int | None = None,
    **options: Any,
) -> int:
    """Width for training ``chunk_size`` models on the devices of ``execution``.

    One on a CPU, where a model's working set then stays in the cache. Elsewhere the
    most that fit by the footprint of one (:func:`cost.model_footprint`).

    Args:
      network: see :func:`cost.model_footprint`, also of what is not said here.
      attack: likewise.
      recipe: likewise.
      examples: likewise.
      chunk_size: models trained together, over all devices.
      execution: the devices; its own width is used if there is one.
      limit_bytes: memory of a device; asked of the device if None.
      **options: ``trained`` and ``bank``.
    """
    devices = execution.local_devices()
    if execution.width:
        return execution.width
    if limit_bytes is None:
        if devices[0].platform == "cpu":
            return 1
        limit_bytes = (devices[0].memory_stats() or {}).get("bytes_limit", 0)
    models = -(-chunk_size // len(devices))
    if not limit_bytes:
        return models  # the backend keeps it secret: halving will find out
    footprint = model_footprint(network, attack, recipe, examples, **options)
    return widest(models, int(SHARE * limit_bytes), footprint)
