"""Where packages lie; all else is in pyproject.toml.

The named configurations are beside the package in a checkout and inside it in a wheel.
What runs in PyTorch is for benchmarks in checkouts.
"""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["bdjax*"], exclude=["bdjax.benchmarks.pytorch"]),
        "bdjax.configs",
    ],
    package_dir={"bdjax.configs": "configs"},
)
