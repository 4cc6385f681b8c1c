"""The daemon seen through its HTTP: a real process, real sockets; what it shows is true, and shows no secret."""

from __future__ import annotations

import html
import json  # noqa: TID251  # answers as any client reads them
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.home import Home
from tests.sandbox_fixture import running

ROOT = Path(__file__).parent.parent
SECRET = "planted-s3cr3t-7f3a"
TOKEN = "planted-t0k3n-91bd"
UNITS = (
    "_seconds",
    "_bytes",
    "_total",
    "_info",
    "_runs",
    "_rows",
    "_lines",
    "_gaps",
    "_ok",
    "_bucket",
    "_count",
    "_sum",
)


class Daemon:
    """`syncd run`, a client of the address that it logs, and its log as far as it has come."""

    def __init__(self, home: Home, headers: dict[str, str]) -> None:
        self.log: list[str] = []
        self.process = home.start("run")
        self._reader = threading.Thread(target=self._read, daemon=True)  # a full pipe would hold it up
        self._reader.start()
        (listens,) = until(lambda: self.told("http_listens"))
        self.client = httpx.Client(
            base_url=listens["url"].replace("0.0.0.0", "127.0.0.1"), headers=headers, timeout=20, trust_env=False
        )

    def told(self, event: str) -> list[dict[str, Any]]:
        """Every log line of this event."""
        assert self.process.poll() is None or event != "http_listens", "".join(self.log)
        return [json.loads(line) for line in list(self.log) if line.startswith("{") and f'"event":"{event}"' in line]

    def stop(self) -> int:
        self.client.close()
        self.process.terminate()
        self._reader.join(60)
        self.process.stdout.close() if self.process.stdout else None
        return self.process.wait(60)

    def _read(self) -> None:
        assert self.process.stderr
        with self.process.stderr as lines:
            self.log.extend(lines)


@contextmanager
def daemon(home: Home, **headers: str) -> Iterator[Daemon]:
    """It ends with 0 when it is told to."""
    running = Daemon(home, headers)
    try:
        yield running
    except BaseException:
        running.process.kill()
        running.stop()
        raise
    assert running.stop() == 0, "".join(running.log[-20:])


def until(look: Callable[[], Any], within_s: float = 60) -> Any:
    """What `look` answers, once it is true."""
    ends_at = time.monotonic() + within_s
    while not (found := look()):
        assert time.monotonic() < ends_at, "it never came"
        time.sleep(0.05)
    return found


