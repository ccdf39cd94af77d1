"""The command: help at once, commands as they are typed, one line for every mistake."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import launch
from bdjax.cli import arguments, common, main
from bdjax.cli.arguments import UsageError, parse

ROOT = Path(__file__).parents[1]
COMMANDS = tuple(arguments._COMMANDS)


def typed(*argv, module="bdjax", **environment):
    """What a user sees of a command."""
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, argv)],
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "COLUMNS": "300"} | environment,
        capture_output=True,
        text=True,
        timeout=600,
    )


# Help, and what is asked for.


def test_help_imports_nothing_heavy():
    code = "import sys, bdjax.cli; bdjax.cli.main(sys.argv[1:])"
    check = "import atexit, sys; atexit.register(lambda: print(*sys.modules));"
    for argv in (["--help"], ["run", "--help"], ["bench", "--nope"]):
        done = subprocess.run(
            [sys.executable, "-c", check + code, *argv],
            cwd=ROOT, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == (2 if "--nope" in argv else 0)
        modules = set(done.stdout.splitlines()[-1].split())
        assert "argparse" in modules
        assert not modules & {"jax", "numpy", "rich", "bdjax.types"}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: bdjax {command} ")
    assert max(map(len, text.splitlines())) < 90


def test_the_first_help_names_all_commands(capsys):
    for argv in ([], ["--help"]):
        with pytest.raises(SystemExit) as end:
            main(argv)
        text = capsys.readouterr().out
        assert all(re.search(rf"^    {c}\b", text, re.MULTILINE) for c in COMMANDS)
        assert "bdjax run mntd_mnist5k:smoke" in text
        assert end.value.code == (0 if argv else 2)


def test_fields_are_left_for_the_experiment():
    options = parse(["run", "mntd_mnist5k:smoke", "--seed=3", "--zoo.data.test=9"])
    assert (options.command, options.experiment) == ("run", "mntd_mnist5k:smoke")
    assert options.overrides == ["--seed=3", "--zoo.data.test=9"]
    options.workdir = ""
    experiment, workdir = common.experiment_of(options)
    assert (experiment.seed, experiment.zoo.data.test) == (3, 9)
    assert workdir == Path("runs/mntd_mnist5k-smoke")
    # A command that runs alone has no job.
    assert not hasattr(parse(["report", "runs/x"]), "coordinator")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["nope"], "invalid choice: 'nope'"),
        (["run", "x", "--workdir"], "argument --workdir: expected one argument"),
        (
            ["run", "--seed=3"],
            r"unknown arguments \['--seed=3'\]; see bdjax run --help",
        ),
        (
            ["bench", "--nope"],
            r"unknown arguments \['--nope'\]; see bdjax bench --help",
        ),
        (["bench", "--budget=x"], "argument --budget: invalid float value: 'x'"),
        (["report"], "arguments are required: RUN"),
        (["report", "a", "b"], r"unknown arguments \['b'\]"),
        (["sweep", "x", "--sizes=8,x"], "'8,x' are not whole numbers, such as 8,16"),
        (["population"], "arguments are required: EXPERIMENT"),
        (["export", "x", "--out=y"], "arguments are required: --ids"),
        (["export", "x", "--ids=3"], "arguments are required: --out"),
        (["import", "x"], "arguments are required: --out"),
        (["merge", "x", "y"], "arguments are required: --out"),
        (["inspect", "x", "--out=y"], r"unknown arguments \['--out=y'\]"),
        (["run", "x", "--start_seconds=0"], "'0' is not a number from 1 on"),
        (["run", "x", "--heartbeat_seconds=9"], "'9' is not a number from 10 on"),
    ],
)
def test_a_wrong_command_line_is_one_line(argv, message):
    with pytest.raises(UsageError, match=message) as error:
        parse(argv)
    assert "\n" not in str(error.value)


def test_launchers_translate(monkeypatch):
    asked = []
    monkeypatch.setattr(launch, "main", asked.append)
    for argv, expected in (
        (
            ["--config=configs/a.py:smoke", "--config.seed=3"],
            ["a.py:smoke", "--seed=3"],
        ),
        (["--config", "configs/a.py", "--workdir=x"], ["a.py", "--workdir=x"]),
        (["--repair"], ["default", "--repair"]),
    ):
        monkeypatch.setattr(sys, "argv", ["launch", *argv])
        launch.translate("run", "default")
        command, first, *rest = asked.pop()
        assert [first.removeprefix("configs/"), *rest] == expected
        assert command == "run"
    for path in (ROOT / "launch").glob("*.py"):
        assert len(path.read_text().splitlines()) <= 26


# Mistakes, each in a process of its own; one that has imported all forks them.

DRIVER = """
import json, os, sys, traceback
import bdjax.cli.run
from bdjax.cli import common, main

def interrupted():
    raise KeyboardInterrupt

cases, folder = json.load(sys.stdin)
for i, argv in enumerate(cases):
    if not os.fork():
        for number, name in ((1, "out"), (2, "err")):
            flags = os.O_CREAT | os.O_WRONLY
            os.dup2(os.open(f"{folder}/{i}.{name}", flags), number)
        code = 0
        try:
            if argv == ["interrupt"]:
                common.guarded(interrupted)
            else:
                main(argv)
        except SystemExit as end:
            code = end.code
        except BaseException:
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code or 0)  # an orderly end takes half a second
    _, status = os.wait()
    print(i, os.waitstatus_to_exitcode(status), flush=True)
