"""The console script `sentinel`.

Starting makes some 50,000 objects that stay. The garbage collector would look through them dozens of times, and the
interpreter would take them apart one by one at the end: together a quarter of what `sentinel get` takes.
"""

import gc
import os
import sys

_ALLOCATIONS_BETWEEN_COLLECTIONS = 50_000


def sentinel() -> None:
    """Runs the command line, and exits with its code. What a command opens, it has closed by then."""
    gc.set_threshold(_ALLOCATIONS_BETWEEN_COLLECTIONS)
    from functions.cli.main import app

    try:
        app()
    except SystemExit as ended:
        sys.stdout.flush()
        sys.stderr.flush()
        code = ended.code or 0
        os._exit(code if isinstance(code, int) else 1)
