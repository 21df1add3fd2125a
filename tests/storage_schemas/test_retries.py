from __future__ import annotations

import random
import subprocess
import sys

import pytest

from storage_schemas.errors import StoreAccessError, StoreError
from storage_schemas.retries import LONGEST_WAIT_S, RetryPolicy, is_transient, persist, retry_policy, waits
from tests.conftest import REPOSITORY

URL = "s3://bucket/key"
POLICY = RetryPolicy(attempts=4, first_wait_s=1.0)


class Failing:
    """Fails with each of the given errors in turn, then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self.errors, self.count = list(errors), 0

    def __call__(self) -> str:
        self.count += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def tried(action: Failing) -> tuple[str, list[float]]:
    slept: list[float] = []
    return persist(action, doing="read", where=URL, policy=POLICY, sleep=slept.append), slept


def test_waits_when_drawn_then_double_up_to_a_bound_less_at_most_a_half_and_repeat_for_a_seed():
    policy = RetryPolicy(attempts=12, first_wait_s=0.25)
    drawn = list(waits(policy, random.Random(1)))
    assert len(drawn) == 11
    for number, wait_s in enumerate(drawn):
        full = min(0.25 * 2**number, LONGEST_WAIT_S)
        assert full / 2 <= wait_s <= full
    assert drawn == list(waits(policy, random.Random(1))) != list(waits(policy, random.Random(2)))


def test_request_when_it_fails_twice_then_succeeds_after_two_growing_waits():
    result, slept = tried(Failing(ConnectionResetError("reset"), TimeoutError()))
    assert result == "done"
    assert 0.5 <= slept[0] <= 1 <= slept[1] <= 2


def test_connection_when_it_takes_too_long_then_is_tried_again():
    exceptions = pytest.importorskip("botocore.exceptions")
    result, slept = tried(
        Failing(exceptions.ConnectTimeoutError(endpoint_url=URL), exceptions.ReadTimeoutError(endpoint_url=URL))
    )
    assert (result, len(slept)) == ("done", 2)


def test_request_when_it_always_fails_then_is_bounded_and_says_so():
    action = Failing(*[ConnectionResetError(104, "Connection reset by peer")] * 9)
    with pytest.raises(
        StoreAccessError,
        match=f"cannot read '{URL}': tried 4 times in .* the last time: ConnectionResetError: Connection reset by",
    ):
        tried(action)
    assert action.count == 4


@pytest.mark.parametrize("error", [FileNotFoundError("x"), KeyError("a defect"), TypeError("a defect")])
def test_error_when_not_found_or_no_fault_of_the_store_then_is_passed_on_at_once(error):
    action = Failing(error)
    with pytest.raises(type(error)) as caught:
        tried(action)
    assert caught.value is error
    assert action.count == 1


def test_permission_when_denied_then_is_told_at_once():
    action = Failing(PermissionError("Access Denied"))
    with pytest.raises(StoreAccessError, match=r"permission denied \(PermissionError: Access Denied\). Ask for read permission"):
        tried(action)
    assert action.count == 1


def _answer(status: int, code: str) -> OSError:
    client_error = Exception(code)
    client_error.response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}  # type: ignore[attr-defined]
    error = OSError(5, "words of the server")  # what s3fs makes of it
    error.__cause__ = client_error
    return error


@pytest.mark.parametrize(
    ("status", "code", "passes"),
    [(500, "InternalError", True), (502, "502", True), (503, "SlowDown", True), (504, "504", True), (429, "TooManyRequests", True),
     (400, "RequestTimeout", True), (400, "InvalidRequest", False), (412, "PreconditionFailed", False), (507, "Full", False)],
)  # fmt: skip
def test_answer_of_a_server_when_judged_then_by_status_and_code(status, code, passes):
    assert is_transient(_answer(status, code)) is passes


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (400, "AuthorizationHeaderMalformed", "the bucket is in another region .* Set AWS_DEFAULT_REGION to the region"),
        (301, "PermanentRedirect", "the bucket is in another region"),
        (400, "InvalidIdentityToken", "the credentials are refused .* Correct or renew AWS_ACCESS_KEY_ID"),
        (401, "401", "Credentials that have expired look like this"),
    ],
)
def test_refusal_of_a_server_when_its_code_tells_the_cause_then_the_remedy_is_that_of_the_cause(status, code, said):
    action = Failing(_answer(status, code))
    with pytest.raises(StoreAccessError, match=said):
        tried(action)
    assert action.count == 1


def test_login_when_expired_then_the_words_that_renew_it_are_shown_and_no_url_is_blamed():
    exceptions = pytest.importorskip("botocore.exceptions")
    action = Failing(exceptions.UnauthorizedSSOTokenError())
    with pytest.raises(StoreAccessError, match="no credentials .*run aws sso login") as caught:
        tried(action)
    assert "URL" not in str(caught.value)


def test_errors_of_the_clients_when_judged_then_by_name():
    aiohttp = pytest.importorskip("aiohttp")
    exceptions = pytest.importorskip("botocore.exceptions")
    lasting = [exceptions.NoCredentialsError(), exceptions.SSLError(endpoint_url="x", error="certificate verify failed")]
    passing = [
        exceptions.EndpointConnectionError(endpoint_url="x"),
        exceptions.ConnectTimeoutError(endpoint_url="x"),
        exceptions.ReadTimeoutError(endpoint_url="x"),
        exceptions.ConnectionClosedError(endpoint_url="x"),
        exceptions.IncompleteReadError(actual_bytes=1, expected_bytes=2),
        aiohttp.ClientPayloadError(),
        aiohttp.ServerDisconnectedError(),
    ]
    assert [is_transient(error) for error in passing] == [True] * len(passing)
    assert [is_transient(error) for error in lasting] == [False] * len(lasting)


def test_policy_when_the_environment_says_so_then_differs(monkeypatch):
    monkeypatch.setenv("DEPTHMILL_STORE_ATTEMPTS", "2")
    assert retry_policy().attempts == 2
    monkeypatch.setenv("DEPTHMILL_STORE_TIMEOUT_S", "-1")
    with pytest.raises(StoreError, match="setting DEPTHMILL_STORE_TIMEOUT_S is '-1': Input should be greater than 0. Correct or"):
        retry_policy()


def test_local_store_when_used_then_never_comes_here(tmp_path):
    code = f"""
import sys
from storage_schemas.files import StoreFiles
files = StoreFiles({str(tmp_path)!r})
files.put("a/b", b"c"); files.get("a/b"); files.names("a"); files.exists("a/b"); files.keys(""); files.remove_tree("a")
print(sorted({{"storage_schemas.retries", "fsspec", "pydantic_settings"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, timeout=300)
    assert done.stdout.strip() == "[]", done.stderr
