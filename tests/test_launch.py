"""Flags and configurations: what they make, and one line for every mistake in them."""

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from ml_collections import ConfigDict

from bdjax.attacks import Locations
from bdjax.evaluation import BootstrapConfig
from bdjax.experiments.config import (
    DataConfig,
    MNTDConfig,
    PopulationConfig,
    TrainConfig,
    from_mapping,
)
from bdjax.mntd import FitConfig
from bdjax.models import FORMULATIONS
from bdjax.population import Execution
from bdjax.tasks import get_task
from bdjax.types import UserError
from launch import common

ROOT = Path(__file__).parents[1]
FILES = sorted(p.stem for p in (ROOT / "configs").glob("mntd_*.py"))
SMOKE = str(ROOT / "configs" / "mntd_mnist5k.py") + ":smoke"


def config_of(file, arg=""):
    return importlib.import_module(f"configs.{file}").get_config(arg)


# Configurations.


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("arg", ["", "smoke", "official"])
def test_every_configuration_builds(file, arg):
    config = config_of(file, arg)
    built = from_mapping(MNTDConfig, config.to_dict())
    # ``npz`` has its name once the file is read.
    assert built.task == "npz" or get_task(built.task).sources[built.data.source]
    assert built.variants == ("jumbo", "no_tuning", "one_class")
    # As JSON holds it, and the same however often it is made.
    assert json.loads(json.dumps(built.semantic())) is not None
    assert from_mapping(MNTDConfig, config_of(file, arg).to_dict()) == built
    assert (built.population.shadows == 4) is (arg == "smoke")
    assert (built.fit.epochs == 2) is (arg == "smoke")


@pytest.mark.parametrize("file", [f for f in FILES if not f.startswith("mntd_mnist")])
def test_full_is_the_papers_scale(file):
    built = from_mapping(MNTDConfig, config_of(file, "full").to_dict())
    counts = built.population
    assert (counts.shadows, counts.validation, counts.targets) == (2048, 256, 256)
    assert built.shadow.epochs
    assert not built.shadow.steps
    assert built.shadow.recipe(2000).steps > 0


def test_full_recipe_is_the_papers():
    config = from_mapping(MNTDConfig, config_of("mntd_mnist").to_dict())
    population = config.population
    assert (population.shadows, population.validation, population.targets) == (
        2048, 256, 256,
    )  # fmt: skip
    shadow = config.shadow.recipe(config.data.defender)
    target = config.target.recipe(config.data.attacker)
    assert (config.data.defender, config.data.attacker) == (1200, 30_000)
    # 100 epochs of 2 % and 4 of 50 %: as many samples seen.
    assert shadow.steps == target.steps == 1200
    assert shadow.batch_size == target.batch_size == 100
    assert shadow.learning_rate == 1e-3
    fit = config.fit
    assert (fit.queries, fit.hidden, fit.epochs, fit.batch_size) == (10, 20, 10, 1)
    assert (fit.learning_rate, fit.repeats, fit.nu) == (1e-3, 5, 0.1)


def test_official_turns_every_parity_option_on():
    plain = from_mapping(MNTDConfig, config_of("mntd_mnist").to_dict())
    config = from_mapping(MNTDConfig, config_of("mntd_mnist", "official").to_dict())
    assert (plain.data.split, config.data.split) == ("disjoint", "official")
    assert plain.population.locations == "all"
    assert config.population.locations == "official"
    for part in ("shadow", "target"):
        assert getattr(plain, part).poisoned_length == "equal"
        assert getattr(config, part).poisoned_length == "official"
        assert getattr(config, part).diversity == 0
    assert (plain.fit.clip, config.fit.clip) == (True, False)
    assert (plain.fit.answers, config.fit.answers) == ("log_probabilities", "logits")
    both = from_mapping(MNTDConfig, config_of("mntd_mnist", "official,smoke").to_dict())
    assert both.data.split == "official"
    assert both.population.shadows == 4


@pytest.mark.parametrize("file", ["mntd_mr", "mntd_tabular"])
def test_the_papers_scale_and_parity_have_the_papers_fit(file):
    ours, full, official = (
        from_mapping(MNTDConfig, config_of(file, arg).to_dict()).fit
        for arg in ("", "full", "official")
    )
    assert full == FitConfig() != ours
    assert official == FitConfig(clip=False, answers="logits", query_dropout=True)


