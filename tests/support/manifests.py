"""The production manifests of knative/base, as the documents that their files hold; each file is read once."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

from knative.local.runtime.platform import BASE

Document = dict[str, Any]
_KUSTOMIZATION = BASE / "kustomization.yaml"


@cache
def read(file: Path) -> list[Document]:
    """The documents of a file. Whoever changes one copies it first."""
    return [document for document in yaml.load_all(file.read_text(), yaml.CSafeLoader) if document]


def kustomization() -> Document:
    (found,) = read(_KUSTOMIZATION)
    return found


def base() -> list[Document]:
    """Every document of every file in the kustomization."""
    return [document for file in kustomization()["resources"] for document in read(BASE / file)]
