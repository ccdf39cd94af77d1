"""PyTorch's exports to ONNX, by both exporters, against PyTorch."""

import warnings

import jax
import numpy as np
import pytest

from bdjax.networks import open_network

torch = pytest.importorskip("torch")
nn = torch.nn
functional = nn.functional


class Convolutional(nn.Module):
    """What mobile networks are made of."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.deep = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.groups = nn.GroupNorm(2, 8)
        self.gate = nn.Conv2d(8, 8, 1)
        self.short = nn.Conv2d(8, 16, 1, 2)
        self.drop, self.fc = nn.Dropout(0.3), nn.Linear(16 * 9, 5)

    def forward(self, x):
        x = functional.hardswish(self.norm(self.first((x - 0.4) / 0.25)))
        y = functional.silu(self.groups(self.deep(x)))
        mean = functional.adaptive_avg_pool2d(y, 1)
        x = x + y * functional.hardsigmoid(self.gate(mean))
        # Option A of ResNets: strided, with channels of zeros.
        x = self.short(x) + functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4))
        x = functional.interpolate(x, scale_factor=2.0, mode="bilinear")
        x = functional.max_pool2d(x, 3, 2, 1, ceil_mode=True)
        x = functional.avg_pool2d(functional.elu(x), 3, 2, 1, count_include_pad=False)
        return self.fc(self.drop(x.flatten(1)))


class Transformer(nn.Module):
    """A small ViT."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 12, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 12))
        self.place = nn.Parameter(torch.randn(1, 17, 12))
        self.block = nn.TransformerEncoderLayer(
            12, 3, 24, activation="gelu", batch_first=True, norm_first=True
        )
        self.norm, self.fc = nn.LayerNorm(12), nn.Linear(12, 5)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.place
        return self.fc(self.norm(self.block(x)[:, 0]))


def exported(module, path, *, dynamo, batch, opset):
    """Writes the file, for any batch size if ``batch`` is None."""
    x = torch.randn(batch or 2, 3, 16, 16)
    if dynamo:
        pytest.importorskip("onnxscript")
        n = {"x": {0: torch.export.Dim("n", max=4096)}}
        free = {"dynamo": True, "verbose": False, "dynamic_shapes": n}
    else:
        pytest.importorskip("onnx")
        free = {"dynamo": False, "dynamic_axes": {"x": {0: "n"}}}
    if batch:
        free = {k: v for k, v in free.items() if not k.startswith("dynamic_")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, (x,), path, input_names=["x"], opset_version=opset, **free
        )


WAYS = [(False, None, 17), (False, 1, 14)] + [
    pytest.param(True, batch, opset, marks=pytest.mark.slow)
    for batch, opset in ((None, 18), (3, 20))
]


@pytest.mark.parametrize(("dynamo", "batch", "opset"), WAYS)
@pytest.mark.parametrize("make", [Convolutional, Transformer])
def test_exports_answer_and_have_gradients_as_in_torch(
    make, dynamo, batch, opset, tmp_path
):
    torch.manual_seed(0)
    module = make().eval()
    if make is Convolutional:
        module.norm.running_mean.normal_()
    path = str(tmp_path / "net.onnx")
    exported(module, path, dynamo=dynamo, batch=batch, opset=opset)
    network = open_network(path)
    assert not network.notes

    x = torch.randn(4, 3, 16, 16)
    x[:, :, 8:] = 0  # ties in max-pools
    x.requires_grad_()
    y = module(x)
    (expected,) = torch.autograd.grad((y**2).sum(), x)

    def total(x):
        y = network.apply(network.variables, x)
        return (y**2).sum(), y

    x = x.detach().numpy()
    gradient, found = jax.jit(jax.grad(total, has_aux=True))(x)
    np.testing.assert_allclose(network.ask(x), y.detach(), atol=1e-4)
    np.testing.assert_allclose(found, y.detach(), atol=1e-4)
    np.testing.assert_allclose(gradient, expected, atol=1e-3 * expected.abs().max())
    assert network.find_features((3, 16, 16), None).layer == "fc (input)"
