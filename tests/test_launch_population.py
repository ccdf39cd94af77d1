"""The launcher of populations: trains, extends, repairs, tells, converts."""

# Fixtures are imported by name.
# ruff: noqa: F401, F811

import dataclasses
import importlib
import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from stored import (
    assert_same_bits,
    copied,
    edit_json,
    flip,
    made,
    parts,
    stamps,
    trained,
)
from tiny import (
    EXAMPLES,
    assert_close,
    content,
    tiny_tasks,
)

from bdjax.experiments import inventory
from bdjax.population import (
    inspect_population,
    load_population,
)
from bdjax.types import UserError
from launch import population as launcher


def launch(workdir, config=None, **options):
    """What it printed, and whether all was well."""
    out = io.StringIO()
    console = Console(file=out, width=200)
    well = launcher.run(config, workdir, launcher.Options(**options), console)
    return out.getvalue(), well


@pytest.fixture
def config(tmp_path):
    """An experiment of tiny networks on the user's own data."""
    file = tmp_path / "data.npz"
    np.savez(file, x_train=EXAMPLES.x, y_train=EXAMPLES.y)
    config = importlib.import_module("configs.mntd_mnist5k").get_config("smoke")
    config.task = "tiny"
    config.data.update(source="npz", path=str(file), defender=30, attacker=30, test=17)
    config.shadow.update(steps=9, batch_size=8)
    return config


def test_the_launcher_trains_extends_inspects_and_repairs(config, tmp_path, trained):
    workdir = tmp_path / "run"
    launch(workdir, config, only=("shadow-jumbo", "validation-jumbo"))
    assert trained == [2, 2, 2]
    launch(workdir, config, only=("shadow-jumbo",), ids="4:7")
    assert trained == [2, 2, 2, 2, 2]
    directory = workdir / "populations" / "shadow-jumbo"
    population = load_population(directory)
    assert population.ids_M.tolist() == list(range(7))
    text, well = launch(workdir, info=str(workdir))
    assert well
    assert re.search(r"shadow-jumbo +│ +7 of 7 │ +0 │ +0 │ +0 │ +\d\.\d{3} \d", text)
    assert re.search(r"validation-jumbo +│ +2 of 2", text)
    for line in (
        "shadow-jumbo in .*: models 0 to 6",
        r"target labels \(models\): \d: \d, ",
        "recipe: task tiny, role shadow, attack jumbo, recipe.steps 9,.* data.source",
        "begun with python .*jax",
        "every chunk that is there was read and is whole",
    ):
        assert re.search(line, text), line

    flip(directory / "chunks" / "1")
    shutil.rmtree(directory / "chunks" / "0")
    text, well = launch(workdir, info=str(directory))
    assert not well
    assert re.search(r"shadow-jumbo +│ +3 of 7 │ +1 │ +1 │", text)
    assert "missing chunks: 0; resume the training" in text
    assert re.search(r"damaged chunk 1 \(models 2 to 3\): ", text)
    before = stamps(directory, 0, 1)
    text, _ = launch(workdir, config, only=("shadow-jumbo",), ids="0:7", repair=True)
    assert re.search(r"discarded shadow-jumbo chunk 1 \(models 2 to 3\): .", text)
    assert trained == [2] * 7
    assert_close(content(load_population(directory)), content(population))
    assert stamps(directory, 0, 1) == before
    text, _ = launch(workdir, config, only=("shadow-jumbo",), repair=True)
    assert "shadow-jumbo: no damage in what is there" in text
    # One manifest at fault does not hide the other populations.
    edit_json(directory / "manifest.json", schema=99)
    text, well = launch(workdir, info=str(workdir))
    assert not well
    assert "schema 99 comes from a newer bdjax" in text
    assert re.search(r"validation-jumbo +│ +2 of 2", text)
    with pytest.raises(UserError, match="schema 99 comes from a newer bdjax"):
        launch(workdir, info=str(directory))
    with pytest.raises(UserError, match="schema 99 comes from a newer bdjax"):
        launch(workdir, config, only=("shadow-jumbo",), repair=True)