def test_arguments_may_come_in_any_order():
    one, other = (
        config_of("mntd_tabular", arg).to_dict()
        for arg in ("smoke,adult", "adult,smoke")
    )
    assert one == other
    assert (one["task"], one["shadow"]["steps"]) == ("adult", 5)
    with pytest.raises(UserError, match="both 'adult' and 'power'"):
        config_of("mntd_tabular", "power,adult")


def test_an_unknown_argument_is_refused():
    for arg in ("tiny", "smoke,tiny"):
        with pytest.raises(UserError, match=r"unknown argument 'tiny'.*'smoke'"):
            config_of("mntd_mnist5k", arg)


def test_training_length():
    assert TrainConfig(steps=7).recipe(1000).steps == 7
    assert TrainConfig(epochs=3, batch_size=100).recipe(1000).steps == 30
    assert TrainConfig(epochs=1, batch_size=100).recipe(260).steps == 3
    assert TrainConfig(epochs=1, batch_size=100).recipe(10).steps == 1
    official = TrainConfig(epochs=1, poisoned_length="official").recipe(500)
    assert official.poisoned_length == "official"
    for wrong in (TrainConfig(), TrainConfig(steps=1, epochs=1)):
        with pytest.raises(UserError, match="give one of the two"):
            wrong.recipe(1000)


def smoke_values(**changes):
    config = config_of("mntd_mnist5k", "smoke")
    config.update_from_flattened_dict(
        {k.replace("__", "."): v for k, v in changes.items()}
    )
    return config.to_dict()


def test_execution_and_place_are_not_semantic():
    def semantic(**changes):
        return from_mapping(MNTDConfig, smoke_values(**changes)).semantic()

    plain = semantic()
    for formulation in FORMULATIONS:
        other = {"formulation": formulation, "data__path": "elsewhere"}
        assert semantic(**other, execution__width=3, execution__chunk_size=7) == plain
    for change in ("data__defender", "shadow__steps", "fit__hidden", "seed"):
        assert semantic(**{change: 17}) != plain
    assert semantic(shadow__precision="bfloat16") != plain


def test_values_take_the_type_of_their_field():
    values = smoke_values()
    values["fit"]["learning_rate"] = 1
    values["population"]["target_attacks"] = ["M"]
    values["variants"] = ["jumbo"]
    built = from_mapping(MNTDConfig, values)
    assert built.fit.learning_rate == 1.0
    assert type(built.fit.learning_rate) is float
    assert built.population.target_attacks == ("M",)
    assert built.variants == ("jumbo",)
    assert isinstance(built.data, DataConfig)
    assert isinstance(built.execution, Execution)
    assert isinstance(built.bootstrap, BootstrapConfig)
    del values["fit"]["nu"]
    assert from_mapping(MNTDConfig, values).fit.nu == FitConfig().nu


def drop(values, path):
    *parents, last = path.split(".")
    for name in parents:
        values = values[name]
    del values[last]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("fit.epoch", 3, r"config\.fit has no field 'epoch'; it has \['queries', "),
        ("oven", 3, r"config has no field 'oven'; it has \['task', 'seed', "),
        ("fit.epochs", "3", r"config\.fit\.epochs is '3', a str; it must be a int"),
        ("fit.epochs", 3.0, r"config\.fit\.epochs is 3\.0, a float"),
        ("fit.epochs", True, r"config\.fit\.epochs is True, a bool"),
        ("fit.epochs", None, r"config\.fit\.epochs is None, a NoneType"),
        ("fit.clip", 1, r"config\.fit\.clip is 1, a int; it must be a bool"),
        ("fit.nu", "x", r"config\.fit\.nu is 'x', a str; it must be a float"),
        ("fit.nu", True, r"config\.fit\.nu is True, a bool; it must be a float"),
        ("seed", 1.5, r"config\.seed is 1\.5"),
        ("data", 3, r"config\.data is 3; it must hold fields"),
        ("variants", "jumbo", r"config\.variants is 'jumbo'; it must be a list"),
        ("variants", 3, r"config\.variants is 3; it must be a list"),
        ("variants", ["jumbo", 3], r"config\.variants\[1\] is 3, a int"),
        (
            "population.locations",
            "some",
            r"config\.population\.locations is 'some'; there are \['all', 'official'\]",
        ),
        ("population.locations", ["all"], r"config\.population\.locations is \['all'"),
        ("formulation", "fast", r"config\.formulation is 'fast'; there are"),
        ("fit.epochs", 0, "epochs is 0; it must be at least 1"),
        ("population.shadows", 1, r"population\.shadows is 1; it must be at least 2"),
        ("population.target_attacks", [], "name one or more"),
        ("population.target_attacks", ["M", "M"], "each once"),
        ("population.target_attacks", ["benign"], "'benign' is no attack"),
        ("population.shadow_attack", "benign", "'benign' is no attack"),
        ("execution.chunk_size", -1, "chunk_size is -1; it must be 0 or more"),
        ("bootstrap.confidence", 95, "confidence=95"),
    ],
)
def test_a_wrong_value_is_named(path, value, message):
    values = smoke_values()
    *parents, last = path.split(".")
    place = values
    for name in parents:
        place = place[name]
    place[last] = value
    with pytest.raises(UserError, match=message) as error:
        from_mapping(MNTDConfig, values)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("path", ["task", "data.source", "population.shadows", "data"])
