"""Export the audit log with the heads of its chains signed, and verify it against heads of an earlier time.

The signature is Ed25519 (RFC 8032) over the canonical JSON of the heads, so whoever keeps the export and the public key
elsewhere finds a log that was cut or written anew as a whole, which its own hashes cannot show.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from shared.errors import ConfigurationError, OperationRefused
from shared.models.audit import ChainHead

if TYPE_CHECKING:
    from datetime import datetime

    from shared.models.audit import ExportedRow
    from shared.store.unit_of_work import UnitOfWork


def export(work: UnitOfWork, key: Ed25519PrivateKey) -> Iterator[Mapping[str, Any]]:
    """Every row as a JSON object, chain by chain, and at the end what `signed_heads` makes."""
    for row in work.audit_log.exported():
        yield _as_json(row)
    yield signed_heads(work, key)


def signed_heads(work: UnitOfWork, key: Ed25519PrivateKey) -> dict[str, Any]:
    """{"heads": [{shard, sequence, hash}], "at": ..., "publicKey": ..., "signature": ...}."""
    content = _content([_head(one) for one in work.audit_log.heads()], work.now)
    public = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    signature = key.sign(_canonical(content))
    return {**content, "publicKey": _text(public), "signature": _text(signature)}


def verify(
    work: UnitOfWork, exported: Mapping[str, Any] | None = None, public: Ed25519PublicKey | None = None
) -> list[str]:
    """What is wrong with the log; empty is good.

    exported: what `signed_heads` made earlier. public: the key that must have signed it; without one, the key that it
    names itself. Raises OperationRefused for heads that nobody has signed so.
    """
    known = () if exported is None else checked_heads(exported, public)
    return work.audit_log.problems(known)


def checked_heads(exported: Mapping[str, Any], public: Ed25519PublicKey | None) -> Sequence[ChainHead]:
    """The heads of an export, once its signature was checked. Raises OperationRefused."""
    try:
        content = {"heads": exported["heads"], "at": exported["at"]}
        key = public or Ed25519PublicKey.from_public_bytes(_bytes(exported["publicKey"]))
        key.verify(_bytes(exported["signature"]), _canonical(content))
        heads = exported["heads"]
        found = [ChainHead(int(one["shard"]), int(one["sequence"]), bytes.fromhex(one["hash"])) for one in heads]
        if not all(0 <= one.shard < 2**15 and 0 < one.sequence < 2**63 for one in found):
            raise ValueError("a number that no row can have")
        return found
    except InvalidSignature:
        raise OperationRefused("signature", "the heads were not signed with this key, or were changed since") from None
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise OperationRefused("heads", "is not what an export of the audit log ends with") from None


def private_key(path: Path) -> Ed25519PrivateKey:
    """The key that exports are signed with, in PEM. Raises ConfigurationError."""
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except OSError as error:
        raise ConfigurationError(f"AUDIT_SIGNING_KEY: {path}: {error.strerror}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigurationError(f"AUDIT_SIGNING_KEY: {path} is no private key in PEM") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigurationError(f"AUDIT_SIGNING_KEY: {path} is no Ed25519 key")
    return key


def make_key(path: Path) -> None:
    """Makes a key for its owner alone, unless there is one."""
    if path.exists():
        return
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    scratch = path.with_name(f".{path.name}.new")
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(pem)
    scratch.replace(path)


def public_key(text: str) -> Ed25519PublicKey:
    """The public key that an export names. Raises OperationRefused."""
    try:
        return Ed25519PublicKey.from_public_bytes(_bytes(text))
    except ValueError:
        raise OperationRefused("publicKey", "is not 32 bytes in base64") from None


def _as_json(row: ExportedRow) -> dict[str, Any]:
    return {
        "shard": row.shard,
        "sequence": row.sequence,
        "recordedAt": row.recorded_at.isoformat(),
        "body": row.body.decode(errors="backslashreplace"),
        "previousHash": row.previous_hash.hex(),
        "hash": row.hash.hex(),
    }


def _head(head: ChainHead) -> dict[str, Any]:
    return {"shard": head.shard, "sequence": head.sequence, "hash": head.hash.hex()}


def _content(heads: list[dict[str, Any]], at: datetime) -> dict[str, Any]:
    return {"heads": heads, "at": at.isoformat()}


def _canonical(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
