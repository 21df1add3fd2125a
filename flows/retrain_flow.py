"""The ``retrain_and_evaluate`` flow by hand: Prefect 3 around one round; its units and its training are flows inside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flows.build_flow import OrchestratorError  # isort: skip  (first: it sets Prefect's environment before Prefect is imported)
from prefect import State, flow
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.states import Completed, Failed

from flows.materialize import Opened
from flows.prefect_server import refuse_silent_server
from flows.retrain import Result
from flows.retrain_verb import do_round
from model.train.judging import Rules
from storage_schemas.errors import DepthmillError


def retrain_with_prefect(opened: Opened, *, where: str, rules: Rules, fine_tune: bool, is_quiet: bool = False) -> Result:
    """Do one round as a Prefect flow; asked again, it goes on where it stopped.

    Raises:
        DepthmillError: what the round raised.
        OrchestratorError: Prefect itself failed.
    """
    raised: list[DepthmillError] = []
    found: list[Result] = []

    @flow(name="retrain_and_evaluate", flow_run_name=Path(where).stem, validate_parameters=False, log_prints=False)
    def retrain_and_evaluate() -> State[Any]:
        try:
            found.append(round_with_artifacts(opened, where=where, rules=rules, fine_tune=fine_tune, is_quiet=is_quiet))
        except DepthmillError as error:  # a user's mistake: Prefect shall keep its text, not print a traceback
            raised.append(error)
            return Failed(message=str(error))
        return Completed(message=words_of(found[0]))

    refuse_silent_server()
    try:
        state = retrain_and_evaluate(return_state=True)
        if not raised and not found:
            state.result(raise_on_failure=True)
    except DepthmillError:
        raise
    except Exception as error:  # Prefect has many error types for a server that is gone
        raise OrchestratorError(
            f"Prefect could not finish the round: {type(error).__name__}: {error}. Start the server of PREFECT_API_URL, unset it "
            "to use the embedded one, or add --no-prefect. Then run the same command; it goes on where it stopped"
        ) from error
    if raised:
        raise raised[0]
    return found[0]


def round_with_artifacts(opened: Opened, *, where: str, rules: Rules, fine_tune: bool, is_quiet: bool = False) -> Result:
    """Do one round inside a flow and leave its report, and a link to its training's, as artifacts."""
    result = do_round(opened, where=where, rules=rules, fine_tune=fine_tune, no_prefect=False, is_quiet=is_quiet)
    create_markdown_artifact(key="retrain-round", markdown=result.text, description=f"round {result.row.name}")
    if result.row.training is not None and (report := Path(result.row.training) / "report.html").is_file():
        create_link_artifact(key="retrain-report", link=report.absolute().as_uri(), link_text=report.name)
    return result


def words_of(result: Result) -> str:
    """Return the message of a flow run whose round has ended."""
    row = result.row
    return f"{row.outcome}: {row.reason}" if row.outcome == "nothing to do" else f"{row.outcome}: {row.note} (why: {row.reason})"
