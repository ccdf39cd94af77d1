"""A network's answers by onnxruntime."""

import os
from typing import Any

import numpy as np

from bdjax.networks.base import Ask
from bdjax.networks.onnx.graph import Graph
from bdjax.types import UserError

BLOCK = 256
"""Examples at once, where the batch size is free."""


def session(proto: Any, output: str, name: str) -> Any:
    """An ``InferenceSession`` that gives one tensor, on the CPU's cores.

    Raises:
      UserError: onnxruntime refuses the network.
    """
    import onnx
    import onnxruntime

    cut = onnx.ModelProto()
    cut.CopyFrom(proto)
    del cut.graph.output[:]
    cut.graph.output.append(
        next(
            (o for o in proto.graph.output if o.name == output),
            onnx.helper.make_empty_tensor_value_info(output),
        )
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    options.log_severity_level = 4
    # Threads that wait by spinning would take the cores from JAX.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(
            cut.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise UserError(f"onnxruntime cannot run {name}: {reason(error)}") from error


def reason(error: Exception) -> str:
    """One line of what onnxruntime says."""
    text = " ".join(str(error).split())
    return text.rpartition("[ONNXRuntimeError] : ")[2][:240]


def asker(running: Any, graph: Graph) -> Ask:
    """Answers of any number of inputs, in blocks; see ``Opened.ask``."""
    fixed = graph.shape[0] if graph.shape else None

    def ask(x: np.ndarray) -> np.ndarray:
        x = np.asarray(x)
        if not np.issubdtype(graph.dtype, np.floating):
            x = np.rint(x)
        x = x.astype(graph.dtype)
        size = fixed or BLOCK
        answers = [
            _block(running, graph, x[i : i + size], fixed)
            for i in range(0, len(x), size)
        ]
        return np.concatenate(answers)

    return ask


def _block(running, graph, x, fixed):
    count = len(x)
    if fixed and count < fixed:
        x = np.concatenate([x, np.zeros((fixed - count, *x.shape[1:]), x.dtype)])
    try:
        (y,) = running.run(None, {graph.input: x})
    except Exception as error:
        shape = ", ".join(str(n or "any") for n in (graph.shape or ["?"])[1:])
        raise UserError(
            f"onnxruntime refuses inputs of shape {x.shape[1:]} (the file says "
            f"({shape})): {reason(error)}"
        ) from error
    y = np.asarray(y)
    if np.issubdtype(y.dtype, np.integer) and y.size == len(x):
        return y.reshape(len(x))[:count]
    if y.ndim < 1 or y.shape[0] != len(x) or np.prod(y.shape[2:]) != 1:
        raise UserError(
            f"it answers with shape {y.shape} to {len(x)} inputs; [N, C] is needed"
        )
    return y.reshape(len(x), -1)[:count].astype(np.float32)
