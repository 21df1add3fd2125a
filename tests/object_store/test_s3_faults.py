"""Every operation against every fault; every mistake of a user with its text."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from pipeline.verify import verify_units
from storage_schemas.byte_ranges import ByteRange, RangeReader
from storage_schemas.errors import StoreAccessError, StoreError
from storage_schemas.files import MOST_TRANSFERS, StoreFiles
from storage_schemas.store import Store, UnitPath
from tests.faulty_proxy import FAULTS, FaultyProxy
from tests.object_store.test_whole_pipeline import unit_files
from tests.storage_schemas.test_store import depth_data, identity


def fail_first(proxy: FaultyProxy, fault: str, *, times: int) -> None:
    """Fail the first requests of every method."""
    left = {"GET": times, "PUT": times, "HEAD": times, "POST": times, "DELETE": times}

    def rule(method: str, path: str) -> str | None:
        left[method] -= 1
        return fault if left[method] >= 0 else None

    proxy.rule = rule


QUICK = ("500", "lost", "cut")

OPERATIONS: dict[str, tuple[Callable[[StoreFiles], object], object]] = {
    "put": (lambda files: files.put("new/file", b"x" * 1000), None),
    "get": (lambda files: files.get("a/one"), b"0123456789"),
    "exists": (lambda files: files.exists("a/one"), True),
    "exists not": (lambda files: files.exists("a/none"), False),
    "names": (lambda files: files.names("a"), ["deep", "one"]),
    "keys": (lambda files: files.keys("a"), ["a/deep/two", "a/one"]),
    "ranges": (
        lambda files: [bytes(one) for one in RangeReader(files).read([ByteRange("a/one", 2, 5), ByteRange("a/deep/two", 0, 3)])],
        [b"234", b"two"],
    ),
    "remove_tree": (lambda files: files.remove_tree("a"), None),
}


@pytest.mark.parametrize("fault", [one if one in QUICK else pytest.param(one, marks=pytest.mark.slow) for one in FAULTS])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_operation_when_the_store_stumbles_then_it_is_done_in_the_end(operation, fault, bucket, proxy, monkeypatch):
    if fault == "late":  # everywhere else the client waits longer than any busy machine takes
        monkeypatch.setenv("DEPTHMILL_STORE_TIMEOUT_S", "0.5")
        monkeypatch.setenv("DEPTHMILL_STORE_ATTEMPTS", "30")
    files = StoreFiles(f"s3://{bucket}/root")
    files.put("a/one", b"0123456789")
    files.put("a/deep/two", b"two")
    fail_first(proxy, fault, times=2)
    action, expected = OPERATIONS[operation]
    assert action(files) == expected
    assert proxy.faults[fault] >= 2
    if operation == "put":
        assert files.get("new/file") == b"x" * 1000
    if operation == "remove_tree":
        assert files.keys("") == []


@pytest.mark.parametrize("fault", ["500", "reset", "cut"])
def test_unit_when_zarr_reads_it_and_the_store_stumbles_then_it_is_read(fault, bucket, proxy):
    store, data = Store(f"s3://{bucket}"), depth_data()
    store.write_unit(identity(), data, seconds=0, counts={})
    proxy.rule = lambda method, path, rng=[0]: fault if (rng.__setitem__(0, rng[0] + 1) or rng[0]) % 2 else None
    assert (store.read_unit(UnitPath.of(identity())).arrays["depth_m"] == data.arrays["depth_m"]).all()
    assert proxy.faults[fault] >= 3


def test_store_when_it_never_answers_then_says_url_attempts_and_what_to_do(bucket, proxy, monkeypatch):
    monkeypatch.setenv("DEPTHMILL_STORE_ATTEMPTS", "3")
    store = Store(f"s3://{bucket}/root")
    store.write_unit(identity(), depth_data(), seconds=0, counts={})
    path = UnitPath.of(identity())
    proxy.forget()
    proxy.rule = lambda method, path: "503"
    with pytest.raises(StoreAccessError) as caught:
        store.files.get("a/b")
    assert f"cannot read 's3://{bucket}/root/a/b': tried 3 times in " in str(caught.value)
    assert "s, the last time: SlowDown: injected fault. Check the connection and the endpoint (AWS_ENDPOINT_URL)" in str(
        caught.value
    )
    assert "DEPTHMILL_STORE_ATTEMPTS sets how often a request is tried" in str(caught.value)
    assert sum(proxy.requests.values()) == 3  # and no layer below tried again
    for action in (
        lambda: store.has(path),
        lambda: store.files.names(""),
        lambda: store.files.put("a/b", b""),
        lambda: store.open_unit(path),
        lambda: store.units("depth_single"),
        lambda: RangeReader(store.files).read([ByteRange("a", 0, 1)]),
    ):
        with pytest.raises(StoreAccessError, match="tried 3 times in"):
            action()
    verdict = verify_units(store, [path])  # and is not taken for damage
    assert len(verdict.faults) == 1
    assert verdict.damaged == ()
    proxy.rule = lambda method, path: "503" if "depth_m" in path else None
    with pytest.raises(StoreAccessError, match=r"cannot read 's3://.*/depth_m/.*': tried 3 times"):
        store.read_unit(path)
    assert verify_units(store, [path]).damaged == ()


@pytest.mark.parametrize("fault", ["403", "403:InvalidAccessKeyId", "404:NoSuchBucket", "400:InvalidRequest"])
def test_request_when_refused_then_is_not_tried_again(fault, bucket, proxy):
    files = StoreFiles(f"s3://{bucket}")
    proxy.rule = lambda method, path: fault
    with pytest.raises(StoreAccessError, match="cannot read 's3://"):
        files.get("a")
    assert sum(proxy.requests.values()) == 1


def test_file_when_absent_then_not_found_and_is_not_tried_again(bucket, proxy):
    with pytest.raises(FileNotFoundError):
        StoreFiles(f"s3://{bucket}").get("a")
    assert sum(proxy.requests.values()) == 1


def test_shard_when_shorter_than_its_index_says_then_damage_and_not_a_refusal(bucket, proxy):
    files = StoreFiles(f"s3://{bucket}")
    files.put("a", b"0123456789")
    for start, stop in ((5, 20), (20, 30)):
        with pytest.raises(StoreError, match=f"ends before byte {stop}: .* bytes from {start}. Run depthmill verify") as caught:
            RangeReader(files).read([ByteRange("a", start, stop)])
        assert not isinstance(caught.value, StoreAccessError)
    with pytest.raises(StoreError, match="is missing: its unit was pruned or damaged. Run depthmill verify"):
        RangeReader(files).read([ByteRange("a", 0, 5), ByteRange("b", 0, 5)])


@pytest.mark.parametrize("command", [("run", "--no-prefect", "--workers", 1), ("prune",)])
def test_bucket_when_missing_then_says_how_to_make_it(command, tiny_root, write_recipe, depthmill, proxy):
    recipe = write_recipe(tiny_root, store="s3://no-such-bucket/x")
    code, text = depthmill(command[0], recipe, *command[1:])
    assert code == 1
    assert (
        "bucket 'no-such-bucket' does not exist. Create it (aws s3 mb s3://no-such-bucket), or correct 'store:' in the recipe"
        in text
    )
    assert "Traceback" not in text


def test_store_when_read_only_then_says_which_permission(tiny_root, write_recipe, depthmill, bucket, proxy):
    recipe = write_recipe(tiny_root, store=f"s3://{bucket}/x")
    proxy.rule = lambda method, path: "403" if method in ("PUT", "POST", "DELETE") else None
    code, text = depthmill("run", recipe, "--no-prefect", "--workers", 1, "--no-report")
    assert code == 1
    assert f"cannot write 's3://{bucket}/x/" in text
    assert (
        "permission denied (AccessDenied: injected fault). Give this user write permission on the store, or choose another 'store:'"
        in text
    )
    proxy.rule = lambda method, path: "403"
    code, text = depthmill("plan", recipe)
    assert code == 1
    assert "permission denied (AccessDenied: injected fault). Ask for read permission" in text


def test_store_when_full_then_says_so_and_is_not_tried_again(bucket, proxy):
    proxy.rule = lambda method, path: "507:XMinioStorageFull"
    with pytest.raises(
        StoreAccessError, match=r"no space left in the store \(.*XMinioStorageFull.*\). Nothing half-written is visible"
    ):
        Store(f"s3://{bucket}/root").write_unit(identity(), depth_data(), seconds=0, counts={})
    assert len(proxy.log) == len(set(proxy.log)) <= MOST_TRANSFERS  # of those sent together none is sent again


def test_delete_when_refused_file_by_file_then_is_not_taken_for_done(bucket, proxy):
    files = StoreFiles(f"s3://{bucket}")
    files.put("unit/a", b"a")
    proxy.rule = lambda method, path: "200" if method == "POST" else None  # a bulk delete that deletes nothing and answers 200
    with pytest.raises(
        StoreAccessError, match=r"cannot delete 's3://.*/unit': a is still there. Give this user permission to delete"
    ):
        files.remove_tree("unit")


def test_credentials_when_wrong_or_missing_then_says_what_to_set(bucket, proxy, depthmill, monkeypatch, fresh_clients):
    proxy.rule = lambda method, path: "403:SignatureDoesNotMatch"
    code, text = depthmill("inspect", f"s3://{bucket}/x")
    assert code == 1
    assert f"cannot list 's3://{bucket}/x': the credentials are refused (SignatureDoesNotMatch: injected fault)" in text
    assert (
        "Correct or renew AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or choose another AWS_PROFILE" in text
    )
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    fresh_clients()
    code, text = depthmill("inspect", f"s3://{bucket}/x")
    assert code == 1
    assert (
        "no credentials (NoCredentialsError: Unable to locate credentials). Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or"
        in text
    )
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    fresh_clients()
    code, text = depthmill("inspect", f"s3://{bucket}/x")
    assert code == 1
    assert "The config profile (nobody) could not be found" in text


@pytest.mark.parametrize("fault", ["400:ExpiredToken", "403:InvalidAccessKeyId", "403:RequestTimeTooSkewed"])
def test_credentials_when_refused_to_a_head_request_then_a_small_read_tells_the_reason(fault, bucket, proxy):
    files = StoreFiles(f"s3://{bucket}/root")
    proxy.rule = lambda method, path: fault
    code = fault.split(":")[1]
    with pytest.raises(
        StoreAccessError, match=rf"cannot look up '.*/root/a': the credentials are refused \({code}: injected"
    ) as told:
        files.exists("a")
    assert "renew AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN" in str(told.value)
    assert sum(proxy.requests.values()) <= 4  # and is not tried again


@pytest.mark.slow
def test_token_when_it_expires_within_a_unit_then_named_and_the_same_command_goes_on(
    tiny_root, tiny_store, write_recipe, depthmill, bucket, proxy
):
    url = f"s3://{bucket}/x"
    recipe = write_recipe(tiny_root, store=url)
    written = []

    def expire(method: str, path: str) -> str | None:
        written.extend([path] if method == "PUT" and "/depth_single/" in path else [])
        return "400:ExpiredToken" if len(written) >= 2 else None  # in the middle of the first unit of this stage

    proxy.rule = expire
    code, text = depthmill("run", recipe, "--no-prefect", "--workers", 1, "--no-report")
    assert code == 1
    assert "the credentials are refused (ExpiredToken: injected fault). Correct or renew AWS_ACCESS_KEY_ID" in text
    assert "Traceback" not in text
    proxy.rule = lambda method, path: None
    store = Store(url)
    assert not store.units("depth_single")  # nothing of it is committed
    before = unit_files(store)
    assert before
    code, text = depthmill("run", recipe, "--no-prefect", "--workers", 1, "--no-report")
    assert code == 0, text
    after = unit_files(store)
    assert {key: after[key] for key in before} == before
    assert after == unit_files(Store(tiny_store))


def test_endpoint_when_not_reachable_or_no_url_then_names_it(bucket, proxy, depthmill, monkeypatch, fresh_clients):
    monkeypatch.setenv("DEPTHMILL_STORE_ATTEMPTS", "2")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    fresh_clients()
    code, text = depthmill("inspect", f"s3://{bucket}/x")
    assert code == 1
    assert f"cannot list 's3://{bucket}/x': tried 2 times in " in text
    assert 'Could not connect to the endpoint URL: "http://127.0.0.1:9/' in text
    monkeypatch.setenv("AWS_ENDPOINT_URL", "127.0.0.1:9")
    fresh_clients()
    code, text = depthmill("inspect", f"s3://{bucket}/x")
    assert code == 1
    assert "Invalid endpoint: 127.0.0.1:9. Set AWS_ENDPOINT_URL to a URL such as https://s3.example.org:9000" in text


@pytest.mark.parametrize(("value", "said"), [("0", "greater than or equal to 1"), ("many", "valid integer")])
def test_setting_when_wrong_then_is_named(value, said, bucket, monkeypatch):
    monkeypatch.setenv("DEPTHMILL_STORE_ATTEMPTS", value)
    with pytest.raises(StoreError, match=f"setting DEPTHMILL_STORE_ATTEMPTS is '{value}': .*{said}.*. Correct or unset it"):
        StoreFiles(f"s3://{bucket}").get("a")


def test_write_when_the_server_takes_connections_and_reads_nothing_then_given_up_and_said(monkeypatch, fresh_clients, proxy):
    """A stopped server: the kernel still takes connections for it. The client's own time limit starts after a body was sent."""
    with socket.create_server(("127.0.0.1", 0)) as stopped:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{stopped.getsockname()[1]}")
        monkeypatch.setenv("DEPTHMILL_STORE_TIMEOUT_S", "0.2")
        monkeypatch.setenv("DEPTHMILL_STORE_ATTEMPTS", "2")
        fresh_clients()
        with pytest.raises(
            StoreAccessError, match=r"cannot write 's3://b/s/k': tried 2 times .*: the server did not take 3 bytes"
        ):
            StoreFiles("s3://b/s").put("k", b"abc")
