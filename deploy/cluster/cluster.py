"""The services of a laboratory on one machine, without containers: started by ``make cluster``, ended by Ctrl-C.

What     Prefect server on PostgreSQL, a work pool with a worker, a Dask scheduler with two workers, an S3 server
How      supervisord starts the programs of ``supervisord.conf``, and starts again what dies. This file prepares their folder,
         and then becomes supervisord
Folder   CLUSTER_DIR, by default ``cluster``: databases, logs, and ``cluster.env``, which users source. Delete it to begin anew
Ports    CLUSTER_PORT_PREFECT and so on. By default the usual ones, or free ones where those are taken; the folder keeps them
Reach    CLUSTER_HOST, by default 127.0.0.1: other machines reach the services only where it is an address of the inner network
"""

from __future__ import annotations

import os
import pwd
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple, NoReturn

HOST = os.environ.get("CLUSTER_HOST") or "127.0.0.1"
"""Address that the services listen on. They trust whoever reaches them, so that only this machine may unless it is set."""
USUAL_PORTS = {"PREFECT": 4200, "POSTGRESQL": 5432, "S3": 9000, "DASK": 8786, "DASHBOARD": 8787}
LONGEST_SOCKET_PATH = 107
"""Linux takes no longer name for a socket."""
WAIT_S = 900.0
"""Half a minute is usual, three were seen on a busy machine."""


class ClusterError(Exception):
    """What the user can mend."""


