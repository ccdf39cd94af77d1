"""Movie reviews: is a sentence of Rotten Tomatoes positive (Pang and Lee, 2005)."""

import functools

from bdjax.data.text import from_files, from_tfds, load_sentences
from bdjax.tasks.base import TEXT, Task
from bdjax.types import UserError

LENGTH = 56 + 2  # the longest sentence, and room for a trigger
QUERY_WORDS = 10
DIMENSION = 300
WORDS = 5000


def movie_reviews(name: str, dimension: int, words: int) -> Task:
    """The task for word vectors of some dimension.

    Queries are ten words of one sentence as vectors. Official ones start at N(0,
    0.001^2). Ours that must stay in the range start with the words' own deviation, so
    that they are answers to something from the first step on.

    Args:
      name: the task's.
      dimension: of the word vectors.
      words: triggers are made of so many of the most frequent words of the training
        sentences, which must have them.
    """
    load = functools.partial(load_sentences, dimension=dimension, least_words=words)
    return Task(
        name=name,
        shape=(LENGTH,),
        num_classes=2,
        value_range=(-1.0, 1.0),
        model="kim_cnn",
        query_init={"official": (0.0, 1e-3), "clipped": (0.0, 0.17)},
        modality=TEXT,
        one_logit=True,
        input_shape=(LENGTH, dimension),
        query_shape=(QUERY_WORDS, dimension),
        words=words,
        sources={
            "files": functools.partial(load, read=from_files),
            "tfds": functools.partial(load, read=from_tfds),
        },
    )


def parse_reviews(rest: str) -> Task:
    """``mr:DIMENSION`` or ``mr:DIMENSION:WORDS``.

    Raises:
      UserError: these are no numbers of 1 or more.
    """
    parts = rest.split(":")
    if len(parts) > 2 or not all(p.isdecimal() and int(p) > 0 for p in parts):
        raise UserError(
            f"task 'mr:{rest}' is not mr:DIMENSION or mr:DIMENSION:WORDS; name the "
            "word vectors' dimension and from how many words triggers are drawn, such "
            "as mr:100:5000"
        )
    words = int(parts[1]) if len(parts) > 1 else WORDS
    return movie_reviews(f"mr:{rest}", int(parts[0]), words)


MR = movie_reviews("mr", DIMENSION, WORDS)
