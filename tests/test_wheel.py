"""The wheel, installed into an environment of its own, far from the checkout."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


def run(*command, **options):
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=900, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """What a fresh clone holds: building leaves files behind."""
    folder = tmp_path_factory.mktemp("clone")
    files = run("git", "ls-files", "-z", cwd=ROOT).split("\0")
    for name in filter(None, files):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    return folder


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, source)
    [path] = folder.glob("bdjax-*.whl")
    return path


def environment(folder):
    """A new environment that has what bdjax needs, and not bdjax."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    [site] = (folder / "lib").glob("python*/site-packages")
    (site / "needs.pth").write_text(sysconfig.get_path("purelib"))
    return python


def test_what_a_wheel_carries(wheel, source):
    inside = set(zipfile.ZipFile(wheel).namelist())
    kept = {
        str(path.relative_to(source))
        for path in (source / "bdjax").rglob("*")
        if path.is_file() and "pytorch" not in path.parts
    }
    assert kept <= inside
    assert {"bdjax/py.typed", "bdjax/tnd/calibrations/dl_tnd.json"} <= inside
    configs = {f"bdjax/configs/{p.name}" for p in (source / "configs").glob("*.py")}
    assert "bdjax/configs/mntd_mnist5k.py" in configs
    others = {name for name in inside - kept - configs if ".dist-info/" not in name}
    assert not others  # neither PyTorch, nor launch, tests or configs at the top


def test_an_installed_wheel_runs_an_experiment(wheel, tmp_path):
    python = environment(tmp_path / "venv")
    run(python, "-m", "pip", "install", "-qI", "--no-deps", wheel)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    mine = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    mine |= {"JAX_PLATFORMS": "cpu", "XDG_CACHE_HOME": str(tmp_path)}
    bdjax = python.with_name("bdjax")

    def command(*argv):
        return run(bdjax, *argv, cwd=elsewhere, env=mine)

    assert "mntd_mnist5k " in command("run", "--list")
    assert command("--version") == "bdjax 0.1.0\n"
    where = "import bdjax; print(bdjax.__file__, bdjax.__version__)"
    assert str(tmp_path / "venv") in run(python, "-c", where, cwd=elsewhere, env=mine)
    said = command("run", "mntd_mnist5k:smoke")
    workdir = elsewhere / "runs" / "mntd_mnist5k-smoke"
    assert "Report: runs/mntd_mnist5k-smoke/report.html." in said
    for name in ("scores.csv", "results.json", "report.md", "report.html"):
        assert (workdir / name).stat().st_size > 100


def test_an_editable_install_finds_the_configurations(source, tmp_path):
    python = environment(tmp_path / "venv")
    run(python, "-m", "pip", "install", "-qI", "--no-deps", "-e", source)
    mine = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    bdjax = python.with_name("bdjax")
    said = run(bdjax, "run", "--list", cwd=tmp_path, env=mine)
    assert "mntd_mnist5k " in said
