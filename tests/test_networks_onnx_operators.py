"""Operators in JAX against onnxruntime, at random sizes, attributes and versions."""

import numpy as np
import onnx
import onnx_cases
import onnx_files
import onnx_layer_cases  # noqa: F401  (registers its cases)
import onnx_shape_cases  # noqa: F401
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from bdjax.networks.onnx.graph import read
from bdjax.networks.onnx.interpreter import evaluate
from bdjax.networks.onnx.operators import OPERATORS

OPSETS = [13, 15, 17, 18, 20, 21, 23, 24, onnx.defs.onnx_opset_version()]
HOW = {
    "derandomize": True,
    "database": None,
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
}


def test_every_operator_has_a_case():
    assert set(onnx_cases.CASES) == set(OPERATORS)


def run(model, x):
    """What onnxruntime gives for all outputs."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    except Exception as error:
        if "NOT_IMPLEMENTED" in str(error) or "opset" in str(error):
            reject()  # not every version of every operator is in onnxruntime
        raise
    return session.run(None, {"x": x})


def compare(op, data):
    opsets = [o for o in OPSETS if o >= onnx_cases.SINCE[op]] or OPSETS[-1:]
    w = onnx_files.Writer(
        data.draw(st.sampled_from(opsets)), data.draw(st.integers(0, 99))
    )
    outputs, x = onnx_cases.CASES[op](data.draw, w, op)
    x = x.astype(np.float32)
    outputs = [outputs] if isinstance(outputs, str) else outputs
    model = w.model(outputs, x.shape[1:], batch=x.shape[0])
    expected = run(model, x)
    graph = read(model)
    found = evaluate(graph, graph.nodes, graph.weights, x)
    for name, right in zip(outputs, expected, strict=True):
        ours = np.asarray(found[name])
        assert ours.shape == right.shape
        assert np.issubdtype(ours.dtype, np.floating) == np.issubdtype(
            right.dtype, np.floating
        )
        np.testing.assert_allclose(ours, right, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("op", sorted(OPERATORS))
def test_as_onnxruntime(op):
    settings(max_examples=2, **HOW)(given(st.data())(lambda data: compare(op, data)))()


@pytest.mark.slow
@pytest.mark.parametrize("op", sorted(OPERATORS))
def test_as_onnxruntime_at_many_sizes(op):
    settings(max_examples=40, **HOW)(given(st.data())(lambda data: compare(op, data)))()
