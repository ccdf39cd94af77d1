"""Networks of PyTorch against PyTorch itself."""

import pickle
import shutil
import signal
import sys
import warnings
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from bdjax.networks import open_network, plain_errors
from bdjax.types import UserError

torch = pytest.importorskip("torch")
nn = torch.nn

SHAPE, CLASSES = (3, 8, 8), 5


class Small(nn.Module):
    """What people write: convolutions, batch normalisation, dropout, a residual."""

    def __init__(self, last=None, returns=lambda y: y):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 6, 3, padding=1)
        self.hidden = nn.Linear(6 * 16, 7)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(7, CLASSES)
        self.last = last or nn.Identity()
        self.returns = returns

    def forward(self, x):
        x = torch.relu(self.norm(self.conv(x)))
        x = nn.functional.max_pool2d(x + torch.relu(self.conv2(x)), 2)
        x = self.drop(torch.relu(self.hidden(x.flatten(1))))
        return self.returns(self.last(self.fc(x)))


class Rows(nn.Module):
    """What fixes the batch of an export."""

    def forward(self, y):
        return y.reshape(len(y), 1, -1).flatten(1)


class Convolutions(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Conv2d(3, 6, 3), nn.AdaptiveAvgPool2d(1), nn.Conv2d(6, CLASSES, 1)
        )


def make(cls=Small, *args, **kwargs):
    torch.manual_seed(3)
    module = cls(*args, **kwargs)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.uniform_(-0.5, 0.5)
            part.running_var.uniform_(0.5, 2)
    return module.eval()


def draw(n=4, shape=SHAPE, seed=0):
    return np.random.default_rng(seed).random((n, *shape), np.float32)


def theirs(module, x, g=None):
    """Answers, or the gradient of their product with g, by torch."""
    x = torch.tensor(x, requires_grad=True)
    out = module(x)
    if g is None:
        return out.detach().numpy()
    return torch.autograd.grad(out, x, torch.tensor(g))[0].numpy()


def export(module, path, n=2, shape=SHAPE, dynamic=True):
    x = torch.rand(n, *shape)
    dims = ({0: torch.export.Dim("n", min=1, max=64)},) if dynamic else None
    program = torch.export.export(module, (x,), dynamic_shapes=dims)
    torch.export.save(program, path)
    return str(path)


