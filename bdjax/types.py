"""Aliases and axis letters shared by every module.

Array names carry their axes: ``logits_MxQxC`` has shape ``(M, Q, C)``.

====== ==========================================
letter axis
====== ==========================================
M      models of a population
N      examples of a data set
B      examples of a batch
Q      queries of a query set
R      repeats of a meta-classifier fit
C      classes (logits); channels in image shapes
====== ==========================================
"""

from typing import Any, TypeAlias

import jax

PRNGKey: TypeAlias = jax.Array
"""A typed key from :func:`jax.random.key`."""

PyTree: TypeAlias = Any
"""Nested containers of arrays."""

Variables: TypeAlias = dict[str, Any]
"""Variables of one network (or of a stacked population): nested dicts of arrays."""


class UserError(ValueError):
    """A mistake the user can mend; launchers print its one line and exit with 2."""


class CapacityError(UserError):
    """What was asked for does not fit into the device's memory."""
