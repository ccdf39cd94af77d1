"""What differs between images, series, tables, text and waves."""

import dataclasses

import numpy as np


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