def test_the_launcher_exports_imports_and_merges(made, parts, tmp_path):
    out, p, q = (str(tmp_path / name) for name in "opq")
    text, _ = launch(tmp_path, export=str(made[0]), ids="1:3", out=out)
    assert text == f"exported 2 models to {out}\n"
    text, _ = launch(tmp_path, import_=out, out=p)
    assert text == f"imported 2 models to {p}\n"
    assert_same_bits(load_population(p).variables, made[1][1:3].variables)
    text, _ = launch(tmp_path, info=p)
    assert re.search(r"models \(2\), recipes \(1\)", text)
    sources = (str(parts / "a"), str(parts / "b"))
    text, _ = launch(tmp_path, merge=sources, out=q)
    assert text == f"{q} has models 0 to 5\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"info": "x", "out": "y"}, "--out does not go with --info; leave one out"),
        ({"info": "x", "merge": ("y",)}, "--merge does not go with --info"),
        ({"export": "x", "repair": True, "out": "y"}, "--repair does not go with --ex"),
        ({"import_": "x", "only": ("a",), "out": "y"}, "--only does not go with --im"),
        ({"out": "y"}, "--out does not go with training"),
        ({"merge": ("x", "y")}, "--merge needs --out=DIRECTORY"),
        ({"import_": "x"}, "--import needs --out=DIRECTORY"),
        ({"export": "x", "out": "y"}, "--export needs --ids, such as"),
        ({"ids": "3"}, "--ids needs --only"),
    ],
)
def test_flags_that_do_not_go_together(options, message):
    with pytest.raises(UserError, match=message):
        launcher.Options(**options)


def test_ids_are_one_or_a_range():
    assert launcher.parse_ids("17") == range(17, 18)
    assert launcher.parse_ids("17:20") == range(17, 20)
    for text in ("", "a", "-1", "3:", ":3", "3:3", "5:3", "1:2:3", "1,2"):
        with pytest.raises(UserError, match="--ids is"):
            launcher.parse_ids(text)


def test_populations_are_found(made, tmp_path):
    assert inventory.find(made[0]) == [made[0]]
    for name in "ba":
        (tmp_path / "populations" / name).mkdir(parents=True)
    assert [p.name for p in inventory.find(tmp_path)] == ["a", "b"]
    with pytest.raises(UserError, match="no populations in"):
        inventory.find(tmp_path / "populations" / "a")


def test_long_lists_are_told_in_short(made):
    summary = inspect_population(made[0])
    many = dataclasses.replace(summary, missing=[3, 5, 6, 7, *range(10, 60, 2)])
    [line] = [line for line in inventory.lines(many) if "missing" in line]
    assert "missing chunks: 3, 5 to 7, 10, 12, " in line
    assert "and more, 29 in all; resume" in line
    assert len(line) < 120
    everywhere = dataclasses.replace(
        summary,
        target_M=np.r_[np.arange(43), 0, 0].astype(np.int32),
        trojaned_M=np.ones(45, bool),
    )
    assert any("43 labels, 1 to 3 each" in line for line in inventory.lines(everywhere))


def test_the_command_line(copied):
    flip(copied / "chunks" / "1")

    def command(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "launch.population", *arguments],
            cwd=Path(__file__).parents[1],
            capture_output=True,
            text=True,
        )

    done = command(f"--info={copied}")
    assert done.returncode == 1, done.stderr
    assert "damaged chunk 1 (models 2 to 3)" in done.stdout
    assert "Traceback" not in done.stderr
    done = command("--import=x")
    assert done.returncode == 2
    assert done.stderr == "error: --import needs --out=DIRECTORY to write to\n"
    done = command("--help")
    for name in ("only", "ids", "repair", "info", "export", "import", "merge", "out"):
        assert f"\n  --{name} " in done.stdout
