"""Posting events to a broker's ingress, as anyone would: over HTTP, in binary mode."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

import aiohttp
from pydantic import BaseModel

from events import CATALOGUE


class NotAccepted(Exception):
    """The ingress did not take an event; the message holds its answer."""


class IngressPublisher:
    """Posts events of one source to one broker.

    An event's id follows from the source, its type and the caller's key. Posting it again is a duplicate and not a
    second request.
    """

    def __init__(self, session: aiohttp.ClientSession, broker_url: str, source: str) -> None:
        self._session = session
        self._url = broker_url
        self._source = source

    async def publish(self, declared: type[BaseModel], key: str, data: Mapping[str, Any]) -> None:
        """Returns once the event is durable at the broker. Raises NotAccepted, aiohttp.ClientError."""
        kind = CATALOGUE.name_of(declared)
        headers = {
            "ce-specversion": "1.0",
            "ce-id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self._source}\n{kind}\n{key}")),
            "ce-source": self._source,
            "ce-type": kind,
            "content-type": "application/json",
        }
        async with self._session.post(self._url, headers=headers, data=json.dumps(data)) as answer:
            if answer.status != 202:
                said = (await answer.text())[:200].strip()
                raise NotAccepted(f"the broker answered {answer.status} to {kind}: {said}")
