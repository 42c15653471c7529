"""The console at its own host name on a laptop platform."""

import http.client
import re

import pytest

from tests.support.running import RunningPlatform

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("platform")]


def test_the_address_that_the_platform_prints_is_the_page_beside_the_api(platform: RunningPlatform) -> None:
    [host] = re.findall(r"  console     http://(\S+)/", platform.log())
    assert host == f"console.sentinel.localhost:{platform.port}"
    connection = http.client.HTTPConnection("127.0.0.1", platform.port, timeout=60)
    try:
        for path, status, part in (
            ("/", 200, b"/console/app.js"),
            ("/console/app.js", 200, b"import"),
            ("/api/v1/auth/me", 401, b"problems"),
        ):
            connection.request("GET", path, headers={"host": host})
            answer = connection.getresponse()
            assert (answer.status, part in answer.read()) == (status, True), path
            assert "content-security-policy" in {name.lower() for name, _ in answer.getheaders()}
    finally:
        connection.close()
