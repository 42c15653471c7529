"""Events, as `kubectl describe` shows them. The same event again counts up; the oldest are dropped beyond a bound."""

import secrets
from collections import OrderedDict
from typing import Any

from knative.local.kubernetes import clock
from knative.local.kubernetes.controllers.client import Client
from knative.local.kubernetes.kinds import EVENT, Kind
from knative.local.kubernetes.objects import Key

Object = dict[str, Any]

_MOST = 2_000


class EventRecorder:
    def __init__(self, client: Client) -> None:
        self._client = client
        self._known: OrderedDict[tuple[str, str, str], Key] = OrderedDict()
        for stored in sorted(client.objects.all(EVENT), key=lambda stored: stored.revision):
            event = stored.obj
            identity = (event["involvedObject"].get("uid", ""), event.get("reason", ""), event.get("message", ""))
            self._known[identity] = (event["metadata"]["namespace"], event["metadata"]["name"])

    def record(self, kind: Kind, obj: Object, reason: str, message: str, source: str, *, warning: bool = False) -> None:
        metadata = obj["metadata"]
        identity = (metadata["uid"], reason, message)
        now = clock.now()
        key = self._known.get(identity)
        stored = None if key is None else self._client.objects.get(EVENT, key)
        if stored is not None:
            self._known.move_to_end(identity)
            counted = {"count": stored.obj.get("count", 1) + 1, "lastTimestamp": now}
            self._client.update(EVENT, stored, stored.obj | counted)
            return
        event: Object = {
            "metadata": {
                "name": f"{metadata['name']}.{secrets.token_hex(8)}",
                "namespace": metadata.get("namespace", "default"),
            },
            "involvedObject": {
                "kind": kind.name,
                "namespace": metadata.get("namespace", ""),
                "name": metadata["name"],
                "uid": metadata["uid"],
                "apiVersion": kind.api_version,
                "resourceVersion": metadata.get("resourceVersion", ""),
            },
            "reason": reason,
            "message": message,
            "source": {"component": source},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
            "type": "Warning" if warning else "Normal",
            "eventTime": None,
            "reportingComponent": source,
            "reportingInstance": "",
        }
        created = self._client.create(EVENT, event)
        if created is not None:
            self._known[identity] = (event["metadata"]["namespace"], event["metadata"]["name"])
            self._forget()

    def _forget(self) -> None:
        while len(self._known) > _MOST:
            _, key = self._known.popitem(last=False)
            stored = self._client.objects.get(EVENT, key)
            if stored is not None:
                self._client.remove(EVENT, stored)
