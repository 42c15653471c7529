"""`python -m events schemas|examples|list`: what the chain speaks, for other systems to build on.

schemas prints one JSON Schema document whose $defs are the data of every type; examples prints one
structured CloudEvent a line; list prints type, and whether it is terminal or another system's.
"""

import argparse
import json
import sys

from pydantic.json_schema import models_json_schema

from events import CATALOGUE


def schemas() -> str:
    """JSON Schema 2020-12: `properties` maps every type to the schema of its data."""
    declared = list(CATALOGUE)
    references, document = models_json_schema([(t.data, "validation") for t in declared], by_alias=True)
    types = {t.name: references[(t.data, "validation")] for t in declared}
    return json.dumps(
        {"$schema": "https://json-schema.org/draft/2020-12/schema", "properties": types, **document}, indent=2
    )


def examples() -> str:
    """A CloudEvent of every type, in the structured JSON format."""
    lines = []
    for declared in CATALOGUE:
        event = {
            "specversion": "1.0",
            "id": "example-1",
            "source": "/example",
            "type": declared.name,
            "subject": "example",
            "datacontenttype": "application/json",
            "data": declared.example,
        }
        lines.append(json.dumps(event))
    return "\n".join(lines)


def listing() -> str:
    """Type, and what becomes of it."""
    width = max(len(declared.name) for declared in CATALOGUE)
    return "\n".join(
        f"{t.name:{width}}  {'terminal' if t.terminal else 'foreign' if t.foreign else 'taken'}" for t in CATALOGUE
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m events", description=__doc__)
    commands = {"schemas": schemas, "examples": examples, "list": listing}
    parser.add_argument("what", choices=sorted(commands))
    print(commands[parser.parse_args().what]())
    return 0


if __name__ == "__main__":
    sys.exit(main())
