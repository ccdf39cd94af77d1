"""``bdjax population`` and its tools: trains, extends, repairs, tells, converts."""

# Fixtures are imported by name.
# ruff: noqa: F401, F811

import dataclasses
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
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

from bdjax.cli import arguments, population
from bdjax.population import (
    inspect_population,
    load_population,
)
from bdjax.types import UserError


@pytest.fixture
def command(monkeypatch, capsys):
    """Carries out a command; gives what it printed, and whether all was well."""
    monkeypatch.setattr("bdjax.cli.population._leave_devices", lambda: None)

    def run(*argv):
        options = arguments.parse(list(map(str, argv)))
        name = {"population": "train", "import": "import_"}
        well = True
        try:
            getattr(population, name.get(argv[0], argv[0]))(options)
        except SystemExit as end:
            well = not end.code
        return capsys.readouterr().out, well

    return run


@pytest.fixture
def mine(tmp_path):
    """An experiment of tiny networks on the user's own data, as arguments."""
    np.savez(tmp_path / "data.npz", x_train=EXAMPLES.x, y_train=EXAMPLES.y)
    return (
        "mntd_mnist5k:smoke", "--zoo.task=tiny", "--zoo.data.source=npz",
        f"--zoo.data.path={tmp_path / 'data.npz'}", "--zoo.data.defender=30",
        "--zoo.data.attacker=30", "--zoo.data.test=17", "--zoo.groups.recipes.steps=9",
        "--zoo.groups.recipes.batch_size=8", f"--workdir={tmp_path / 'run'}",
    )  # fmt: skip


def test_a_population_is_trained_extended_inspected_and_repaired(
    command, mine, tmp_path, trained
):
    workdir = tmp_path / "run"
    command("population", *mine, "--only=shadow-jumbo,validation-jumbo")
    assert trained == [2, 2, 2]
    command("population", *mine, "--only=shadow-jumbo", "--ids=4:7")
    assert trained == [2, 2, 2, 2, 2]
    directory = workdir / "populations" / "shadow-jumbo"
    first = load_population(directory)
    assert first.ids_M.tolist() == list(range(7))
    text, well = command("inspect", workdir)
    assert well
    assert re.search(r"shadow-jumbo +│ +7 of 7 │ +0 │ +0 │ +0 │ +\d\.\d{3} \d", text)
    assert re.search(r"validation-jumbo +│ +2 of 2", text)
    for line in (
        "shadow-jumbo in .*: models 0 to 6",
        r"target labels \(models\): \d: \d, ",
        "recipe: .*attack jumbo.*recipe.steps 9,.* data.source",
        "begun with python .*jax",
        "every chunk that is there was read and is whole",
    ):
        assert re.search(line, text), line

    flip(directory / "chunks" / "1")
    shutil.rmtree(directory / "chunks" / "0")
    text, well = command("inspect", directory)
    assert not well
    assert re.search(r"shadow-jumbo +│ +3 of 7 │ +1 │ +1 │", text)
    assert "missing chunks: 0; resume the training" in text
    assert re.search(r"damaged chunk 1 \(models 2 to 3\): ", text)
    before = stamps(directory, 0, 1)
    only = (*mine, "--only=shadow-jumbo", "--repair")
    text, _ = command("population", *only, "--ids=0:7")
    assert re.search(r"discarded shadow-jumbo chunk 1 \(models 2 to 3\): .", text)
    assert trained == [2] * 7
    assert_close(content(load_population(directory)), content(first))
    assert stamps(directory, 0, 1) == before
    text, _ = command("population", *only)
    assert "shadow-jumbo: no damage in what is there" in text
    # One manifest at fault does not hide the other populations.
    edit_json(directory / "manifest.json", schema=99)
    text, well = command("inspect", workdir)
    assert not well
    assert "schema 99 comes from a newer bdjax" in text
    assert re.search(r"validation-jumbo +│ +2 of 2", text)
    with pytest.raises(UserError, match="schema 99 comes from a newer bdjax"):
        command("inspect", directory)
    with pytest.raises(UserError, match="schema 99 comes from a newer bdjax"):
        command("population", *only)


def test_what_a_population_cannot_be_asked(command, mine):
    for argv, message in (
        (["--ids=3"], "--ids needs --only"),
        (["--only=shadow-x"], r"no population 'shadow-x' in this.*\['shadow-benign', "),
    ):
        with pytest.raises(UserError, match=message):
            command("population", *mine, *argv)


def test_models_are_exported_imported_and_merged(command, made, parts, tmp_path):
    out, p, q = (str(tmp_path / name) for name in "opq")
    text, _ = command("export", made[0], "--ids=1:3", f"--out={out}")
    assert text == f"exported 2 models to {out}\n"
    text, _ = command("import", out, f"--out={p}")
    assert text == f"imported 2 models to {p}\n"
    assert_same_bits(load_population(p).variables, made[1][1:3].variables)
    text, _ = command("inspect", p)
    assert re.search(r"models \(2\), recipes \(1\)", text)
    text, _ = command("merge", parts / "a", parts / "b", f"--out={q}")
    assert text == f"{q} has models 0 to 5\n"


def test_ids_are_one_or_a_range():
    assert population.parse_ids("17") == range(17, 18)
    assert population.parse_ids("17:20") == range(17, 20)
    for text in ("", "a", "-1", "3:", ":3", "3:3", "5:3", "1:2:3", "1,2"):
        with pytest.raises(UserError, match="--ids is"):
            population.parse_ids(text)


def test_populations_are_found(made, tmp_path):
    assert population.found_in(made[0]) == [made[0]]
    for name in "ba":
        (tmp_path / "populations" / name).mkdir(parents=True)
    assert [p.name for p in population.found_in(tmp_path)] == ["a", "b"]
    with pytest.raises(UserError, match="no populations in"):
        population.found_in(tmp_path / "populations" / "a")


def test_long_lists_are_told_in_short(made):
    summary = inspect_population(made[0])
    many = dataclasses.replace(summary, missing=[3, 5, 6, 7, *range(10, 60, 2)])
    [line] = [line for line in population.lines_of(many) if "missing" in line]
    assert "missing chunks: 3, 5 to 7, 10, 12, " in line
    assert "and more, 29 in all; resume" in line
    assert len(line) < 120
    everywhere = dataclasses.replace(
        summary,
        target_M=np.r_[np.arange(43), 0, 0].astype(np.int32),
        trojaned_M=np.ones(45, bool),
    )
    assert any(
        "43 labels, 1 to 3 each" in line for line in population.lines_of(everywhere)
    )


def test_the_command_line(copied):
    flip(copied / "chunks" / "1")
    code = "import tiny; tiny.register(); from bdjax.cli import main; main()"
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", code, "inspect", copied],
        cwd=here,
        env=os.environ | {"PYTHONPATH": f"{here}:{here.parent}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stderr
    assert "damaged chunk 1 (models 2 to 3)" in done.stdout
    assert "Traceback" not in done.stderr
