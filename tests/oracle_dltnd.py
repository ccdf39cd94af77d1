"""DL-TND's published update rules in slow NumPy, float64, written from their facts.

One label and one pixel array at a time, loops in the open, gradients by hand: nothing
is shared with the solver but the network's weights.
"""

import numpy as np

TAU = 15.0


class TanhNet:
    """``W2 tanh(W1 (x / 255 - 1/2))``: its logits and their gradient by hand."""

    def __init__(self, seed, pixels, hidden, classes):
        rng = np.random.default_rng(seed)
        self.first = rng.normal(size=(pixels, hidden)) * (3 / pixels**0.5)
        self.second = rng.normal(size=(hidden, classes)) * (6 / hidden**0.5)

    def logits(self, x):
        return np.tanh((x.ravel() / 255 - 0.5) @ self.first) @ self.second

    def pull(self, x, grad_logits):
        """Gradient of ``grad_logits . logits`` with respect to x."""
        hidden = np.tanh((x.ravel() / 255 - 0.5) @ self.first)
        back = self.first @ ((1 - hidden**2) * (self.second @ grad_logits)) / 255
        return back.reshape(x.shape)


class SharedAdam:
    """One optimiser for both variables: the powers advance at every application."""

    def __init__(self, rate):
        self.rate, self.applied, self.moments = rate, 0, {}

    def step(self, name, value, grad):
        self.applied += 1
        mean, square = self.moments.get(name, (0.0, 0.0))
        mean, square = 0.9 * mean + 0.1 * grad, 0.999 * square + 0.001 * grad**2
        self.moments[name] = mean, square
        rate = self.rate * (1 - 0.999**self.applied) ** 0.5 / (1 - 0.9**self.applied)
        return value - rate * mean / (square**0.5 + 1e-8)


def _hinge(net, x, up, down):
    """``max(f_up - max of the others, -tau)`` where ``up`` is to fall, or its mirror.

    ``down`` None: f_up minus the greatest other. Else: the greatest other minus f_down.
    """
    logits = net.logits(x)
    own = up if down is None else down
    others = [t for t in range(len(logits)) if t != own]
    rival = others[int(np.argmax(logits[others]))]
    sign = 1.0 if down is None else -1.0
    value = sign * (logits[own] - logits[rival])
    grad = np.zeros(len(logits))
    if value > -TAU:
        grad[own], grad[rival] = sign, -sign
    return max(value, -TAU), net.pull(x, grad)


def _perturbed(x, m, d):
    return (1 - m) * x + m * d


def _minimise(net, terms, shape, rate, constant, iterations):
    """101 iterations with one constant; final m and d, and whether it ever succeeded.

    ``terms``: images with the arguments of their hinges.
    """
    adam = SharedAdam(rate)
    m, d, ever = np.zeros(shape), np.ones(shape), False
    for _ in range(iterations):
        grad = np.zeros(shape)
        for x, up, down in terms:
            _, pulled = _hinge(net, _perturbed(x, m, d), up, down)
            grad += pulled * (d - x)
        m = adam.step("m", m, grad)
        m = np.sign(m) * np.maximum(np.abs(m) - rate / constant, 0)
        m = np.clip(m, 0, 1)
        grad, good = np.zeros(shape), 0
        for x, up, down in terms:
            value, pulled = _hinge(net, _perturbed(x, m, d), up, down)
            grad += pulled * m
            good += value <= 0
        d = np.clip(adam.step("d", d, grad), 0, 255)
        ever = ever or good / len(terms) > 0.7
    return m, d, ever


def universal(net, images, labels, k, iterations=101, searches=8):
    """All constants' solutions of label k: (c, m, d, success) each."""
    terms = [
        (x, None, k) if y == k else (x, y, None)
        for x, y in zip(images, labels, strict=True)
    ]
    c, lower, found = 0.01, 0.0, []
    for _ in range(searches):
        m, d, ok = _minimise(net, terms, images[0].shape, 1e-2, c, iterations)
        found.append((c, m, d, ok))
        if ok:
            c = (c + lower) / 2
        else:
            lower = c
            c = (c + 6.0) / 2
    return found


def per_image(net, x, k, iterations=101):
    """m and d of one image toward label k."""
    m, d, _ = _minimise(net, [(x, None, k)], x.shape, 0.1, 1.0, iterations)
    return m, d


def similarity(net, x, k, found, iterations=101):
    """Cosine of the logits under a universal and the image's own perturbation."""
    _, m, d, _ = found
    ours = net.logits(_perturbed(x, m, d))
    theirs = net.logits(_perturbed(x, *per_image(net, x, k, iterations)))
    return ours @ theirs / np.linalg.norm(ours) / np.linalg.norm(theirs)
