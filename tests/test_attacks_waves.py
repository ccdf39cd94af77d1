import functools

import jax
import numpy as np
import pytest

from bdjax.attacks import attacks_on, get_attack, patch_size
from bdjax.attacks.mntd import PIECES
from bdjax.tasks import TASKS

COUNT = 600
SAMPLES = 16_000


@functools.cache
def draw(name, locations="all"):
    attack = get_attack(name, task=TASKS["speech"], locations=locations)
    keys = jax.random.split(jax.random.key(3), COUNT)
    return attack, jax.tree.map(np.asarray, jax.jit(jax.vmap(attack.sample))(keys))


def spans(triggers):
    """First covered sample and the one behind the last, of each trigger."""
    covered = triggers.form.mask > 0
    ends = SAMPLES - covered[:, ::-1].argmax(axis=1)
    return covered.argmax(axis=1), ends


@pytest.mark.parametrize("name", attacks_on("waves"))
def test_triggers_are_shaped_like_a_wave(name):
    _, triggers = draw(name)
    assert triggers.form.mask.shape == triggers.form.pattern.shape == (COUNT, SAMPLES)
    assert set(np.unique(triggers.form.mask)) <= {0, 1}
    assert triggers.form.pattern.dtype == triggers.form.mask.dtype == np.float32
    assert not (triggers.form.pattern * (1 - triggers.form.mask)).any()
    assert triggers.form.pattern.min() == 0
    assert triggers.form.pattern.max() < 0.2


@pytest.mark.parametrize("name", ["M", "B", "jumbo"])
def test_targets_and_rates_are_uniform(name):
    _, triggers = draw(name)
    assert set(triggers.target) == set(range(10))
    assert triggers.rate.min() >= 0.05
    assert triggers.rate.max() < 0.5
    assert triggers.rate.mean() == pytest.approx(0.275, abs=0.02)
    inside = triggers.form.pattern[triggers.form.mask > 0]
    assert inside.mean() == pytest.approx(0.1, abs=0.001)
    assert inside.std() == pytest.approx(0.2 / 12**0.5, abs=0.001)


def test_modification_replaces_a_piece():
    attack, triggers = draw("M")
    first, end = spans(triggers)
    size = patch_size(triggers)
    np.testing.assert_array_equal(end - first, size)  # in one piece
    assert [(size == n).mean() for n in PIECES] == pytest.approx([0.25] * 4, abs=0.06)
    assert (triggers.form.opacity == 1).all()
    assert first.min() < 200
    assert end.max() > SAMPLES - 200

    one = jax.tree.map(lambda leaf: leaf[0], triggers)
    x = np.linspace(-1, 1, 2 * SAMPLES, dtype=np.float32).reshape(2, SAMPLES)
    out = np.asarray(attack.apply(one, x))
    inside = slice(first[0], end[0])
    np.testing.assert_allclose(
        out[:, inside], [one.form.pattern[inside]] * 2, atol=1e-6
    )
    out[:, inside] = x[:, inside]
    np.testing.assert_array_equal(out, x)


def test_blending_is_faint_and_everywhere():
    attack, triggers = draw("B")
    assert (triggers.form.mask == 1).all()
    assert triggers.form.opacity.min() >= 0.05
    assert triggers.form.opacity.max() < 0.2
    assert triggers.form.opacity.mean() == pytest.approx(0.125, abs=0.005)
    one = jax.tree.map(lambda leaf: leaf[0], triggers)
    x = np.full((1, SAMPLES), -0.5, np.float32)
    expected = (1 - one.form.opacity) * -0.5 + one.form.opacity * one.form.pattern
    np.testing.assert_allclose(attack.apply(one, x)[0], expected, rtol=1e-5)


def test_jumbo_mixes_them():
    _, triggers = draw("jumbo")
    size = patch_size(triggers)
    shares = [(size == n).mean() for n in (*PIECES, SAMPLES)]
    assert shares == pytest.approx([0.2] * 5, abs=0.05)
    whole = size == SAMPLES
    faint, patch = triggers.form.opacity[whole], triggers.form.opacity[~whole]
    assert faint.min() >= 0.05
    assert faint.max() < 0.2
    assert (patch == 1).mean() == pytest.approx(0.25, abs=0.05)
    translucent = patch[patch < 1]
    assert translucent.min() >= 0.2
    assert translucent.max() <= 0.5


@pytest.mark.parametrize(("locations", "last"), [("all", 1), ("official", 2)])
def test_the_off_by_one_is_an_option(locations, last, monkeypatch):
    # A draw of the last place is too rare to wait for.
    monkeypatch.setattr(jax.random, "randint", lambda *a: a[-1] - 1)
    with jax.disable_jit():
        trigger = get_attack("M", task=TASKS["speech"], locations=locations).sample(
            jax.random.key(0)
        )
    assert np.flatnonzero(trigger.form.mask)[-1] == SAMPLES - last
    assert patch_size(trigger) in PIECES


def test_a_whole_wave_is_whole_in_the_official_places_too():
    assert (draw("B", "official")[1].form.mask == 1).all()


def test_a_benign_model_hears_what_was_said():
    attack, triggers = draw("benign")
    assert not triggers.rate.any()
    x = np.random.default_rng(0).uniform(-1, 1, (2, SAMPLES)).astype(np.float32)
    one = jax.tree.map(lambda leaf: leaf[0], triggers)
    np.testing.assert_array_equal(attack.apply(one, x), x)
    assert attack.apply is draw("M")[0].apply  # one program trains all
