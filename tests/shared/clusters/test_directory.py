"""The directory of clusters: files come, change and go while functions run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from shared.clusters.directory import ClusterDirectory
from shared.errors import ClusterUnavailable
from tests.support.api_servers import ScriptedServer, scripted_server


def register(directory: Path, name: str, server: str, token: str = "t") -> None:
    """Replaces the file as a mounted Secret does: another inode under the same name."""
    document = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"token": token}}],
    }
    fresh = directory / f".{name}.new"
    fresh.write_text(json.dumps(document))
    fresh.rename(directory / name)


def test_a_cluster_is_reached_as_its_file_says(tmp_path: Path, server: ScriptedServer) -> None:
    register(tmp_path, "eu", server.url, "secret")
    server.will(200, {"items": []})
    assert ClusterDirectory(tmp_path, loopback=True).driver("eu").gpus() == {}
    assert server.asked[0].headers["Authorization"] == "Bearer secret"


def test_a_driver_is_kept_while_its_file_stays(tmp_path: Path, server: ScriptedServer) -> None:
    register(tmp_path, "eu", server.url)
    directory = ClusterDirectory(tmp_path, loopback=True)
    assert directory.driver("eu") is directory.driver("eu")


def test_rotated_credentials_are_used_at_once(tmp_path: Path, server: ScriptedServer) -> None:
    register(tmp_path, "eu", server.url, "old")
    directory = ClusterDirectory(tmp_path, loopback=True)
    server.will(200, {"items": []})
    directory.driver("eu").gpus()
    register(tmp_path, "eu", server.url, "new")
    directory.driver("eu").gpus()
    assert [asked.headers["Authorization"] for asked in server.asked] == ["Bearer old", "Bearer new"]


def test_clusters_do_not_share_drivers(tmp_path: Path, server: ScriptedServer) -> None:
    with scripted_server() as other:
        register(tmp_path, "eu", server.url)
        register(tmp_path, "us", other.url)
        directory = ClusterDirectory(tmp_path, loopback=True)
        other.will(200, {"items": []})
        directory.driver("eu")
        directory.driver("us").gpus()
        assert (len(server.asked), len(other.asked)) == (0, 1)


def test_an_unknown_cluster_says_which_file_it_misses_and_may_come_later(
    tmp_path: Path, server: ScriptedServer
) -> None:
    directory = ClusterDirectory(tmp_path, loopback=True)
    with pytest.raises(ClusterUnavailable, match=f"expected a file {tmp_path}/eu .No such file"):
        directory.driver("eu")
    register(tmp_path, "eu", server.url)
    directory.driver("eu")


def test_a_file_that_spoils_is_named_and_may_be_mended(tmp_path: Path, server: ScriptedServer) -> None:
    register(tmp_path, "eu", server.url)
    directory = ClusterDirectory(tmp_path, loopback=True)
    directory.driver("eu")
    (tmp_path / "eu").write_text("")
    with pytest.raises(ClusterUnavailable, match=r"eu: is not a mapping"):
        directory.driver("eu")
    register(tmp_path, "eu", server.url)
    directory.driver("eu")


@pytest.mark.parametrize("name", ["", ".", "..", "../secret", "a/b", "A", "a\0", "x" * 64, "a\n"])
def test_a_name_that_is_no_label_never_reaches_the_file_system(tmp_path: Path, name: str) -> None:
    with pytest.raises(ClusterUnavailable, match="must be a DNS label"):
        ClusterDirectory(tmp_path / "clusters").driver(name)


def test_the_kubernetes_client_is_not_imported_before_a_cluster_is_reached() -> None:
    code = "import sys, shared.clusters.directory; sys.exit('kubernetes' in sys.modules or 'yaml' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_of_the_kubernetes_client_no_typed_api_is_imported() -> None:
    typed = ("kubernetes.client.api.", "kubernetes.client.models.")
    code = f"import sys, shared.clusters.kubernetes; sys.exit(any(name.startswith({typed}) for name in sys.modules))"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_insecure_cluster_is_said_at_every_start_and_others_stay_verified(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("eu", "us"):
        register(tmp_path, name, "https://k.example")
        text = (tmp_path / name).read_text()
        (tmp_path / name).write_text(text.replace('"server"', '"insecure-skip-tls-verify": true, "server"'))
    with caplog.at_level("WARNING", "sentinel.clusters"):
        directory = ClusterDirectory(tmp_path, {"eu"}, loopback=True)
    assert caplog.messages == ["CLUSTERS_ALLOW_INSECURE: the certificate of cluster eu need not be verified"]
    assert directory.driver("eu")
    with pytest.raises(ClusterUnavailable, match="insecure-skip-tls-verify needs the operator's word"):
        directory.driver("us")


@pytest.mark.parametrize(
    ("server", "proxy"),
    [
        ("https://127.0.0.1:1", "http://[::1"),
        ("https://127.0.0.1:1", "http://x:99999"),
        ("https://[::1", ""),
        ("https://127.0.0.1:99999", ""),
        ("https://exa mple", ""),
        ("https://exa\u00e4mple", ""),
        ("https://a..b", ""),
        ("https://" + "a" * 70, ""),
        ("https://127.0.0.1:1", "http://" + "a" * 70),
    ],
)
def test_an_address_that_nobody_can_connect_to_makes_its_cluster_unavailable(
    server: str, proxy: str, tmp_path: Path
) -> None:
    cluster = {"server": server} | ({"proxy-url": proxy} if proxy else {})
    document = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "c", "user": {"token": "t"}}],
    }
    (tmp_path / "c").write_text(json.dumps(document))
    with pytest.raises(ClusterUnavailable):
        ClusterDirectory(tmp_path, loopback=True).driver("c").gpus()
