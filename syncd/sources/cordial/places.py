"""The kinds of places that a zone may be: fsspec's file systems, connected anew for each use.

A connection lives as long as one call, so none is ever stale. Each kind but FTP is an extra, like `syncd[sftp]`.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from ftplib import FTP, FTP_TLS, error_perm
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from syncd.errors import ConfigError
from syncd.sources.cordial.troubles import ANSWER_S, CHECK, is_refusal

if TYPE_CHECKING:
    from syncd.sources.cordial.zone import Zone

BLOCK = 1 << 20  # bytes
CONNECT_S = 15
EXTRAS = {"sftp": ("sftp", "sshfs"), "s3": ("s3", "s3fs"), "gs": ("gcs", "gcsfs"), "az": ("azure", "adlfs")}


class Place:
    """What a zone needs of a file system. Paths are the place's own."""

    reading: Mapping[str, Any] = {}  # how a file is opened

    def __init__(self, fs: Any) -> None:
        self.fs = fs

    def look(self, folder: str) -> None:
        """Raises where the folder can't be listed; a folder that isn't there is no trouble yet."""
        with suppress(FileNotFoundError):
            self.fs.ls(folder, detail=False)

    def make(self, folder: str) -> bool:
        """Have the folder; False where we may not make it."""
        try:
            self.fs.makedirs(folder, exist_ok=True)
        except Exception as error:
            if not is_refusal(error):
                raise
            return False
        return True

    def files(self, folder: str, name: str) -> list[Mapping[str, Any]]:
        """The files in `folder/name`, at any depth, and those in `folder` whose names begin so."""
        found: list[Mapping[str, Any]] = []
        for row in self._listed(folder, name):
            if row["type"] == "directory":
                found += self.fs.find(row["name"], detail=True).values()
            else:
                found.append(row)
        return found

    def names(self, folder: str, prefix: str) -> list[str]:
        """What is in `folder` and begins so."""
        return sorted({str(row["name"]).rstrip("/").rpartition("/")[2] for row in self._listed(folder, prefix)})

    def _listed(self, folder: str, prefix: str) -> list[Mapping[str, Any]]:
        try:
            rows: list[Mapping[str, Any]] = self.fs.ls(folder, detail=True)
        except FileNotFoundError:
            return []
        return [row for row in rows if str(row["name"]).rstrip("/").rpartition("/")[2].startswith(prefix)]

    def info(self, path: str) -> Mapping[str, Any]:
        """What the place says of a file. FileNotFoundError."""
        row: Mapping[str, Any] = self.fs.info(path)
        return row

    def read(self, path: str, start: int) -> Iterator[bytes]:
        """The bytes from `start` on."""
        with self.fs.open(path, "rb", **self.reading) as file:
            file.seek(start)
            while block := file.read(BLOCK):
                yield block

    def remove(self, paths: Iterable[str], folder: str) -> None:
        """Remove these files, then the folder if it is empty. What is gone already is no trouble."""
        for path in paths:
            with suppress(FileNotFoundError):
                self.fs.rm_file(path)
        with suppress(OSError, *_failures()):
            self.drop(folder)

    def drop(self, folder: str) -> None:
        """Remove an empty folder; any error for another."""
        self.fs.rmdir(folder)


