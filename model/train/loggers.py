"""Where the curves of a training are drawn: TensorBoard, MLflow, Weights & Biases. Each is a logger of Lightning Fabric.

Why     Curves are for people. The record of a training is steps.csv and evaluations.csv, and no result depends on a logger. A
        tracker that fails while a training runs is left out from then on, with a warning, and the training goes on.
Where   MLflow: MLFLOW_TRACKING_URI, else mlflow.db beside the training's folder; MLFLOW_EXPERIMENT_NAME. Weights & Biases: its
        own WANDB_PROJECT, WANDB_MODE, WANDB_DIR. A training that goes on after a stop goes on in the same run of the tracker.
Writes  <training>/tensorboard/, and <training>/loggers.json with the runs of the trackers
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import sys
import time
import uuid
from argparse import Namespace
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lightning_fabric.loggers.logger import Logger
from lightning_fabric.loggers.tensorboard import TensorBoardLogger

from storage_schemas.errors import DepthmillError, RecipeError
from storage_schemas.files import StoreFiles
from storage_schemas.install_command import install_command
from storage_schemas.regular_files import read_regular
from storage_schemas.shown_text import remember_secrets, shown

RUNS_FILE = "loggers.json"
PROJECT = "depthmill"
"""Experiment of MLflow and project of Weights & Biases, unless their environment variables name another."""

_NEEDS = {"tensorboard": "tensorboard", "mlflow": "mlflow", "wandb": "wandb"}
_EXTRAS = {"tensorboard": "train"}


class LoggerError(DepthmillError):
    """A tracker that a recipe names cannot be used."""


def refuse_missing_loggers(names: Iterable[str]) -> None:
    """Check that the packages of all loggers are installed; RecipeError names the extra that brings them."""
    for name in names:
        if importlib.util.find_spec(_NEEDS[name]) is None:
            raise RecipeError(
                f"train.loggers names {name}, and package {_NEEDS[name]} is not installed here. Run: "
                f"{install_command(_EXTRAS.get(name, name))}, or take {name} out of train.loggers"
            )


def where_text(names: Iterable[str], folder: Path) -> list[str]:
    """Return a line for each logger: how to look at its curves."""
    lines = {
        "tensorboard": f"curves: tensorboard --logdir '{folder / 'tensorboard'}'",
        "mlflow": f"curves: mlflow, experiment '{_mlflow_experiment()}' at {_mlflow_uri(folder)}, run '{folder.name}'",
        "wandb": f"curves: wandb, project '{_wandb_project()}', run '{folder.name}'",
    }
    return [shown(lines[name]) for name in names]


class Curves:
    """Everything that draws the curves of one training.

    Args:
        names: of the loggers.
        folder: the training's folder.
        step: the training goes on from it; what TensorBoard has of later steps is dropped.
        about: what a tracker notes of the training, by dotted keys.

    Raises:
        RecipeError: a package is missing.
        LoggerError: a tracker cannot be reached, or refuses.
    """

    def __init__(self, names: Iterable[str], folder: Path, *, step: int, about: Mapping[str, Any]) -> None:
        names = tuple(names)
        refuse_missing_loggers(names)
        self._runs = _Runs(folder)
        self._loggers: dict[str, Logger] = {}
        for name in names:
            try:
                self._loggers[name] = self._open(name, folder, step=step)
                if name != "tensorboard":
                    self._loggers[name].log_hyperparams(dict(about))
            except Exception as error:  # a tracker's client may raise any class
                raise LoggerError(
                    f"logger {name} cannot be used: {_first_line(error)}. Correct its environment variables or its server, or "
                    f"take {name} out of train.loggers: no result depends on it"
                ) from error

    def _open(self, name: str, folder: Path, *, step: int) -> Logger:
        if name == "mlflow":
            return MlflowLogger(_mlflow_uri(folder), _mlflow_experiment(), folder.name, runs=self._runs)
        if name == "wandb":
            return WandbLogger(_wandb_project(), folder.name, runs=self._runs)
        return TensorBoardLogger(folder, name="tensorboard", version="", purge_step=step + 1)

    def add(self, values: Mapping[str, float], *, step: int) -> None:
        """Draw the values of a step, by the names of their curves."""
        for name, logger in list(self._loggers.items()):
            try:
                logger.log_metrics(dict(values), step)
            except Exception as error:  # as above
                self._give_up(name, f"from step {step} on", error)

    def close(self) -> None:
        """Send what is left; trackers mark the run as finished."""
        for name, logger in list(self._loggers.items()):
            try:
                logger.finalize("success")
            except Exception as error:  # as above
                self._give_up(name, "at its end", error)

    def _give_up(self, name: str, when: str, error: Exception) -> None:
        del self._loggers[name]
        text = f"WARNING: logger {name} gets nothing of this training {when}: {_first_line(error)}. steps.csv has every step"
        print(shown(text), file=sys.stderr, flush=True)


class _Runs:
    """The runs of trackers that belong to a training, in its folder: by logger, with the place where they are."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            content = json.loads(read_regular(folder / RUNS_FILE))
        except (OSError, ValueError):  # there is none, or a damaged one: the tracker gets a new run
            content = {}
        self._by_logger: dict[str, Any] = content if isinstance(content, dict) else {}

    def known(self, logger: str, place: str) -> str | None:
        """Return the run that this training has in a tracker; None if it has none there."""
        noted = self._by_logger.get(logger)
        return str(noted.get("run")) if isinstance(noted, dict) and noted.get("place") == place else None

    def note(self, logger: str, place: str, run: str) -> None:
        """Write down the run of this training in a tracker."""
        self._by_logger[logger] = {"place": place, "run": run}
        StoreFiles(self._folder).put(RUNS_FILE, json.dumps(self._by_logger, indent=1).encode())


