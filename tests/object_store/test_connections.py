"""A connection is opened once and used again: to open one costs three times the latency, and more with TLS."""

from __future__ import annotations

from storage_schemas.files import StoreFiles
from storage_schemas.many_requests import MOST_AT_ONCE, all_at_once
from storage_schemas.store import Store, UnitPath
from tests.storage_schemas.test_store import depth_data, identity


def test_connections_when_requests_follow_each_other_then_one_is_used_again(bucket, proxy, fresh_clients):
    fresh_clients()
    for number in range(10):
        files = StoreFiles(f"s3://{bucket}/store")  # as each scene of a worker opens the store
        files.put(f"a/{number}", b"x")
        assert files.get(f"a/{number}") == b"x"
    assert sum(proxy.requests.values()) == 20
    assert proxy.num_connections == 1


def test_connections_when_many_requests_are_under_way_then_no_more_than_that_and_none_is_opened_later(
    bucket, proxy, fresh_clients
):
    fresh_clients()
    files = StoreFiles(f"s3://{bucket}/store")
    files.put("a", b"x")
    assert all_at_once(lambda _: files.get("a"), range(200)) == [b"x"] * 200
    opened = proxy.num_connections
    assert 1 < opened <= MOST_AT_ONCE
    assert all_at_once(lambda _: files.get("a"), range(200)) == [b"x"] * 200
    assert proxy.num_connections <= MOST_AT_ONCE


def test_unit_when_written_then_the_mark_is_sent_after_all_other_files(bucket, proxy):
    store = Store(f"s3://{bucket}/store")
    store.write_unit(identity(), depth_data(), seconds=0, counts={})
    assert "lineage.json" in proxy.log[-1]
    proxy.forget()
    proxy.rule = lambda method, path: "403" if method == "PUT" and "num_measured/c" in path else None
    other = identity(scene="scene-0002")
    try:
        store.write_unit(other, depth_data(), seconds=0, counts={})
    except ValueError as error:
        assert "permission denied" in str(error)
    else:
        raise AssertionError("a file was refused, and nobody said so")
    proxy.rule = lambda method, path: None
    assert not store.has(UnitPath.of(other))
    assert not [line for line in proxy.log if line.startswith("PUT") and "lineage.json" in line]
