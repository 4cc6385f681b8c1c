"""An SFTP server on loopback over a temporary folder: a landing zone for who has none."""

from __future__ import annotations

import asyncio
import secrets
import tempfile
from contextlib import ExitStack
from pathlib import Path
from threading import Event, Thread
from typing import Any


class OwnZone:
    """User `exports`, a password, a key of its own. Runs from `start` to `stop`."""

    user = "exports"

    def __init__(self, *, no_folders: bool = False) -> None:
        self.port, self._no_folders = 0, no_folders
        self.password = secrets.token_hex(8)
        self._leaving = ExitStack()

    def start(self) -> None:
        """Listen on a free port. ImportError: asyncssh isn't here."""
        import asyncssh

        self.folder = Path(self._leaving.enter_context(tempfile.TemporaryDirectory(prefix="zone-")))
        self.root, self.known_hosts = self.folder / "root", self.folder / "known_hosts"
        (self.root / "in").mkdir(parents=True)
        self._key = asyncssh.generate_private_key("ssh-ed25519")
        self._loop = asyncio.new_event_loop()
        ready = Event()
        self._thread = Thread(target=self._serve, args=(ready,), name="zone", daemon=True)
        self._thread.start()
        ready.wait(10)
        public = self._key.export_public_key("openssh").decode().strip()
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {public}\n")

    def stop(self) -> None:
        """Close the port and remove what was delivered."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._leaving.close()

    def settings(self) -> dict[str, Any]:
        """The keys of the section that reads it."""
        return {
            "zone": f"sftp://{self.user}@127.0.0.1:{self.port}/in",
            "zone_password": self.password,
            "zone_known_hosts": str(self.known_hosts),
        }

    def _serve(self, ready: Event) -> None:
        import asyncssh

        user, password, root, no_folders = self.user, self.password, self.root, self._no_folders

        class Door(asyncssh.SSHServer):
            def password_auth_supported(self) -> bool:
                return True

            def validate_password(self, username: str, given: str) -> bool:
                return (username, given) == (user, password)

        class Files(asyncssh.SFTPServer):
            def mkdir(self, path: bytes, attrs: asyncssh.SFTPAttrs) -> None:
                if no_folders:
                    raise asyncssh.SFTPPermissionDenied("no folders here")
                super().mkdir(path, attrs)

        async def listen() -> asyncssh.SSHAcceptor:
            return await asyncssh.listen(
                "127.0.0.1",
                0,
                server_factory=Door,
                server_host_keys=[self._key],
                sftp_factory=lambda channel: Files(channel, chroot=str(root).encode()),
            )

        asyncio.set_event_loop(self._loop)
        acceptor = self._loop.run_until_complete(listen())
        self.port = acceptor.get_port()
        ready.set()
        try:
            self._loop.run_forever()
        finally:
            acceptor.close()
            left = asyncio.all_tasks(self._loop)
            for task in left:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            self._loop.run_until_complete(acceptor.wait_closed())
            self._loop.close()
