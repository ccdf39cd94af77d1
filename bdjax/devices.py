"""The devices of this process."""

import jax

from bdjax.types import UserError


def local_devices(count: int) -> list[jax.Device]:
    """The first ``count`` local devices; all for 0.

    Raises:
      UserError: this machine has fewer.
    """
    devices = jax.local_devices()
    if count > len(devices):
        raise UserError(f"devices is {count}; this machine has {len(devices)}")
    return devices[: count or None]