class MlflowLogger(Logger):
    """A run of MLflow.

    Args:
        uri: of the tracking server, or of a database such as sqlite:////data/mlflow.db.
        experiment: its name; made if it is not there.
        name: of the run.
        runs: what is known of former sessions of this training.
    """

    def __init__(self, uri: str, experiment: str, name: str, *, runs: _Runs) -> None:
        remember_secrets(uri)
        mlflow = importlib.import_module("mlflow")
        self._metric, self._parameter = (
            importlib.import_module("mlflow.entities").__dict__[kind] for kind in ("Metric", "Param")
        )
        self._client = mlflow.MlflowClient(tracking_uri=uri)
        self._experiment, known = experiment, runs.known("mlflow", shown(uri))
        if known is None:
            found = self._client.get_experiment_by_name(experiment)
            place = self._client.create_experiment(experiment) if found is None else found.experiment_id
            self._run = str(self._client.create_run(place, run_name=name).info.run_id)
            runs.note("mlflow", shown(uri), self._run)
        else:
            self._run = known
            self._client.update_run(known, status="RUNNING")

    @property
    def name(self) -> str:
        """Return the name of the experiment."""
        return self._experiment

    @property
    def version(self) -> str:
        """Return the identifier of the run."""
        return self._run

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Note what the training is; MLflow takes texts of 6000 characters at most."""
        noted = self._client.get_run(self._run).data.params
        pairs = ((key, str(value)[:6000]) for key, value in dict(_as_dict(params)).items() if key not in noted)
        self._client.log_batch(self._run, params=[self._parameter(key, value) for key, value in pairs])

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Draw the values of a step; a character that MLflow allows in no name becomes an underscore."""
        now_ms = int(1000 * time.time())
        drawn = [
            self._metric(re.sub(r"[^\w\-. /:]", "_", key), float(value), now_ms, step or 0) for key, value in metrics.items()
        ]
        self._client.log_batch(self._run, metrics=drawn)

    def finalize(self, status: str) -> None:
        """Mark the run as finished."""
        self._client.set_terminated(self._run, "FINISHED")


class WandbLogger(Logger):
    """A run of Weights & Biases.

    Args:
        project: its name.
        name: of the run.
        runs: what is known of former sessions of this training.
    """

    def __init__(self, project: str, name: str, *, runs: _Runs) -> None:
        wandb = importlib.import_module("wandb")
        known = runs.known("wandb", project)
        run = known or uuid.uuid4().hex[:12]
        self._run = wandb.init(project=project, name=name, id=run, resume="allow")
        self._project = project
        if known is None:
            runs.note("wandb", project, run)

    @property
    def name(self) -> str:
        """Return the name of the project."""
        return self._project

    @property
    def version(self) -> str:
        """Return the identifier of the run."""
        return str(self._run.id)

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Note what the training is."""
        self._run.config.update(_as_dict(params), allow_val_change=True)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Draw the values of a step."""
        self._run.log(dict(metrics), step=step)

    def finalize(self, status: str) -> None:
        """Send what is left and mark the run as finished."""
        self._run.finish()


def _as_dict(params: dict[str, Any] | Namespace) -> dict[str, Any]:
    return vars(params) if isinstance(params, Namespace) else params


def _mlflow_uri(folder: Path) -> str:
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder.absolute().parent / 'mlflow.db'}"


def _mlflow_experiment() -> str:
    return os.environ.get("MLFLOW_EXPERIMENT_NAME") or PROJECT


def _wandb_project() -> str:
    return os.environ.get("WANDB_PROJECT") or PROJECT


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
