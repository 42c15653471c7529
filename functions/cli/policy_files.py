"""Files that hold policies."""

from collections import Counter
from collections.abc import Sequence

from functions.cli.documents import read_models
from functions.cli.errors import BadInput
from shared.policy.documents import PolicyDocument


def read_policies(files: Sequence[str]) -> list[PolicyDocument]:
    """The policies in the files, each name once. Raises BadInput that names every bad field of all."""
    documents = read_models(files, PolicyDocument)
    counts = Counter(policy.name for _, policy in documents)
    repeats = [f"{where}: policy {p.name} is in there twice" for where, p in documents if counts[p.name] > 1]
    if repeats:
        raise BadInput("\n".join(repeats))
    return [policy for _, policy in documents]