class Bucket(Place):
    """Without folders: names that begin alike."""

    reading: Mapping[str, Any] = {"block_size": 8 << 20}  # of one request, in bytes: s3fs takes 50 MB of itself

    def look(self, folder: str) -> None:
        self._refresh()
        bucket = folder.partition("/")[0]
        with suppress(FileNotFoundError):
            self.fs.ls(folder, detail=False)
            return
        try:
            self.fs.ls(bucket, detail=False)  # an empty prefix is as good as one that isn't there; a bucket isn't
        except FileNotFoundError:
            raise ConfigError(f"the zone has no bucket {bucket!r}", hint=CHECK) from None

    def make(self, folder: str) -> bool:
        return True

    def files(self, folder: str, name: str) -> list[Mapping[str, Any]]:
        self._refresh()
        found: Mapping[str, Mapping[str, Any]] = self.fs.find(folder, prefix=name, detail=True)
        return [row for row in found.values() if row["type"] == "file" and not str(row["name"]).endswith("/")]

    def names(self, folder: str, prefix: str) -> list[str]:
        inside = f"{folder}/"
        rows = self.files(folder, prefix)
        return sorted({str(row["name"]).removeprefix(inside).partition("/")[0] for row in rows})

    def info(self, path: str) -> Mapping[str, Any]:
        self._refresh()
        return super().info(path)

    def remove(self, paths: Iterable[str], folder: str) -> None:
        for path in paths:
            with suppress(FileNotFoundError):
                self.fs.rm_file(path)

    def _refresh(self) -> None:
        self.fs.invalidate_cache()


class SftpPlace(Place):
    """sshfs has no `rmdir` but for its own loop: the one it inherits does nothing."""

    def drop(self, folder: str) -> None:
        self.fs.rm(folder)