def test_a_missing_field_is_named(path):
    values = smoke_values()
    drop(values, path)
    with pytest.raises(UserError, match=f"config.{path} is missing"):
        from_mapping(MNTDConfig, values)


def test_choices_are_those_of_the_library():
    # What the configuration allows is what the attacks know.
    assert Locations.__args__ == ("all", "official")
    assert PopulationConfig(2, 2, 2).locations in Locations.__args__


# The file that --config names.


@pytest.mark.parametrize(
    "argv",
    [
        ["run", f"--config={SMOKE}", "--config.seed=3"],
        ["run", "--config", SMOKE, "--config.seed=3"],
        ["run", "--config.seed=3", f"-config={SMOKE}"],
        ["run", "--config.seed=3", "-config", SMOKE],
    ],
)
def test_the_file_is_taken_out_of_the_arguments(argv):
    config = common._load_config(argv, "no such default")
    assert isinstance(config, ConfigDict)
    assert config == config_of("mntd_mnist5k", "smoke")
    assert argv == ["run", "--config.seed=3"]


def test_without_a_file_the_default_is_taken():
    argv = ["run", "--config.seed=3", "--workdir=x"]
    config = common._load_config(argv, str(ROOT / "configs" / "mntd_mnist.py"))
    assert config == config_of("mntd_mnist")
    assert argv == ["run", "--config.seed=3", "--workdir=x"]


def test_a_file_of_the_users_own(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from configs import mntd_mnist5k\n"
        "def get_config(arg=''):\n"
        "    config = mntd_mnist5k.get_config(arg)\n"
        "    config.seed = 17\n"
        "    return config\n"
    )
    config = common._load_config(["run", f"--config={file}:smoke"], "none")
    assert (config.seed, config.population.shadows) == (17, 4)


# Mistakes, each in a process of its own; one that has imported all forks them.

DRIVER = """
import json, os, sys, traceback
from launch import common, mntd

def interrupted(config, workdir):
    raise KeyboardInterrupt

cases, folder = json.load(sys.stdin)
for i, argv in enumerate(cases):
    if not os.fork():
        for number, name in ((1, "out"), (2, "err")):
            flags = os.O_CREAT | os.O_WRONLY
            os.dup2(os.open(f"{folder}/{i}.{name}", flags), number)
        main = interrupted if argv[0] == "interrupt" else mntd.main
        sys.argv = ["mntd", *argv[1:]]
        code = 0
        try:
            common.launch(main, config="mntd_mnist5k.py", workdir=f"{folder}/run{i}")
        except SystemExit as end:
            code = end.code
        except BaseException:
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # an orderly end takes half a second
    _, status = os.wait()
    print(i, os.waitstatus_to_exitcode(status), flush=True)
"""

