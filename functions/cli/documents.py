"""Files that users write: YAML or JSON, one or several documents, checked before anything is sent.

Text that begins with a brace or a bracket is JSON and is read as strictly as the chain reads events; anything else is
YAML, and so is what is no JSON in a file that is named YAML. Both refuse a key that appears twice. A document that is
a list holds several.
"""

import sys
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from functions.cli import strict_yaml
from functions.cli.errors import BadInput
from shared.eventing import strict_json
from shared.eventing.processing import describe

STDIN = "-"
_YAML = (".yaml", ".yml")
M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Document:
    """One document and where it stands, for messages."""

    where: str
    data: Any


def read_models(files: Sequence[str], model: type[M]) -> list[tuple[str, M]]:
    """(where, model) of every document in the files, in order. Raises BadInput that names every bad field of all."""
    found: list[tuple[str, M]] = []
    problems: list[str] = []
    for document in _read(files):
        try:
            found.append((document.where, model.model_validate(document.data)))
        except ValidationError as error:
            problems.append(f"{document.where}: {describe(error)}")
    if problems:
        raise BadInput("\n".join(problems))
    if not found:
        raise BadInput(f"{', '.join(map(label_of, files))}: no document in it")
    return found


def read_text(file: str) -> str:
    """The text of a file, "-" being stdin. Raises BadInput."""
    try:
        body = sys.stdin.buffer.read() if file == STDIN else Path(file).read_bytes()
        return body.decode("utf-8-sig")
    except OSError as error:
        raise BadInput(f"{label_of(file)}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise BadInput(f"{label_of(file)}: not UTF-8 at byte {error.start}") from None


def _read(files: Sequence[str]) -> list[Document]:
    return [document for file in files for document in _documents(file, read_text(file))]


def _documents(file: str, text: str) -> list[Document]:
    label = label_of(file)
    values = [v for top in _parse(label, text) for v in (top if isinstance(top, list) else [top]) if v is not None]
    if len(values) == 1:
        return [Document(label, values[0])]
    return [Document(f"{label}, document {number}", value) for number, value in enumerate(values, start=1)]


def label_of(file: str) -> str:
    """How a file is called in messages."""
    return "stdin" if file == STDIN else file


def _parse(label: str, text: str) -> list[Any]:
    try:
        if text.lstrip()[:1] in ("{", "["):
            with suppress(strict_json.InvalidJson) if label.endswith(_YAML) else nullcontext():
                return [strict_json.parse(text.encode())]
        return strict_yaml.load_all(text)
    except strict_json.InvalidJson as error:
        raise BadInput(f"{label}: not JSON: {error}") from None
    except strict_yaml.InvalidYaml as error:
        line = "" if error.line is None else f", line {error.line}"
        raise BadInput(f"{label}{line}: not YAML: {error}") from None
