"""Weights alone, from files that need no unpickling, into a module."""

import pickle
from pathlib import Path
from typing import Any

from bdjax.types import UserError


def load_weights(module: Any, path: str) -> None:
    """Puts a state dict into a module of PyTorch, in place.

    Args:
      module: a ``torch.nn.Module``.
      path: ``.safetensors``, or what ``torch.save(module.state_dict(), path)`` wrote,
        which is read with ``weights_only=True``.

    Raises:
      UserError: there is no such file, it holds more than tensors, or they are of
        another network.
    """
    state = _read(Path(path))
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(state.get(key), dict):  # of a checkpoint of training
            state = state[key]
            break
    # DataParallel and torch.compile put a word before every name.
    for prefix in ("module.", "_orig_mod."):
        if state and all(str(name).startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): a for name, a in state.items()}
    own = module.state_dict()
    for what, names in (
        ("lacks", [n for n in own if n not in state]),
        ("has unknown", [n for n in state if n not in own]),
        ("has other shapes of", [n for n in own if _shape(own, n) != _shape(state, n)]),
    ):
        if names:
            raise UserError(
                f"{path} {what} {', '.join(map(str, names[:3]))}"
                + (f" and {len(names) - 3} more" if len(names) > 3 else "")
                + f"; give the weights of {type(module).__name__} as it is built"
            )
    module.load_state_dict(state)


def _shape(state: dict, name: str) -> tuple[int, ...]:
    return tuple(getattr(state.get(name), "shape", ()))


def _read(path: Path) -> dict:
    import torch

    if not path.is_file():
        raise UserError(f"{path} does not exist; --weights takes .safetensors or .pth")
    if path.suffix == ".safetensors":
        import safetensors.torch

        try:
            return safetensors.torch.load_file(path)
        except safetensors.SafetensorError as error:
            raise UserError(f"{path} is no safetensors file: {error}") from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise UserError(
            f"{path} holds more than weights, or is damaged, and is not unpickled; "
            "save them by safetensors.torch.save_file(model.state_dict(), "
            '"w.safetensors")'
        ) from error
    if not isinstance(state, dict):
        raise UserError(
            f"{path} holds a {type(state).__name__}; save model.state_dict() instead"
        )
    return state
