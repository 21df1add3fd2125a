"""Requests to a remote store that are tried again after a failure: a bounded number of times, waiting longer each time.

Why    An object store answers some requests with 503, resets connections and is late; a run of thousands of units must not fail
How    This is the only layer that retries: those of the clients below are switched off (``remote.py``), because three layers of
       five attempts each are 125 attempts and half an hour of silence. Only what may pass by itself is tried again, never a
       refusal or a missing file. The clients' exceptions share no base class: they are told apart by name and by HTTP status.
       Local files never come here.
"""

from __future__ import annotations

import asyncio
import errno
import os
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from storage_schemas.errors import StoreAccessError, StoreError

Result = TypeVar("Result")

LONGEST_WAIT_S = 20.0
"""No single wait is longer."""

_TRANSIENT_STATUS = {408, 409, 425, 429, 500, 502, 503, 504}
_TRANSIENT_CODES = {"InternalError", "ServiceUnavailable", "SlowDown", "Throttling", "ThrottlingException", "RequestTimeout"}
_TRANSIENT_ERRNO = {
    errno.EAGAIN, errno.EBUSY, errno.ECONNABORTED, errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTUNREACH, errno.ENETUNREACH,
    errno.EPIPE, errno.ETIMEDOUT, getattr(errno, "EREMOTEIO", errno.EAGAIN),
}  # fmt: skip
_TRANSIENT_NAMES = {
    "ClientConnectionError", "ClientPayloadError", "ConnectTimeoutError", "ConnectionClosedError", "EndpointConnectionError",
    "HTTPClientError", "IncompleteRead", "IncompleteReadError", "ProtocolError", "ReadTimeoutError", "ResponseParserError",
    "ServerDisconnectedError", "ServiceRequestError", "ServiceResponseError",
}  # fmt: skip
_NO_CREDENTIALS = {
    "NoCredentialsError",
    "PartialCredentialsError",
    "ProfileNotFound",
    "CredentialRetrievalError",
    "DefaultCredentialsError",
    "ClientAuthenticationError",
    "RefreshError",
    "SSOError",
    "TokenRetrievalError",
}
"""Of botocore's, Google's and Azure's clients: there are none, or a login has expired; the error says how to renew it."""
_LASTING_NAMES = {*_NO_CREDENTIALS, "SSLError", "ProxyConnectionError"}
_REFUSED_CREDENTIALS = {
    "AuthFailure", "ExpiredSecurityToken", "ExpiredToken", "ExpiredTokenException", "InvalidAccessKeyId", "InvalidClientTokenId",
    "InvalidIdentityToken", "InvalidToken", "RequestExpired", "RequestTimeTooSkewed", "SignatureDoesNotMatch",
    "TokenRefreshRequired", "UnrecognizedClientException",
}  # fmt: skip
_OTHER_REGION = {"AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect"}
_FULL_CODES = {"QuotaExceeded", "XMinioStorageFull", "InsufficientStorage"}
_CLIENT_PACKAGES = {"adlfs", "aiobotocore", "aiohttp", "azure", "botocore", "fsspec", "gcsfs", "google", "s3fs", "urllib3"}


class RetryPolicy(BaseSettings):
    """How often and how long requests are tried, from the environment (``DEPTHMILL_STORE_*``) or ``.env``; changes no result."""

    model_config = SettingsConfigDict(env_prefix="DEPTHMILL_STORE_", env_file=".env", frozen=True, extra="ignore")
    attempts: int = Field(default=7, ge=1, description="times that one request is tried; 1 = never again")
    first_wait_s: float = Field(
        default=0.25, gt=0, description="seconds before the second attempt, doubled before each later one"
    )
    timeout_s: float = Field(default=60.0, gt=0, description="seconds without a byte after which a request has failed")


def retry_policy() -> RetryPolicy:
    """Read the policy of this process.

    Raises:
        StoreError: a setting is not a number in bounds.
    """
    try:
        return RetryPolicy()
    except ValidationError as error:
        first = error.errors()[0]
        name = f"DEPTHMILL_STORE_{'_'.join(map(str, first['loc'])).upper()}"
        raise StoreError(f"setting {name} is {first['input']!r}: {first['msg']}. Correct or unset it") from error


