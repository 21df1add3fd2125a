"""What ``make cluster`` prepares and refuses, without starting a service; and the objects that its S3 server keeps."""

from __future__ import annotations

import os
import pwd
import re
import socket
import stat
import subprocess
from contextlib import closing, contextmanager

import pytest

from tests.cluster.running_cluster import sourced
from tests.conftest import REPOSITORY

ANY_PORTS = {"PREFECT": 4200, "POSTGRESQL": 5432, "S3": 9000, "DASK": 8786, "DASHBOARD": 8787}


@contextmanager
def taken_port():
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


@pytest.fixture
def debian(tmp_path):
    """Two versions of PostgreSQL, as Debian installs them."""
    for version in ("9.6", "15"):
        folder = tmp_path / "postgresql" / version / "bin"
        folder.mkdir(parents=True)
        for program in ("postgres", "initdb"):
            (folder / program).write_text("#!/bin/sh\n")
            (folder / program).chmod(0o755)
    return tmp_path / "postgresql"


def test_services_when_they_end_in_order_then_are_started_again_too():
    programs = (REPOSITORY / "deploy/cluster/supervisord.conf").read_text().split("\n[program:")[1:]
    endless = [program for program in programs if not program.startswith("ready]")]
    assert len(endless) == 6
    assert all("\nautorestart = true\n" in program for program in endless)  # by default only what fails is


