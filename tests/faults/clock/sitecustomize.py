"""Sets the clock of a Python process off by CLOCK_SHIFT_SECONDS, when this directory is on its PYTHONPATH.

What C code reads, TLS above all, keeps the true time, and so does the monotonic clock.
"""

import datetime
import os
import time

_SHIFT = float(os.environ.get("CLOCK_SHIFT_SECONDS", "0"))
_time, _time_ns = time.time, time.time_ns
_Datetime = datetime.datetime


class _IsOne(type):
    """Instances that C code makes are instances of the true class."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, cls.__mro__[1])

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, cls.__mro__[1])


class _Shifted(_Datetime, metaclass=_IsOne):
    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> _Datetime:  # type: ignore[override]
        return _Datetime.now(tz) + datetime.timedelta(seconds=_SHIFT)

    @classmethod
    def utcnow(cls) -> _Datetime:  # type: ignore[override]
        return _Datetime.now(datetime.UTC).replace(tzinfo=None) + datetime.timedelta(seconds=_SHIFT)

    @classmethod
    def today(cls) -> _Datetime:  # type: ignore[override]
        return cls.now()


if _SHIFT:
    time.time = lambda: _time() + _SHIFT
    time.time_ns = lambda: _time_ns() + int(_SHIFT * 1_000_000_000)
    datetime.datetime = _Shifted  # type: ignore[misc]
