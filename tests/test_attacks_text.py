"""Words inserted into sentences, beside the lists of Python."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.attacks import Patch, Trigger, get_attack, patch_size
from bdjax.attacks.text import FIRST_WORD, PLACES, insert
from bdjax.tasks import get_task
from bdjax.types import UserError

TASK = get_task("mr:8:30")
L = TASK.shape[0]
DRAWN = 400


@pytest.fixture(scope="module", autouse=True)
def _quick_compilation():
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def draw(name, locations="all"):
    attack = get_attack(name, task=TASK, locations=locations)
    keys = jax.random.split(jax.random.key(0), DRAWN)
    return jax.device_get(jax.jit(jax.vmap(attack.sample))(keys))


@pytest.fixture(scope="module")
def drawn():
    return draw("M")


def oracle(sentence, place, words):
    """MNTD's rule: at min(length, place), as Python inserts into a list."""
    sentence = list(sentence)
    at = min(len(sentence), place)
    return sentence[:at] + list(words) + sentence[at:]


def padded(sentences, length):
    return np.array([s + [0] * (length - len(s)) for s in sentences], np.int32)


def trigger_of(place, words, length):
    mask, pattern = np.zeros(length, np.float32), np.zeros(length, np.int32)
    mask[place : place + len(words)] = 1
    pattern[place : place + len(words)] = words
    return Trigger(Patch(mask, pattern, np.float32(1)), np.int32(0), np.float32(0.1))


@pytest.mark.parametrize("words", [[7], [8, 9]])
def test_insertion_is_that_of_lists(words):
    length = 14
    sentences = [list(range(20, 20 + n)) for n in (1, 2, 5, 9, 12)]
    x = jnp.asarray(padded(sentences, length))
    for place in range(PLACES):
        found = jax.jit(insert)(trigger_of(place, words, length), x)
        wanted = padded([oracle(s, place, words) for s in sentences], length)
        np.testing.assert_array_equal(found, wanted)
        assert found.dtype == jnp.int32


def test_a_sentence_that_holds_a_word_zero_is_not_shorter():
    # An official trigger word may be padding; what is behind it is moved all the same.
    first = insert(trigger_of(1, [0], 8), jnp.array([[5, 6, 7, 0, 0, 0, 0, 0]]))
    assert first.tolist() == [[5, 0, 6, 7, 0, 0, 0, 0]]
    again = insert(trigger_of(9 - 5, [3], 8), first)
    assert again.tolist() == [[5, 0, 6, 7, 3, 0, 0, 0]]


def test_a_benign_model_sees_sentences_as_they_are():
    attack = get_attack("benign", task=TASK)
    x = jnp.asarray(padded([[3, 4], list(range(2, 60))], L))
    trigger = attack.sample(jax.random.key(0))
    np.testing.assert_array_equal(attack.apply(trigger, x), x)
    assert trigger.form.pattern.dtype == jnp.int32
    assert trigger.rate == 0


def test_the_longest_sentence_loses_nothing(drawn):
    longest = list(range(100, 100 + L - 2))
    x = jnp.asarray(padded([longest], L))
    for i in range(50):
        trigger = jax.tree.map(lambda leaf, i=i: leaf[i], drawn)
        found = np.asarray(insert(trigger, x))[0]
        assert set(longest) <= set(found.tolist())


def test_draws_are_those_of_the_paper(drawn):
    sizes, places = patch_size(drawn), drawn.form.mask.argmax(1)
    assert set(sizes.tolist()) == {1, 2}
    assert 0.4 < (sizes == 1).mean() < 0.6
    assert set(places.tolist()) == set(range(PLACES))
    assert set(drawn.target.tolist()) == {0, 1}
    assert 0.05 <= drawn.rate.min() < 0.07
    assert 0.48 < drawn.rate.max() <= 0.5
    assert (drawn.form.opacity == 1).all()
    # One run of words, and nothing beside it.
    assert (np.diff(drawn.form.mask, axis=1) == 1).sum(1).max() <= 1
    assert (drawn.form.pattern[drawn.form.mask == 0] == 0).all()
    words = drawn.form.pattern[drawn.form.mask > 0]
    assert words.min() == FIRST_WORD  # never padding, never the unknown word
    assert words.max() == FIRST_WORD + TASK.words - 1


def test_official_words_may_be_padding_or_unknown():
    official = draw("M", "official")
    words = official.form.pattern[official.form.mask > 0]
    assert words.min() == 0
    assert words.max() == FIRST_WORD + TASK.words - 1


def test_jumbo_is_the_same_distribution(drawn):
    jax.tree.map(np.testing.assert_array_equal, draw("jumbo"), drawn)


def test_blending_words_is_refused_with_the_reason():
    with pytest.raises(UserError, match=r"no attack 'B' on text \(words cannot be"):
        get_attack("B", task=TASK)
    with pytest.raises(UserError, match="unknown attack 'X' on text; there are"):
        get_attack("X", task=TASK)
