"""The batch script, submitted to a Slurm of this machine's own where one can start."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import slurm

from bdjax.population import load_population

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_batch_script_on_a_real_slurm(tmp_path):
    """Two tasks on one node; their time is up, and the requeued job goes on."""
    if why := slurm.lacking():
        pytest.skip(why)
    workdir = tmp_path / "run"
    script = (
        *("--ntasks-per-node=2", "--overcommit", f"--output={tmp_path}/job.log"),
        *("--parsable", f"--chdir={ROOT}", str(ROOT / "launch" / "slurm.sh")),
        "mntd_mnist5k:smoke",
        f"--workdir={workdir}",
        "--only=shadow-benign",
        "--zoo.groups.shadow.models=64",
    )
    with slurm.running(tmp_path / "slurm") as environment:
        environment |= {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "JAX_PLATFORMS": "cpu",
            "XDG_CACHE_HOME": str(tmp_path),
        }
        log = tmp_path / "job.log"

        def until(happened):
            deadline = time.monotonic() + 120
            while not happened():
                text = log.read_text() if log.exists() else ""
                assert time.monotonic() < deadline, text + slurm.logs(
                    tmp_path / "slurm"
                )
                time.sleep(0.1)

        job = subprocess.run(
            ["sbatch", *script], env=environment, capture_output=True, text=True
        )
        assert job.returncode == 0, job.stderr
        chunks = workdir / "populations" / "shadow-benign" / "chunks"
        until(lambda: len(list(chunks.glob("[0-9]"))) >= 4)
        # As --signal does before the time limit, but now.
        number = job.stdout.strip()
        slurm.ask(environment, "scancel", "--signal=TERM", number)
        until(lambda: slurm.ask(environment, "squeue", "-h", "-o", "%T") == "PENDING")
        assert log.read_text().count("; the same command goes on from here") == 2
        before = [p.name for p in chunks.iterdir() if p.name.isdecimal()]
        assert 4 <= len(before) < 32
        # Slurm gives a requeued job two minutes of rest, and needs a second of them.
        update = ("scontrol", "update", f"JobId={number}", "StartTime=now+3")
        slurm.ask(environment, *update)
        until(lambda: slurm.ask(environment, "squeue", "-h", "-o", "%T") == "")
    text = log.read_text()
    assert "Traceback" not in text, text
    assert "Killed" not in text, text
    shares = re.findall(r"process (\d) of 2 trained (\d+) models", text)
    assert {process for process, _ in shares} == {"0", "1"}, text
    assert sum(int(models) for _, models in shares) == 64 - 2 * len(before)
    population = load_population(workdir / "populations" / "shadow-benign")
    assert len(population) == 64