"""

SMOKE = "mntd_mnist5k:smoke"
# What was typed after it -> what is said; more of them in test_overrides.py.
MISTAKES = {
    "wrong": r"unknown argument 'wrong'; options start with --",
    "--nope=1": r"the experiment has no field 'nope'; it has \['zoo', ",
    "--fit.nope=1": r"fit has no field 'nope'; it has \['queries', ",
    "--fit.epochs=ten": r"--fit\.epochs is 'ten'; it must be of type int",
    "--fit.epochs": r"--fit\.epochs has no value",
    "--fit.epochs=0": "epochs is 0; it must be at least 1",
    "--fit.mode=both": "mode is 'both'|unknown mode 'both'",
    "--zoo.task=chess": "unknown task 'chess'",
    "--detectors=mntd,x": "unknown detector 'x'",
    "--detectors=mndt": r"unknown detector 'mndt'; did you mean 'mntd'\? There are",
    "--zoo.groups.shadow.networks=lenet,kim_cnn": (
        r"network 'kim_cnn' cannot read images of shape \(28, 28, 1\), which task "
        r"'mnist' is of; there are \['mntd_cifar_cnn', .*'series_lstm'\]"
    ),
    "--zoo.groups.shadow.networks=mntd_speech_lstm": "'mntd_speech_lstm' cannot read",
    "--zoo.groups.target.attacks=benign,M,Q": "unknown attack 'Q'",
    "--zoo.data.source=web": "'mnist' has no data source 'web'",
    "--zoo.data.source=npz": r"reads a file: give its path \(--zoo\.data\.path=F",
    "--zoo.data.path=x": "reads no files, but a path is given",
    "--zoo.data.split=fair": "split.* 'fair'",
    "--zoo.data.attacker=5000": "5000 training rows",
    "--zoo.groups.shadow.recipes.poisoned_length=x": "poisoned_length.* 'x'",
    "--zoo.groups.recipes.precision=fp8": r"precision.* 'fp8'; there are \['float32'",
    "--seed=-1": r"\[0, 2\*\*32\)|seed is -1",
    "--execution.devices=99": "devices is 99; this machine has",
    "--workdir=README.md": r"README\.md is a file; choose a directory",
    "--workdir=README.md/run": r"README\.md/run/experiment\.json cannot be written: No",
    "--workdir=bdjax": r"bdjax is not empty and has no experiment\.json",
}


@pytest.fixture(scope="module")
def mistakes(tmp_path_factory):
    """What each mistake, and an interrupt, ended in."""
    folder = tmp_path_factory.mktemp("mistakes")
    cases = [
        ["run", SMOKE, *([] if "workdir" in m else [f"--workdir={folder}/run{i}"]), m]
        for i, m in enumerate(MISTAKES)
    ]
    cases += [["run"], ["run", "nope"], ["interrupt"]]
    driver = subprocess.run(
        [sys.executable, "-c", DRIVER],
        input=json.dumps([cases, str(folder)]),
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
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
    *before, last = found.err.splitlines()
    assert re.match(f"error: .*({MISTAKES[mistake]})", last), found.err
    assert found.status == 2
    assert found.out == ""
    # Only training had begun to say how far it is.
    if mistake == "--execution.devices=99":
        before = [line for line in before if not line.startswith("training 0/")]
    assert before == []


def test_an_experiment_must_be_named(mistakes):
    assert mistakes["run"].err.startswith(
        "error: no experiment is named; see bdjax run"
    )
    assert "no configuration 'nope'; there are [" in mistakes["nope"].err
    assert mistakes["run"].status == mistakes["nope"].status == 2


def test_an_interrupt_says_how_to_go_on(mistakes):
    found = mistakes["interrupt"]
    assert found.status == 130
    assert found.err == "interrupted; the same command goes on from here\n"


def test_as_a_user_types_it():
    done = typed("--config.fit.nope=1", module="launch.mntd")
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"error: fit has no field 'nope'.*\n", done.stderr)
    done = typed("run", "--list")
    assert done.returncode == 0, done.stderr
    assert re.search(
        r"^mntd_mnist5k +MNTD on the 5,000 real", done.stdout, re.MULTILINE
    )
    assert all(len(line.split()) > 2 for line in done.stdout.splitlines())


@pytest.mark.slow
def test_a_run_its_report_and_a_sweep(tmp_path):
    workdir = tmp_path / "run"
    done = typed("run", SMOKE, f"--workdir={workdir}", "--fit.epochs=1")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.splitlines()[-1].endswith(f"Report: {workdir / 'report.html'}.")
    first = (workdir / "results.json").read_bytes()
    (workdir / "results.json").unlink()
    done = typed("report", workdir)
    assert done.returncode == 0, done.stderr
    assert (workdir / "results.json").read_bytes() == first
    done = typed("sweep", SMOKE, f"--workdir={workdir}", "--fit.epochs=1", "--sizes=4")
    assert done.returncode == 0, done.stderr
    assert re.search(r"\bmntd\W+shadows=4", (workdir / "scores.csv").read_text())


# What a user imports.


def test_public_names_are_there_and_lazy():
    code = (
        "import sys, bdjax; before = 'jax' in sys.modules;"
        "names = [getattr(bdjax, n) for n in bdjax.__all__ if n != '__version__'];"
        "print(before, all(map(callable, names)), set(bdjax.__all__) <= {*dir(bdjax)})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.split() == ["False", "True", "True"], done.stderr
    assert (ROOT / "bdjax" / "py.typed").exists()
