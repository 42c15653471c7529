"""The Secrets that the platform supplies in place of a cluster: single values, and directories to mount."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from knative.local.resources.manifests import RevisionSpec

DATABASE = ("sentinel-database", "url")
CLUSTERS = "sentinel-clusters"
SIGNING_KEYS = "sentinel-signing-keys"
AUDIT_KEY = "sentinel-audit-key"
SUPPLIED: frozenset[tuple[str, str | None]] = frozenset(
    {DATABASE, *((name, None) for name in (CLUSTERS, SIGNING_KEYS, AUDIT_KEY))}
)


@dataclass(frozen=True)
class Secrets:
    """`values` by (name, key); `directories` by name: one file a key. Values stay out of `repr`."""

    values: Mapping[tuple[str, str], str] = field(repr=False)
    directories: Mapping[str, Path]


def environment(spec: RevisionSpec, secrets: Secrets) -> dict[str, str]:
    """The environment that the manifest states.

    Values from Secrets are filled in. A value at or below a mount path is rewritten to the directory that is mounted
    there, since one machine has no mounts of its own for each process. An optional Secret that is not supplied is not
    mounted.
    """
    container, volumes = spec.containers[0], {volume.name: volume.secret.secret_name for volume in spec.volumes}
    named = {mount.mount_path: volumes[mount.name] for mount in container.volume_mounts}
    mounts = {path: secrets.directories[name] for path, name in named.items() if name in secrets.directories}
    env = {}
    for variable in container.env:
        if variable.value_from is not None:
            ref = variable.value_from.secret_key_ref
            env[variable.name] = secrets.values[(ref.name, ref.key)]
        else:
            env[variable.name] = mounted(variable.value or "", mounts)
    return env


def mounted(value: str, mounts: Mapping[str, Path]) -> str:
    """The value, or where it lies on this machine if it is a path at or below one that is mounted."""
    for path, directory in mounts.items():
        if value == path or value.startswith(path.rstrip("/") + "/"):
            return str(directory) + value.removeprefix(path.rstrip("/"))
    return value
