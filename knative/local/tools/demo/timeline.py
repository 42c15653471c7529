"""The timeline: every event of the demo's workloads as one line, in the order in which they happened.

A delivery is logged when it is over, after what it led to was routed. So lines are held back for a moment and
printed by the time at which their delivery began.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from knative.local.broker.attempts import DONE, Attempt
from knative.local.broker.wire import Record
from knative.local.tools.demo.descriptions import description_of, workload_name

_HELD_BACK_SECONDS = 0.5
_TYPE_WIDTH, _NAME_WIDTH, _FUNCTION_WIDTH = 22, 16, 20


@dataclass(frozen=True)
class TimelineLine:
    """`at` in seconds since the demo began. `function` is "" for an event that nothing takes."""

    at: float
    kind: str
    name: str
    function: str
    text: str


class DemoTimeline:
    """What the platform logs about events, as lines for people."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = time.monotonic()
        self._held: list[TimelineLine] = []
        self._names: dict[str, str] = {}
        self._seen: set[tuple[str, str]] = set()
        self._changed = asyncio.Event()

    def introduce(self, subject: str, name: str) -> None:
        """From now on, events about the workload with this id are shown under its name."""
        self._names[subject] = name

    def heading(self, text: str) -> None:
        """Ends what came before, and begins a new part: events that were seen before count no longer."""
        self.flush()
        self._seen.clear()
        self._console.print(f"\n{text}", style="bold", highlight=False)

    def note(self, text: str) -> None:
        """A line of the demo's own."""
        self.flush()
        self._console.print(f"    {text}", highlight=False, markup=False, soft_wrap=True)

    def add(self, attempt: Attempt) -> None:
        """Deliveries that led to nothing and are about none of the demo's workloads leave no line."""
        kind = _short(attempt.event.attributes["type"])
        name = self._name(attempt.event)
        foreign = kind.startswith("dev.knative.")
        if attempt.outcome == DONE and (foreign or kind.startswith("telemetry.")):
            return
        text = attempt.outcome.replace(".v1", "") if foreign else description_of(attempt.event)
        if not attempt.ok:
            text = f"{text} [{attempt.outcome}]"
        at = time.monotonic() - self._started - attempt.milliseconds / 1000
        self._held.append(TimelineLine(at, kind.removeprefix("dev.knative."), name, attempt.subscriber, text))
        self._seen.add((kind, name))
        self._changed.set()

    async def until(self, kind: str, name: str) -> None:
        """Returns once an event of the kind ("deployment.healthy") about the workload, or about the node, was seen in
        this part. Prints meanwhile."""
        while (kind, name) not in self._seen:
            self._changed.clear()
            try:
                async with asyncio.timeout(_HELD_BACK_SECONDS):
                    await self._changed.wait()
            except TimeoutError:
                self.flush(before=time.monotonic() - self._started - _HELD_BACK_SECONDS)

    def flush(self, before: float = float("inf")) -> None:
        """Prints what began before this moment."""
        due = sorted((line for line in self._held if line.at < before), key=lambda line: line.at)
        self._held = [line for line in self._held if line.at >= before]
        for line in due:
            self._console.print(_rendered(line), soft_wrap=True)

    def _name(self, record: Record) -> str:
        subject = record.attributes.get("subject", "")
        if record.attributes["type"].startswith("dev.knative."):
            return subject.rpartition("/")[2]
        return workload_name(record) or self._names.get(subject, subject)


def _short(kind: str) -> str:
    return kind.removeprefix("dev.sentinel.").removesuffix(".v1")


def _rendered(line: TimelineLine) -> Text:
    styles = {"denied": "red", "unhealthy": "red", "failed": "red", "rejected": "red", "healthy": "green"}
    styles |= {"rolledback": "green", "approved": "green"}
    return Text.assemble(
        (f"  {line.at:6.2f} s  ", "dim"),
        (f"{line.kind:<{_TYPE_WIDTH}} ", styles.get(line.kind.rpartition(".")[2], "cyan")),
        f"{line.name:<{_NAME_WIDTH}} ",
        (f"{'-> ' + line.function if line.function else '':<{_FUNCTION_WIDTH + 3}} ", "dim"),
        line.text,
    )
