"""Logs: one line a record, as text or JSON."""

import json
import logging
from collections.abc import Iterator
from datetime import datetime

import pytest

from shared.errors import ConfigurationError
from shared.observability import JsonFormatter, configure_logging


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, put back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield root
    root.handlers[:], root.level = handlers, level


@pytest.fixture
def stderr(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> pytest.CaptureFixture[str]:
    for name in ("LOG_FORMAT", "LOG_LEVEL"):
        monkeypatch.delenv(name, raising=False)
    return capsys


def test_text_by_default_from_info_on(root: logging.Logger, stderr: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    logging.getLogger("a").info("hello %s", "you")
    logging.getLogger("a").debug("not this")
    [line] = stderr.readouterr().err.splitlines()
    assert line.endswith(" INFO    hello you")


def test_twice_is_once(root: logging.Logger, stderr: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    configure_logging()
    logging.getLogger("a").warning("once")
    assert len(stderr.readouterr().err.splitlines()) == 1


def test_json(root: logging.Logger, stderr: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_FORMAT", "json")
    monkeypatch.setenv("LOG_LEVEL", "debug")
    configure_logging()
    logging.getLogger("a.b").debug("two\nlines")
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("a.b").exception("oh")
    first, second = map(json.loads, stderr.readouterr().err.splitlines())
    assert (first["level"], first["logger"], first["message"]) == ("debug", "a.b", "two\nlines")
    assert datetime.fromisoformat(first["time"]).utcoffset() is not None
    assert "error" not in first
    assert second["error"].endswith("ValueError: broken")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("LOG_FORMAT", "xml", "LOG_FORMAT must be text or json, not 'xml'"),
        ("LOG_FORMAT", "", "LOG_FORMAT must be text or json, not ''"),
        ("LOG_LEVEL", "loud", "LOG_LEVEL must be debug, info, warning or error, not 'LOUD'"),
        ("LOG_LEVEL", "10", "LOG_LEVEL must be"),
    ],
)
def test_a_value_that_it_does_not_know_is_refused(
    root: logging.Logger,
    stderr: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
    expected: str,
) -> None:
    before = root.handlers[:]
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=expected):
        configure_logging()
    assert root.handlers == before


def test_a_record_is_one_line_whatever_is_in_it() -> None:
    record = logging.makeLogRecord({"msg": "a\nb\r\x1b[31m\u2028", "levelname": "INFO"})
    assert len(JsonFormatter().format(record).splitlines()) == 1