def waits(policy: RetryPolicy, rng: random.Random) -> Iterator[float]:
    """Yield the seconds to wait before each further attempt: doubled every time, less a random part of up to a half."""
    for number in range(policy.attempts - 1):
        yield min(policy.first_wait_s * 2**number, LONGEST_WAIT_S) * rng.uniform(0.5, 1.0)


class Attempts:
    """One request's attempts so far.

    Args:
        policy: how often and how long.
        doing: what is tried, a verb: ``read``, ``write``.
        where: path or URL.
        setting: key of the recipe that names the root, for errors.
    """

    def __init__(self, policy: RetryPolicy, doing: str, where: str, *, setting: str = "store:") -> None:
        self._doing, self._where, self._count, self._start = doing, where, 0, time.monotonic()
        self._setting = setting
        # Seeded by process and URL: workers that a busy store refused must not all try again at the same moment.
        self._waits = waits(policy, random.Random(f"{os.getpid()} {where}"))

    def wait_after(self, error: Exception, *, where: str | None = None) -> float:
        """Return the seconds to wait before trying again.

        Args:
            error: why the attempt failed.
            where: what failed, if the request is of several.

        Raises:
            FileNotFoundError: the same error, if the file does not exist.
            StoreError: trying again is of no use, or was tried often enough.
            Exception: the same error, if no storage client raised it: a defect must not be hidden.
        """
        where = where or self._where
        self._count += 1
        if isinstance(error, StoreError) or not _is_of_storage(error):
            raise error
        if _code(error) == "NoSuchBucket":
            raise StoreAccessError(
                f"cannot {self._doing} '{where}': bucket '{_bucket(where)}' does not exist. "
                + (f"Create it (aws s3 mb s3://{_bucket(where)}), or correct" if self._setting == "store:" else "Correct")
                + f" '{self._setting}' in the recipe"
            ) from error
        if isinstance(error, FileNotFoundError):
            raise error
        if not is_transient(error):
            raise _refused(error, self._doing, where, self._setting) from error
        wait_s = next(self._waits, None)
        if wait_s is None:
            raise _gave_up(error, self._doing, where, self._count, time.monotonic() - self._start) from error
        return wait_s


def persist(
    action: Callable[[], Result],
    *,
    doing: str,
    where: str,
    policy: RetryPolicy,
    setting: str = "store:",
    sleep: Callable[[float], None] = time.sleep,
) -> Result:
    """Do something on a remote store, again while it fails for a reason that may pass.

    Args:
        action: safe to repeat: a read, or a write of the same bytes under the same name.
        doing: a verb for the error text.
        where: path or URL.
        policy: how often and how long.
        setting: key of the recipe that names the root, for errors.
        sleep: waits.

    Raises:
        FileNotFoundError: there is no such file.
        StoreError: refused, or tried often enough; names the URL, what was wrong, the attempts, and what to do.
    """
    attempts = Attempts(policy, doing, where, setting=setting)
    while True:
        try:
            return action()
        except Exception as error:  # a client may raise any class; ``wait_after`` raises again what no client raised
            sleep(attempts.wait_after(error))


async def persist_async(action: Callable[[], Awaitable[Result]], *, doing: str, where: str, policy: RetryPolicy) -> Result:
    """Do the same inside an event loop."""
    attempts = Attempts(policy, doing, where)
    while True:
        try:
            return await action()
        except Exception as error:  # as in ``persist``
            await asyncio.sleep(attempts.wait_after(error))


def is_transient(error: BaseException) -> bool:
    """Say whether the same request may succeed a little later."""
    if isinstance(error, PermissionError | FileNotFoundError) or _names(error) & _LASTING_NAMES:
        return False
    if (status := status_of(error)) is not None:
        return status in _TRANSIENT_STATUS or _code(error) in _TRANSIENT_CODES
    if isinstance(error, TimeoutError | ConnectionError) or _names(error) & _TRANSIENT_NAMES:
        return True
    return isinstance(error, OSError) and error.errno in _TRANSIENT_ERRNO


def _names(error: BaseException) -> set[str]:
    return {error_class.__name__ for error_class in type(error).__mro__}


def _is_of_storage(error: Exception) -> bool:
    packages = {error_class.__module__.split(".")[0] for error_class in type(error).__mro__}
    return isinstance(error, OSError) or bool(packages & _CLIENT_PACKAGES) or _is_url_refused(error)


def _is_url_refused(error: Exception) -> bool:
    return isinstance(error, ValueError) and str(error).startswith(("Invalid endpoint", "Invalid URL"))


