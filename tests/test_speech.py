import functools
import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import signal

from bdjax.attacks import get_attack
from bdjax.models import mel
from bdjax.models.lstm import lstm
from bdjax.population import Recipe, cost
from bdjax.tasks import get_task

TASK = get_task("speech")
MODEL = TASK.network()
APPLY, FEATURES = jax.jit(MODEL.apply), jax.jit(MODEL.features)
FRONT, INIT = jax.jit(mel.mel_frames), jax.jit(MODEL.init)


def waves(count, seed=0, samples=16_000):
    """Noise under an envelope, with a second half that is silent."""
    rng = np.random.default_rng(seed)
    x = 0.3 * rng.standard_normal((count, samples)) * np.hanning(samples)
    x[::2, samples // 2 :] = 0
    return np.clip(x, -1, 1).astype(np.float32)


def slaney_hz(mel_value):
    if mel_value < 15:
        return mel_value * 200 / 3
    return 1000 * 6.4 ** ((mel_value - 15) / 27)


def triangles():
    """Slaney's filters by another way: interpolation between three points."""
    top = 15 + 27 * np.log(8) / np.log(6.4)
    edges = [slaney_hz(m) for m in np.linspace(0, top, 42)]
    hz = np.arange(1025) * 16_000 / 2048
    rows = [
        np.interp(hz, edges[i : i + 3], [0, 2 / (edges[i + 2] - edges[i]), 0])
        for i in range(40)
    ]
    return np.array(rows)


def oracle(x):
    """float64, by SciPy's short-time Fourier transform."""
    padded = np.pad(x.astype(np.float64), 1024, mode="reflect")
    _, _, spectrum = signal.stft(
        padded, window="hann", nperseg=2048, noverlap=1536, boundary=None, padded=False
    )
    spectrum = spectrum * signal.get_window("hann", 2048).sum()  # SciPy's scaling
    power = triangles() @ np.abs(spectrum) ** 2
    return (10 * np.log10(np.maximum(power, 1e-10)).T + 50) / 50


def test_the_front_end_is_what_scipy_computes():
    x = waves(3)
    frames = np.asarray(FRONT(x))
    assert frames.shape == (3, 32, 40)
    expected = np.stack([oracle(wave) for wave in x])
    loud = expected > -0.5
    assert 0.4 < loud.mean() < 0.9
    np.testing.assert_allclose(frames[loud], expected[loud], atol=1e-4)
    # Float32 has its own idea of near silence.
    assert frames[~loud].max() < -0.4
    np.testing.assert_allclose(frames[0, -1], -1)  # the floor, not minus infinity


def test_the_filters_are_librosas():
    ours = mel.filter_bank()
    np.testing.assert_allclose(ours, triangles(), atol=1e-7)
    # The first, of librosa.filters.mel(sr=16000, n_fft=2048, n_mels=40).
    peak = ours[0].argmax()
    assert (ours > 0).any(axis=1).all()
    assert peak * 16_000 / 2048 == pytest.approx(slaney_hz(np.diff(
        np.linspace(0, 15 + 27 * np.log(8) / np.log(6.4), 42))[0]), abs=8)  # fmt: skip
    if importlib.util.find_spec("librosa"):
        import librosa

        theirs = librosa.filters.mel(sr=16_000, n_fft=2048, n_mels=40)
        np.testing.assert_allclose(ours, theirs, atol=1e-7)


def test_gradients_reach_the_wave_and_are_finite_where_it_is_silent():
    variables = INIT(jax.random.key(0))

    @jax.jit
    @jax.value_and_grad
    def answer(x):
        return (APPLY(variables, x) ** 2).sum()

    rng = np.random.default_rng(1)
    query = np.float32(1e-3 * rng.standard_normal((1, 16_000)))  # as officially
    _, grad = answer(query)
    assert (np.abs(grad) > 0).mean() > 0.9
    step = rng.standard_normal(query.shape).astype(np.float32)
    above, below = (float(answer(query + sign * 3e-6 * step)[0]) for sign in (1, -1))
    assert float((grad * step).sum()) == pytest.approx((above - below) / 6e-6, rel=0.05)

    for half_silent in (waves(1), np.zeros((1, 16_000), np.float32)):
        assert np.isfinite(answer(half_silent)[1]).all()


def test_it_is_the_published_network():
    variables = INIT(jax.random.key(0))
    assert sum(a.size for a in jax.tree.leaves(variables)) == 138_711
    for leaf in jax.tree.leaves(variables):
        assert np.abs(leaf).max() <= 0.1  # PyTorch's 1 / sqrt(100)
        assert leaf.size < 40 or np.abs(leaf).max() > 0.05
    x = waves(2)
    features = FEATURES(variables, x)
    logits = variables["params"]["logits"]
    np.testing.assert_allclose(
        APPLY(variables, x), features @ logits["kernel"] + logits["bias"],
        atol=1e-6,
    )  # fmt: skip


def test_attention_is_a_mean_over_time_with_weights_of_one():
    variables = INIT(jax.random.key(0))
    variables["params"]["attention"]["kernel"] *= 0
    params = variables["params"]
    x = np.asarray(FRONT(waves(2)))
    hidden = x
    for name in ("lstm1", "lstm2"):
        hidden = plain(hidden, **params[name])
    np.testing.assert_allclose(FEATURES(variables, x), hidden.mean(axis=1), atol=1e-5)


def test_what_is_behind_the_front_end_gives_the_same_logits():
    variables = INIT(jax.random.key(0))
    x = waves(5)
    behind = FRONT(x)
    np.testing.assert_allclose(APPLY(variables, behind), APPLY(variables, x), atol=1e-6)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def plain(x, kernel, recurrent, bias, recurrent_bias):
    """An LSTM in float64, sequence by sequence and step by step: ``[B, T, H]``."""
    kernel, recurrent, bias, recurrent_bias = (
        np.asarray(a, np.float64) for a in (kernel, recurrent, bias, recurrent_bias)
    )
    out = np.zeros((*x.shape[:2], len(recurrent)))
    for b in range(len(x)):
        hidden = cell = np.zeros(len(recurrent))
        for t in range(x.shape[1]):
            gates = x[b, t] @ kernel + bias + hidden @ recurrent + recurrent_bias
            enter, forget, new, leave = np.split(gates, 4)
            cell = sigmoid(forget) * cell + sigmoid(enter) * np.tanh(new)
            hidden = out[b, t] = sigmoid(leave) * np.tanh(cell)
    return out


def weights(inputs=5, cells=6, seed=3):
    rng = np.random.default_rng(seed)
    shapes = {
        "kernel": (inputs, 4 * cells),
        "recurrent": (cells, 4 * cells),
        "bias": (4 * cells,),
        "recurrent_bias": (4 * cells,),
    }
    return {
        name: rng.uniform(-1, 1, shape).astype(np.float32)
        for name, shape in shapes.items()
    }


def run_lstm(x, kernel, recurrent, bias, recurrent_bias, precision="float32"):
    x = jnp.asarray(x).transpose(1, 0, 2)
    hidden = lstm(x, kernel, recurrent, bias + recurrent_bias, precision)
    return hidden.transpose(1, 0, 2)


def test_the_lstm_is_a_loop_over_time():
    x = np.random.default_rng(0).standard_normal((3, 7, 5)).astype(np.float32)
    expected = plain(x, **weights())
    np.testing.assert_allclose(run_lstm(x, **weights()), expected, atol=1e-5)
    rough = run_lstm(x, **weights(), precision="bfloat16")
    np.testing.assert_allclose(rough, expected, atol=0.05)
    assert np.abs(rough - expected).max() > 1e-4


@pytest.mark.parametrize(("precision", "atol"), [("float32", 1e-5), ("bfloat16", 0.1)])
def test_its_gradient_is_that_of_the_loop(precision, atol):
    x = np.random.default_rng(0).standard_normal((3, 7, 5)).astype(np.float32)
    chosen = np.random.default_rng(1).standard_normal((3, 7, 6))

    def by_jax(x, w):
        """The loop again, differentiated by JAX."""
        hidden = cell = jnp.zeros((3, 6))
        total = 0.0
        for t in range(7):
            gates = x[:, t] @ w["kernel"] + hidden @ w["recurrent"]
            gates += w["bias"] + w["recurrent_bias"]
            enter, forget, new, leave = jnp.split(gates, 4, axis=1)
            cell = jax.nn.sigmoid(forget) * cell + jax.nn.sigmoid(enter) * jnp.tanh(new)
            hidden = jax.nn.sigmoid(leave) * jnp.tanh(cell)
            total += (chosen[:, t] * hidden).sum()
        return total

    def ours(x, w):
        return (chosen * run_lstm(x, **w, precision=precision)).sum()

    got, expected = (jax.jit(jax.grad(f, (0, 1)))(x, weights()) for f in (ours, by_jax))
    close = functools.partial(np.testing.assert_allclose, atol=atol, rtol=0.02)
    jax.tree.map(close, got, expected)


def test_it_is_pytorchs_network():
    torch = pytest.importorskip("torch")
    variables = INIT(jax.random.key(2))
    params = jax.tree.map(np.array, variables["params"])
    net = torch.nn.LSTM(40, 100, 2, batch_first=True)
    state = {}
    for layer, name in enumerate(("lstm1", "lstm2")):
        part = params[name]
        state |= {
            f"weight_ih_l{layer}": part["kernel"].T,
            f"weight_hh_l{layer}": part["recurrent"].T,
            f"bias_ih_l{layer}": part["bias"],
            f"bias_hh_l{layer}": part["recurrent_bias"],
        }
    net.load_state_dict({k: torch.tensor(v) for k, v in state.items()})
    x = waves(4)
    frames = torch.tensor(np.asarray(FRONT(x)))
    with torch.no_grad():
        hidden = net(frames)[0].numpy()
    weight = hidden @ params["attention"]["kernel"] + params["attention"]["bias"]
    weight = np.exp(weight) / np.exp(weight).sum(axis=1, keepdims=True)
    attended = (weight * hidden).sum(axis=1)
    expected = attended @ params["logits"]["kernel"] + params["logits"]["bias"]
    np.testing.assert_allclose(APPLY(variables, x), expected, atol=1e-5)


def test_a_plan_counts_a_step_behind_the_front_end():
    attack, recipe = (
        get_attack("jumbo", task=get_task("speech")),
        Recipe(steps=3, batch_size=4),
    )
    shapes = cost.example_shapes(TASK, 12, jnp.int16)
    work = cost.step_work(MODEL, attack, recipe, shapes)
    forward = 32 * (40 + 100 + 100 + 100) * 400 + 32 * 100 + 100 * 10
    first_input = 32 * 40 * 400  # whose gradient nobody wants
    assert work.flops == pytest.approx(4 * 2 * (3 * forward - first_input), rel=1e-3)
