"""What holds for every test; must run before JAX starts a backend.

Four CPU devices. Compiling is most of what the tests do, so programs are compiled once:
workers, and processes that tests start, share a cache that lives as long as the
session. And in haste, but for the slow tests, some of which compute more than compile.
"""

import os
import shutil
import sys
import tempfile

if "PYTEST_XDIST_WORKER" not in os.environ:  # workers have what the first one set
    _cache = tempfile.mkdtemp(prefix="bdjax-tests-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _cache
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    if "slow" not in sys.argv:
        os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

import jax

jax.config.update("jax_num_cpu_devices", 4)


def pytest_unconfigure():
    if "PYTEST_XDIST_WORKER" not in os.environ:
        shutil.rmtree(_cache, ignore_errors=True)
