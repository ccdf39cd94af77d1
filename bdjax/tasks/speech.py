"""Speech: ten spoken words, of one second each."""

import functools

from bdjax.data.tfds import load_commands
from bdjax.data.waves import RATE, load_clips
from bdjax.tasks.base import WAVES, Task

WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")

# Queries start as hiss of -60 dB, as officially; that is within the range, so that
# clipping them needs no other start.
SPEECH = Task(
    name="speech",
    shape=(RATE,),
    num_classes=len(WORDS),
    value_range=(-1.0, 1.0),
    model="mntd_speech_lstm",
    query_init={"official": (0.0, 1e-3), "clipped": (0.0, 1e-3)},
    modality=WAVES,
    sources={
        "waves": load_clips,
        "tfds": functools.partial(load_commands, words=WORDS),
    },
)
