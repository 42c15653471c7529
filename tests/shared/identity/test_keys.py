"""Signing keys: files for nobody else to read, two live ones, and a rotation that nobody notices."""

import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, generate_private_key

from shared.errors import ConfigurationError
from shared.identity import keys
from shared.identity.keys import KeyDirectory
from shared.identity.tokens import Tokens

NOW = datetime(2026, 11, 29, 9, tzinfo=UTC)


def kids(directory: KeyDirectory) -> set[str]:
    return {one["kid"] for one in directory.current().jwks["keys"]}


def test_keys_are_made_once_and_only_their_owner_may_read_them(tmp_path: Path) -> None:
    place = tmp_path / "keys"
    keys.init(place)
    before = {path.name: path.read_bytes() for path in place.iterdir()}
    keys.init(place)
    assert {path.name: path.read_bytes() for path in place.iterdir()} == before
    assert sorted(before) == ["current.pem", "next.pem"]
    assert {path.stat().st_mode & 0o777 for path in place.iterdir()} == {0o600}
    assert place.stat().st_mode & 0o777 == 0o700


def test_the_published_keys_are_public_halves_alone(tmp_path: Path) -> None:
    keys.init(tmp_path)
    directory = KeyDirectory(tmp_path)
    assert len(kids(directory)) == 2
    for one in directory.current().jwks["keys"]:
        assert set(one) == {"kty", "crv", "x", "kid", "alg", "use"}
    assert "PRIVATE" not in repr(directory.current())
    assert "private" not in repr(directory.current().signing)


def test_a_rotation_signs_with_a_key_that_everybody_knows_and_refuses_no_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "READ_AGAIN_SECONDS", 0.0)
    keys.init(tmp_path)
    rotated, behind = KeyDirectory(tmp_path), KeyDirectory(tmp_path)
    behind.current()
    monkeypatch.setattr(behind, "_read_again", lambda: None)  # has not looked yet
    old = Tokens("sentinel", behind.current)
    new = Tokens("sentinel", rotated.current)
    account, until = uuid.uuid4(), NOW + timedelta(minutes=15)
    before = old.sign(account, NOW, until)
    keys.rotate(tmp_path)
    after = new.sign(account, NOW, until)
    assert rotated.current().signing.kid != behind.current().signing.kid
    assert {tokens.verify(token, NOW).account for tokens in (old, new) for token in (before, after)} == {account}
    assert len(kids(rotated)) == 3


def test_keys_that_cannot_be_read_any_more_stay_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(keys, "READ_AGAIN_SECONDS", 0.0)
    keys.init(tmp_path)
    directory = KeyDirectory(tmp_path)
    kept = directory.current()
    (tmp_path / "next.pem").write_text("no key")
    assert directory.current() is kept
    assert "next.pem cannot be used" in caplog.text


@pytest.mark.parametrize("content", [b"", b"no key", b"\xff"])
def test_a_file_that_is_no_key_is_named(content: bytes, tmp_path: Path) -> None:
    keys.init(tmp_path)
    (tmp_path / "next.pem").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"next\.pem"):
        KeyDirectory(tmp_path)


def test_a_key_of_another_kind_and_an_empty_directory_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"current\.pem"):
        KeyDirectory(tmp_path)
    other = generate_private_key(SECP384R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "current.pem").write_bytes(other)
    with pytest.raises(ConfigurationError, match="Ed25519"):
        KeyDirectory(tmp_path)


def test_the_command_makes_and_rotates_keys_and_says_what_is_wrong_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str) -> int:
        monkeypatch.setattr("sys.argv", ["keys", *arguments])
        return keys.main()

    assert run("rotate", str(tmp_path / "none")) == 1
    assert capsys.readouterr().err.startswith("keys: SIGNING_KEYS_DIR: ")
    assert run("init", str(tmp_path / "keys")) == run("rotate", str(tmp_path / "keys")) == 0
    assert len(kids(KeyDirectory(tmp_path / "keys"))) == 3
