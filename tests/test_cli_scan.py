"""``bdjax scan`` as it is typed: options, statuses, files, and what ends it early."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import scan_reports

from bdjax.cli import arguments, scan
from bdjax.cli.answers import Answer, Watch
from bdjax.cli.arguments import UsageError, parse
from bdjax.types import UserError

ROOT = Path(__file__).parents[1]


# The command line.


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "arguments are required: NETWORK"),
        (["n", "--nope"], r"unknown arguments \['--nope'\]; see bdjax scan --help"),
        (["n", "m"], r"unknown arguments \['m'\]"),
        (["n", "--budget=0s"], "--budget: '0s' is no time; give one such as 60s, 2m"),
        (["n", "--budget=soon"], "'soon' is no time"),
        (["n", "--seed=-1"], "'-1' is not a number from 0 on"),
        (["n", "--format=pdf"], "invalid choice: 'pdf'"),
        (["n", "--access=all"], "invalid choice: 'all'"),
        (["n", "--layout=HWC"], "invalid choice: 'HWC'"),
        (["n", "--fail-on=benign"], "'benign' is none of trojaned, inconclusive"),
        (["n", "--fail-on=never,trojaned"], "none of trojaned"),
        (["n", "--value-range", "0"], "--value-range: expected 2 arguments"),
        (["n", "--value-range", "0", "x"], "'x' is no number"),
        (["n", "--mean=0.5,inf"], "'inf' is no number"),
        (["n", "--shape=32,0"], "'0' is not a number from 1 on"),
        (["n", "--num-classes=1"], "'1' is not a number from 2 on"),
        (["n", "--batch=0"], "'0' is not a number from 1 on"),
        (["n", "--rate=0"], "'0' is not above 0"),
    ],
)
def test_a_mistake_in_the_line_is_one_line_and_64(argv, message):
    with pytest.raises(UsageError, match=message) as error:
        parse(["scan", *argv])
    assert "\n" not in str(error.value)
    assert error.value.status == 64


@pytest.mark.parametrize("mistake", ["--detectors=dl_tnd,nope", "--preprocess=nope"])
def test_names_that_there_are_none_of_are_mistakes_in_the_line(mistake):
    with pytest.raises(UsageError, match=r"unknown .* 'nope'; there are") as error:
        scan.run(parse(["scan", "n", mistake]))
    assert error.value.status == 64


@pytest.mark.parametrize(
    "mistake",
    [["--std=0"], ["--value-range", "1", "1"], ["--preprocess=mnist", "--mean=1"]],
)
def test_readings_that_make_no_sense_are_mistakes_in_the_line(mistake):
    with pytest.raises(UsageError) as error:
        scan.run(parse(["scan", "n", *mistake]))
    assert error.value.status == 64


def test_an_answer_is_told_where_its_file_cannot_be_written(
    tmp_path, capsys, monkeypatch
):
    gone = tmp_path / "a.json"

    def scanned(*args, **options):
        gone.mkdir()  # while it was scanned
        return scan_reports.trojaned()

    monkeypatch.setattr(scan.scanning, "scan", scanned)
    with pytest.raises(OSError, match=r"a\.json"):
        scan.run(parse(["scan", "n", f"--out={gone}"]))
    printed = capsys.readouterr().out
    assert printed.startswith("TROJANED")
    assert "Written" not in printed


def test_a_mistake_in_the_line_of_calibrate_is_64_and_of_others_2():
    for argv, status in (
        (["calibrate", "n"], 64),
        (["calibrate", "n", "--out=x", "--false-alarms=1"], 64),
        (["nope"], 2),
        (["run", "x", "--workdir"], 2),
    ):
        with pytest.raises(UsageError) as error:
            parse(argv)
        assert error.value.status == status


def test_options_are_read():
    line = (
        "scan n.onnx --budget 1.5m --detectors dl_tnd:per_class=1,mask=channel,df_tnd "
        "--value-range -1 1 --mean 0.4,0.5,0.6 --shape 3,32,32 --fail-on never "
        "--out a.html --out b.json"
    )
    options = parse(line.split())
    assert options.budget == 90
    assert options.detectors == ("dl_tnd:per_class=1,mask=channel", "df_tnd")
    assert options.value_range == [-1, 1]
    assert options.mean == (0.4, 0.5, 0.6)
    assert options.shape == (3, 32, 32)
    assert options.fail_on == ()
    assert options.out == ["a.html", "b.json"]
    times = {"7": 7, "60s": 60, "2m": 120, "0.5 min": 30, "1h": 3600}
    for text, seconds in times.items():
        assert parse(["scan", "n", f"--budget={text}"]).budget == seconds
    assert parse(["scan", "n"]).fail_on == ("trojaned", "inconclusive")


def test_help_leads_with_examples(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for command in ("scan", "calibrate"):
        with pytest.raises(SystemExit):
            parse([command, "--help"])
        text = capsys.readouterr().out
        assert text.index(f"\n  bdjax {command} n") < text.index("\nimages:")
        assert max(map(len, text.splitlines())) <= 81  # as it is written


def test_the_first_help_leads_with_scanning():
    text = arguments._INTRO
    assert text.index("bdjax scan net.onnx") < text.index("bdjax run")
    assert next(iter(arguments._COMMANDS)) == "scan"


# What is written, printed, and exited with.


def answer(*argv):
    return Answer.asked(parse(["scan", "n", *map(str, argv)]))


def test_what_is_exited_with():
    reports = [
        scan_reports.MADE[name]()
        for name in ("not_flagged", "trojaned", "inconclusive")
    ]
    for fail_on, statuses in (
        ("trojaned,inconclusive", [0, 1, 2]),
        ("trojaned", [0, 1, 0]),
        ("inconclusive", [0, 0, 2]),
        ("never", [0, 0, 0]),
    ):
        asked = answer(f"--fail-on={fail_on}")
        assert list(map(asked.status, reports)) == statuses


def test_files_are_what_their_names_say(tmp_path, capsys):
    report = scan_reports.trojaned()
    files = [tmp_path / "new" / f"a.{end}" for end in ("html", "json", "sarif", "txt")]
    asked = answer(*(f"--out={file}" for file in files))
    asked.write(report)
    html, plain, sarif, text = (file.read_text() for file in files)
    assert html.startswith("<!DOCTYPE html>")
    assert json.loads(plain)["conclusion"] == "trojaned"
    assert json.loads(sarif)["version"] == "2.1.0"
    assert text.startswith("TROJANED")
    asked.show(report)
    printed = capsys.readouterr().out
    assert printed.startswith("TROJANED")
    assert printed.endswith(f"Written: {files[-1]}\n")


def test_what_is_printed(tmp_path, capsys):
    report = scan_reports.trojaned()

    def shown(*argv):
        asked = answer(*argv)
        asked.show(report)
        return asked, capsys.readouterr().out

    assert json.loads(shown("--format=json")[1])["target"] == 3
    # One that says JSON is printed beside a file of HTML ...
    assert shown("--format=json", f"--out={tmp_path}/a.html")[1].startswith("{")
    # ... but not beside one of JSON, nor where a file's name tells nothing.
    for name in ("a.json", "a"):
        asked, printed = shown("--format=json", f"--out={tmp_path}/{name}")
        assert printed.startswith("TROJANED")
        assert [form for _, form in asked.files] == ["json"]
    line = shown("--quiet")[1]
    assert line.count("\n") == 1
    assert "Trojaned, toward label 3" in line


def test_files_that_cannot_be_written_are_told_before_any_work(tmp_path):
    with pytest.raises(UsageError, match=r"--out: the name 'a\.pdf' tells no format"):
        answer(f"--out={tmp_path}/a.pdf")
    (tmp_path / "d.json").mkdir()
    with pytest.raises(UserError, match="is a directory; give a file in it"):
        answer(f"--out={tmp_path}/d.json")
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        answer(f"--out={tmp_path}/file/a.json")


def test_a_budget_that_runs_out_at_the_end_leaves_the_answer_alone():
    with Watch(answer(), 60, time.monotonic()) as watch:
        pass
    watch._over()  # too late: else it would end this process


# What ends a scan early: a budget that runs out amid a step, and signals.

STUCK = """
import ctypes, dataclasses, signal, sys
from bdjax import scanning
from bdjax.cli import answers
import scan_reports

