"""Kubeconfig files: what is taken, and what is said of the rest without quoting it."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.clusters.kubeconfig import read_connection
from shared.errors import ClusterUnavailable

SECRET = "do-not-print-me"


def config(cluster: dict[str, Any] | None = None, user: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "other"}, {"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {"server": "https://k.example:6443/", **(cluster or {})}}],
        "users": [{"name": "u", "user": {"token": SECRET} if user is None else user}],
        **more,
    }


def written(path: Path, document: Any, *, as_yaml: bool = False) -> Path:
    file = path / "eu"
    file.write_text(yaml.safe_dump(document) if as_yaml else json.dumps(document))
    return file


@pytest.mark.parametrize("as_yaml", [False, True])
def test_a_token_and_an_inline_authority(tmp_path: Path, as_yaml: bool) -> None:
    inline = base64.b64encode(b"PEM").decode()
    found = read_connection(
        written(tmp_path, config({"certificate-authority-data": inline, "tls-server-name": "k"}), as_yaml=as_yaml)
    )
    assert (found.server, found.certificate_authority, found.verify) == ("https://k.example:6443", "PEM", True)
    assert found.tls_server_name == "k"
    assert found.bearer() == SECRET
    assert SECRET not in repr(found)


def test_files_are_found_beside_the_kubeconfig(tmp_path: Path) -> None:
    for name in ("ca", "certificate", "key"):
        (tmp_path / name).write_text(name)
    user = {"client-certificate": "certificate", "client-key": "key"}
    found = read_connection(written(tmp_path, config({"certificate-authority": "ca"}, user)))
    assert found.certificate_authority == "ca"
    assert found.client_certificate == b"certificate\nkey"
    assert found.bearer() is None
    assert "key" not in repr(found)


def test_a_token_file_is_read_each_time(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("first\n")
    found = read_connection(written(tmp_path, config(user={"tokenFile": "token"})))
    assert found.bearer() == "first"
    (tmp_path / "token").write_text("second\n")
    assert found.bearer() == "second"
    (tmp_path / "token").unlink()
    with pytest.raises(ClusterUnavailable, match=r"tokenFile .*No such file"):
        found.bearer()


def test_a_token_that_no_header_can_carry_is_not_printed(tmp_path: Path) -> None:
    found = read_connection(written(tmp_path, config(user={"token": f"{SECRET}\nHost: evil"})))
    with pytest.raises(ClusterUnavailable, match="cannot carry") as refusal:
        found.bearer()
    assert SECRET not in str(refusal.value)


def test_a_proxy_is_taken_when_asked_for(tmp_path: Path) -> None:
    found = read_connection(written(tmp_path, config({"proxy-url": "HTTP://proxy:3128"}, {})))
    assert (found.verify, found.proxy) == (True, "http://proxy:3128")


def test_no_verification_needs_the_word_of_the_operator(tmp_path: Path) -> None:
    file = written(tmp_path, config({"insecure-skip-tls-verify": True}))
    with pytest.raises(ClusterUnavailable, match="or name the cluster in CLUSTERS_ALLOW_INSECURE"):
        read_connection(file)
    assert read_connection(file, allow_insecure=True).verify is False
    assert read_connection(written(tmp_path, config()), allow_insecure=True).verify is True


@pytest.mark.parametrize("authority", ["certificate-authority", "certificate-authority-data"])
def test_a_ca_and_no_verification_exclude_each_other(tmp_path: Path, authority: str) -> None:
    (tmp_path / "UEVN").write_text("PEM")
    file = written(tmp_path, config({"insecure-skip-tls-verify": True, authority: "UEVN"}))
    with pytest.raises(ClusterUnavailable, match="has certificate-authority and insecure-skip-tls-verify"):
        read_connection(file, allow_insecure=True)


PEM = "-----BEGIN CERTIFICATE-----\n" + "QUJD" * 12 + "\n-----END CERTIFICATE-----\n"
INLINE = base64.b64encode(PEM.encode()).decode()


@pytest.mark.parametrize(
    "authority",
    [
        INLINE,
        f'"{INLINE}\\n"',
        f"|\n      {INLINE[:40]}\n      {INLINE[40:]}",
        f'"{INLINE[:40]}\\r\\n{INLINE[40:]}"',
        f"!!binary {INLINE}",
        f"!!binary {base64.b64encode(INLINE.encode()).decode()}",
    ],
)
def test_inline_data_as_kubectl_and_people_write_it(tmp_path: Path, authority: str) -> None:
    text = yaml.safe_dump(config({"certificate-authority-data": "AUTHORITY"})).replace("AUTHORITY", authority)
    (tmp_path / "eu").write_text(text)
    assert read_connection(tmp_path / "eu").certificate_authority == PEM


@pytest.mark.parametrize("name", ["1", "0x10", "1.50", "2026-01-01", "true", "1_000", "0o7", "12:30"])
def test_a_name_or_a_token_that_looks_like_a_number_is_a_text(tmp_path: Path, name: str) -> None:
    contexts = [{"name": "NAME", "context": {"cluster": "NAME", "user": "NAME"}}]
    clusters = [{"name": "NAME", "cluster": {"server": "https://k.example"}}]
    users = [{"name": "NAME", "user": {"token": "NAME"}}]
    document = config(contexts=contexts, clusters=clusters, users=users) | {"current-context": "NAME"}
    (tmp_path / "eu").write_text(yaml.safe_dump(document).replace("NAME", name))
    assert read_connection(tmp_path / "eu").bearer() == name


def test_a_number_in_json_is_a_text_too(tmp_path: Path) -> None:
    assert read_connection(written(tmp_path, config(user={"token": 12345678901234567890}))).bearer() == (
        "12345678901234567890"
    )


@pytest.mark.parametrize("text", ["{}---\nkind: Other\n", "---\n{}---\n", "\ufeff{}", "# a comment\n{}"])
def test_the_first_document_counts(tmp_path: Path, text: str) -> None:
    (tmp_path / "eu").write_text(text.replace("{}", yaml.safe_dump(config())))
    assert read_connection(tmp_path / "eu").server == "https://k.example:6443"


@pytest.mark.parametrize("server", ["HTTPS://k.example:6443", "Https://k.example:6443/"])
def test_a_scheme_is_taken_in_any_case(tmp_path: Path, server: str) -> None:
    assert read_connection(written(tmp_path, config({"server": server}))).server == "https://k.example:6443"


def test_a_context_without_a_user_is_anonymous(tmp_path: Path) -> None:
    contexts = [{"name": "c", "context": {"cluster": "k"}}]
    assert read_connection(written(tmp_path, config(contexts=contexts))).bearer() is None


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "is not a mapping"),
        ({**config(), "current-context": None}, "current-context is not set"),
        ({**config(), "current-context": ""}, "current-context is not set"),
        ({**config(), "current-context": "x"}, "contexts has no entry"),
        (config(contexts=None), "contexts has no entry"),
        (config(clusters=[{"name": "k", "cluster": "x"}]), "clusters has no entry"),
        (config(users=[]), "users has no entry"),
        (config({"server": "k:6443"}), "server must be an http or https URL"),
        (config({"server": []}), "server must be a text"),
        (config({"server": 1}), "server must be an http or https URL"),
        (config({"insecure-skip-tls-verify": "true"}), "insecure-skip-tls-verify must be true or false"),
        (config({"certificate-authority-data": "UE VN"}), "certificate-authority-data is not base64"),
        (config({"proxy-url": "socks5://x"}), "proxy-url must be an http or https URL"),
        (config({"certificate-authority-data": "***"}), "certificate-authority-data is not base64"),
        (config({"certificate-authority-data": "/w=="}), "certificate-authority is not PEM"),
        (config({"certificate-authority": "missing"}), "missing: No such file"),
        (config(user={"exec": {"command": SECRET}}), r"users\[\]\.user\.exec is not supported"),
        (config(user={"auth-provider": {}}), "auth-provider is not supported"),
        (config(user={"client-key-data": "AA=="}), "client-certificate and client-key together"),
        (config(user={"token": ["x"]}), "token must be a text"),
    ],
)
def test_what_cannot_be_used_is_named_with_its_field(tmp_path: Path, document: Any, words: str) -> None:
    file = written(tmp_path, document)
    with pytest.raises(ClusterUnavailable, match=words) as refusal:
        read_connection(file)
    assert str(file.parent) in str(refusal.value)
    assert SECRET not in str(refusal.value)


@pytest.mark.parametrize(
    "text",
    [f'{{"token": "{SECRET}"', f"token: {SECRET}\n\t- x", "\xff", "[" * 1_000],
    ids=["cut off", "a tab", "not UTF-8", "nested too deeply"],
)
def test_what_cannot_be_read_is_not_quoted(tmp_path: Path, text: str) -> None:
    (tmp_path / "eu").write_bytes(text.encode("latin-1"))
    with pytest.raises(ClusterUnavailable, match="is neither JSON nor YAML") as refusal:
        read_connection(tmp_path / "eu")
    assert SECRET not in str(refusal.value)
    assert refusal.value.__cause__ is None


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ClusterUnavailable, match="eu: No such file"):
        read_connection(tmp_path / "eu")
