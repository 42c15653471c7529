"""`python -m knative.local`: runs the manifests on this machine until Ctrl-C or SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from knative.local.resources.loader import ManifestError
from knative.local.runtime import first_start, logs
from knative.local.runtime.platform import BASE, Platform, StartFailed
from knative.local.runtime.state_directory import InUse
from shared.errors import SentinelError

_log = logging.getLogger(logs.PLATFORM)  # this module is called __main__


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0 after a stop that was asked for, 1 with one line on stderr otherwise."""
    options = _parser().parse_args(arguments)
    try:
        return asyncio.run(_run(options, _configure_log()))
    except (InUse, ManifestError, StartFailed, SentinelError) as error:
        print(f"sentinel: {error}", file=sys.stderr)
        return 1


async def _run(options: argparse.Namespace, log_format: str) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    platform = Platform(
        options.state,
        port=options.port,
        kubeconfig=options.kubeconfig,
        manifests=options.manifests,
        nodes=options.nodes,
        log_format=log_format,
        agents={},
    )
    async with platform:
        if log_format == "json":
            where = {"broker": platform.broker_url, "kubeconfig": platform.kubeconfig, "state": platform.state.path}
            _log.info("serving", extra={"fields": {name: str(value) for name, value in where.items()}})
        else:
            print(f"{platform.index()}{_admin(platform.state.path)}\nCtrl-C stops it; the state stays.\n", flush=True)
        platform.failed.add_done_callback(lambda _: stop.set())
        await stop.wait()
        _log.info("stopping")
    if platform.failed.done():
        print(f"sentinel: {platform.failed.result()}", file=sys.stderr)
        return 1
    return 0


def _admin(state: Path) -> str:
    """A terminal is shown the first admin's password, once; a pipe or a file is told where it is."""
    if not (state / first_start.PASSWORD).exists():
        return ""
    if sys.stdout.isatty():
        return f"\nThe user admin has the password {first_start.show_password(state)} (shown this once)\n"
    return f"\nThe password of the user admin is in {state / first_start.PASSWORD}\n"


def _configure_log() -> str:
    """Sets up the log as the environment says; returns its form."""
    form, level = os.environ.get("LOG_FORMAT") or "text", (os.environ.get("LOG_LEVEL") or "info").lower()
    if form not in logs.FORMATS:
        raise StartFailed(f"LOG_FORMAT is {form!r}; it must be one of {', '.join(logs.FORMATS)}")
    if level not in logs.LEVELS:
        raise StartFailed(f"LOG_LEVEL is {level!r}; it must be one of {', '.join(logs.LEVELS)}")
    logs.configure(form, level)
    return form


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m knative.local", description=__doc__)
    parser.add_argument("--port", type=int, default=8080, help="of the broker and of every function (0: any free one)")
    parser.add_argument("--state", type=Path, default=Path(".sentinel"), help="the directory that keeps everything")
    parser.add_argument("--kubeconfig", type=Path, help="use this cluster instead of the stand-in Kubernetes API")
    parser.add_argument("--nodes", default="default", help="nodes of the stand-in: default or none")
    parser.add_argument("--manifests", type=Path, default=BASE, help="the kustomization to run")
    return parser


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
