"""Every kind of landing zone, as a real server: what the vendor delivers there comes home, whole and once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from syncd.errors import Advanced, ConfigError, LinkExpired
from syncd.fetch import land
from tests import zones
from tests.cordial_box import (
    DAY,
    configured,
    delivered,
    export,
    mounted,
    parsed,
    requests,
    running,
    section,
    today,
    yesterday,
)
from tests.zones import Place

OPENERS: dict[str, Callable[[Path], Any]] = {
    "sftp": zones.openssh,
    "ftp": zones.ftp,
    "ftps": lambda folder: zones.ftp(folder, tls=True),
    "ftp without MLSD": lambda folder: zones.ftp(folder, rights="elradfmwM"),
    "s3": lambda folder: zones.s3(),
    "gcs": zones.gcs,
}


@contextmanager
def zone_of(kind: str, folder: Path) -> Iterator[Place]:
    with OPENERS[kind](folder / "zone") as place:
        yield place


@pytest.mark.parametrize("kind", OPENERS)
def test_what_is_delivered_comes_home(tmp_path: Path, kind: str) -> None:
    with zone_of(kind, tmp_path) as place, running(rows=50, **place.box) as box:
        wanted = export(compress=False, records_per_file=20)
        source = configured(tmp_path, section(box, zone=place.settings, activities=wanted))
        assert [job.id for job in source.jobs()] == ["activities"]
        run = delivered(source, box)
        assert [part.name for part in source.parts(run)] == sorted(box.truth()[0]["files"])
        rows = parsed(source, run, tmp_path / "landed")
        assert sorted(row["_id"] for row in rows) == sorted(event["_id"] for event in box.events(yesterday(), today()))


def test_an_unknown_server_is_refused_with_the_line_to_add(tmp_path: Path) -> None:
    with zones.openssh(tmp_path / "zone") as place, running(**place.box) as box:
        known = tmp_path / "known_hosts"
        source = configured(tmp_path, section(box, zone=place.settings | {"zone_known_hosts": str(known)}))
        with pytest.raises(ConfigError, match="shows an SSH host key") as told:
            source.jobs()
        line = re.search(r"(\[127\.0\.0\.1\]:\d+ ssh-ed25519 \S+)  \(its fingerprint is SHA256:", told.value.hint)
        assert line
        known.write_text(line[1] + "\n")
        source.jobs()
        other = (tmp_path / "zone/key.pub").read_text().split()[1]
        known.write_text(f"{line[1].rpartition(' ')[0]} {other}\n")
        with pytest.raises(ConfigError, match="another SSH host key") as changed:
            configured(tmp_path, section(box, zone=place.settings | {"zone_known_hosts": str(known)})).jobs()
        assert "ssh-ed25519" not in changed.value.hint


def test_a_wrong_password_is_refused(tmp_path: Path) -> None:
    with running() as box:
        source = configured(tmp_path, section(box, zone={"zone_password": "hush-wrong"}))
        with pytest.raises(ConfigError, match="refuses us") as told:
            source.jobs()
        assert "hush" not in str(told.value)
    with zones.ftp(tmp_path / "zone") as place, running(**place.box) as box:
        source = configured(tmp_path, section(box, zone=place.settings | {"zone_password": "hush-wrong"}))
        with pytest.raises(ConfigError, match="refuses us: 530"):
            source.jobs()


def test_a_key_that_is_not_there_is_told(tmp_path: Path) -> None:
    with zones.openssh(tmp_path / "zone") as place, running(**place.box) as box:
        lost = {"zone_key_file": str(tmp_path / "nowhere")}
        with pytest.raises(ConfigError, match=r"zone_key_file = .*: there is no such file"):
            configured(tmp_path, section(box, zone=place.settings | lost)).jobs()
        (tmp_path / "key").write_text("no key")
        with pytest.raises(ConfigError, match="refuses us"):
            configured(tmp_path, section(box, zone=place.settings | {"zone_key_file": str(tmp_path / "key")})).jobs()


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    with zones.ftp(tmp_path / "zone", tls=True) as place, running(**place.box) as box:
        zone = {key: value for key, value in place.settings.items() if key != "zone_ca_file"}
        with pytest.raises(ConfigError, match="certificate"):
            configured(tmp_path, section(box, zone=zone)).jobs()


def test_a_bucket_that_is_not_there_is_told(tmp_path: Path) -> None:
    with zones.s3() as place, running(**place.box) as box:
        whole = place.settings["zone"].removesuffix("/cordial/in")
        for zone in ("s3://nowhere", "s3://nowhere/in"):
            with pytest.raises(ConfigError, match="no bucket 'nowhere'"):
                configured(tmp_path, section(box, zone=place.settings | {"zone": zone})).jobs()
        configured(tmp_path, section(box, zone=place.settings | {"zone": whole})).jobs()


@pytest.mark.parametrize("kind", ["sftp", "ftp"])
def test_where_no_folder_may_be_made_files_lie_side_by_side(tmp_path: Path, kind: str) -> None:
    with ExitStack() as stack:
        place = stack.enter_context(zones.ftp(tmp_path / "zone", rights="elrw")) if kind == "ftp" else None
        box = stack.enter_context(running(zone_no_folders=True, foreign=True, **(place.box if place else {})))
        wanted = export(start=f"{yesterday() - DAY:%Y-%m-%d}", records_per_file=30)
        source = configured(tmp_path, section(box, zone=place.settings if place else None, activities=wanted))
        runs = [delivered(source, box, request) for request in requests(source)]
        assert {asked["destination"]["path"] for asked in box.api.bodies} == {"/in"}
        assert [[part.name[:3] for part in source.parts(run)] for run in runs] == [["../", "../"]] * 2
        rows = [row["_id"] for run in runs for row in parsed(source, run, tmp_path / run.id)]
        assert len(rows) == len(set(rows)) == 80


def test_a_mount_is_read_while_the_vendor_is_told_of_the_server(tmp_path: Path) -> None:
    with running() as box:
        source = configured(tmp_path, mounted(box))
        assert len(parsed(source, delivered(source, box), tmp_path / "landed")) == 40
        assert box.api.bodies[0]["destination"]["type"] == "sftp"


@pytest.mark.parametrize("kind", OPENERS)
def test_a_part_is_resumed_where_it_broke_off_unless_it_changed(tmp_path: Path, kind: str) -> None:
    with zone_of(kind, tmp_path) as place, running(**place.box) as box:
        source = configured(tmp_path, section(box, zone=place.settings))
        (part,) = source.parts(delivered(source, box))
        with source.open(part) as body:
            whole, tag = b"".join(body), body.tag
        assert tag and len(whole) == body.total
        with source.open(part, 100, tag) as body:
            assert (body.start, b"".join(body)) == (100, whole[100:])
        with source.open(part, 100, "another") as body:
            assert (body.start, b"".join(body)) == (0, whole)
        with source.open(part) as body:
            next(iter(body))  # and then we are stopped: the next one begins anew
        source.clear((), datetime.now(UTC))
        cleared = configured(tmp_path, section(box, zone=place.settings) | {"clear_zone": True})
        cleared.clear({requests(source)[0].id}, datetime.now(UTC) + DAY)
        with pytest.raises(LinkExpired), source.open(part):
            pass


@pytest.mark.parametrize("kind", ["sftp", "s3"])
def test_a_connection_that_is_cut_goes_on_where_it_broke(tmp_path: Path, kind: str) -> None:
    with zone_of(kind, tmp_path) as place, running(rows=9000, **place.box) as box:
        wanted = export(compress=False)
        straight = configured(tmp_path, section(box, zone=place.settings, activities=wanted))
        run = delivered(straight, box)
        (part,) = straight.parts(run)
        url = place.settings["zone" if kind == "sftp" else "zone_endpoint_url"]
        port = int(re.findall(r":(\d+)", url)[-1])
        with zones.cutting(port, after=1_500_000) as through:
            keys = {key: value for key, value in place.settings.items() if key != "deliver"}
            bent = {key: value.replace(str(port), str(through)) for key, value in keys.items()}
            if kind == "sftp":
                known = Path(place.settings["zone_known_hosts"]).read_text().replace(str(port), str(through))
                bent["zone_known_hosts"] = str(tmp_path / "known")
                (tmp_path / "known").write_text(known)
            source = configured(tmp_path, section(box, zone=place.settings | bent, activities=wanted))
            if kind == "sftp":
                with pytest.raises(Advanced, match="in trouble"):
                    land(source.open, part, tmp_path / "landed")
                assert (tmp_path / "landed.partial").stat().st_size >= 1 << 20
            landed = land(source.open, part, tmp_path / "landed")
        with straight.open(part) as body:
            assert Path(landed.path).read_bytes() == b"".join(body)