def scraped(client: httpx.Client) -> dict[str, float]:
    """Each sample by its line, without its value."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    return {
        f"{sample.name}{json.dumps(sample.labels, sort_keys=True)}": sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def at_home(tmp_path: Path, vendor: Any, **http: Any) -> Home:
    sources = {"acme": vendor.settings() | {"poll_interval": "1s"}}
    return Home(tmp_path, sources, http={"listen": "127.0.0.1:0"} | http)


def test_what_was_loaded_is_told_in_every_form(tmp_path: Path) -> None:
    with running(jobs=2, days=2, frequency="daily", rows=20, broken_lines=1) as vendor:
        home = Home(
            tmp_path,
            {"acme": vendor.settings() | {"poll_interval": "1s"}},
            http={"listen": "127.0.0.1:0"},
            parse={"max_rejected": 0.9},
        )
        with daemon(home) as syncd:
            client = syncd.client
            assert until(lambda: client.get("/readyz").status_code == 200)
            assert client.get("/healthz").text == "ok\n"
            done = 'syncd_pass_duration_seconds_count{"source": "acme"}'
            loaded = 'syncd_runs{"source": "acme", "state": "loaded"}'
            metrics = until(lambda: found if (found := scraped(client))[done] and found.get(loaded) == 4 else None)

            rows = {scope: count for scope, count in home.query("SELECT scope, sum(rows) FROM _syncd.runs GROUP BY 1")}
            for scope, count in rows.items():
                where = f'{{"scope": "{scope}", "source": "acme"}}'
                assert metrics[f"syncd_loaded_rows_total{where}"] == count
                assert metrics[f"syncd_newest_period_age_seconds{where}"] > 0
            ((rejected,),) = home.query("SELECT count(*) FROM _syncd.rejected")
            assert (
                sum(value for name, value in metrics.items() if name.startswith("syncd_rejected_lines")) == rejected > 0
            )
            assert metrics['syncd_slack_seconds{"source": "acme"}'] == float("inf")
            assert metrics["syncd_commit_duration_seconds_count{}"] >= 1
            assert metrics['syncd_poll_interval_seconds{"source": "acme"}'] == 1
            assert abs(metrics['syncd_last_success_timestamp_seconds{"source": "acme"}'] - time.time()) < 60

            until(lambda: without_time(client.get("/api/status").json()) == without_time(home.json("status")))

            page = client.get("/").text
            for (run,) in home.query("SELECT run FROM _syncd.runs"):
                assert f"acme/{run}" in page
            assert page.count('class="c loaded"') >= 4


def without_time(status: dict[str, Any]) -> dict[str, Any]:
    for source in status["sources"].values():
        source["last_pass_at"] = None
        for scope in source["scopes"].values():
            scope["age"] = round(scope["age"], -2)
    return status | {"disk": sorted(status["disk"])}  # others write on it meanwhile


def test_rejected_lines_are_on_the_page_with_their_reasons(tmp_path: Path) -> None:
    with running(jobs=1, days=1, rows=20, parts=1, frequency="daily", broken_lines=5) as vendor:
        home = Home(tmp_path, {"acme": vendor.settings()}, parse={"max_rejected": 0.9})
        with daemon(home) as syncd:
            page = until(lambda: text if "and 2 more" in (text := syncd.client.get("/").text) else None)
        lines = home.query("SELECT part, row, byte_offset, reason FROM _syncd.rejected ORDER BY ALL")
        assert len(lines) == 5
        for part, row, offset, reason in lines[:3]:
            assert f"part <bdi>{part}</bdi>, row {row}, byte {offset:,}" in page
            assert html.escape(reason, quote=False) in html.unescape(page).replace("&", "&amp;")
        shutil.rmtree(home.data_dir / "lake/acme/_rejected")
        with daemon(home) as syncd:
            until(lambda: "5 lines of" in syncd.client.get("/").text)  # it goes on without the file


def test_each_scope_has_its_own_runs_and_a_refused_source_knows_nothing(tmp_path: Path) -> None:
    with running(jobs=2, days=3, rows=5, frequency="daily") as vendor:
        wrong = vendor.settings() | {"client_secret": "wrong"}
        home = Home(tmp_path, {"acme": vendor.settings(), "wrong": wrong}, retry_for="0s")
        with daemon(home) as syncd:
            until(lambda: len(syncd.told("run_loaded")) == 6 and syncd.told("pass_failed"))
            page = until(lambda: text if (text := syncd.client.get("/").text).count(">3 loaded<") == 2 else None)
        assert ">not known<" in page
        status = home.json("status")["sources"]["acme"]
    assert status["runs"] == {"loaded": 6}
    assert {scope: seen["runs"] for scope, seen in status["scopes"].items()} == {
        "sessions": {"loaded": 3},
        "views": {"loaded": 3},
    }


def test_a_run_is_on_the_page_soon_after_the_fact(tmp_path: Path) -> None:
    with running(jobs=1, days=1, rows=5) as vendor, daemon(at_home(tmp_path, vendor)) as syncd:
        client = syncd.client
        until(lambda: ">loaded<" in client.get("/").text)
        run = vendor.add_run()
        until(lambda: f"acme/{run.name}" in client.get("/").text, within_s=20)


def test_the_metrics_keep_the_conventions(tmp_path: Path) -> None:
    with running(jobs=1, days=1, rows=5) as vendor, daemon(at_home(tmp_path, vendor)) as syncd:
        client = syncd.client
        until(lambda: "syncd_newest_period_age_seconds{" in client.get("/metrics").text)
        text = client.get("/metrics").text
    families = list(text_string_to_metric_families(text))
    assert families[0].name == "syncd_newest_period_age_seconds", "what matters most comes first"
    for family in families:
        assert re.fullmatch(r"syncd_[a-z_]+", family.name)
        assert family.documentation.endswith(".") or family.name.startswith("syncd_process")
        assert family.type != "counter" or all(sample.name.endswith("_total") for sample in family.samples)
        for sample in family.samples:
            assert sample.name.endswith((*UNITS, "_fds", "_state")), sample.name
            assert not re.search(r"_(ms|milliseconds|minutes|hours|days|kb|mb|percent|created)(_|$)", sample.name)


@pytest.mark.skipif(not shutil.which("promtool"), reason="no promtool here")
def test_promtool_has_nothing_to_say_about_the_metrics(tmp_path: Path) -> None:
    with running(jobs=1, days=2, rows=5, broken_lines=1) as vendor, daemon(at_home(tmp_path, vendor)) as syncd:
        until(lambda: "syncd_last_success_timestamp_seconds{" in syncd.client.get("/metrics").text)
        text = syncd.client.get("/metrics").text
    linted = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (linted.returncode, linted.stdout + linted.stderr) == (0, "")


def test_each_answer_of_the_vendor_is_counted_with_its_time(tmp_path: Path) -> None:
    with running(jobs=1, days=1, rows=5, latency=0.1, refuse_every=2, refuse_times=1) as vendor:
        home = Home(tmp_path, {"acme": vendor.settings()})
        with daemon(home) as syncd:
            done = 'syncd_pass_duration_seconds_count{"source": "acme"}'
            metrics = until(lambda: found if (found := scraped(syncd.client))[done] else None)
            assert "request_ended" not in "".join(syncd.log), "it is counted, never printed"
        asked = Counter((call["kind"], str(call["status"])) for call in vendor.log()["requests"])
    api = asked["api", "200"] + asked["token", "200"]
    for kind, status, count in (("api", "200", api), ("api", "429", 1), ("file", "200", asked["file", "200"])):
        labels = json.dumps({"kind": kind, "source": "acme", "status": status})
        assert metrics[f"syncd_requests_total{labels}"] == count
    labels = json.dumps({"kind": "api", "source": "acme"})
    assert metrics[f"syncd_request_duration_seconds_count{labels}"] == api + 1
    assert metrics[f"syncd_request_duration_seconds_sum{labels}"] >= 0.1 * (api - asked["token", "200"])


def test_each_metric_stands_in_the_docs(tmp_path: Path) -> None:
    documented = set(re.findall(r"^\| `(syncd_\w+)`", (ROOT / "docs/operating.md").read_text(), re.M))
    with running(jobs=1, days=1, rows=5) as vendor, daemon(at_home(tmp_path, vendor)) as syncd:
        until(lambda: "syncd_last_success_timestamp_seconds{" in (text := syncd.client.get("/metrics").text) and text)
        families = text_string_to_metric_families(syncd.client.get("/metrics").text)
        shown = {family.name + {"counter": "_total", "info": "_info"}.get(family.type, "") for family in families}
    assert {name.replace("_info_info", "_info") for name in shown} == documented


def test_a_token_is_asked_for_everywhere_but_at_the_probes(tmp_path: Path) -> None:
    with running(jobs=1, days=1, rows=5) as vendor:
        home = at_home(tmp_path, vendor, token=TOKEN, listen="0.0.0.0:0")
        with daemon(home) as syncd:
            client = syncd.client
            for path in ("/", "/metrics", "/api/status", "/page.css", "/nowhere"):
                refused = client.get(path)
                assert refused.status_code == 401, path
                assert "Basic" in refused.headers["www-authenticate"]
            assert client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}x"}).status_code == 401
            assert client.get("/metrics", headers={"Authorization": "Bearer"}).status_code == 401
            assert client.get("/metrics", headers={"Authorization": "Basic %%%"}).status_code == 401
            assert client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
            assert client.get("/", auth=("anybody", TOKEN)).status_code == 200
            assert client.get("/healthz").status_code == 200


def test_a_foreign_name_for_this_machine_is_refused(tmp_path: Path) -> None:
    with running(jobs=1, days=1, rows=5) as vendor, daemon(at_home(tmp_path, vendor)) as syncd:
        client = syncd.client
        assert client.get("/", headers={"Host": "evil.example:8600"}).status_code == 421
        assert client.get("/api/status", headers={"Host": "127.0.0.1.evil.example"}).status_code == 421
        for name in ("localhost", "127.0.0.1:1", "[::1]:8600", "[::1]"):
            assert client.get("/", headers={"Host": name}).status_code == 200
        for verb in ("POST", "PUT", "DELETE", "PATCH"):
            assert client.request(verb, "/").status_code == 405


def test_a_page_runs_nothing_that_is_not_its_own(tmp_path: Path) -> None:
    with running(jobs=1, days=1, rows=5) as vendor, daemon(at_home(tmp_path, vendor)) as syncd:
        client = syncd.client
        page = client.get("/")
        rules = page.headers["content-security-policy"]
        assert "default-src 'none'" in rules
        assert "unsafe" not in rules
        assert not re.search(r"<script(?![^>]*src=)|\son\w+=|\sstyle=|<style", page.text)
        for asset in re.findall(r"(?:src|href)=\"([^\"#]+)\"", page.text):
            assert asset.startswith("/")
            assert client.get(asset).status_code == 200


def test_what_a_vendor_writes_stays_text(tmp_path: Path) -> None:
    nasty = "<script>alert(1)</script>\u202e\"'&"
    with running(jobs=1, days=1, rows=5, scope_name=nasty) as vendor, daemon(at_home(tmp_path, vendor)) as syncd:
        page = until(lambda: text if "alert(1)" in (text := syncd.client.get("/").text) else None)
        assert "<script>alert" not in page
        assert "&lt;script&gt;" in page
        assert len(list(text_string_to_metric_families(syncd.client.get("/metrics").text))) > 10


def test_no_secret_is_shown_anywhere(tmp_path: Path) -> None:
    with running(jobs=1, days=2, rows=5, wrong_secret="400") as vendor:
        good = vendor.settings() | {"poll_interval": "1s"}
        bad = good | {"client_secret": SECRET}
        home = Home(tmp_path, {"acme": good, "wrong": bad}, http={"listen": "127.0.0.1:0", "token": TOKEN})
        with daemon(home, Authorization=f"Bearer {TOKEN}") as syncd:
            client = syncd.client
            until(lambda: ">loaded<" in client.get("/").text)
            until(lambda: client.get("/api/status").json()["sources"]["wrong"]["error"])
            shown = [client.get(path).text for path in ("/", "/metrics", "/api/status", "/healthz", "/readyz", "/no")]
        everything = "\n".join(shown + syncd.log)
        for secret in (SECRET, TOKEN, vendor.client_secret, "signature=", "X-Amz-Signature", "sig="):
            assert secret not in everything
        for path in home.data_dir.rglob("*"):
            if path.is_file():
                assert not any(each.encode() in path.read_bytes() for each in (SECRET, TOKEN, vendor.client_secret)), (
                    path
                )


def test_a_port_that_is_taken_is_told_with_its_key_and_keeps_no_export_away(tmp_path: Path) -> None:
    with running(jobs=1, days=1, rows=5) as vendor, socket.create_server(("127.0.0.1", 0)) as taken:
        home = at_home(tmp_path, vendor, listen=f"127.0.0.1:{taken.getsockname()[1]}")
        process = home.start("run")
        try:
            until(lambda: any(run["state"] == "loaded" for run in home.json("runs")))
        finally:
            process.terminate()
            _, told = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "http_refused" in told
    assert "http.listen" in told


@pytest.mark.parametrize("listen", ["0.0.0.0:8600", "[::]:8600", "10.0.0.1:8600", "example.com:8600"])
def test_listening_beyond_this_machine_wants_a_word(tmp_path: Path, listen: str) -> None:
    home = Home(tmp_path, {}, http={"listen": listen})
    ended = home.run("status")
    assert ended.returncode == 2
    assert "http.token" in ended.stderr
    home.write({}, http={"listen": listen, "open": True})
    assert home.run("status").returncode == 0


def test_a_reload_takes_the_new_configuration_and_a_wrong_one_changes_nothing(tmp_path: Path) -> None:
    with running(jobs=1, days=1, rows=5) as vendor, running(jobs=1, days=1, rows=5, seed=1) as second:
        home = at_home(tmp_path, vendor)
        with daemon(home) as syncd:
            client = syncd.client
            until(lambda: client.get("/readyz").status_code == 200)
            port = client.base_url.port
            again = dict(http={"listen": f"127.0.0.1:{port}"})

            home.config.write_text("data_dri = 3\n")
            syncd.process.send_signal(signal.SIGHUP)
            (refused,) = until(lambda: syncd.told("configuration_refused"))
            assert "data_dri" in refused["error"]
            assert client.get("/healthz").status_code == 200

            home.write({"acme": vendor.settings() | {"client_secret": "wrong"}}, **again)
            syncd.process.send_signal(signal.SIGHUP)
            _, refused = until(lambda: two if len(two := syncd.told("configuration_refused")) == 2 else None)
            assert "sources.acme" in refused["error"]

            with socket.create_server(("127.0.0.1", 0)) as other:
                taken = f"127.0.0.1:{other.getsockname()[1]}"
                home.write({"acme": vendor.settings()}, http={"listen": taken})
                syncd.process.send_signal(signal.SIGHUP)
                *_, refused = until(lambda: all3 if len(all3 := syncd.told("configuration_refused")) == 3 else None)
                assert taken in refused["error"]
            assert client.get("/healthz").status_code == 200

            home.write({"acme": vendor.settings(), "second": second.settings()}, **again)
            syncd.process.send_signal(signal.SIGHUP)
            until(lambda: syncd.told("configuration_reloaded"))
            until(lambda: sources(client).get("second", {}).get("runs", {}).get("loaded"))


def sources(client: httpx.Client) -> dict[str, Any]:
    try:
        found: dict[str, Any] = client.get("/api/status").json()["sources"]
        return found
    except httpx.TransportError:
        return {}
