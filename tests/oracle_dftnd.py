"""A slow DF-TND in NumPy, float64, loops and gradients by hand, after the facts."""

import numpy as np


class TwoLayer:
    """``logits = b + relu(a + A x) B``; features are the ReLU's."""

    def __init__(self, seed, size, hidden, classes):
        rng = np.random.default_rng(seed)
        self.first = rng.normal(0, size**-0.5, (size, hidden))
        self.bias = rng.normal(0, 0.3, hidden)
        self.second = rng.normal(0, 0.3, (hidden, classes))

    def features(self, x):
        return np.maximum(x.reshape(len(x), -1) @ self.first + self.bias, 0)

    def logits(self, x):
        return self.features(x) @ self.second

    def pulled_back(self, x, weights):
        """Gradient of ``mean_n sum_j w_j r_j(x_n)`` with respect to x."""
        on = self.features(x) > 0
        return ((on * weights) @ self.first.T / len(x)).reshape(x.shape)


def bisected(w):
    """Lowers all weights by one amount, found in [0, 10000] to 1e-6, and cuts at 0."""
    low, high, shift = 0.0, 10_000.0, 0.0
    while high - low > 1e-6:
        shift = (low + high) / 2
        total = sum(max(v - shift, 0) for v in w)
        if total == 1:
            break
        if total < 1:
            high = shift
        else:
            low = shift
    return np.array([max(v - shift, 0) for v in w])


def official(network, x, noise, gamma, first, second):
    """Mask, pattern, weights after both stages; and the trace of the weights."""
    mask, pattern, centre = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)
    count = network.features(x).shape[1]
    weights, trace = np.ones(count) / count, []
    for i in range(first + second):
        if i == first:
            for n in range(len(x)):
                centre[n] = pattern.mean(0)
            mask, pattern = np.array([mask.mean(0)] * len(x)), centre.copy()
        mixed = (1 - mask) * (x + noise) + mask * pattern
        seen = np.clip(mixed, 0, 1)
        pull = network.pulled_back(seen, weights) * (mixed >= 0) * (mixed <= 1)
        to_pattern = np.sign(pull * mask)
        to_mask = np.sign(pull * (pattern - x - noise) - gamma * np.sign(mask))
        to_weights = np.sign(network.features(seen).mean(0))
        pattern = centre + np.clip(pattern + 0.1 * to_pattern - centre, -1, 1)
        moved = mask + 0.1 * to_mask
        soft = np.sign(moved) * np.maximum(np.abs(moved) - 0.1 * gamma, 0)
        mask = np.clip(soft, 0, 1)
        weights = bisected(weights + 0.1 * to_weights)
        trace.append(weights)
    return mask, pattern, weights, np.array(trace)
