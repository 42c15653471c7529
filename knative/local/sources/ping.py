"""PingSource: an event whenever its schedule says so.

As in Knative, a time that passed while nobody was there to see it is gone: the next event is the next one of the
schedule, counted from now. So a platform that was down, or a laptop that slept, catches up on nothing.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from croniter import croniter

from knative.local.broker.log import LogUnavailable
from knative.local.broker.wire import Record
from knative.local.resources.manifests import PingSource

_log = logging.getLogger(__name__)
TYPE = "dev.knative.sources.ping"


def next_time(schedule: str, after: datetime) -> datetime:
    """The first time of the cron schedule (five fields, or six with the seconds first) after `after`, in UTC."""
    found: datetime = croniter(schedule, after.astimezone(UTC), second_at_beginning=True).get_next(datetime)
    return found


def ping(source: PingSource, at: datetime) -> Record:
    """The event of one time."""
    spec, metadata = source.spec, source.metadata
    attributes = {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "type": TYPE,
        "source": f"/apis/v1/namespaces/{metadata.namespace}/pingsources/{metadata.name}",
        "time": at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    if spec.content_type:
        attributes["datacontenttype"] = spec.content_type
    return Record(attributes, spec.data.encode() or None)


async def run(
    source: PingSource,
    accept: Callable[[Record], Awaitable[None]],
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Sends pings to `accept` until cancelled. A clock that is set back delays none."""
    while True:
        at = next_time(source.spec.schedule, clock())
        while (seconds := (at - clock()).total_seconds()) > 0:
            await sleep(seconds)
            at = min(at, next_time(source.spec.schedule, clock()))
        try:
            await accept(ping(source, at))
        except LogUnavailable as error:
            _log.error("a ping was lost: the broker's log cannot be written: %s", error)
