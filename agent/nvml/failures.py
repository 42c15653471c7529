"""The calls of NVML that failed: whether they are worth asking again, and one line in the log for each."""

import logging

import pynvml

from agent.nvml.codes import Meaning, meaning_of

_log = logging.getLogger(__name__)


class Failures:
    """The failed calls of one GPU or instance. entity: its name in the log."""

    def __init__(self, entity: str) -> None:
        self._entity = entity
        self._reported: set[str] = set()

    def comes_back(self, call: str, code: int) -> bool:
        """Whether a call that failed is worth asking again. Raises NVMLError where nothing else can be asked either."""
        match meaning_of(code):
            case Meaning.UNSUPPORTED:
                self._report(f"{call} is not supported ({pynvml.NVMLError(code)}); it is left out")
                return False
            case Meaning.PASSING:
                self._report(f"{call} failed: {pynvml.NVMLError(code)}; it is asked again")
                return True
            case _:
                raise pynvml.NVMLError(code)

    def _report(self, message: str) -> None:
        """Says each thing once."""
        if message not in self._reported:
            self._reported.add(message)
            _log.info("%s: %s", self._entity, message)
