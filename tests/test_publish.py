"""The lake for readers elsewhere: another mount, an object store; whole generations, and nothing but what is needed."""

from __future__ import annotations

import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import s3fs

from tests.home import Home
from tests.reader import answer
from tests.sandbox_fixture import running

COUNT = "SELECT count(*), CAST(sum(session_id) AS VARCHAR), count(DISTINCT _syncd_date) FROM {}acme.sessions"


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of an S3 with the bucket `lake`."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(["moto_server", "-H", "127.0.0.1", "-p", str(port)], stderr=subprocess.DEVNULL) as server:
        for _ in range(300):
            try:
                urllib.request.urlopen(url, timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        store(url).mkdir("lake")
        yield url
        server.terminate()


def store(url: str) -> Any:
    return s3fs.S3FileSystem(key="any", secret="planted-s3cr3t", endpoint_url=url, skip_instance_cache=True)


def to_s3(url: str, folder: str) -> dict[str, Any]:
    return {"root": f"s3://lake/{folder}", "options": {"key": "any", "secret": "planted-s3cr3t", "endpoint_url": url}}


def publishing(tmp_path: Path, vendor: Any, *publish: dict[str, Any]) -> Home:
    home = Home(tmp_path / "home", {"acme": vendor.settings()})
    lines = []
    for each in publish:
        options = each.get("options", {})
        lines += ["[[publish]]", f'root = "{each["root"]}"', *(f'options.{key} = "{options[key]}"' for key in options)]
    home.config.write_text("\n".join([home.config.read_text(), *lines]) + "\n")
    return home


@pytest.mark.parametrize("name", ["elsewhere", "it's [odd] 100%"])
def test_readers_on_another_mount_find_the_files_under_its_name(tmp_path: Path, name: str) -> None:
    mount = tmp_path / name
    with running(days=2) as vendor:
        home = publishing(tmp_path, vendor, {"root": str(mount)})
        home.once()
    (catalogue,) = (home.data_dir / "published").glob("*.duckdb")
    told = home.query(COUNT.format(""))
    home.data_dir.rename(mount)  # what was data_dir here is that folder there
    path = str(mount / "published" / catalogue.name).replace("'", "''")
    assert answer("1.5", f"ATTACH '{path}' AS w (READ_ONLY)", COUNT.format("w.")) == [list(row) for row in told]


def test_an_object_store_has_the_files_before_the_catalogue_and_only_those_that_are_here(
    tmp_path: Path, s3: str
) -> None:
    there = store(s3)
    with running(days=2, format="jsonl") as vendor:
        home = publishing(tmp_path, vendor, to_s3(s3, "one"))
        ended = home.once()
        assert "planted-s3cr3t" not in ended.stderr
        here = {str(path.relative_to(home.data_dir)) for path in (home.data_dir / "lake").rglob("*.parquet")}
        assert {path.removeprefix("lake/one/") for path in there.find("lake/one/lake")} == here
        where = f"ENDPOINT '{s3.removeprefix('http://')}', URL_STYLE 'path', USE_SSL false"
        secret = f"CREATE SECRET (TYPE s3, KEY_ID 'any', SECRET 'x', {where})"
        attach = ["LOAD httpfs", secret, "ATTACH 's3://lake/one/warehouse.duckdb' AS w (READ_ONLY)"]
        assert answer("1.5", *attach, COUNT.format("w.")) == [list(row) for row in home.query(COUNT.format(""))]
        there.pipe_file("lake/one/lake/acme/sessions/_syncd_date=2020-01-01/gone.parquet", b"swept here")
        before = {path: found["LastModified"] for path, found in there.find("lake/one/lake", detail=True).items()}
        home.once()
        there.invalidate_cache()
        after = {path: found["LastModified"] for path, found in there.find("lake/one/lake", detail=True).items()}
    assert not any(path.endswith("gone.parquet") for path in after)
    assert {path: before[path] for path in after} == after, "nothing is copied twice"


def test_a_store_that_is_away_holds_up_nothing_and_is_told(tmp_path: Path) -> None:
    with running(days=1) as vendor, socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        deaf.close()
        home = publishing(tmp_path, vendor, to_s3(url, "two"))
        ended = home.once(expect=75)
        assert "publish_failed" in ended.stderr
        assert "planted-s3cr3t" not in ended.stderr
        assert home.query("SELECT count(*) > 0 FROM acme.sessions") == [(True,)]


@pytest.mark.parametrize("root", ["relative", "ftp://x/y", "s3://", "http://example.com/x"])
def test_a_root_that_nobody_can_read_is_refused(tmp_path: Path, root: str) -> None:
    home = Home(tmp_path, {"acme": {"kind": "contentsquare", "client_id": "c", "client_secret": "s"}})
    home.config.write_text(f'{home.config.read_text()}\n[[publish]]\nroot = "{root}"\n')
    ended = home.run("status")
    assert ended.returncode == 2
    assert "publish" in ended.stderr


@pytest.mark.parametrize(
    ("first", "second"), [('root = "/mnt/a-b"', 'root = "/mnt/a/b"'), ('root = "/a"', 'root = "/a/"\nname = "other"')]
)
def test_two_that_would_take_each_others_place_are_refused(tmp_path: Path, first: str, second: str) -> None:
    home = Home(tmp_path, {"acme": {"kind": "contentsquare", "client_id": "c", "client_secret": "s"}})
    secret = 'options.key = "planted-s3cr3t"\n'
    home.config.write_text(f"{home.config.read_text()}\n[[publish]]\n{first}\n{secret}[[publish]]\n{second}\n{secret}")
    ended = home.run("status")
    assert (ended.returncode, "publish: two have the" in ended.stderr) == (2, True), ended.stderr
    assert "planted" not in ended.stderr
