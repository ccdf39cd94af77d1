"""What a speech network hears: the loudness of 40 mel bands in 32 frames a second.

Without parameters, always float32, and differentiable, since MNTD's queries are raw
waves. The numbers are those of MNTD's official code, which takes its filters from
librosa.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

RATE = 16_000
WINDOW, HOP, BANDS = 2048, 512, 40
FLOOR = 1e-10  # of a band's power, -100 dB

# Slaney's scale (Auditory Toolbox, 1998): linear below 1 kHz, logarithmic above.
LINEAR_HZ, CORNER_HZ, LOG_STEP = 200 / 3, 1000.0, np.log(6.4) / 27


def mel_frames(x_BxN: jax.Array) -> jax.Array:
    """Waves to the decibels of mel bands.

    Frames are centred on every 512th sample, the wave being mirrored at its ends.

    Args:
      x_BxN: float32 in [-1, 1], 16 kHz, longer than 1,024 samples.

    Returns:
      float32 ``[B, 1 + N // 512, 40]``, ``(dB + 50) / 50``: -1 where it is silent.
    """
    half, pieces = WINDOW // 2, WINDOW // HOP
    frames = 1 + x_BxN.shape[1] // HOP
    x = jnp.pad(x_BxN, ((0, 0), (half, half)), mode="reflect")
    x = x[:, : (frames + pieces - 1) * HOP].reshape(len(x), -1, HOP)
    x = jnp.concatenate([x[:, i : i + frames] for i in range(pieces)], axis=-1)
    spectrum = jnp.fft.rfft(x * hann())
    power = spectrum.real**2 + spectrum.imag**2
    mel = jnp.matmul(power, filter_bank().T, precision="highest")
    return (10 * jnp.log10(jnp.maximum(mel, FLOOR)) + 50) / 50


def hann() -> np.ndarray:
    """The periodic Hann window, float32 ``[2048]``."""
    angle = 2 * np.pi * np.arange(WINDOW) / WINDOW
    return (0.5 - 0.5 * np.cos(angle)).astype(np.float32)


@functools.cache
def filter_bank() -> np.ndarray:
    """Triangles of equal area, evenly spaced in mel; float32 ``[40, 1025]``."""
    corner = CORNER_HZ / LINEAR_HZ
    top = corner + np.log(RATE / 2 / CORNER_HZ) / LOG_STEP
    mel = np.linspace(0, top, BANDS + 2)
    high = CORNER_HZ * np.exp(LOG_STEP * np.maximum(mel - corner, 0))
    edges = np.where(mel < corner, mel * LINEAR_HZ, high)
    bin_hz = np.linspace(0, RATE / 2, 1 + WINDOW // 2)
    low, middle, high = (edges[i : i + BANDS, None] for i in range(3))
    rising, falling = (bin_hz - low) / (middle - low), (high - bin_hz) / (high - middle)
    triangle = np.maximum(0, np.minimum(rising, falling))
    return (2 / (high - low) * triangle).astype(np.float32)
