"""What a task is: the data, the network and the attacks that belong together."""

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from bdjax.data import SOURCES, Dataset, Loader, Progress, Request
from bdjax.models import Formulation, Model, get_model
from bdjax.types import UserError


@dataclasses.dataclass(frozen=True)
class Modality:
    """One kind of input. Attacks and figures of its tasks are registered by its name.

    Attributes:
      name: such as ``"images"``.
      example: what one example is called.
      dtype: what examples are where a source chooses; floats are in the value range.
      is_discrete: whether examples are numbers of words, of which networks read
        vectors, and not amounts.
      shares_mask: whether a trigger changes all channels of a place, or none.
      augments: what training may do to clean examples, of
        :data:`bdjax.population.recipe.Augment`, beside ``"none"``.
      query_spaces: where queries may live, of :data:`bdjax.mntd.config.QUERY_SPACES`.
    """

    name: str
    example: str
    dtype: type[np.generic] = np.float32
    is_discrete: bool = False
    shares_mask: bool = False
    augments: tuple[str, ...] = ()
    query_spaces: tuple[str, ...] = ("input",)

    def mask_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of a trigger's mask, which broadcasts to examples of ``shape``."""
        return (*shape[:-1], 1) if self.shares_mask else shape


IMAGES = Modality(
    "images", "image", np.uint8, shares_mask=True, augments=("crop_flip",)
)
SERIES = Modality("series", "series")
TABLES = Modality("tables", "row")
TEXT = Modality(
    "text", "sentence", np.int32, is_discrete=True, query_spaces=("input", "tokens")
)
WAVES = Modality("waves", "clip", np.int16)


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """One classification task; a new one is a file in this room and a registry line.

    Attributes:
      name: what :func:`bdjax.tasks.get_task` calls it, and name of the data set.
      shape: shape of one example, as data hold it and attackers change it: images NHWC
        without N, waves ``(samples,)``, sentences ``(tokens,)``, tables
        ``(columns,)``.
      num_classes: number of classes.
      value_range: least and greatest value that what the network reads may hold.
      model: key in ``bdjax.models.MODELS``.
      query_init: mean and standard deviation of a query's normal start, by name:
        ``"official"`` is MNTD's; ``"clipped"`` is ours for queries that must stay in
        the value range, see the note at each task.
      modality: what its examples are, and so its triggers and figures.
      one_logit: two classes told apart by the sign of a single logit.
      input_shape: shape of what the network reads of one example; ``shape``, but for
        sentences, of which it reads word vectors ``(tokens, dimension)``.
      query_shape: shape of one query; ``input_shape`` where nothing else is said.
      fields: of tables, the half-open range of columns that each field takes, more
        than one where a category is one-hot.
      words: of sentences, from how many of the vocabulary's most frequent words
        triggers are made, ids 2 to ``words + 1``; its sources refuse fewer.
      sources: where its data may come from: name to loader.
    """

    name: str
    shape: tuple[int, ...]
    num_classes: int
    value_range: tuple[float, float]
    model: str
    query_init: Mapping[str, tuple[Any, Any]]
    modality: Modality = IMAGES
    one_logit: bool = False
    input_shape: tuple[int, ...] = ()
    query_shape: tuple[int, ...] = ()
    fields: tuple[tuple[int, int], ...] = ()
    words: int = 0
    sources: Mapping[str, Loader] = dataclasses.field(default_factory=lambda: SOURCES)

    def __post_init__(self):
        if not self.input_shape:
            object.__setattr__(self, "input_shape", self.shape)
        if not self.query_shape:
            object.__setattr__(self, "query_shape", self.input_shape)
        if self.one_logit and self.num_classes != 2:
            raise UserError(
                f"task {self.name!r} has {self.num_classes} classes; one logit tells "
                "two apart"
            )

    @property
    def num_logits(self) -> int:
        """How many values its networks answer with."""
        return 1 if self.one_logit else self.num_classes

    def network(
        self, architecture: str = "", formulation: Formulation = "auto"
    ) -> Model:
        """Its network, or another architecture; equal arguments, same object.

        Args:
          architecture: key in ``bdjax.models.MODELS``; the task's own if empty.
          formulation: how convolutions are computed.

        Raises:
          UserError: there is no such architecture or formulation.
        """
        return get_model(
            architecture or self.model,
            input_shape=self.input_shape,
            num_classes=self.num_logits,
            formulation=formulation,
        )

    def load(
        self,
        source: str,
        *,
        path: str | None = None,
        progress: Progress | None = None,
        **options: Any,
    ) -> Dataset:
        """Loads its data set from one of :attr:`sources`.

        Args:
          source: a key of :attr:`sources`.
          path: what the source reads; None for its default.
          progress: see :func:`bdjax.data.load`.
          **options: what only some sources take, such as ``rate`` (of waves, Hz).

        Raises:
          UserError: there is no such source, it takes no such option, or the data
            cannot be had, are damaged or do not fit.
        """
        if source not in self.sources:
            raise UserError(
                f"task {self.name!r} has no data source {source!r}; it has "
                f"{list(self.sources)}"
            )
        loader = self.sources[source]
        taken = inspect.signature(loader).parameters
        for name in options:
            if name not in taken:
                raise UserError(
                    f"source {source!r} of task {self.name!r} takes no data.{name}; "
                    "leave it out"
                )
        name = self.name.partition(":")[0]
        request = Request(name, self.num_classes, self.shape, path, progress)
        return loader(request, **options)
