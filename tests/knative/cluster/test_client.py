"""What an API server's refusals become."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from aiohttp import web

from knative.local.cluster.client import ClusterRequestFailed, cluster_api
from tests.support.platforms import KUBECONFIG
from tests.support.subscribers import serving


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"kind": "Status", "message": "nodes is forbidden"}', "nodes is forbidden"),
        ("Too many requests, please try again later.\n", "Too many requests, please try again later."),
        ('["an", "array"]', r'\["an", "array"\]'),
        ("", ""),
    ],
)
async def test_a_refusal_is_told_in_the_servers_words_whatever_their_form(
    tmp_path: Path, body: str, words: str
) -> None:
    async def handle(_: web.BaseRequest) -> web.Response:
        return web.Response(status=429, text=body)

    async with serving(handle) as url:
        kubeconfig = {**KUBECONFIG, "clusters": [{"name": "c", "cluster": {"server": url}}]}
        (tmp_path / "kubeconfig").write_text(yaml.safe_dump(kubeconfig))
        async with cluster_api(tmp_path / "kubeconfig") as cluster:
            with pytest.raises(ClusterRequestFailed, match=rf"^GET /api/v1/nodes: 429 {words}$"):
                await cluster.get("/api/v1/nodes")
