"""Stand-ins for the commands of Slurm, to put into PATH: jobs and their processes are processes of this machine.

They set the variables that Slurm sets, read the options that depthmill's files use, and pass signals on as srun does.
"""

from __future__ import annotations

import stat
import sys
from pathlib import Path

SRUN = r"""#!{python}
import os, signal, subprocess, sys

arguments, options = sys.argv[1:], {{}}
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
tasks = []
for rank in range(number):
    node, local = divmod(rank, number // nodes)
    own = {{"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(local), "SLURM_NODEID": str(node)}}
    tasks.append(subprocess.Popen(arguments, env={{**shared, **own}}))


def pass_on(signum, frame):
    for task in tasks:
        if task.poll() is None:
            task.send_signal(signum)


for signum in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
    signal.signal(signum, pass_on)
codes = [task.wait() for task in tasks]
sys.exit(max(code if code >= 0 else 128 - code for code in codes))
"""

SBATCH = r"""#!{python}
import os, re, signal, subprocess, sys
from pathlib import Path

arguments, given = sys.argv[1:], {{}}
while arguments and arguments[0].startswith("-"):
    name, _, value = arguments.pop(0).partition("=")
    given[name] = value
if "--test-only" in given:
    sys.exit(0)
script = Path(arguments[0]).read_text()
options = dict(re.findall(r"^#SBATCH (--[a-z-]+)=(\S+)", script, re.MULTILINE)) | given
nodes, per_node = int(options.get("--nodes", 1)), int(options.get("--ntasks-per-node", 1))
folder = Path("{folder}")
kept = folder / f"job-{{os.getpid()}}.sh"  # Slurm keeps a copy, too: the file may change before the job starts
kept.write_text(script)
environment = {{
    **os.environ,
    "SLURM_NNODES": str(nodes),
    "SLURM_NTASKS": str(nodes * per_node),
    "SLURM_NTASKS_PER_NODE": str(per_node),
    "SLURM_CPUS_PER_TASK": options.get("--cpus-per-task", "1"),
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
}}
for name in ("SLURM_STEP_ID", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_NUM_NODES"):
    environment.pop(name, None)
with open(kept.with_suffix(".out"), "ab") as output:
    start = f'export SLURM_JOB_ID=$$; echo $$ > {{kept.with_suffix(".pid")}}; exec bash "$0" "$@"'
    job = subprocess.Popen(
        ["bash", "-c", start, str(kept), *arguments[1:]],
        env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
    )
print("Submitted batch job", job.pid, flush=True)
if "--wait" in given:
    sys.exit(job.wait())
"""

SCANCEL = r"""#!/usr/bin/env bash
kill -- -"$1"
"""

SCONTROL = r"""#!/usr/bin/env bash
echo "$@" >> {folder}/scontrol.txt
"""


def write_slurm(folder: Path) -> Path:
    """Write the commands, and return their folder.

    ``sbatch`` keeps what a job prints in ``job-*.out``, ``scontrol`` what it is told in ``scontrol.txt``.
    """
    folder.mkdir(parents=True)
    for name, text in (("srun", SRUN), ("sbatch", SBATCH), ("scancel", SCANCEL), ("scontrol", SCONTROL)):
        path = folder / name
        path.write_text(text.format(python=sys.executable, folder=folder))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return folder