class FtpPlace(Place):
    """fsspec's reader asks for each block with a transfer of its own; ours reads one to its end."""

    def files(self, folder: str, name: str) -> list[Mapping[str, Any]]:
        """Where the server lists no exact times (it has no MLSD) each file is asked for its own."""
        return [
            row if str(row.get("modify", ""))[:14].isdecimal() else self._timed(row)
            for row in super().files(folder, name)
        ]

    def info(self, path: str) -> Mapping[str, Any]:
        row = super().info(path)
        return row if str(row.get("modify", ""))[:14].isdecimal() else self._timed(row)

    def _timed(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            said = self.fs.ftp.voidcmd(f"MDTM {row['name']}")
        except error_perm:
            return row
        return {**row, "modify": said.partition(" ")[2].strip()}

    def read(self, path: str, start: int) -> Iterator[bytes]:
        ftp: FTP = self.fs.ftp
        ftp.voidcmd("TYPE I")
        with ftp.transfercmd(f"RETR {path}", rest=start or None) as connection:
            while block := connection.recv(BLOCK):
                yield block
        ftp.voidresp()  # else the server broke off: what came is short


@contextmanager
def open_place(zone: Zone) -> Iterator[Place]:
    """The zone's place, entered; left behind the block."""
    for key in ("key_file", "ca_file", "service_account_file"):
        if (path := getattr(zone, key)) and not Path(path).expanduser().is_file():
            raise ConfigError(f"zone_{key} = {path!r}: there is no such file", hint=CHECK)
    if zone.kind in EXTRAS:
        extra, module = EXTRAS[zone.kind]
        try:
            import_module(module)
        except ImportError as error:
            raise ConfigError(
                f"{zone.kind}:// needs a package that isn't here ({error.name})",
                hint=f"pip install 'syncd[{extra}]'; an image: deploy/docker/build --extras",
            ) from error
    if zone.kind == "sftp":
        with _sftp(zone) as fs:
            yield SftpPlace(fs)
    elif zone.kind in ("ftp", "ftps"):
        with _ftp(zone) as fs:
            yield FtpPlace(fs)
    elif zone.kind == "file":
        from fsspec.implementations.local import LocalFileSystem

        yield Place(LocalFileSystem())
    else:
        yield Bucket({"s3": _s3, "gs": _gcs, "az": _azure}[zone.kind](zone))


@contextmanager
def _sftp(zone: Zone) -> Iterator[Any]:
    from fsspec.asyn import sync
    from sshfs import SSHFileSystem

    known = Path(zone.known_hosts).expanduser()
    keys = [str(Path(zone.key_file).expanduser())] if zone.key_file else []
    fs = SSHFileSystem(
        zone.host,
        port=zone.port,
        username=zone.user,
        password=_secret(zone.password),
        client_keys=keys or None,
        known_hosts=str(known) if known.is_file() else ([], [], []),
        agent_path=None,
        config=None,  # what the account of the daemon has in ~/.ssh/config is none of its business
        connect_timeout=CONNECT_S,
        login_timeout=ANSWER_S,
        keepalive_interval=ANSWER_S,
        skip_instance_cache=True,
    )
    try:
        yield fs
    finally:
        with suppress(Exception):  # it is over either way
            sync(fs.loop, fs._stack.aclose, timeout=5)


@contextmanager
def _ftp(zone: Zone) -> Iterator[Any]:
    from fsspec.implementations.ftp import FTPFileSystem

    class Ftp(FTPFileSystem):  # type: ignore[misc]  # fsspec has no types
        def _connect(self) -> None:
            """fsspec's own checks no certificate."""
            if zone.kind == "ftps":
                trusted = ssl.create_default_context(cafile=zone.ca_file or None)
                self.ftp: FTP = SameSession(context=trusted, timeout=self.timeout, encoding="utf-8")
            else:
                self.ftp = FTP(timeout=self.timeout, encoding="utf-8")  # noqa: S321  # the operator chose ftp://
            try:
                self.ftp.connect(zone.host, zone.port)
                self.ftp.login(zone.user, _secret(zone.password) or "")
            except BaseException:
                self.ftp.close()
                raise

        def __del__(self) -> None:
            """Closed below."""

    fs = Ftp(zone.host, tls=zone.kind == "ftps", timeout=ANSWER_S, skip_instance_cache=True)
    try:
        yield fs
    finally:
        fs.ftp.close()


class SameSession(FTP_TLS):
    """Many servers take a data connection only in the TLS session of the control connection; ftplib opens a new one."""

    def ntransfercmd(self, cmd: str, rest: int | str | None = None) -> tuple[Any, int | None]:
        connection, size = FTP.ntransfercmd(self, cmd, rest)  # noqa: S321  # the wrapping below is FTP_TLS's own
        session = self.sock.session if isinstance(self.sock, ssl.SSLSocket) else None
        return self.context.wrap_socket(connection, server_hostname=self.host, session=session), size


def _s3(zone: Zone) -> Any:
    from s3fs import S3FileSystem

    client: dict[str, Any] = {"region_name": zone.region} if zone.region else {}
    return S3FileSystem(
        key=_secret(zone.access_key_id),
        secret=_secret(zone.secret_access_key),
        endpoint_url=zone.endpoint_url or None,
        client_kwargs=client,
        config_kwargs={"connect_timeout": CONNECT_S, "read_timeout": ANSWER_S},
        use_listings_cache=False,
    )


def _gcs(zone: Zone) -> Any:
    from gcsfs.core import GCSFileSystem  # gcsfs's own choice asks a storage control API first, over gRPC

    token = str(Path(zone.service_account_file).expanduser()) if zone.service_account_file else None
    return GCSFileSystem(
        token=token or ("anon" if zone.endpoint_url else None),
        endpoint_url=zone.endpoint_url or None,
        use_listings_cache=False,
    )


def _azure(zone: Zone) -> Any:
    from adlfs import AzureBlobFileSystem

    key = _secret(zone.account_key)
    if zone.endpoint_url:
        ends = f"BlobEndpoint={zone.endpoint_url.rstrip('/')}/{zone.account}"
        connection = f"{ends};AccountName={zone.account};AccountKey={key}"
        return AzureBlobFileSystem(connection_string=connection, use_listings_cache=False)
    return AzureBlobFileSystem(account_name=zone.account, account_key=key, anon=False, use_listings_cache=False)


def _failures() -> Sequence[type[Exception]]:
    """Errors of a folder that isn't empty, by the libraries that are here."""
    kinds: list[type[Exception]] = [error_perm]
    with suppress(ImportError):
        from asyncssh import SFTPError

        kinds.append(SFTPError)
    return kinds


def _secret(value: Any) -> str | None:
    return value.get_secret_value() if value is not None else None
