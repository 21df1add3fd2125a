"""Rank 0 and the other processes of a launcher: what it hands out, and how they end together.

Why    Only rank 0 reads the recipe, makes units, measures, writes, prints and talks to Prefect. This may take hours in which the
       others wait, longer than any time limit of a collective operation. And a process that fails or is killed must end the
       others within seconds: those that wait in a collective of NCCL would not notice.
How    Each other process holds one connection to rank 0. It waits there for trainings, one JSON message each. What it cannot do
       it says there. A connection that ends is a process that is gone, in both directions. The connections are found through the
       store of torch.distributed, which the launcher's variables name; the key that opens them is in it too.
"""

from __future__ import annotations

import json
import os
import platform
import queue
import secrets
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener, wait
from typing import Any, NoReturn

from model.train.launch import Launch
from model.train.stopping import SIGNALS, TrainingStopped
from storage_schemas.errors import DepthmillError
from storage_schemas.shown_text import shown

JOIN_S = 300.0
"""How long the processes of one launcher may take to start."""
END_S = 5.0
"""After a process failed, the others may take this long to end by themselves."""
_KEY = "depthmill ranks"


class RanksError(DepthmillError):
    """One of the processes that train together failed or is gone."""


def store_of(launch: Launch) -> Any:
    """Return the store of torch.distributed that all processes of a launcher share; RanksError if they do not all come."""
    from datetime import timedelta

    from torch.distributed.rendezvous import rendezvous

    if launch.by == "srun":
        from lightning_fabric.plugins.environments.slurm import SLURMEnvironment

        set_slurm_variables(launch)
        environment = SLURMEnvironment(auto_requeue=False)
        os.environ["MASTER_ADDR"] = environment.main_address
        os.environ["MASTER_PORT"] = str(environment.main_port)
    where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
    url = f"env://?rank={launch.rank}&world_size={launch.num_processes}"
    try:
        store, _, _ = next(rendezvous(url, timeout=timedelta(seconds=JOIN_S)))
    except (RuntimeError, ValueError, OSError) as error:
        raise RanksError(
            f"the {launch.num_processes} processes of {launch.by} do not find each other at {where} within {JOIN_S:.0f} s: "
            f"{str(error).splitlines()[0]}. Look whether all of them started, and whether the nodes reach that address "
            "(MASTER_ADDR, MASTER_PORT), then run the same command"
        ) from error
    return store


def set_slurm_variables(launch: Launch) -> None:
    """Let the variables that Fabric reads say what this step is, and not what its job was asked for."""
    os.environ["SLURM_NTASKS"] = str(launch.num_processes)
    os.environ["SLURM_NTASKS_PER_NODE"] = str(launch.num_devices)
    os.environ["SLURM_NNODES"] = str(launch.num_nodes)


class Leader:
    """Rank 0's side; it waits until all others have come.

    Attributes:
        failure: which other process failed or is gone, and why; None while none did.
    """

    def __init__(self, launch: Launch) -> None:
        self.failure: str | None = None
        self._has_failed = threading.Event()
        self._is_training = False
        self._lock = threading.Lock()
        self._others: dict[Connection, str] = {}
        key, store = secrets.token_bytes(16), store_of(launch)
        with Listener(("", 0), family="AF_INET", backlog=launch.num_processes, authkey=key) as listener:
            store.set(_KEY, json.dumps({"port": listener.address[1], "key": key.hex()}))
            while len(self._others) < launch.num_processes - 1:
                with suppress(AuthenticationError, EOFError, ConnectionError):  # whoever it was that has not the key
                    connection = listener.accept()
                    hello = json.loads(connection.recv_bytes())
                    _keep_alive(connection)
                    self._others[connection] = f"rank {hello['rank']} (process {hello['pid']} on {hello['host']})"
        threading.Thread(target=self._watch, name="watch ranks", daemon=True).start()

    def hand_out(self, training: Mapping[str, Any]) -> None:
        """Let the other processes begin a training; RanksError if one of them is gone."""
        self._refuse_failed()
        for connection in self._others:
            with suppress(OSError):  # the watch sees it, too, and says which
                connection.send_bytes(json.dumps({"train": training}).encode())

    @contextmanager
    def together(self) -> Iterator[None]:
        """Train within this block; an operation that fails because another process did raises what that one said.

        Raises:
            RanksError: another process failed or is gone.
        """
        with self._lock:
            self._is_training = True
        try:
            yield
        except DepthmillError:
            raise
        except Exception as error:
            self._has_failed.wait(END_S)  # the reason takes another way than the connection that broke
            if self.failure is not None:
                _ignore_launcher()
            self._refuse_failed(error)
            raise
        finally:
            with self._lock:
                self._is_training = False

    def end(self, code: int) -> None:
        """Tell the other processes to end with an exit code."""
        for connection in self._others:
            with suppress(OSError):
                connection.send_bytes(json.dumps({"end": code}).encode())

    def _refuse_failed(self, cause: Exception | None = None) -> None:
        if self.failure is not None:
            raise RanksError(self.failure) from cause

    def _watch(self) -> None:
        connections = set(self._others)
        while connections:
            for connection in wait(list(connections)):
                assert isinstance(connection, Connection)
                try:
                    said = json.loads(connection.recv_bytes())["failed"]
                    self._fail(f"{self._others[connection]} failed: {said}")
                except (EOFError, OSError):
                    connections.discard(connection)
                    self._fail(
                        f"{self._others[connection]} is gone: it was killed, or its node was lost. Look at its output, then run "
                        "the same command: it goes on from the last checkpoint"
                    )

    def _fail(self, text: str) -> None:
        """Note the first failure; the main thread may wait in a collective that never ends, so it has a time limit."""
        if self.failure is None:
            self.failure = text
            self._has_failed.set()
            timer = threading.Timer(2 * END_S, self._give_up)
            timer.daemon = True
            timer.start()

    def _give_up(self) -> None:
        with self._lock:
            if self._is_training:
                _say(f"error: {self.failure}")
                self.end(1)
                os._exit(1)


