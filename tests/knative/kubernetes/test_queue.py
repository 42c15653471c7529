"""The work queue of the controllers: what a failure does to the rest."""

import asyncio
from typing import Any

from knative.local.kubernetes.controllers.queue import Controller, WorkQueue
from knative.local.kubernetes.objects import Key


async def test_a_key_that_fails_does_not_hold_up_the_others() -> None:
    done: list[str] = []
    everything = asyncio.Event()

    def reconcile(key: Key) -> None:
        if key[1] == "broken":
            raise KeyError("reason")
        done.append(key[1])
        if len(done) == 2:
            everything.set()

    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    queue, controller = WorkQueue(), Controller("any", 0, reconcile)
    for name in ("first", "broken", "last"):
        queue.add(controller, ("", name))
    queue.start()
    async with asyncio.timeout(5):
        await everything.wait()
    assert done == ["first", "last"]
    assert [type(context["exception"]) for context in reported] == [KeyError]
