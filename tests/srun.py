"""Stand-ins for the commands of Slurm: files to put into PATH. They start processes of this machine with Slurm's variables."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

SRUN = r"""#!{python}
import os, signal, subprocess, sys

arguments, number = sys.argv[1:], None
options = {{}}
while arguments and arguments[0].startswith("-"):
    name, _, value = arguments.pop(0).partition("=")
    options[name] = value
nodes = int(os.environ.get("SLURM_NNODES", 1))
number = int(options.get("--ntasks") or os.environ.get("SLURM_NTASKS", 1))
shared = {{
    **os.environ,
    "SLURM_JOB_ID": os.environ.get("SLURM_JOB_ID", "4711"),
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_TASKS": str(number),
    "SLURM_STEP_NUM_NODES": str(nodes),
    "SLURM_NTASKS": str(number),
    "SLURM_NNODES": str(nodes),
    "SLURM_NODELIST": "127.0.0.1",
}}
for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
    shared.pop(name, None)
tasks = []
for rank in range(number):
    node, local = divmod(rank, number // nodes)
    own = {{"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(local), "SLURM_NODEID": str(node)}}
    tasks.append(subprocess.Popen(arguments, env={{**shared, **own}}))


def pass_on(signum, frame):  # as srun does
    for task in tasks:
        if task.poll() is None:
            task.send_signal(signum)


for signum in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
    signal.signal(signum, pass_on)
codes = [task.wait() for task in tasks]
sys.exit(max(code if code >= 0 else 128 - code for code in codes))
"""

SBATCH = r"""#!/usr/bin/env bash
# a job is a process of this machine; its #SBATCH lines give what Slurm puts into its environment
options=$(grep '^#SBATCH' "$1")
value() {{ sed -n "s/^#SBATCH --$1=\([^ #]*\).*/\1/p" <<< "$options" | tail -1; }}
export SLURM_JOB_ID=${{SLURM_JOB_ID:-$$}} SLURM_JOB_NAME=$(value job-name)
export SLURM_NNODES=$(value nodes); export SLURM_NNODES=${{SLURM_NNODES:-1}}
per_node=$(value ntasks-per-node); export SLURM_NTASKS_PER_NODE=${{per_node:-1}}
export SLURM_NTASKS=$(( SLURM_NNODES * SLURM_NTASKS_PER_NODE )) SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0
export SLURM_CPUS_PER_TASK=$(value cpus-per-task)
echo "Submitted batch job $SLURM_JOB_ID"
exec bash "$@"
"""

SCONTROL = r"""#!/usr/bin/env bash
echo "$@" >> {folder}/scontrol.txt
"""


def write_slurm(folder: Path) -> Path:
    """Write ``srun``, ``sbatch`` (which waits for its job) and ``scontrol`` (which notes its arguments); return the folder."""
    folder.mkdir(parents=True)
    for name, text in (("srun", SRUN), ("sbatch", SBATCH), ("scontrol", SCONTROL)):
        path = folder / name
        path.write_text(text.format(python=sys.executable, folder=folder))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return folder
