"""`python -m knative.local.tools.observe`: Prometheus, and Grafana where it is installed, beside a running platform.

Prometheus collects from the api, with the platform's token, and from the agents; it holds the alert rules of
knative/alerts. Grafana shows the dashboards of knative/dashboards. What they keep is in STATE/observe. Both end with
this process; Ctrl-C ends it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from knative.dashboards import write
from knative.local.runtime import first_start, node_daemons
from knative.local.runtime.platform import BASE
from shared.processes import die_with_parent_hook

_PACKAGES = "Debian's package is called prometheus"
_GRAFANA_HOMES = ("/usr/share/grafana", "/usr/local/share/grafana")


def main(arguments: Sequence[str] | None = None) -> int:
    """0 after Ctrl-C; 1 with one line on stderr: no platform, no Prometheus, or one that ended by itself."""
    parser = argparse.ArgumentParser(prog="python -m knative.local.tools.observe", description=__doc__)
    parser.add_argument("--state", type=Path, default=Path(".sentinel"), help="the state directory of `make run`")
    parser.add_argument("--port", type=int, default=9090, help="where Prometheus listens, on 127.0.0.1")
    parser.add_argument("--grafana-port", type=int, default=3000)
    parser.add_argument("--interval", default="15s", help="how often metrics are collected")
    options = parser.parse_args(arguments)
    try:
        prometheus = shutil.which("prometheus")
        if prometheus is None:
            raise _Refused(f"prometheus is not on the PATH; {_PACKAGES}")
        directory = options.state / "observe"
        config = configure(options.state, directory, options.interval)
        commands = [prometheus_command(prometheus, config, directory, options.port)]
        url = f"http://127.0.0.1:{options.port}"
        print(f"Prometheus: {url}", flush=True)
        print(f"Sentinel collects metrics of workloads from it when it is started by PROMETHEUS_URL={url} make run")
        if (grafana := _grafana(directory, options.port)) is not None:
            commands.append(grafana)
            print(f"Grafana:    http://127.0.0.1:{options.grafana_port}", flush=True)
        else:
            print("Grafana is not on the PATH; its dashboards are in knative/dashboards", flush=True)
        return _run(commands, options.grafana_port)
    except _Refused as refused:
        print(f"sentinel: {refused}", file=sys.stderr)
        return 1


class _Refused(Exception):
    """Why nothing was started."""


def configure(state: Path, directory: Path, interval: str) -> Path:
    """Writes what Prometheus reads; returns its configuration. Raises _Refused where no platform runs.

    The api's host name is of the platform alone, and no resolver knows it: the platform's port is asked as a proxy.
    """
    try:
        platform = json.loads((state / "platform.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise _Refused(f"no platform runs on {state}; start one with `make run`") from None
    if platform["api"] is None:
        raise _Refused("the platform has no api")
    directory.mkdir(parents=True, exist_ok=True)
    rules = directory / "rules.yaml"
    alerts = yaml.safe_load((BASE.parent / "alerts" / "rules.yaml").read_text(encoding="utf-8"))
    rules.write_text(yaml.safe_dump({"groups": alerts["spec"]["groups"]}), encoding="utf-8")
    host = platform["api"].removeprefix("http://").split("/")[0]
    document: dict[str, Any] = {
        "global": {"scrape_interval": interval, "evaluation_interval": interval},
        "rule_files": [str(rules.resolve())],
        "scrape_configs": [
            {
                "job_name": "api",
                "proxy_url": f"http://127.0.0.1:{platform['port']}",
                "authorization": {"credentials_file": str((state / first_start.TOKEN).resolve())},
                "static_configs": [{"targets": [host]}],
            },
            {
                "job_name": "agent",
                "honor_labels": True,
                "file_sd_configs": [{"files": [str((state / "nodes" / node_daemons.TARGETS).resolve())]}],
            },
        ],
    }
    config = directory / "prometheus.yaml"
    config.write_text(yaml.safe_dump(document), encoding="utf-8")
    return config


def prometheus_command(program: str, config: Path, directory: Path, port: int) -> list[str]:
    """How Prometheus is started."""
    return [
        program,
        f"--config.file={config}",
        f"--storage.tsdb.path={directory / 'prometheus'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]


def _grafana(directory: Path, prometheus_port: int) -> list[str] | None:
    program = shutil.which("grafana")
    home = next((home for home in _GRAFANA_HOMES if Path(home).is_dir()), None)
    if program is None or home is None:
        return None
    provisioning, boards = directory / "provisioning", directory / "dashboards"
    for name in ("datasources", "dashboards"):
        (provisioning / name).mkdir(parents=True, exist_ok=True)
    boards.mkdir(exist_ok=True)
    write(boards)
    url = f"http://127.0.0.1:{prometheus_port}"
    source = {"name": "Prometheus", "type": "prometheus", "access": "proxy", "url": url, "isDefault": True}
    provider = {"name": "sentinel", "type": "file", "options": {"path": str(boards.resolve())}}
    for name, document in (
        ("datasources", {"apiVersion": 1, "datasources": [source]}),
        ("dashboards", {"apiVersion": 1, "providers": [provider]}),
    ):
        (provisioning / name / "sentinel.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    return [program, "server", "--homepath", home]


def _run(commands: Sequence[Sequence[str]], grafana_port: int) -> int:
    """Until Ctrl-C, SIGTERM, or the end of one of them."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    observe = Path(commands[0][2].removeprefix("--storage.tsdb.path=")).parent.resolve()
    environment = {
        **os.environ,
        "GF_PATHS_DATA": str(observe / "grafana"),
        "GF_PATHS_PROVISIONING": str(observe / "provisioning"),
        "GF_SERVER_HTTP_ADDR": "127.0.0.1",
        "GF_SERVER_HTTP_PORT": str(grafana_port),
        "GF_AUTH_ANONYMOUS_ENABLED": "true",
        "GF_ANALYTICS_REPORTING_ENABLED": "false",
        "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
    }
    started = [subprocess.Popen(command, env=environment, preexec_fn=die_with_parent_hook()) for command in commands]
    try:
        while all(process.poll() is None for process in started):
            time.sleep(0.2)
        ended = next(at for at, process in enumerate(started) if process.poll() is not None)
        raise _Refused(f"{commands[ended][0]} ended with {started[ended].returncode}")
    except (KeyboardInterrupt, SystemExit):
        return 0
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait()


if __name__ == "__main__":
    sys.exit(main())
