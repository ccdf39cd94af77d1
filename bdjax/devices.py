"""The devices of this process."""

import jax

from bdjax import checks
from bdjax.types import UserError


class OnDevices:
    """A frozen dataclass of numbers, 0 or more, one of which is of local devices.

    Attributes:
      devices: how many to use; 0 means all.
    """

    devices: int

    def __post_init__(self):
        checks.at_least(0, **vars(self))

    def local_devices(self) -> list[jax.Device]:
        """The devices to use.

        Raises:
          UserError: this machine has fewer.
        """
        devices = jax.local_devices()
        if self.devices > len(devices):
            raise UserError(
                f"devices is {self.devices}; this machine has {len(devices)}"
            )
        return devices[: self.devices or None]
