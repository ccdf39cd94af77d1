"""Progress on and off a terminal, JSON lines over kills, times."""

import io
import json
import time

import numpy as np
import pytest

from bdjax import telemetry
from bdjax.types import UserError


class FakeClock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now

    def wait(self, seconds):
        self.now += seconds


class Terminal(io.StringIO):
    def isatty(self):
        return True


def run_progress(steps, *, stream=None, total=160, **kwargs):
    """Advances by steps of (seconds, units, fields); returns what was printed."""
    clock = FakeClock()
    stream = io.StringIO() if stream is None else stream
    with telemetry.progress(
        "training shadows",
        total=total,
        unit="models",
        stream=stream,
        clock=clock,
        **kwargs,
    ) as bar:
        for seconds, units, fields in steps:
            clock.wait(seconds)
            bar.advance(units, **fields)
    return stream.getvalue()


def test_lines_where_there_is_no_terminal():
    # The first step compiles for 9 s, then 8 models a second.
    steps = [(9, 8, {})] + [(1, 8, {"loss": 0.123456})] * 19
    assert run_progress(steps).splitlines() == [
        "training shadows 16/160 models, 8 models/s, 18 s left, loss 0.123",
        "training shadows 96/160 models, 8 models/s, 8.0 s left, loss 0.123",
        "training shadows 160/160 models in 28 s, 8 models/s, loss 0.123",
    ]


def test_short_work_prints_one_line():
    printed = run_progress([(0.5, 4, {})] * 2, total=8)
    assert printed == "training shadows 8/8 models in 1.0 s, 8 models/s\n"


def test_default_stream_is_standard_error(capsys):
    with telemetry.progress("scoring", total=2, unit="models") as bar:
        bar.advance(2)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("scoring 2/2 models in 0.0 s")


def test_disabled_progress_is_silent_and_counts():
    assert run_progress([(99, 4, {})], enabled=False) == ""


def test_failure_says_how_far_it_got():
    stream = io.StringIO()

    def fail():
        with telemetry.progress("t", total=4, unit="models", stream=stream) as bar:
            bar.advance(1)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert stream.getvalue() == "t 1/4 models in 0.0 s, stopped\n"


def test_rate_forgets_what_is_long_ago_but_keeps_long_steps():
    clock = FakeClock()
    with telemetry.progress(
        "t", total=10_000, unit="models", enabled=False, clock=clock
    ) as bar:
        assert bar.rate is None
        assert bar.seconds_left is None
        for _ in range(100):
            clock.wait(1)
            bar.advance(10)
        assert bar.rate == pytest.approx(10)
        for _ in range(100):
            clock.wait(1)
            bar.advance(2)
        assert bar.rate == pytest.approx(2)
        clock.wait(1000)
        bar.advance(500)
        assert bar.rate == pytest.approx(0.5)
        left = bar.seconds_left
        clock.wait(40)
        assert bar.seconds_left == pytest.approx(left - 40)


def test_many_tiny_steps_cost_little():
    with telemetry.progress("t", total=100_000, unit="steps", enabled=False) as bar:
        start = time.perf_counter()
        for _ in range(100_000):
            bar.advance()
        assert time.perf_counter() - start < 5
        assert len(bar._samples) < 1000


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (9.96, "10 s"), (59.6, "1 min 00 s"), (7500, "2 h 05 min")],
)
def test_times_read_well(seconds, text):
    assert f"in {text}" in run_progress([(seconds, 160, {})])


def test_bar_on_a_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    printed = run_progress([(1, 80, {"loss": 1.0})] * 2, stream=Terminal())
    assert "━" in printed
    assert "160/160 models in 2.0 s, 80 models/s, loss 1" in printed


def test_dumb_terminal_gets_lines(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    assert run_progress([(1, 160, {})], stream=Terminal()).startswith("training")


class TestReporter:
    """Work that tells its total as it goes."""

    @pytest.mark.parametrize("enabled", [None, False])
    def test_silent_unless_on_a_terminal(self, enabled, capsys):
        with telemetry.reporter("DL-TND", unit="iterations", enabled=enabled) as told:
            told(1, 2)
            told(2, 2)
        assert capsys.readouterr() == ("", "")

    def test_shown_if_wanted(self, capsys):
        with telemetry.reporter("DL-TND", unit="iterations", enabled=True) as told:
            for done in (3, 3, 8):
                told(done, 8)
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("DL-TND 8/8 iterations in 0.0 s")

    def test_a_bar_on_a_terminal(self, monkeypatch):
        monkeypatch.setenv("TERM", "xterm")
        stream = Terminal()
        monkeypatch.setattr("sys.stderr", stream)
        with telemetry.reporter("DF-TND", unit="iterations") as told:
            told(4, 4)
        assert "DF-TND" in stream.getvalue()
        assert "4/4 iterations" in stream.getvalue()

    def test_nothing_to_tell_shows_nothing(self, capsys):
        with telemetry.reporter("DL-TND", unit="iterations", enabled=True):
            pass
        assert capsys.readouterr() == ("", "")

    def test_a_failure_ends_the_display(self, capsys):
        def fail():
            with telemetry.reporter("DL-TND", unit="it", enabled=True) as told:
                told(1, 4)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        assert capsys.readouterr().err.rstrip().endswith("stopped")


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_metrics_are_rows_that_resume(tmp_path):
    path = tmp_path / "run" / "metrics.jsonl"
    with telemetry.MetricsWriter(path) as metrics:
        metrics.write("chunk", n=0, loss=np.float32(0.5), acc=np.ones(2))
        assert rows(path)[0]["acc"] == [1.0, 1.0]  # Flushed.
    with telemetry.MetricsWriter(path) as metrics:
        metrics.write("chunk", n=1)
    assert [row["n"] for row in rows(path)] == [0, 1]
    assert list(rows(path)[0]) == ["event", "utc", "wall_seconds", "n", "loss", "acc"]
    assert rows(path)[0]["utc"].endswith("+00:00")
    assert 0 <= rows(path)[0]["wall_seconds"] < 60


@pytest.mark.parametrize("tail", ["", '{"event": "chu', "x" * 200_000])
@pytest.mark.parametrize("whole", [0, 2])
def test_line_cut_by_a_kill_is_taken_off(tmp_path, whole, tail):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"event": "old"}\n' * whole + tail)
    with telemetry.MetricsWriter(path) as metrics:
        metrics.write("new")
    assert [row["event"] for row in rows(path)] == ["old"] * whole + ["new"]


def test_bad_rows_leave_the_file_whole(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with telemetry.MetricsWriter(path) as metrics:
        with pytest.raises(ValueError, match="'utc' is in every row"):
            metrics.write("x", utc=3)
        with pytest.raises(TypeError):
            metrics.write("x", bad=object())
        metrics.write("good")
    assert [row["event"] for row in rows(path)] == ["good"]
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        telemetry.MetricsWriter(tmp_path / "file" / "metrics.jsonl")


def test_clock_adds_up_phases():
    clock = telemetry.Clock()
    for _ in range(2):
        with clock.phase("train"):
            time.sleep(0.02)

    def fail():
        with clock.phase("save"):
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list(clock.seconds) == ["train", "save"]
    assert 0.04 <= clock.seconds["train"] < 2
    assert clock.seconds["save"] < 1


def test_peak_memory_is_in_bytes():
    assert 10e6 < telemetry.peak_memory_bytes() < 1e12
