"""Small ONNX networks, written operator by operator."""

import numpy as np
import onnx
from onnx import helper, numpy_helper

OPSET = 17


class Writer:
    """Collects nodes and weights of one network."""

    def __init__(self, opset=OPSET, seed=0):
        self.opset, self.rng = opset, np.random.default_rng(seed)
        self.nodes, self.arrays = [], []

    def weight(self, *shape, name=None, scale=None, positive=False):
        fan = np.prod(shape[1:]) if len(shape) > 1 else 10
        a = self.rng.standard_normal(shape) * (scale or fan**-0.5)
        a = np.abs(a) + 0.5 if positive else a
        return self.array(a.astype(np.float32), name)

    def array(self, value, name=None):
        name = name or f"a{len(self.arrays)}"
        self.arrays.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def __call__(self, op, *inputs, outputs=1, name="", to_type=None, **attributes):
        names = [f"t{len(self.nodes)}_{i}" for i in range(outputs)]
        attributes |= {} if to_type is None else {"to": to_type}
        node = helper.make_node(op, inputs, names, name=name, **attributes)
        self.nodes.append(node)
        return names[0] if outputs == 1 else names

    def model(self, output, shape, *, batch="n", kind=onnx.TensorProto.FLOAT):
        given = helper.make_tensor_value_info("x", kind, [batch, *shape])
        outputs = [output] if isinstance(output, str) else output
        given_back = [helper.make_empty_tensor_value_info(o) for o in outputs]
        graph = helper.make_graph(
            self.nodes, "small", [given], given_back, initializer=self.arrays
        )
        opsets = [helper.make_opsetid("", self.opset)]
        model = helper.make_model(
            graph, opset_imports=opsets, ir_version=10 if self.opset > 18 else 8
        )
        return onnx.shape_inference.infer_shapes(model)


def block(w, x, channels, out, stride=1):
    """Two convolutions with BatchNorm beside a shortcut."""

    def conv_bn(x, i, o, size, stride):
        x = w("Conv", x, w.weight(o, i, size, size), strides=[stride] * 2,
              pads=[size // 2] * 4)  # fmt: skip
        stats = [w.weight(o), w.weight(o), w.weight(o), w.weight(o, positive=True)]
        return w("BatchNormalization", x, *stats)

    y = w("Relu", conv_bn(x, channels, out, 3, stride))
    y = conv_bn(y, out, out, 3, 1)
    short = x if channels == out else conv_bn(x, channels, out, 1, stride)
    return w("Relu", w("Add", y, short))


def residual(**how):
    """A ResNet for 3x16x16."""
    w = Writer()
    x = w("Relu", w("Conv", "x", w.weight(8, 3, 3, 3), w.weight(8), pads=[1] * 4))
    x = block(w, block(w, x, 8, 8), 8, 16, stride=2)
    x = w("Flatten", w("GlobalAveragePool", x, name="pool"))
    y = w("Gemm", x, w.weight(10, 16, name="fc.weight"), w.weight(10), transB=1)
    return w.model(y, (3, 16, 16), **how)


def attentive(softmax=True, **how):
    """Patches, LayerNorm, attention and an MLP of one block."""
    w = Writer()
    x = w("Conv", "x", w.weight(16, 1, 4, 4), w.weight(16), strides=[4, 4])
    sizes = w("Shape", x, start=0, end=2)
    x = w("Reshape", x, w("Concat", sizes, w.array([-1]), axis=0))
    x = w("Transpose", x, perm=[0, 2, 1])
    n = w("LayerNormalization", x, w.weight(16), w.weight(16))
    q, k, v = w("Split", w("MatMul", n, w.weight(16, 48)), outputs=3, axis=2)
    scores = w("MatMul", q, w("Transpose", k, perm=[0, 2, 1]))
    scores = w("Softmax", w("Div", scores, w.array(np.float32(4))), axis=-1)
    x = w("Add", x, w("MatMul", scores, v))
    h = w("MatMul", w("LayerNormalization", x, w.weight(16)), w.weight(16, 32))
    half = w("Mul", h, w.array(np.float32(0.5)))
    erf = w("Erf", w("Div", h, w.array(np.float32(2**0.5))))
    h = w("Mul", half, w("Add", erf, w.array(np.float32(1))))
    x = w("Add", x, w("MatMul", h, w.weight(32, 16)))
    x = w("ReduceMean", x, axes=[1], keepdims=0)
    y = w("Add", w("MatMul", x, w.weight(16, 5), name="head"), w.weight(5))
    return w.model(w("Softmax", y) if softmax else y, (1, 16, 16), **how)
