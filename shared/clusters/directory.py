"""Registered clusters as files: `<directory>/<cluster>` is the kubeconfig of a cluster.

The directory is a mounted Secret, so a file may change at any time. Every use checks its version and
reads a changed one again. The Kubernetes client is imported on first use: most events need no cluster.
"""

import logging
import os
import re
import threading
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from shared.clusters.driver import ClusterDriver
from shared.errors import ClusterAway, ClusterError

logger = logging.getLogger("sentinel.clusters")
_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class _Version:
    """What tells one content of a file from the next, without reading it."""

    inode: int
    size: int
    modified_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> "_Version":
        return cls(status.st_ino, status.st_size, status.st_mtime_ns)


class ClusterDirectory:
    """The drivers of the clusters whose kubeconfigs lie in a directory. Thread-safe.

    insecure: names of the clusters whose server certificates need not be verified. The log says so at every start.
    loopback: whether they may be at 127.0.0.1, as on a laptop.
    """

    def __init__(self, path: Path, insecure: Collection[str] = (), *, loopback: bool = False) -> None:
        self._path = path
        self._loopback = loopback
        self._insecure = frozenset(insecure)
        for name in sorted(self._insecure):
            logger.warning("CLUSTERS_ALLOW_INSECURE: the certificate of cluster %s need not be verified", name)
        self._lock = threading.Lock()
        self._drivers: dict[str, tuple[_Version, ClusterDriver]] = {}

    def driver(self, name: str) -> ClusterDriver:
        """The driver of a cluster, on the credentials that its file holds now.

        Raises ClusterAway, saying which file is expected or what in it is wrong; the file may yet come.
        """
        if not _DNS_LABEL.fullmatch(name):
            raise ClusterAway(f"{name[:80]!r} is not a cluster's name: it must be a DNS label")
        file = self._path / name
        try:
            version = _Version.of(file.stat())
        except OSError as error:
            raise ClusterAway(f"cluster {name} has no kubeconfig: expected a file {file} ({error.strerror})") from None
        with self._lock:
            known = self._drivers.get(name)
            if known is None or known[0] != version:
                known = self._drivers[name] = (version, self._connected(name, file))
            return known[1]

    def _connected(self, name: str, file: Path) -> ClusterDriver:
        return _connect(name, file, allow_insecure=name in self._insecure, loopback=self._loopback)


def _connect(name: str, file: Path, *, allow_insecure: bool, loopback: bool) -> ClusterDriver:
    from shared.clusters.kubeconfig import read_connection
    from shared.clusters.kubernetes import KubernetesDriver
    from shared.clusters.transport import Transport

    try:
        return KubernetesDriver(
            Transport(name, read_connection(file, allow_insecure=allow_insecure), loopback=loopback)
        )
    except ClusterError:
        raise
    # What a file says may fail in the client, in urllib3, in ssl or in a codec, each with errors of its own. It is one
    # cluster's trouble in any case. The text of the error is left out: it may quote a proxy's password.
    except Exception as error:  # noqa: BLE001 - see above
        raise ClusterAway(
            f"cluster {name}: kubeconfig {file} cannot be used: {type(error).__name__}; look at server, proxy-url and"
            " the certificates"
        ) from None
