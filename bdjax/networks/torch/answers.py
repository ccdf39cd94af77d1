"""Which of what a network of PyTorch returns are its answers."""

from typing import Any

from bdjax.types import UserError


def pick(returned: Any, rows: int) -> Any:
    """The answers ``[N, C]`` or ``[N]`` among what a network returned of ``rows``.

    Of several tensors it is the one called logits, else the first ``[N, C]``.

    Raises:
      UserError: nothing of these shapes is there.
    """
    tensors = _flat(returned)
    if isinstance(returned, dict) and "logits" in returned:
        tensors = [returned["logits"], *tensors]
    shapes = [tuple(t.shape) for t in tensors]
    for tensor, shape in zip(tensors, shapes, strict=True):
        # A classifier of convolutions may leave axes of one.
        square = shape[:1] == (rows,) and set(shape[2:]) <= {1}
        if len(shape) >= 2 and square and tensor.is_floating_point():
            return tensor.flatten(1)
    if len(tensors) == 1 and shapes[0] == (rows,):
        return tensors[0]
    raise UserError(
        f"the network answers {rows} inputs by {_said(shapes)}; a classifier's answers "
        "are [N, C], so wrap it in a module that returns them"
    )


def _flat(returned: Any) -> list:
    import torch

    if isinstance(returned, torch.Tensor):
        return [returned]
    if isinstance(returned, dict):
        returned = list(returned.values())
    if isinstance(returned, list | tuple):
        return [t for part in returned for t in _flat(part)]
    return []


def _said(shapes: list) -> str:
    if not shapes:
        return "no tensor"
    return "shape" + "s" * (len(shapes) > 1) + f" {', '.join(map(str, shapes[:4]))}"
