"""A Slurm of one node in a folder, for as long as a test needs it."""

import contextlib
import os
import platform
import shutil
import socket
import subprocess
import time

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "srun", "scontrol", "sinfo", "squeue")
PATIENCE_SECONDS = 20

# No munge, cgroups or accounting: nothing that a bare machine lacks.
CONFIG = """
ClusterName=test
SlurmctldHost={host}({address})
SlurmUser=root
SlurmctldPort={ctld_port}
SlurmdPort={d_port}
AuthType=auth/none
CredType=cred/none
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
KillWait=30
SchedulerParameters=batch_sched_delay=0,sched_interval=1
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
NodeName={host} NodeAddr={address} CPUs={cpus} State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def lacking():
    """Why no Slurm can be started here; None where one can."""
    if absent := [name for name in PROGRAMS if not shutil.which(name)]:
        return f"Slurm is not installed: no {', '.join(absent)}"
    if os.geteuid() != 0:
        return "only root can start a Slurm"
    try:
        socket.gethostbyname(platform.node())
    except OSError:
        return f"the name of this machine, {platform.node()}, has no address"
    return None


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [socket.create_server(("", 0)) for _ in range(count)]
        for sock in sockets:
            stack.callback(sock.close)
        return [sock.getsockname()[1] for sock in sockets]


@contextlib.contextmanager
def running(folder):
    """Starts the daemons; yields the environment in which the commands find them."""
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    ctld_port, d_port = free_ports(2)
    host = platform.node().partition(".")[0]
    config = folder / "slurm.conf"
    config.write_text(
        CONFIG.format(
            folder=folder,
            host=host,
            address=socket.gethostbyname(platform.node()),
            cpus=os.cpu_count(),
            ctld_port=ctld_port,
            d_port=d_port,
        )
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SLURM")}
    environment["SLURM_CONF"] = str(config)
    with contextlib.ExitStack() as stack:
        out = stack.enter_context(open(folder / "daemons.log", "w"))
        for command in (["slurmctld", "-D"], ["slurmd", "-D", "-N", host]):
            daemon = subprocess.Popen(
                command, env=environment, stdout=out, stderr=subprocess.STDOUT
            )
            stack.callback(_stop, daemon)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while ask(environment, "sinfo", "-h", "-o", "%T") != "idle":
            assert time.monotonic() < deadline, logs(folder)
            time.sleep(0.2)
        yield environment


def ask(environment, *command):
    """What a command prints, nothing where it fails."""
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def logs(folder):
    return "\n".join(p.read_text()[-3000:] for p in sorted(folder.glob("*.log")))


def _stop(daemon):
    daemon.terminate()
    try:
        daemon.wait(PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()