MISTAKES = {
    "--config=nope.py": r"no configuration file nope\.py; configs/ has \[.*'mntd_mnist",
    "--config=configs": "no configuration file configs;",
    "--config=": "no configuration file ;",
    "--config=configs/mntd_mnist.py:nope": r"unknown argument 'nope'.*'official'",
    "--config=README.md": r"README\.md is no Python file",
    "--config=bdjax/types.py": r"bdjax/types\.py has no get_config\(\)",
    "--config=pyproject.toml:smoke": r"pyproject\.toml is no Python file",
    "--config": "Missing value for flag --config",
    "--workdir": "Missing value for flag --workdir",
    "--nope=1": "Unknown command line flag 'nope'",
    "nope": r"unknown arguments \['nope'\]; options start with --",
    "--config.nope=1": r"config has no field 'nope'; it has \['architecture', ",
    "--config.fit.nope=1": r"config\.fit has no field 'nope'; it has \['answers', ",
    "--config.fit.epochs.x=1": r"config\.fit\.epochs has no field 'x'; it has \[\]",
    "--config.fit=1": r"flag --config\.fit=1: Failed to parse",
    "--config.fit.epochs=ten": r"flag --config\.fit\.epochs=ten: invalid literal",
    "--config.fit.epochs=1.5": r"flag --config\.fit\.epochs=1\.5: invalid literal",
    "--config.fit.clip=maybe": r"flag --config\.fit\.clip=maybe",
    "--config.fit.epochs": r"Missing value for flag --config\.fit\.epochs",
    "--config.fit.epochs=0": "epochs is 0; it must be at least 1",
    "--config.fit.mode=both": "unknown mode 'both'",
    "--config.task=chess": "unknown task 'chess'",
    "--config.variants=('jumbo','x')": "unknown variant 'x'",
    "--config.variants=()": "variants lack 'jumbo'",
    "--config.population.shadow_attack=Q": "unknown attack 'Q'",
    "--config.population.target_attacks=('M','Q')": "unknown attack 'Q'",
    "--config.population.locations=x": r"config\.population\.locations is 'x'",
    "--config.formulation=fast": r"config\.formulation is 'fast'",
    "--config.data.source=web": "'mnist' has no data source 'web'",
    "--config.data.source=npz": "source 'npz' reads a file: give its path",
    "--config.data.path=x": "reads no files, but a path is given",
    "--config.data.split=fair": "unknown split mode 'fair'",
    "--config.data.attacker=5000": "5000 training rows",
    "--config.shadow.epochs=3": "give one of the two",
    "--config.shadow.poisoned_length=x": "unknown poisoned_length 'x'",
    "--config.shadow.precision=fp8": r"precision.* 'fp8'; there are \['float32', 'tf",
    "--config.seed=-1": r"must be in \[0, 2\*\*32\)",
    "--config.execution.devices=99": "devices is 99; this machine has",
    "--workdir=README.md": r"README\.md is a file; choose a directory",
    "--workdir=README.md/run": r"README\.md/run/config\.json cannot be written: Not a",
    "--workdir=bdjax": r"bdjax is not empty and has no config\.json",
}


@pytest.fixture(scope="module")
def mistakes(tmp_path_factory):
    """What each mistake, and an interrupt, ended in."""
    folder = tmp_path_factory.mktemp("mistakes")
    cases = [["run", mistake] for mistake in MISTAKES] + [["interrupt"]]
    driver = subprocess.run(
        [sys.executable, "-c", DRIVER],
        input=json.dumps([cases, str(folder)]),
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "XDG_CACHE_HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    ended = dict(map(int, line.split()) for line in driver.stdout.splitlines())
    assert driver.returncode == 0, driver.stderr
    return {
        case[-1]: SimpleNamespace(
            status=ended[i],
            out=(folder / f"{i}.out").read_text(),
            err=(folder / f"{i}.err").read_text(),
        )
        for i, case in enumerate(cases)
    }


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line(mistake, mistakes):
    found = mistakes[mistake]
    assert "Traceback" not in found.out + found.err
    *before, last = found.err.splitlines()
    assert re.match(f"error: .*{MISTAKES[mistake]}", last), found.err
    assert found.status == 2
    assert found.out == ""
    # Only training had begun to say how far it is.
    if mistake == "--config.execution.devices=99":
        before = [line for line in before if not line.startswith("training 0/")]
    assert before == []


def test_an_interrupt_says_how_to_go_on(mistakes):
    found = mistakes["interrupt"]
    assert found.status == 130
    assert found.err == "interrupted; the same command goes on from here\n"


def test_as_a_user_types_it(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "launch.mntd", "--config.fit.nope=1"],
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(r"error: config\.fit has no field 'nope'.*\n", done.stderr)