class Follower:
    """The side of every other process."""

    def __init__(self, launch: Launch) -> None:
        self._name = f"rank {launch.rank}"
        self._trainings: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        found = json.loads(store_of(launch).get(_KEY))
        self._leader = Client((os.environ["MASTER_ADDR"], found["port"]), authkey=bytes.fromhex(found["key"]))
        _keep_alive(self._leader)
        self._send({"rank": launch.rank, "pid": os.getpid(), "host": platform.node()})
        threading.Thread(target=self._listen, name="listen to rank 0", daemon=True).start()

    def serve(self, train: Callable[[Mapping[str, Any]], None]) -> NoReturn:
        """Do the trainings that rank 0 hands out, until it ends; never returns.

        Args:
            train: does one; what it raises ends all processes.
        """
        while True:
            training = self._trainings.get()
            try:
                train(training)
            except TrainingStopped as stopped:
                os._exit(128 + stopped.signum)
            except Exception as error:
                is_known = isinstance(error, DepthmillError)
                if not is_known:  # a defect: rank 0 can tell its text, but not where it was raised
                    traceback.print_exc()
                self._send({"failed": str(error) if is_known else f"{type(error).__name__}: {error}"})
                os._exit(1)  # which also ends the connections that others may wait for in a collective

    def _send(self, message: Mapping[str, Any]) -> None:
        with suppress(OSError):  # rank 0 is gone: the other thread ends this process
            self._leader.send_bytes(json.dumps(message).encode())

    def _listen(self) -> None:
        """Take messages; rank 0's end is this process's, whatever its main thread waits for. It has written nothing."""
        while True:
            try:
                message = json.loads(self._leader.recv_bytes())
            except (EOFError, OSError):
                _say(f"{self._name}: rank 0 is gone, so this process ends. Look at the output of rank 0")
                os._exit(1)
            if "end" in message:
                os._exit(message["end"])
            self._trainings.put(message["train"])


def _keep_alive(connection: Connection) -> None:
    """Let the system notice within a minute that the other node is lost: it cannot say so itself."""
    with socket.socket(fileno=os.dup(connection.fileno())) as tcp:
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (("TCP_KEEPIDLE", 20), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
            if hasattr(socket, name):
                tcp.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _ignore_launcher() -> None:
    """Let this process close what it has open and say why it ends: torchrun ends it as soon as another one has failed."""
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)


def _say(line: str) -> None:
    print(shown(line), file=sys.stderr, flush=True)


_leaders: list[Leader] = []


def lead(launch: Launch) -> Leader:
    """Make this process rank 0 of its launcher, once; every training of several processes is handed out by it."""
    _leaders.append(Leader(launch))
    return _leaders[0]


def leader_here() -> Leader | None:
    """Return the leader that this process is; None if it leads nobody."""
    return _leaders[0] if _leaders else None