def stuck(network, *, watch, **given):
    if network == "bug":
        raise RuntimeError("of bdjax")
    watch(scan_reports.inconclusive())
    watch(dataclasses.replace(scan_reports.MADE[network](), reasons=()))
    print("told", file=sys.stderr, flush=True)
    sleep, nap = ctypes.CDLL(None).nanosleep, (ctypes.c_long * 2)(60, 0)
    while True:
        sleep(nap)

scanning.scan, answers._LEAST_GRACE = stuck, 0.5
signal.signal(signal.SIGINT, signal.SIG_DFL)  # whatever the tests' shell ignores
from bdjax.cli import main
main(sys.argv[1:])
"""


@pytest.fixture
def stuck(tmp_path):
    """Starts a scan that tells a made-up report, and never comes back."""
    started = []

    def start(*argv):
        process = subprocess.Popen(
            [sys.executable, "-c", STUCK, "scan", *map(str, argv)],
            cwd=tmp_path,
            env=os.environ
            | {
                "JAX_PLATFORMS": "cpu",
                "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_budget_is_kept_amid_a_step(stuck, tmp_path):
    before = time.monotonic()
    process = stuck("not_flagged", "--budget=2s", "--out=a.json", "--out=a.html")
    out, err = process.communicate(timeout=60)
    # Beside it, what starting Python takes on a busy machine.
    assert 2.5 <= time.monotonic() - before < 15
    assert process.returncode == 2, err
    assert out.startswith("INCONCLUSIVE")
    *_, last = err.splitlines()
    assert last == (
        "the budget of 2 s ran out amid a step; what was known by then is in the report"
    )
    kept = json.loads((tmp_path / "a.json").read_text())
    assert kept["reasons"] == ["the budget of 2 s ran out amid a step"]
    assert [d["name"] for d in kept["detectors"] if d["score"] is not None]
    assert (tmp_path / "a.html").stat().st_size


@pytest.mark.parametrize(
    ("made", "signum", "status"),
    [("not_flagged", signal.SIGINT, 2), ("trojaned", signal.SIGTERM, 1)],
)
def test_a_signal_leaves_what_is_done(stuck, tmp_path, made, signum, status):
    process = stuck(made, "--format=json", "--fail-on=trojaned")
    before = ""
    while not before.endswith("told\n"):
        before += process.stderr.readline()
        assert process.poll() is None, before
    assert before.startswith(
        "models/resnet20.onnx (ONNX), asked as 0..1, NCHW, RGB: 31.0% of"
    )
    assert "\nDL-TND: " in before
    process.send_signal(signum)
    out, err = process.communicate(timeout=30)
    assert process.returncode == status, err
    word = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}[signum]
    assert err == f"{word}; what was known by then is in the report\n"
    kept = json.loads(out)
    told = kept["reasons"] if status == 2 else kept["notes"][-1:]
    assert re.match(f"the scan was {word}", *told)


def test_a_bug_does_not_look_like_a_trojan(stuck):
    process = stuck("bug")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert err.startswith("Traceback")
    last = "error: RuntimeError; please report it, it is bdjax's"
    assert err.splitlines()[-1] == last
