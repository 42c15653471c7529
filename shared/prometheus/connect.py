"""Makes the client that the settings ask for. It is imported when it is first needed: most events need none."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.prometheus.client import Prometheus
    from shared.settings import PrometheusSettings


def connector(settings: PrometheusSettings | None) -> Callable[[], Prometheus] | None:
    """Makes the client; None where there is no Prometheus."""
    if settings is None:
        return None

    def connect() -> Prometheus:
        from shared.prometheus.client import Prometheus

        return Prometheus(settings.url, token=settings.token, authority=settings.certificate_authority)

    return connect
