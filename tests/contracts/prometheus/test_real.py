"""The suite on Debian's Prometheus."""

from collections.abc import Iterator

import pytest

from shared.prometheus.client import Prometheus
from tests.contracts.prometheus import suite
from tests.support.prometheuses import needs_prometheus, real_prometheus


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with real_prometheus(tmp_path_factory.mktemp("prometheus")) as url:
        yield Prometheus(url)


@needs_prometheus
@pytest.mark.slow
class TestReal(suite.PrometheusContract): ...
