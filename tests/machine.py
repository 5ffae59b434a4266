"""A real SSH server on loopback, on a port of its own, whose only user has a home of its own."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from xedge.remote.ssh import Ssh

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


class Machine:
    """A server and how to reach it.

    Args:
        folder: for keys and settings.
        home: of the user there, as this machine sees it.
        root: what the user sees as ``/``.
        names: what the machine is called, each name with variables that the client sends along.
        python: what Python is called there.
    """

    def __init__(
        self, folder: Path, home: Path, root: Path, names: Mapping[str, Mapping[str, str]], python: str
    ) -> None:
        self.home, self.python = home, python
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        for name in ("host", "user"):
            command: list[str | Path] = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name]
            subprocess.run(command, check=True)
        (folder / "authorized").write_bytes((folder / "user.pub").read_bytes())
        (folder / "known").write_text(f"[127.0.0.1]:{self.port} {(folder / 'host.pub').read_text()}")
        variables = sorted({variable for given in names.values() for variable in given})
        (folder / "sshd_config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile {folder}/pid\n"
            f"AuthorizedKeysFile {folder}/authorized\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
            f"PermitRootLogin yes\nSetEnv HOME=/{home.relative_to(root)}\n"
            + (f"AcceptEnv {' '.join(variables)}\n" if variables else "")
            + (f"ChrootDirectory {root}\n" if root != Path("/") else "")
        )
        self.config = folder / "config"
        self.config.write_text(
            "".join(
                f"Host {name}\n  HostName 127.0.0.1\n  Port {self.port}\n  User {getpass.getuser()}\n"
                f"  IdentityFile {folder}/user\n  UserKnownHostsFile {folder}/known\n  BatchMode yes\n"
                + "".join(f"  SetEnv {variable}={value}\n" for variable, value in given.items())
                for name, given in names.items()
            )
        )
        self.ssh = self.reach(next(iter(names)))
        assert SSHD is not None
        self._server = subprocess.Popen([SSHD, "-D", "-e", "-f", folder / "sshd_config"], stderr=subprocess.DEVNULL)
        until(self._answers)

    def reach(self, name: str) -> Ssh:
        """Return how one of its names is reached."""
        return Ssh(destination=name, program=("ssh", "-F", str(self.config)), python=self.python)

    def processes(self) -> list[int]:
        """Return the numbers of the processes that run there, which know their home by a variable."""
        home, found = f"HOME={self.home}\0".encode(), []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if home in (folder / "environ").read_bytes() + b"\0":
                    found.append(int(folder.name))
        return found

    def sessions(self) -> list[int]:
        """Return the numbers of the server's own processes for the connections that are open."""
        found, above = [], [self._server.pid]
        while above:
            listed = subprocess.run(
                ["pgrep", "-f", "^sshd", "-P", ",".join(map(str, above))], capture_output=True, text=True, check=False
            )
            above = [int(number) for number in listed.stdout.split()]
            found += above
        return found

    def _answers(self) -> bool:
        with socket.socket() as attempt:
            return attempt.connect_ex(("127.0.0.1", self.port)) == 0

    def close(self) -> None:
        self._server.terminate()
        self._server.wait()


@contextmanager
def serving(
    folder: Path,
    home: Path,
    *,
    root: Path = Path("/"),
    names: Mapping[str, Mapping[str, str]] | None = None,
    python: str = sys.executable,
) -> Iterator[Machine]:
    """Serve while the block runs; without a server installed the test is skipped."""
    if SSHD is None:
        pytest.skip("needs an SSH server: apt-get install openssh-server")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where root's server puts its helpers
    made = Machine(folder, home, root, names or {"pi": {}}, python)
    try:
        yield made
    finally:
        made.close()


def until(condition: Callable[[], bool]) -> None:
    """Wait for something, two minutes at most, which is long enough on a machine that does much else."""
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("waited for two minutes")
