"""bdjax: does a trained neural network carry a backdoor?

``bdjax.scan(network, images)`` is the question, of whatever a user has.
``bdjax.load(directory).score(network)`` asks a network as a black box; ``dl_tnd`` and
``df_tnd`` look at one from inside. ``bdjax --help`` is the command. What is named here
is imported when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bdjax.attacks import get_attack
    from bdjax.detectors import get_detector
    from bdjax.mntd import MetaDetector, load
    from bdjax.population import load_population
    from bdjax.scanning.report import Report
    from bdjax.scanning.scan import scan
    from bdjax.tasks import get_task
    from bdjax.tnd import df_tnd, dl_tnd
    from bdjax.types import UserError

    __version__: str

__all__ = [
    "MetaDetector",
    "Report",
    "UserError",
    "__version__",
    "df_tnd",
    "dl_tnd",
    "get_attack",
    "get_detector",
    "get_task",
    "load",
    "load_population",
    "scan",
]

_PLACES = {
    "MetaDetector": "mntd",
    "Report": "scanning",
    "UserError": "types",
    "df_tnd": "tnd",
    "dl_tnd": "tnd",
    "get_attack": "attacks",
    "get_detector": "detectors",
    "get_task": "tasks",
    "load": "mntd",
    "load_population": "population",
    "scan": "scanning",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib import metadata

        return metadata.version("bdjax")
    if name in _PLACES:
        return getattr(importlib.import_module(f"bdjax.{_PLACES[name]}"), name)
    raise AttributeError(f"module 'bdjax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
