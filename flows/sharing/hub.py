"""Shared networks on a hub of Hugging Face, or a server that speaks like one: push a folder, pull one.

Where   HF_ENDPOINT names another hub, HF_TOKEN the token (or the login of ``hf auth login``), as in every program of Hugging Face
Writes  push: one commit that holds all files, so that nobody can fetch a part of it. pull: a folder, whole or not at all
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from flows.sharing.folder import (
    CARD_FILE,
    DIGESTS_FILE,
    RECORD_FILE,
    WEIGHTS_FILE,
    SharingError,
    check_new_folder,
    check_shared,
    refuse_without_sharing,
    shared_files,
)
from storage_schemas.awaited import awaited
from storage_schemas.errors import DepthmillError, RecipeError
from storage_schemas.files import explain_write_error, folder_written_whole

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_FETCHED = (WEIGHTS_FILE, RECORD_FILE, DIGESTS_FILE, CARD_FILE, "evaluation/*table.md", "evaluation/*table.tex")


class Pushed(NamedTuple):
    """What a push has made.

    Attributes:
        url: of the model's page.
        commit: of the model's repository.
        is_private: only its owner can see it.
    """

    url: str
    commit: str
    is_private: bool


class Pulled(NamedTuple):
    """What a pull has fetched.

    Attributes:
        commit: of the model's repository.
        record: what the training says of itself.
    """

    commit: str
    record: dict[str, Any]


def push(folder: Path, model: str, *, is_public: bool = False) -> Pushed:
    """Put a folder that ``depthmill share`` wrote onto a hub; a model that is there already gets a new commit.

    Args:
        folder: checked before anything is sent.
        model: <user or organisation>/<name>.
        is_public: everybody may see it; if not, a new model is private.

    Raises:
        RecipeError: a package or the token is missing, or the name cannot be one.
        SharingError: the folder is damaged, or the hub does not answer or refuses.
    """
    refuse_without_sharing()
    record = check_shared(folder)
    from huggingface_hub import CommitOperationAdd, get_token

    api = _api()
    if get_token() is None:
        raise RecipeError(
            f"pushing to {api.endpoint} needs a token, and there is none. Run hf auth login, or set HF_TOKEN to one that may "
            "write"
        )
    files = [CommitOperationAdd(name, folder / name) for name in shared_files(folder)]
    with _explained(api, model, doing="push"), awaited(f"'{model}' is sent to {api.endpoint}"):
        made = api.create_repo(model, private=not is_public, exist_ok=True)
        is_private = bool(api.model_info(made.repo_id).private)
        if not (is_private or is_public):
            raise RecipeError(
                f"model '{made.repo_id}' is public. Give --public if everybody may see this, or choose another name"
            )
        title = f"depthmill share: step {record['num_steps']}, manifest {record['manifest']}"
        commit = api.create_commit(made.repo_id, files, commit_message=title)
    return Pushed(f"{api.endpoint}/{made.repo_id}", commit.oid, is_private)


def pull(model: str, out: Path, *, revision: str | None = None) -> Pulled:
    """Fetch a shared network from a hub, and check that it is what was written.

    Args:
        model: <user or organisation>/<name>.
        out: folder to write; must not exist or be empty.
        revision: branch, tag or commit; None = the newest.

    Raises:
        RecipeError: a package is missing, or the name cannot be one.
        SharingError: the hub does not answer or has no such model, or it holds no whole network that depthmill shared.
        OutTakenError: ``out`` is not empty.
        StoreError: it cannot be written.
    """
    refuse_without_sharing()
    check_new_folder(out)
    from huggingface_hub import snapshot_download

    api = _api()
    try:
        with folder_written_whole(out) as folder:
            with _explained(api, model, doing="pull"), awaited(f"'{model}' is fetched from {api.endpoint}"):
                commit = str(api.model_info(model, revision=revision).sha)
                snapshot_download(model, revision=commit, local_dir=folder, allow_patterns=list(_FETCHED), endpoint=api.endpoint)
            shutil.rmtree(folder / ".cache", ignore_errors=True)  # what the client notes of its downloads
            record = _checked(folder, model)
            named = {folder / name for name in shared_files(folder)}
            for path in [path for path in folder.rglob("*") if path.is_file() and path not in named]:
                path.unlink()  # of a former network of that name, whose tables would be taken for this one's
    except OSError as error:
        raise explain_write_error(
            error,
            f"'{out}'",
            if_full="Free some space, then run the same command",
            if_denied="Choose an --out in a folder that you may write to",
            otherwise="Choose another --out",
        ) from error
    return Pulled(commit, record)


def _checked(folder: Path, model: str) -> dict[str, Any]:
    if not (folder / DIGESTS_FILE).is_file():
        raise SharingError(f"model '{model}' holds no network that depthmill shared: {DIGESTS_FILE} is not there. Check the name")
    try:
        return check_shared(folder)
    except SharingError as error:
        text = str(error).replace(f"'{folder}'", f"'{model}'")
        raise SharingError(f"{text} Nothing was kept") from error


def _api() -> HfApi:
    from huggingface_hub import HfApi
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()
    return HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, library_name="depthmill")


@contextmanager
def _explained(api: HfApi, model: str, *, doing: str) -> Iterator[None]:
    """Turn what the client raises into an error with a next step.

    Raises:
        RecipeError: the name cannot be one.
        SharingError: the hub does not answer, refuses, or lacks the model.
    """
    from huggingface_hub import errors

    try:
        yield
    except DepthmillError:
        raise
    except errors.HFValidationError as error:
        raise RecipeError(
            f"'{model}' cannot be the name of a model: expected USER/NAME of letters, digits, -, _ and ."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise SharingError(
            f"model '{model}' at {api.endpoint} has no such revision. Leave --revision out for the newest"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise SharingError(
            f"there is no model '{model}' at {api.endpoint}, or it is private and you may not see it. Check the name, and the "
            "token (hf auth whoami)"
        ) from error
    except Exception as error:  # the client's own classes, and those of its HTTP library, which its versions change
        status = getattr(getattr(error, "response", None), "status_code", None)
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        if status in (401, 403):
            advice = f"The token may not {doing} '{model}': take one that may (hf auth login, or HF_TOKEN)"
        elif status is None:
            advice = "Check the network and HF_ENDPOINT, then run the same command"
        else:
            advice = "Run the same command later"
        raise SharingError(f"cannot {doing} '{model}' at {api.endpoint}: {said}. {advice}") from error
