"""Delivery to real places, as the request names them: SFTP, FTP, S3, GCS, Azure. With the request's own credentials."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from syncd.sandbox.cordial.trouble import Offer

BUCKETS = ("s3", "gcs", "azureblob")


class Undelivered(Exception):
    """The place doesn't take it."""


@contextmanager
def entered(destination: Mapping[str, Any], offer: Offer) -> Iterator[Any]:
    """A file system of the destination."""
    type = str(destination["type"]).lower()
    fs = OPENERS[type](destination, offer)
    try:
        yield fs
    finally:
        if type == "ftp":
            fs.ftp.close()
        if type == "sftp":
            from fsspec.asyn import sync

            with suppress(Exception):
                sync(fs.loop, fs._stack.aclose, timeout=5)


def folder_of(destination: Mapping[str, Any]) -> str:
    """The path asked for, as the file system takes it."""
    path = str(destination.get("path") or "")
    match str(destination["type"]).lower():
        case "s3":
            return f"{destination['aws_bucket']}/{path.strip('/')}".rstrip("/")
        case "gcs":
            return f"{destination['gcs_bucket']}/{path.strip('/')}".rstrip("/")
        case "azureblob":
            return f"{destination['container']}/{path.strip('/')}".rstrip("/")
    return posixpath.normpath(f"/{path}".replace("//", "/"))


def put(
    fs: Any, destination: Mapping[str, Any], name: str, content: bytes, *, as_segment: bool, no_folders: bool
) -> None:
    """Write a file of a job. `as_segment`: the path's last step becomes the file's name."""
    folder = folder_of(destination)
    is_bucket = str(destination["type"]).lower() in BUCKETS
    if as_segment:
        _, dot, end = name.partition(".")
        path = folder if is_bucket else f"{folder}{dot}{end}"
    else:
        path = f"{folder}/{name}"
        if not is_bucket and not fs.exists(folder):
            if no_folders:
                raise Undelivered(f"there is no folder {folder}")
            fs.makedirs(folder, exist_ok=True)
    with fs.open(path, "wb") as file:
        file.write(content)


def _sftp(destination: Mapping[str, Any], offer: Offer) -> Any:
    from sshfs import SSHFileSystem

    return SSHFileSystem(
        destination["server"],
        port=int(destination.get("port") or 22),
        username=destination["username"],
        password=destination.get("password"),
        client_keys=[offer.saved_key_file] if destination.get("savedKey") else None,
        known_hosts=None,  # nobody knows whether the vendor looks
        agent_path=None,
        config=None,
        connect_timeout=10,
        skip_instance_cache=True,
    )


def _ftp(destination: Mapping[str, Any], offer: Offer) -> Any:
    from fsspec.implementations.ftp import FTPFileSystem

    class Quiet(FTPFileSystem):  # type: ignore[misc]  # fsspec has no types
        def __del__(self) -> None:
            """Closed by whoever opened it."""

    port = int(destination.get("port") or 21)
    user, password = destination["username"], destination.get("password")
    return Quiet(
        destination["server"],
        port=port,
        username=user,
        password=password,
        tls=offer.ftp_tls,
        skip_instance_cache=True,
    )


def _s3(destination: Mapping[str, Any], offer: Offer) -> Any:
    from s3fs import S3FileSystem

    return S3FileSystem(
        key=destination.get("aws_access_key_id") or "the role's",
        secret=destination.get("aws_secret_access_key") or "the role's",
        endpoint_url=offer.s3_endpoint or None,
        client_kwargs={"region_name": destination["aws_region"]},
        use_listings_cache=False,
    )


def _gcs(destination: Mapping[str, Any], offer: Offer) -> Any:
    from gcsfs.core import GCSFileSystem

    return GCSFileSystem(token="anon", endpoint_url=offer.gcs_endpoint or None, use_listings_cache=False)  # noqa: S106


def _azure(destination: Mapping[str, Any], offer: Offer) -> Any:
    from adlfs import AzureBlobFileSystem

    account = destination["account"]
    connection = f"BlobEndpoint={offer.azure_endpoint}/{account};AccountName={account};AccountKey={offer.azure_key}"
    return AzureBlobFileSystem(connection_string=connection, use_listings_cache=False)


OPENERS = {"sftp": _sftp, "ftp": _ftp, "s3": _s3, "gcs": _gcs, "azureblob": _azure}