def script(module, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        torch.jit.trace(module, torch.rand(2, *SHAPE)).save(path)
    return str(path)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The network exported, as most tests need it."""
    return export(make(), tmp_path_factory.mktemp("torch") / "mine.pt2")


FORMS = {
    "module": lambda module, path: module,
    "training": lambda module, path: module.train(),
    "program": lambda module, path: export(module, path / "m.pt2"),
    "example": lambda module, path: export(module, path / "m.pt2", dynamic=False),
    "fixed": lambda module, path: export(
        nn.Sequential(module, Rows()), path / "m.pt2", dynamic=False
    ),
    "exported training": lambda module, path: export(module.train(), path / "m.pt2"),
    "script": lambda module, path: script(module, path / "m.pt"),
}


@pytest.mark.parametrize("form", FORMS)
def test_answers_and_gradients_are_torch_s(form, tmp_path):
    module, x = make(), draw(5)
    g = np.random.default_rng(1).normal(size=(5, CLASSES)).astype(np.float32)
    answers, gradient = theirs(module, x), theirs(module, x, g)
    opened = open_network(FORMS[form](module, tmp_path))
    np.testing.assert_allclose(opened.ask(x), answers, atol=1e-5)
    np.testing.assert_allclose(opened.apply({}, x), answers, atol=1e-5)

    def loss(x):
        return (opened.apply(opened.variables, x) * g).sum()

    value, grad = jax.jit(jax.value_and_grad(loss))(x)
    np.testing.assert_allclose(value, (answers * g).sum(), rtol=1e-4)
    np.testing.assert_allclose(grad, gradient, atol=1e-5)
    assert opened.layout == "NCHW"
    assert opened.sequential
    assert any("at a time" in note for note in opened.notes) == (form == "fixed")


def test_it_goes_under_vmap_and_into_loops():
    module, x = make(), draw(6)
    apply = open_network(module).apply

    def loss(x, w):
        return (apply({}, x) ** 2 * w).sum()

    both = jax.jit(jax.vmap(jax.value_and_grad(loss), (0, 0)))
    x_2x3, w_2 = x.reshape(2, 3, *SHAPE), np.array([1.0, 2.0], np.float32)
    values, grads = both(x_2x3, w_2)
    one = [jax.value_and_grad(loss)(*pair) for pair in zip(x_2x3, w_2, strict=True)]
    np.testing.assert_allclose(values, [v for v, _ in one], rtol=1e-5)
    np.testing.assert_allclose(grads, np.stack([g for _, g in one]), atol=1e-6)
    # Weights mapped, images not.
    grads = jax.vmap(jax.grad(loss), (None, 0))(x_2x3[0], w_2)
    np.testing.assert_allclose(grads[1], 2 * grads[0], atol=1e-6)

    @jax.jit
    def descend(x):
        step = lambda i, x: x - 0.1 * jax.grad(loss)(x, 1.0)  # noqa: E731
        return jax.lax.fori_loop(0, 5, step, x)

    y = torch.tensor(x)
    for _ in range(5):
        y = y.detach().requires_grad_()
        y = y - 0.1 * torch.autograd.grad((module(y) ** 2).sum(), y)[0]
    np.testing.assert_allclose(descend(x), y.detach().numpy(), atol=1e-5)


def test_the_module_stays_as_it_was():
    module = make().train()
    before = {n: a.clone() for n, a in module.state_dict().items()}
    opened = open_network(module)
    opened.ask(draw())
    jax.grad(lambda x: opened.apply({}, x).sum())(draw())
    opened.find_features(SHAPE, None).apply({}, draw())
    assert all(part.training for part in module.modules())
    assert all(p.requires_grad and p.grad is None for p in module.parameters())
    assert not any(part._forward_hooks for part in module.modules())
    for name, array in module.state_dict().items():
        assert torch.equal(array, before[name])
    assert opened.parameters == sum(
        a.numel() for a in before.values() if a.is_floating_point()
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_modules_of_other_dtypes(dtype):
    module = make().to(dtype)
    opened, x = open_network(module), draw()
    assert all(p.dtype == dtype for p in module.parameters())
    expected = theirs(module.double(), x.astype(np.float64))
    got = opened.ask(x)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert jax.grad(lambda x: opened.apply({}, x).sum())(x).dtype == jnp.float32


def log_softmax(y):
    return nn.functional.log_softmax(y, dim=1)


@pytest.mark.parametrize("form", ["module", "program"])
@pytest.mark.parametrize("last", [None, nn.Softmax(1), log_softmax])
def test_features_are_what_the_last_layer_reads(form, last, tmp_path):
    module, x = make(), draw(5)
    if last is log_softmax:  # as most examples of PyTorch's own end
        module.returns = last
    elif last:
        module.last = last
    logits = make()(torch.tensor(x)).detach().numpy()
    opened = open_network(FORMS[form](module, tmp_path))
    np.testing.assert_allclose(opened.ask(x), logits, atol=1e-5)  # softmax left out
    features = opened.find_features(SHAPE, None)
    assert features.layer == "fc (input)"
    notes = opened.notes + features.notes
    assert any("softmax" in note for note in notes) == (last is not None)

    def read(x):
        hooked = []
        module.fc.register_forward_pre_hook(lambda m, a: hooked.append(a[0]))
        module(x)
        return hooked[-1]

    g = np.random.default_rng(1).normal(size=(5, 7)).astype(np.float32)
    np.testing.assert_allclose(features.apply({}, x), theirs(read, x), atol=1e-5)
    grad = jax.jit(jax.grad(lambda x: (features.apply({}, x) * g).sum()))(x)
    np.testing.assert_allclose(grad, theirs(read, x, g), atol=1e-5)


@pytest.mark.parametrize("form", ["module", "program"])
def test_features_by_name(form, plain):
    x = draw()
    opened = open_network(plain if form == "program" else make())
    features = opened.find_features(SHAPE, "hidden")
    assert features.layer == "hidden (output)"
    assert features.apply({}, x).shape == (4, 7)
    assert opened.find_features(SHAPE, "fc").layer == "fc (input)"
    assert opened.find_features(SHAPE, "conv").apply({}, x).shape == (4, 6 * 64)
    with pytest.raises(UserError, match=r"unknown layer 'hiden'; did you mean"):
        opened.find_features(SHAPE, "hiden")


@pytest.mark.parametrize("form", ["module", "program"])
def test_a_convolution_may_be_the_last_layer(form, tmp_path):
    module, x = make(Convolutions), draw()
    opened = open_network(FORMS[form](module, tmp_path))
    np.testing.assert_allclose(
        opened.ask(x), theirs(module, x).reshape(4, CLASSES), atol=1e-5
    )
    features = opened.find_features(SHAPE, None)
    assert features.layer == "2 (input)"
    assert features.apply({}, x).shape == (4, 6)
    # The mean over space may come after it, too.
    late = nn.Sequential(module[0], module[2], module[1], nn.Flatten())
    opened = open_network(FORMS[form](late, tmp_path))
    same = opened.find_features(SHAPE, None)
    assert same.layer == "1 (input)"
    np.testing.assert_allclose(
        same.apply({}, x), features.apply({}, x), rtol=1e-4, atol=1e-6
    )


def test_features_that_cannot_be_had(tmp_path):
    opened = open_network(script(make(), tmp_path / "m.pt"))
    assert "torch.export" in opened.find_features(SHAPE, None).why
    scaled = open_network(make(returns=lambda y: y * 2))
    features = scaled.find_features(SHAPE, None)
    assert features.apply is None
    assert "name one of" in features.why


@pytest.mark.parametrize(
    "returns",
    [
        lambda y: (y, y[:, 0]),
        lambda y: {"loss": y.sum(), "logits": y},
        lambda y: [y.new_zeros(3), (y,)],
        lambda y: y[:, :, None, None],
    ],
)
def test_answers_are_found_in_what_is_returned(returns):
    x, expected = draw(), theirs(make(), draw())
    module = make(returns=returns)
    np.testing.assert_allclose(open_network(module).ask(x), expected, atol=1e-5)
    program = open_network(torch.export.export(module, (torch.rand(2, *SHAPE),)))
    np.testing.assert_allclose(program.ask(x), expected, atol=1e-5)


def test_one_logit_and_labels_are_taken():
    x = draw()
    one = open_network(make(returns=lambda y: y[:, 0]))
    assert one.ask(x).shape == one.apply({}, x).shape == (4, 1)
    labels = open_network(make(returns=lambda y: y.argmax(1)))
    assert labels.ask(x).dtype == np.int64
    with pytest.raises(UserError, match="labels"):
        labels.apply({}, x)


def test_what_a_program_says_of_itself(plain, tmp_path):
    opened = open_network(plain)
    assert (opened.name, opened.kind) == ("mine.pt2", "exported PyTorch program")
    assert (opened.shape, opened.num_classes) == (SHAPE, CLASSES)
    assert "fc.weight" in opened.weights
    assert opened.notes == ()
    x = draw(130)  # of 64 at most
    np.testing.assert_allclose(opened.ask(x), theirs(make(), x), atol=1e-5)
    module = make().train()
    trained = open_network(export(module, tmp_path / "trained.pt2"))
    assert "training mode" in trained.notes[0]


def test_recurrent_programs_keep_to_their_batch():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.cells = nn.LSTM(8, 6, batch_first=True)
            self.fc = nn.Linear(6, CLASSES)

        def forward(self, x):
            return self.fc(self.cells(x.mean(1))[0][:, -1])

    module, x = make(Recurrent), draw(5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the cells' weights
        program = torch.export.export(module, (torch.rand(2, *SHAPE),))
    opened = open_network(program)  # at another batch torch would crash
    assert "just 2 inputs" in opened.notes[0]
    np.testing.assert_allclose(opened.ask(x), theirs(module, x), atol=1e-6)


def test_an_exported_program_itself_is_taken():
    module, x = make(), draw(2)
    program = torch.export.export(module, (torch.rand(2, *SHAPE),))
    np.testing.assert_allclose(
        open_network(program).ask(x), theirs(module, x), atol=1e-5
    )


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_weights_go_into_a_module(name, prefix, tmp_path):
    state = {prefix + n: a for n, a in make().state_dict().items()}
    path = str(tmp_path / name)
    if name.endswith("pth"):
        torch.save({"state_dict": state, "epoch": 3}, path)
    else:
        safetensors.numpy.save_file({n: a.numpy() for n, a in state.items()}, path)
    torch.manual_seed(9)
    opened = open_network(Small(), weights=path)
    np.testing.assert_allclose(opened.ask(draw()), theirs(make(), draw()), atol=1e-5)
    with pytest.raises(UserError, match=r"lacks 0\.weight.*as it is built"):
        open_network(Convolutions(), weights=path)


class Bomb:
    """Says so if it is ever unpickled."""

    def __reduce__(self):
        return pytest.fail, ("unpickled",)


@pytest.mark.parametrize("name", ["m.pth", "m.pt", "m.pkl", "m.pt2", "m.bin", "model"])
def test_pickles_are_refused(name, tmp_path):
    path = tmp_path / name
    torch.save(Bomb(), path)
    with pytest.raises(UserError, match=r"is a pickle.*safetensors"):
        open_network(str(path))
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(UserError, match=r"is a pickle.*torch\.export"):
        open_network(path)
    weights = tmp_path / "w.pth"
    torch.save({"fc.weight": Bomb()}, weights)
    with pytest.raises(UserError, match=r"holds more than weights.*safetensors"):
        open_network(make(), weights=str(weights))


def rewrite(path, change):
    """A .pt2 file with entries changed: name without its folder and data to data."""
    with zipfile.ZipFile(path) as archive:
        entries = {n: archive.read(n) for n in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, change(name.partition("/")[2], data))


def bomb(tmp_path):
    torch.save((Bomb(),), tmp_path / "bomb")
    return (tmp_path / "bomb").read_bytes()


def in_model(old, new):
    def change(name, data):
        if name != "models/model.json":
            return data
        assert old in data
        return data.replace(old, new)

    return lambda tmp_path: change


CRIMES = {
    r"pickled objects \(data/sample_inputs": lambda tmp_path: (
        lambda name, data: bomb(tmp_path) if "sample_inputs" in name else data
    ),
    r"pickled objects \(weight_0": lambda tmp_path: (
        lambda name, data: (
            data.replace(b'"use_pickle": false', b'"use_pickle": true')
            if name.endswith("weights_config.json")
            else data
        )
    ),
    r"the operator torch\.os\.system": in_model(
        b"torch.ops.aten.relu.default", b"torch.os.system"
    ),
    r"the operator torch\.ops\.load_library": in_model(
        b"torch.ops.aten.relu.default", b"torch.ops.load_library"
    ),
    r"the operator torch\.hub\.load": in_model(
        b'{"as_int": 1}', b'{"as_operator": "torch.hub.load"}'
    ),
    "the expression pytest": in_model(
        b"Symbol('s",
        b"pytest.fail('s",  # evaluated by sympy, if it came so far
    ),
}


@pytest.mark.parametrize("crime", CRIMES)
def test_programs_that_would_run_code_are_refused(crime, plain, tmp_path):
    path = shutil.copy(plain, tmp_path)
    rewrite(path, CRIMES[crime](tmp_path))
    with pytest.raises(UserError, match=f"{crime}.*not read from a file"):
        open_network(path)
    # PyTorch reads a model of any ending.
    data = Path(path).read_bytes().replace(b"models/model.json", b"models/model.any_")
    Path(path).write_bytes(data)
    with pytest.raises(UserError, match=f"{crime}.*not read from a file"):
        open_network(path)


@pytest.mark.parametrize("suffix", [".pt2", ".pt"])
def test_damaged_files_are_told_in_a_line(suffix, plain, tmp_path):
    path = tmp_path / f"m{suffix}"
    shutil.copy(plain, path) if suffix == ".pt2" else script(make(), path)
    with zipfile.ZipFile(path) as archive:
        entries = {n: archive.read(n) for n in archive.namelist()}
    for name in ("models/model.json", "data.pkl"):
        damaged = {n: d for n, d in entries.items() if n.partition("/")[2] != name}
        if len(damaged) == len(entries):
            continue
        with zipfile.ZipFile(path, "w") as archive:
            for entry, data in damaged.items():
                archive.writestr(entry, data)
        with pytest.raises(UserError, match=r"cannot be read|no program") as caught:
            open_network(str(path))
        assert "\n" not in str(caught.value)
    path.write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"is no file of torch\.export"):
        open_network(str(path))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("serialized_exported_program.json", "{}")
    with pytest.raises(UserError, match=r"before 2\.8"):
        open_network(str(path))


def test_a_missing_package_is_told(tmp_path, monkeypatch):
    path = tmp_path / "m.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/archive_format", "pt2")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UserError, match="pip install torch"):
        open_network(path)


def test_errors_of_torch_come_in_a_line(capfd):
    opened = open_network(make())
    for ask in (opened.ask, lambda x: opened.apply({}, x)):
        with pytest.raises(UserError, match=r"shape \[\d, 9\]") as caught:
            ask(draw(2, (9,)))
        assert "\n" not in str(caught.value)

    class Picky(nn.Module):
        def forward(self, x):
            if x.max() > 2:
                raise ValueError("too bright,\nby far")
            return x.flatten(1)[:, :3]

    apply = open_network(Picky()).apply
    loss = jax.jit(jax.grad(lambda x: apply({}, x).sum()))
    assert loss(draw()).shape == (4, *SHAPE)
    with pytest.raises(UserError, match=r"too bright, by far$"), plain_errors():
        jax.block_until_ready(loss(draw() + 3))
    assert "Traceback" not in capfd.readouterr().err
    with pytest.raises(RuntimeError, match="out of memory"), plain_errors():
        raise RuntimeError("out of memory")


def test_ctrl_c_while_the_network_runs_is_ctrl_c(capfd):
    class Slow(nn.Module):
        def forward(self, x):
            if x.max() > 2:
                signal.raise_signal(signal.SIGINT)
            return x.flatten(1)

    apply = open_network(Slow()).apply
    with pytest.raises(KeyboardInterrupt), plain_errors():
        jax.block_until_ready(apply({}, draw() + 3))
    assert "Traceback" not in capfd.readouterr().err


def test_modules_that_cannot_be_copied_are_told():
    with pytest.raises(UserError, match="call it once"):
        open_network(nn.Sequential(nn.LazyLinear(3)))

    class Uncopied(nn.Linear):
        def __deepcopy__(self, memo):
            raise RuntimeError("it holds a lock")

    module = Uncopied(6, CLASSES)
    with pytest.raises(UserError, match=r"holds a lock.*eval\(\)"):
        open_network(module)
    x = draw(2, (6,))
    np.testing.assert_allclose(
        open_network(module.eval()).ask(x), theirs(module, x), atol=1e-6
    )


@pytest.mark.parametrize(
    "call",
    [
        "torch.save(x, 'f')",
        "x + torch.from_file('f')",
        "torch.save (x, 'f')",
        "torch . save(x, 'f')",
        "ops.aten.save(x, 'f')",
        "(torch.save)(x, 'f')",
        "getattr(torch, 'sa' 've')(x, 'f')",
        "getattr(ops.aten, 'sa' 've')(x, 'f')",
    ],
)
def test_scripts_that_touch_files_are_refused(call, tmp_path):
    path = tmp_path / "m.pt"
    script(make(), path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("m/code/__torch__/more.py", f"def f(x):\n  {call}")
    with pytest.raises(UserError, match=r"calls (torch|ops).*touch files"):
        open_network(path)


def test_weights_beside_what_holds_its_own_are_refused(tmp_path):
    path = tmp_path / "m.pt"
    script(make(), path)
    for source in (path, "http://localhost/predict"):
        with pytest.raises(UserError, match="holds its weights; leave weights out"):
            open_network(source, weights="w.safetensors")


def test_a_sum_of_two_layers_has_no_penultimate_one(tmp_path):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(6, CLASSES), nn.Linear(6, CLASSES)

        def forward(self, x):
            return self.a(x) + self.b(torch.relu(x))

    torch.export.save(
        torch.export.export(Two(), (torch.rand(2, 6),)), tmp_path / "m.pt2"
    )
    for source in (tmp_path / "m.pt2", Two()):
        assert open_network(source).find_features((6,), None).apply is None


def test_a_header_that_is_as_long_as_a_pickle_begins_is_none(tmp_path):
    path = tmp_path / "w.safetensors"
    arrays = {"a": np.zeros(3, np.float32)}
    for more in range(0, 1000, 8):
        safetensors.numpy.save_file(arrays, path, {"n": "x" * more})
        if path.read_bytes()[:2] == b"\x80\2":
            break
    with pytest.raises(UserError, match="weights and no network"):
        open_network(path)


def test_shapes_that_are_computed_are_read(tmp_path):
    class Scaled(nn.Module):
        def forward(self, x):
            y = nn.functional.max_pool2d(x, 3, 2, ceil_mode=True)
            return nn.functional.interpolate(y, scale_factor=1.5).amax((2, 3))

    free = torch.export.Dim.AUTO
    program = torch.export.export(
        Scaled(),
        (torch.rand(2, *SHAPE),),
        dynamic_shapes=({0: free, 2: free, 3: free},),
    )
    torch.export.save(program, tmp_path / "m.pt2")
    opened = open_network(tmp_path / "m.pt2")
    assert (opened.shape, opened.num_classes) == ((3, None, None), 3)
    x = draw(3, (3, 11, 9))
    np.testing.assert_allclose(opened.ask(x), theirs(Scaled(), x), atol=1e-6)


def test_what_cannot_be_a_classifier_is_refused(tmp_path):
    whole = make(returns=lambda y: y[:, :, None].repeat(1, 1, 4))
    with pytest.raises(UserError, match=r"\(4, 5, 4\).*\[N, C\]"):
        open_network(whole).ask(draw())
    with pytest.raises(UserError, match=r"\[N, C\]"):
        open_network(export(whole, tmp_path / "m.pt2"))

    class Two(nn.Module):
        def forward(self, x, y):
            return x + y

    two = torch.export.export(Two(), (torch.rand(2, 3), torch.rand(2, 3)))
    with pytest.raises(UserError, match="takes 2 inputs"):
        open_network(two)
