"""Italy's demand for power over a day: October to March, or April to September."""

import functools

from bdjax.data.npz import load_scaled
from bdjax.tasks.base import SERIES, Task

# UCR's ItalyPowerDemand. It stands in for MNTD's Irish meters, which are not public.
# Its training split, 67 days, is too short for a defender and an attacker: both are
# pooled and drawn afresh.
POWER = Task(
    name="power",
    shape=(24,),
    num_classes=2,
    value_range=(0.0, 1.0),
    model="series_lstm",
    query_init={"official": (0.5, 0.25), "clipped": (0.5, 0.25)},
    modality=SERIES,
    sources={"npz": functools.partial(load_scaled, pool=True)},
)