class _Postgres(NamedTuple):
    """PostgreSQL on this machine.

    Attributes:
        folder: its programs.
        user: whom to run them as; None for the user of this process.
    """

    folder: Path
    user: str | None

    def prefix(self) -> list[str]:
        """Return the words of setpriv that turn root into the user."""
        if self.user is None:
            return []
        entry = pwd.getpwnam(self.user)
        return [f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups"]

    def run(self, program: str, *arguments: str, text: str = "") -> None:
        """Run one of its programs to its end; ClusterError with what it printed if it fails."""
        command = ["setpriv", *self.prefix(), str(self.folder / program), *arguments]
        done = subprocess.run(command if self.user else command[1:], input=text, capture_output=True, text=True, cwd="/")
        if done.returncode:
            raise ClusterError(f"{shlex.join(command)} failed: {(done.stderr or done.stdout).strip()}")


def find_postgres(environ: Mapping[str, str], *, is_root: bool, debian: Path = Path("/usr/lib/postgresql")) -> _Postgres:
    """Find PostgreSQL's programs: on the path, or where Debian puts them, the newest first.

    Args:
        environ: environment with PATH, and CLUSTER_POSTGRES_USER where root shall not become ``postgres`` or ``nobody``.
        is_root: whether this process is root, as whom PostgreSQL refuses to run.
        debian: where Debian puts them, a folder a version.

    Raises:
        ClusterError: they are not installed, or there is no user to run them as.
    """
    versions = sorted(debian.glob("*/bin"), key=lambda folder: int(folder.parent.name.split(".")[0]), reverse=True)
    on_path = [Path(folder) for folder in environ.get("PATH", "").split(os.pathsep) if folder]
    for folder in [*versions, *on_path]:
        if all(os.access(folder / program, os.X_OK) for program in ("postgres", "initdb")):
            break
    else:
        raise ClusterError(
            f"PostgreSQL's programs postgres and initdb are neither in {debian}/*/bin nor on the path. Install Debian's package: "
            "apt-get install postgresql"
        )
    if not is_root:
        return _Postgres(folder, None)
    wanted = [environ["CLUSTER_POSTGRES_USER"]] if "CLUSTER_POSTGRES_USER" in environ else ["postgres", "nobody"]
    for user in wanted:
        with suppress(KeyError):
            if pwd.getpwnam(user).pw_uid:
                return _Postgres(folder, user)
    raise ClusterError(
        f"PostgreSQL refuses to run as root, and there is no user {' or '.join(wanted)}. "
        "Set CLUSTER_POSTGRES_USER to one that exists"
    )


def is_listening(port: int, *, host: str = HOST) -> bool:
    """Say whether something accepts connections on a port."""
    with suppress(OSError), socket.create_connection((host, port), timeout=2.0):
        return True
    return False


def choose_ports(environ: Mapping[str, str], kept: Mapping[str, int]) -> dict[str, int]:
    """Return the port of each service: as set, as the folder keeps it, the usual one, or a free one.

    Raises:
        ClusterError: a port that is set or kept is taken, or no port.
    """
    chosen: dict[str, int] = {}
    for service, usual in USUAL_PORTS.items():
        name = f"CLUSTER_PORT_{service}"
        if name in environ or service in kept:
            text = environ.get(name, str(kept.get(service)))
            if not text.isdecimal() or not 0 < int(text) < 65536:
                raise ClusterError(f"{name} is '{text}', expected a port, 1 to 65535")
            if not _is_free(int(text)):
                raise ClusterError(
                    f"port {text} of {service.lower()} is taken on {HOST}. End what listens there (ss -ltnp 'sport = :{text}' "
                    f"names it), or set {name} to another port"
                )
            chosen[service] = int(text)
        else:
            chosen[service] = usual if usual not in chosen.values() and _is_free(usual) else 0
    while len(free := {_any_free() for _ in range(2 * len(chosen))} - set(chosen.values())) < len(chosen):
        continue  # a port may be offered twice
    return {service: port or free.pop() for service, port in chosen.items()}


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of a former cluster may still be closing
        with suppress(OSError):
            probe.bind((HOST, port))
            return True
    return False


def _any_free() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def users_environment(ports: Mapping[str, int]) -> dict[str, str]:
    """Return what ``cluster.env`` sets: where Prefect, S3 and Dask are."""
    return {
        "PREFECT_API_URL": f"http://{HOST}:{ports['PREFECT']}/api",
        "AWS_ENDPOINT_URL": f"http://{HOST}:{ports['S3']}",
        "AWS_ACCESS_KEY_ID": "depthmill",
        "AWS_SECRET_ACCESS_KEY": "depthmill",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "DEPTHMILL_DASK": f"tcp://{HOST}:{ports['DASK']}",
    }


def _refuse_foreign_address() -> None:
    try:
        with socket.socket() as probe:
            probe.bind((HOST, 0))
    except OSError as error:
        raise ClusterError(
            f"CLUSTER_HOST is '{HOST}', expected an IPv4 address of this machine ({error.strerror or error})"
        ) from error


def kept_ports(folder: Path) -> dict[str, int]:
    """Return the ports that a cluster's folder keeps; none if it is new."""
    with suppress(FileNotFoundError):
        pairs = (line.split("=") for line in (folder / "ports").read_text().split())
        return {service: int(port) for service, port in pairs}
    return {}


def prepare(folder: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Make or complete a cluster's folder, and return the environment of supervisord.

    Raises:
        ClusterError: something is missing or taken.
    """
    if len(os.fsencode(folder / "supervisor.sock")) > LONGEST_SOCKET_PATH:
        raise ClusterError(f"CLUSTER_DIR '{folder}' is too long for the name of a socket in it. Set it to a shorter one")
    missing = [module for module in ("supervisor", "moto", "s3fs", "distributed", "torch") if find_spec(module) is None]
    if missing:
        raise ClusterError(f"not installed: {', '.join(missing)}. Run: pip install -c constraints.txt -e '.[cluster]'")
    if shutil.which("setpriv") is None:
        raise ClusterError("setpriv is not on the path. Install Debian's package: apt-get install util-linux")
    postgres = find_postgres(environ, is_root=os.geteuid() == 0)
    if (folder / "supervisor.sock").exists() and _answers(folder):
        raise ClusterError(f"the cluster of '{folder}' runs already. End it with Ctrl-C, or set CLUSTER_DIR to another folder")
    _refuse_foreign_address()
    ports = choose_ports(environ, kept_ports(folder))
    for part in ("logs", "dask", "home"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    password = _make_database(folder, postgres)
    (folder / "ports").write_text("".join(f"{service}={port}\n" for service, port in ports.items()))
    users = users_environment(ports)
    lines = [f"export {name}={shlex.quote(value)}" for name, value in users.items()]
    (folder / "cluster.env").write_text("\n".join(["# source this file; make cluster writes it", *lines, ""]))
    shutil.copyfile(Path(__file__).with_name("supervisord.conf"), folder / "supervisord.conf")
    url = f"postgresql+asyncpg://depthmill:{password}@{HOST}:{ports['POSTGRESQL']}/prefect"
    return {
        **environ,
        **users,
        **{f"CLUSTER_PORT_{service}": str(port) for service, port in ports.items()},
        "CLUSTER_DIR": str(folder),
        "CLUSTER_HOST": HOST,
        "CLUSTER_USER": str(os.getuid()),
        "CLUSTER_NAME": f"{socket.gethostname()}-worker",
        "CLUSTER_CODE": str(Path(__file__).resolve().parent),
        "CLUSTER_PYTHON": sys.executable,
        "CLUSTER_POSTGRES": str(postgres.folder / "postgres"),
        "CLUSTER_AS_POSTGRES": shlex.join(postgres.prefix()),
        "CLUSTER_WORKER_MEMORY": environ.get("CLUSTER_WORKER_MEMORY", "2GiB"),
        "PREFECT_HOME": str(folder / "home"),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": url,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }


def _make_database(folder: Path, postgres: _Postgres) -> str:
    """Create Prefect's database where it is missing, and return its password."""
    data, secret = folder / "postgresql", folder / "postgresql-password"
    if data.exists():
        return secret.read_text().strip()
    password, unfinished = secrets.token_hex(16), folder / "postgresql-unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)  # what a killed first start left
    unfinished.mkdir(mode=0o700)
    secret.unlink(missing_ok=True)
    with open(os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(f"{password}\n")
    if postgres.user is not None:
        for path in (unfinished, secret):
            shutil.chown(path, postgres.user)
        _refuse_closed_parent(folder, postgres)
    options = ["--username=depthmill", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
    postgres.run("initdb", *options, f"--pwfile={secret}", str(unfinished))
    postgres.run("postgres", "--single", "-D", str(unfinished), "postgres", text="create database prefect\n")
    unfinished.rename(data)  # the last step: a folder with this name is whole
    return password


def _refuse_closed_parent(folder: Path, postgres: _Postgres) -> None:
    command = ["setpriv", *postgres.prefix(), "test", "-x", str(folder)]
    if subprocess.run(command, cwd="/").returncode:
        raise ClusterError(
            f"PostgreSQL runs as user {postgres.user} here, who cannot reach '{folder}': a folder above it lets only its owner "
            "in. Set CLUSTER_DIR to a folder below one that all may enter, or run as another user than root"
        )


def _answers(folder: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe, suppress(OSError):
        probe.connect(str(folder / "supervisor.sock"))
        return True
    return False


def wait_for(condition: Callable[[], bool]) -> bool:
    """Wait until a condition holds, and say whether it did in time."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def after(service: str, command: list[str]) -> NoReturn:
    """Become a program as soon as the service that it needs answers; exits with 1 if that takes too long.

    The program then starts once, in whatever order the services come up or come back.
    """
    port = int(os.environ[f"CLUSTER_PORT_{service.upper()}"])
    if not wait_for(lambda: is_listening(port)):
        sys.exit(f"{service} does not answer on {HOST}:{port}")
    os.execvp(command[0], command)


def ready(environ: Mapping[str, str]) -> None:
    """Wait until every service answers and the work pool has a worker, and say what to do next."""
    folder = Path(environ["CLUSTER_DIR"])
    control = f"{Path(sys.executable).with_name('supervisorctl')} -c {folder / 'supervisord.conf'}"
    waiting = {service: int(environ[f"CLUSTER_PORT_{service}"]) for service in USUAL_PORTS}
    for service, port in waiting.items():
        if not wait_for(partial(is_listening, port)):
            print(f"error: {service.lower()} does not answer on {HOST}:{port}. Its log is in {folder / 'logs'}", flush=True)
            return
    if not wait_for(lambda: "Worker" in _log(folder / "logs/worker.log")):
        print(f"error: the worker of pool depthmill has not started. Its log is {folder / 'logs/worker.log'}", flush=True)
        return
    print(
        f"all services answer. Prefect's pages: {environ['PREFECT_API_URL'].removesuffix('/api')}  "
        f"Dask's: http://{HOST}:{environ['CLUSTER_PORT_DASHBOARD']}/status\n"
        f"in another terminal: source {folder / 'cluster.env'}\n"
        f"one service: {control} status    (or: restart s3, stop worker, tail -f prefect)\n"
        "Ctrl-C ends all; the same command goes on with what the folder has",
        flush=True,
    )


def _log(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(errors="replace")
    return ""


def main() -> None:
    """Start the cluster, or do one of its services' parts."""
    match sys.argv[1:]:
        case []:
            folder = Path(os.environ.get("CLUSTER_DIR") or "cluster").absolute()
            try:
                environment = prepare(folder, os.environ)
            except (ClusterError, OSError) as error:
                sys.exit(f"error: {error}")
            print(f"starting the services of {folder}; this takes about half a minute", flush=True)
            supervisord = str(Path(sys.executable).with_name("supervisord"))
            os.execve(supervisord, [supervisord, "-c", str(folder / "supervisord.conf")], environment)
        case ["after", service, "--", *command]:
            after(service, command)
        case ["ready"]:
            ready(os.environ)
        case _:
            sys.exit("usage: cluster.py")


if __name__ == "__main__":
    main()
