"""What waits while a group is handled is the next group; nobody fails or waits for another."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared.eventing import groups
from shared.eventing.groups import Groups


class Handler:
    """Handles numbers, as they come or when `go` is set, and remembers which came together. 13 fails, always."""

    def __init__(self) -> None:
        self.handled: list[list[int]] = []
        self.go = threading.Event()

    def alone(self, item: int) -> str:
        self.handled.append([item])
        if item < 0:
            self.go.wait(10)
        if item == 13:
            raise ValueError(item)
        return f"alone {item}"

    def together(self, items: Sequence[int]) -> list[str]:
        self.handled.append(list(items))
        if 13 in items:
            raise ValueError(items)
        return [f"together {item}" for item in items]


@pytest.fixture
def handler() -> Iterator[Handler]:
    handler = Handler()
    yield handler
    handler.go.set()


@pytest.fixture
def group(handler: Handler) -> Iterator[Groups[int, str]]:
    with ThreadPoolExecutor(8) as executor:
        yield Groups(executor, handler.alone, handler.together, size=abs, most=100)
        handler.go.set()


async def all_of(group: Groups[int, str], *items: int) -> list[str | BaseException]:
    return await asyncio.gather(*map(group.handle, items), return_exceptions=True)


async def keep_busy(group: Groups[int, str], handler: Handler) -> asyncio.Task[str]:
    """One is in hand, and hangs, so whatever comes now waits."""
    task = asyncio.create_task(group.handle(-1))
    while not handler.handled:
        await asyncio.sleep(0)
    handler.handled.clear()
    return task


async def test_what_comes_alone_is_handled_alone(group: Groups[int, str], handler: Handler) -> None:
    assert [await group.handle(number) for number in (1, 2)] == ["alone 1", "alone 2"]


async def test_what_waits_is_handled_together_and_each_gets_its_own_result(
    group: Groups[int, str], handler: Handler
) -> None:
    busy = await keep_busy(group, handler)
    waiting = asyncio.create_task(all_of(group, 5, 4, 3))
    await asyncio.sleep(0)
    handler.go.set()
    assert await waiting == ["together 5", "together 4", "together 3"]
    assert await busy == "alone -1"
    assert handler.handled == [[5, 4, 3]]


async def test_a_group_is_bounded_by_the_size_of_what_is_in_it(group: Groups[int, str], handler: Handler) -> None:
    busy = await keep_busy(group, handler)
    waiting = asyncio.create_task(all_of(group, 60, 40, 1, 500, 2, 98))
    await asyncio.sleep(0)
    handler.go.set()
    assert len(await waiting) == 6
    await busy
    assert handler.handled == [[60, 40], [1], [500], [2, 98]]


async def test_a_group_that_fails_is_handled_one_by_one(group: Groups[int, str], handler: Handler) -> None:
    busy = await keep_busy(group, handler)
    waiting = asyncio.create_task(all_of(group, 5, 13, 3))
    await asyncio.sleep(0)
    handler.go.set()
    first, bad, last = await waiting
    assert (first, last) == ("alone 5", "alone 3")
    assert isinstance(bad, ValueError)
    await busy


async def test_what_hangs_does_not_hold_up_what_comes_later(
    group: Groups[int, str], handler: Handler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "PATIENCE_SECONDS", 0.001)
    busy = await keep_busy(group, handler)
    assert set(await all_of(group, 5, 4, 3)) == {"together 5", "together 4", "together 3"}
    assert not busy.done()
    handler.go.set()
    await busy


async def test_who_waits_no_more_changes_nothing_for_the_others(group: Groups[int, str], handler: Handler) -> None:
    busy = await keep_busy(group, handler)
    given_up, waiting = (asyncio.create_task(group.handle(number)) for number in (4, 5))
    await asyncio.sleep(0)
    given_up.cancel()
    handler.go.set()
    assert await waiting == "together 5"
    await busy