def _response(error: BaseException) -> dict[str, Any]:
    """Return what an S3 server answered: s3fs hides botocore's error behind an OSError."""
    for candidate in (error, error.__cause__):
        response = getattr(candidate, "response", None)
        if isinstance(response, dict):
            return response
    return {}


def _code(error: BaseException) -> str:
    return str(_response(error).get("Error", {}).get("Code", ""))


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status that the server answered with, None if it did not answer."""
    candidates = [_response(error).get("ResponseMetadata", {}).get("HTTPStatusCode")]
    candidates += [getattr(error, name, None) for name in ("status", "status_code", "code")]  # aiohttp, azure, gcsfs
    return next((candidate for candidate in candidates if isinstance(candidate, int)), None)


def gives_no_reason(error: BaseException) -> bool:
    """Say whether the server refused with a bare status, as it answers to HEAD, which has no body for the reason."""
    status = status_of(error)
    return status in (400, 401, 403) and _code(error) in ("", str(status))


def _bucket(where: str) -> str:
    return where.partition("://")[2].split("/")[0]


def _words(error: Exception) -> str:
    """Return the error in one line, with the server's own code where there is one."""
    message = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    text = " ".join(message.split()) or "no further word"
    name = _code(error) or (str(status) if (status := status_of(error)) else type(error).__name__)
    return text if name in text else f"{name}: {text}"


def _gave_up(error: Exception, doing: str, where: str, count: int, seconds: float) -> StoreAccessError:
    times = "once" if count == 1 else f"{count} times in {seconds:.1f} s"
    return StoreAccessError(
        f"cannot {doing} '{where}': tried {times}, the last time: {_words(error)}. {_silent_server(error)}"
        "Check the connection and the endpoint (AWS_ENDPOINT_URL), then run the same command again; "
        "DEPTHMILL_STORE_ATTEMPTS sets how often a request is tried"
    )


def _silent_server(error: Exception) -> str:
    """Say how to start the S3 server of the environment, where nothing listens at its address; else nothing."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    if not endpoint or not _names(error) & {"EndpointConnectionError", "ConnectionRefusedError"}:
        return ""
    return (
        f"The S3 server AWS_ENDPOINT_URL={endpoint} does not answer: start it (where `make cluster` runs: supervisorctl -c "
        "cluster/supervisord.conf start s3). "
    )


def _refused(error: Exception, doing: str, where: str, setting: str) -> StoreAccessError:
    start = f"cannot {doing} '{where}'"
    if _names(error) & _NO_CREDENTIALS:
        return StoreAccessError(
            f"{start}: no credentials ({_words(error)}). Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        )
    if _code(error) in _REFUSED_CREDENTIALS:
        return StoreAccessError(
            f"{start}: the credentials are refused ({_words(error)}). Correct or renew AWS_ACCESS_KEY_ID, "
            "AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or choose another AWS_PROFILE"
        )
    if _code(error) in _OTHER_REGION or status_of(error) == 301:
        return StoreAccessError(
            f"{start}: the bucket is in another region ({_words(error)}). Set AWS_DEFAULT_REGION to the region of the bucket, "
            "then run the same command again"
        )
    if status_of(error) == 507 or _code(error) in _FULL_CODES:
        return StoreAccessError(
            f"{start}: no space left in the store ({_words(error)}). Nothing half-written is visible; free some space (depthmill "
            "prune lists units no manifest names) and run the same command again"
        )
    if isinstance(error, PermissionError):
        whom = "Ask for read permission" if doing in ("read", "list", "look up") else (
            f"Give this user write permission on the store, or choose another '{setting}' in the recipe"
        )  # fmt: skip
        return StoreAccessError(f"{start}: permission denied ({_words(error)}). {whom}")
    if str(error).startswith("Invalid endpoint"):
        return StoreAccessError(f"{start}: {_words(error)}. Set AWS_ENDPOINT_URL to a URL such as https://s3.example.org:9000")
    if gives_no_reason(error):
        return StoreAccessError(
            f"{start}: the server refuses and does not say why ({_words(error)}). Credentials that have expired look like this: "
            f"renew AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN; or check {_whose(setting)} URL and region. "
            "Then run the same command again"
        )
    return StoreAccessError(f"{start}: {_words(error)}. Check {_whose(setting)} URL, then run the same command again")


def _whose(setting: str) -> str:
    return "the store's" if setting == "store:" else "the data set's"
