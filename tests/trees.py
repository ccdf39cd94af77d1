"""Trees to store, and damage to what was stored."""

import jax.numpy as jnp
import numpy as np


def make_tree(models=3, width=5):
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((models, width, 7), dtype=np.float32)
    return {
        "variables": {
            "params": {
                "Dense_0": {"kernel": kernel, "bias": np.zeros((models, 7), "f")}
            },
            "batch_stats": {},
        },
        "records": {
            "model_id": np.arange(models, dtype=np.int32),
            "label": np.ones(models, np.uint8),
            "mask": rng.random((models, 4, 4)) > 0.5,
            "loss": np.array([0.5, np.nan, np.inf], np.float64),
            "half": np.asarray(jnp.arange(4, dtype=jnp.bfloat16)),
            "root": np.array(7, np.uint32),
        },
    }


def assert_same(found, expected):
    """Same keys in the same order; same dtypes, shapes and bits."""
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            assert_same(found[key], expected[key])
    else:
        assert type(found) is np.ndarray
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        assert found.tobytes() == np.asarray(expected).tobytes()


def largest_file(directory):
    files = (p for p in directory.rglob("*") if p.is_file())
    return max(files, key=lambda p: p.stat().st_size)


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
