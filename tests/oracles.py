"""Slow references: what the fast code must equal, in plain loops and float64."""

import jax
import jax.numpy as jnp
import numpy as np


def conv_relu_pool(x_CxHxWxN, kernel_KxKxCxF, bias_F):
    """Valid convolution, ReLU, 2x2 max-pooling that drops a last odd row or column."""
    x, kernel = np.float64(x_CxHxWxN), np.float64(kernel_KxKxCxF)
    size, _, _, features = kernel.shape
    _, height, width, batch = x.shape
    rows, columns = (height - size + 1) // 2, (width - size + 1) // 2
    out = np.zeros((features, rows, columns, batch))
    for f, i, j, n in np.ndindex(*out.shape):
        for a in (2 * i, 2 * i + 1):
            for b in (2 * j, 2 * j + 1):
                patch = x[:, a : a + size, b : b + size, n].transpose(1, 2, 0)
                value = np.sum(patch * kernel[..., f]) + bias_F[f]
                out[f, i, j, n] = max(out[f, i, j, n], value)
    return out


def mnist_net(variables, x_BxHxWxC):
    """MNTD's MNIST network, its activations flattened (C, H, W) as in PyTorch."""
    params = jax.tree.map(np.float64, variables["params"])
    x = np.float64(x_BxHxWxC).transpose(3, 1, 2, 0)
    x = conv_relu_pool(x, params["conv1"]["kernel"], params["conv1"]["bias"])
    x = conv_relu_pool(x, params["conv2"]["kernel"], params["conv2"]["bias"])
    x = np.stack([image.ravel() for image in np.moveaxis(x, -1, 0)])
    x = np.maximum(x @ params["hidden"]["kernel"] + params["hidden"]["bias"], 0)
    return x @ params["logits"]["kernel"] + params["logits"]["bias"]


def blend(trigger, x_BxHxWxC):
    """Pixel by pixel: the pattern at its opacity where the mask is, else the image."""
    out = np.float64(x_BxHxWxC)
    opacity = float(trigger.form.opacity)
    for b, i, j, c in np.ndindex(*out.shape):
        if trigger.form.mask[i, j, 0]:
            pattern = float(trigger.form.pattern[i, j, c])
            out[b, i, j, c] = (1 - opacity) * out[b, i, j, c] + opacity * pattern
    return out


def batch(examples, trigger, rows, poisoned):
    """One training batch: pixels in [0, 1], trigger and target label where poisoned."""
    x = np.float64(examples.x[rows]) / (255 if examples.x.dtype == np.uint8 else 1)
    y = np.int64(examples.y[rows])
    for b in np.flatnonzero(poisoned):
        x[b] = blend(trigger, x[b : b + 1])[0]
        y[b] = trigger.target
    return x, y


def train(grad_fn, variables, examples, trigger, plan, learning_rate):
    """Adam as its paper has it, step after step; returns weights and every loss.

    ``grad_fn(variables, x, y)`` gives the loss and its gradient.
    """
    weights, tree = jax.tree.flatten(jax.tree.map(np.float64, variables))
    first = [np.zeros_like(w) for w in weights]
    second = [np.zeros_like(w) for w in weights]
    losses = []
    for t in range(int(plan.steps)):
        x, y = batch(examples, trigger, plan.row[t], plan.role[t] == 1)
        loss, grads = grad_fn(jax.tree.unflatten(tree, weights), x, y)
        losses.append(float(loss))
        for i, grad in enumerate(map(np.float64, jax.tree.leaves(grads))):
            first[i] = 0.9 * first[i] + 0.1 * grad
            second[i] = 0.999 * second[i] + 0.001 * grad**2
            mean, scale = (
                first[i] / (1 - 0.9 ** (t + 1)),
                second[i] / (1 - 0.999 ** (t + 1)),
            )
            weights[i] = weights[i] - learning_rate * mean / (np.sqrt(scale) + 1e-8)
    return jax.tree.unflatten(tree, weights), losses


def linear_grad(variables, x_BxHxWxC, y_B):
    """Cross-entropy of one dense layer on pixels, and its gradient by hand."""
    layer = variables["params"]["logits"]
    x = x_BxHxWxC.reshape(len(y_B), -1)
    logits = x @ layer["kernel"] + layer["bias"]
    share = np.exp(logits - logits.max(1, keepdims=True))
    share /= share.sum(1, keepdims=True)
    rows = np.arange(len(y_B))
    loss = -np.log(share[rows, y_B]).mean()
    share[rows, y_B] -= 1
    share /= len(y_B)
    grads = {"kernel": x.T @ share, "bias": share.sum(0)}
    return loss, {"params": {"logits": grads}}


def autodiff_grad(model):
    """Cross-entropy of ``model`` and its gradient, one batch at a time."""

    @jax.jit
    @jax.value_and_grad
    def loss(variables, x, y):
        log_share = jax.nn.log_softmax(model.apply(variables, x))
        return -jnp.mean(log_share[jnp.arange(len(y)), y])

    def grad_fn(variables, x, y):
        variables, x = jax.tree.map(jnp.float32, (variables, x))
        return loss(variables, x, jnp.asarray(y))

    return grad_fn


def judge(predict, examples, trigger, rows):
    """Counts one image at a time: clean accuracy, attack success on other classes."""
    right, hit, other = 0, 0, 0
    for row in rows:
        x, y = batch(examples, trigger, [row], [False])
        right += predict(x)[0] == y[0]
        if y[0] != trigger.target:
            x, _ = batch(examples, trigger, [row], [True])
            other += 1
            hit += predict(x)[0] == trigger.target
    return right / len(rows), hit / other