def test_makefile_when_asked_for_the_cluster_then_runs_its_file():
    done = subprocess.run(
        ["make", "--no-print-directory", "-n", "-o", ".venv/.installed", "cluster"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines()[-1] == ".venv/bin/python deploy/cluster/cluster.py", done.stderr


def test_postgresql_when_debian_has_several_versions_then_the_newest(cluster, debian):
    found = cluster.find_postgres({}, is_root=False, debian=debian)
    assert (found.folder, found.user, found.prefix()) == (debian / "15/bin", None, [])


def test_postgresql_when_it_is_on_the_path_only_then_found_there(cluster, debian, tmp_path):
    found = cluster.find_postgres({"PATH": f"/nowhere:{debian / '9.6/bin'}"}, is_root=False, debian=tmp_path / "none")
    assert found.folder == debian / "9.6/bin"


def test_postgresql_when_it_is_missing_then_names_the_package_and_the_command(cluster, tmp_path):
    with pytest.raises(cluster.ClusterError) as refused:
        cluster.find_postgres({"PATH": str(tmp_path)}, is_root=False, debian=tmp_path / "none")
    assert f"PostgreSQL's programs postgres and initdb are neither in {tmp_path}/none/*/bin nor on the path." in str(
        refused.value
    )
    assert "Install Debian's package: apt-get install postgresql" in str(refused.value)


def test_postgresql_when_started_by_root_then_runs_as_another_user(cluster, debian):
    user = next(entry for entry in pwd.getpwall() if entry.pw_uid)
    found = cluster.find_postgres({"CLUSTER_POSTGRES_USER": user.pw_name}, is_root=True, debian=debian)
    assert found.prefix() == [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    for wrong in ("nobody-of-this-name", "root"):
        with pytest.raises(cluster.ClusterError, match=f"there is no user {wrong}. Set CLUSTER_POSTGRES_USER to one that exists"):
            cluster.find_postgres({"CLUSTER_POSTGRES_USER": wrong}, is_root=True, debian=debian)


def test_ports_when_the_usual_one_is_taken_then_a_free_one_and_never_one_twice(cluster, monkeypatch):
    with taken_port() as taken:
        monkeypatch.setattr(cluster, "USUAL_PORTS", dict.fromkeys(ANY_PORTS, taken))
        chosen = cluster.choose_ports({}, {})
    assert taken not in chosen.values()
    assert len(set(chosen.values())) == len(ANY_PORTS)


def test_ports_when_set_or_kept_then_these_and_a_taken_one_is_named(cluster):
    with taken_port() as taken:
        with pytest.raises(cluster.ClusterError) as refused:
            cluster.choose_ports({"CLUSTER_PORT_S3": str(taken)}, {})
        assert f"port {taken} of s3 is taken on 127.0.0.1. End what listens there" in str(refused.value)
        assert "or set CLUSTER_PORT_S3 to another port" in str(refused.value)
        with pytest.raises(cluster.ClusterError, match=f"port {taken} of prefect is taken"):
            cluster.choose_ports({}, {"PREFECT": taken})
    for wrong in ("0", "70000", "http", ""):
        with pytest.raises(cluster.ClusterError, match=f"CLUSTER_PORT_DASK is '{wrong}', expected a port, 1 to 65535"):
            cluster.choose_ports({"CLUSTER_PORT_DASK": wrong}, {})


def test_host_when_it_is_no_address_of_this_machine_then_said(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "HOST", "192.0.2.1")  # an address that no machine has
    with pytest.raises(cluster.ClusterError, match=r"CLUSTER_HOST is '192.0.2.1', expected an IPv4 address of this machine"):
        cluster.prepare(tmp_path / "cluster", os.environ)


def test_folder_when_its_path_is_too_long_for_a_socket_then_said(cluster, tmp_path):
    with pytest.raises(cluster.ClusterError, match="is too long for the name of a socket in it. Set it to a shorter one"):
        cluster.prepare(tmp_path / ("long" * 30), os.environ)


def test_folder_when_a_package_is_missing_then_says_what_to_run(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "find_spec", lambda module: None if module == "supervisor" else object())
    with pytest.raises(
        cluster.ClusterError, match=r"not installed: supervisor. Run: pip install -c constraints.txt -e '.\[cluster\]'"
    ):
        cluster.prepare(tmp_path / "cluster", os.environ)
    assert not (tmp_path / "cluster").exists()


def test_folder_when_prepared_twice_then_its_ports_and_password_stay(cluster, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(cluster, "find_postgres", lambda *_, **__: cluster._Postgres(tmp_path, None))
    monkeypatch.setattr(cluster._Postgres, "run", lambda self, *words, text="": asked.append(words[0]))
    folder = tmp_path / "cluster"
    if len(os.fsencode(folder / "supervisor.sock")) > cluster.LONGEST_SOCKET_PATH:
        pytest.skip("the folder for temporary files has too long a name")
    first = cluster.prepare(folder, {})
    assert asked == ["initdb", "postgres"]
    again = cluster.prepare(folder, {})
    assert asked == ["initdb", "postgres"]
    assert again == first
    users = sourced(folder / "cluster.env")
    assert users == {name: first[name] for name in users}
    assert {"PREFECT_API_URL", "AWS_ENDPOINT_URL", "DEPTHMILL_DASK"} <= set(users)
    password = (folder / "postgresql-password").read_text().strip()
    assert password in first["PREFECT_SERVER_DATABASE_CONNECTION_URL"]
    assert password not in (folder / "cluster.env").read_text()
    assert stat.S_IMODE((folder / "postgresql-password").stat().st_mode) == 0o600
    named = set(re.findall(r"%\(ENV_(\w+)\)s", (folder / "supervisord.conf").read_text()))
    assert named <= set(first)


def test_objects_when_the_server_is_killed_then_the_next_one_has_them(s3_server, tmp_path):
    from moto.s3.models import s3_backends
    from werkzeug.test import Client

    def server() -> Client:
        s3_backends.reset()  # what a killed process forgets
        objects = s3_server.KeptObjects(str(tmp_path / "s3.sqlite"))
        objects.load(["bench"])
        return Client(s3_server.KeepingServer(s3_server.DomainDispatcherApplication(s3_server.create_backend_app), objects))

    def ask(client: Client, method: str, path: str, **options: object):
        headers = {
            "Authorization": "AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/s3/aws4_request",
            **options.pop("headers", {}),
        }
        return client.open(path, method=method, headers=headers, base_url="http://127.0.0.1:9000", **options)

    client = server()
    assert ask(client, "PUT", "/bench/a/b%20c%25.txt", data=b"first").status_code == 200
    assert ask(client, "PUT", "/bench/gone", data=b"x").status_code == 200
    assert ask(client, "PUT", "/bench/also-gone", data=b"x").status_code == 200
    assert ask(client, "PUT", "/bench/a/b%20c%25.txt", data=b"other", headers={"If-None-Match": "*"}).status_code == 412
    assert ask(client, "DELETE", "/bench/gone").status_code == 204
    several = b"<Delete><Object><Key>also-gone</Key></Object></Delete>"
    assert ask(client, "POST", "/bench?delete", data=several).status_code == 200
    client = server()
    assert ask(client, "GET", "/bench/a/b%20c%25.txt").data == b"first"
    for key in ("gone", "also-gone"):
        assert ask(client, "GET", f"/bench/{key}").status_code == 404
