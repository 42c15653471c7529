"""`python -m functions.serve workload_intake`: one function in one uvicorn process.

The socket is inherited when LISTEN_FDS says so (systemd's socket activation protocol: the first is
descriptor 3), so that a cold request waits in its backlog; otherwise it is 0.0.0.0:$PORT, as Knative
Serving wants. SIGTERM lets requests in hand end.

Importing is most of a cold start. It makes objects that stay, so the garbage collector would look through them in vain,
again and again: it is off until they are all there, and never looks at them later. Pydantic would read the metadata
of every installed package in search of plugins.
"""

import argparse
import gc
import os
import socket
import sys
from pathlib import Path
from typing import Any

from shared.errors import ConfigurationError
from shared.processes import follow_parent, inherited_socket

KEEP_ALIVE_SECONDS = 120
"""How long an idle connection stays open: longer than its clients keep it, or a request meets its end.

The broker's client (Vert.x) keeps one for 60 s, Knative's queue proxy (Go) for 90 s. Uvicorn's own 5 s are as long as
the time between two ticks.
"""

DEFAULT_PORT = 8080


def names() -> list[str]:
    """Every function that can be served."""
    return sorted(path.parent.name for path in Path(__file__).parent.glob("*/main.py") if path.parent.name != "cli")


def listening_socket() -> socket.socket:
    """The inherited socket, or a new one on $PORT. Raises ConfigurationError for a port that is not one.

    Its connections send at once (TCP_NODELAY). asyncio sees to that only for sockets that were made with the protocol
    TCP by name. Without it the body of an answer waits for the client to acknowledge the head, which takes 40 ms.
    """
    listener = _listener()
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _listener() -> socket.socket:
    if (inherited := inherited_socket()) is not None:
        return inherited
    port = os.environ.get("PORT", str(DEFAULT_PORT))
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise ConfigurationError(f"PORT must be a port number, not {port[:20]!r}")
    return socket.create_server(("0.0.0.0", int(port)), backlog=1024)  # noqa: S104 - the pod's only door


def main() -> int:
    """Serves until SIGTERM. Exit code 1, with one line on stderr, when the function cannot start."""
    parser = argparse.ArgumentParser(prog="python -m functions.serve", description=__doc__)
    parser.add_argument("function", choices=names())
    name = parser.parse_args().function
    follow_parent()
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "true")
    gc.disable()
    try:
        app = _application(name)
        listener = listening_socket()
    except (ConfigurationError, OSError) as error:
        print(f"{name} cannot start: {error}", file=sys.stderr)
        return 1
    import uvicorn

    from shared import tracing

    class Server(uvicorn.Server):
        """Sends the spans of the last requests before it ends: SIGTERM ends the process right after."""

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            await super().shutdown(sockets)
            tracing.stop()

    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=30,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
    gc.freeze()
    gc.enable()
    Server(config).run(sockets=[listener])
    return 0


def _application(name: str) -> Any:
    """The ASGI application that functions-framework makes of a function; the api is one of its own."""
    if name == "api":
        from functions.api.main import app

        return app
    from functions_framework import aio

    return aio.create_asgi_app("handle", str(Path(__file__).parent / name / "main.py"), "http")  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    sys.exit(main())
