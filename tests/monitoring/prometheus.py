"""A real Prometheus with deploy/monitoring/prometheus.yml and its alerts, over processes on this machine."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import yaml

from deploy import ports
from deploy.env import PROJECT

MONITORING = PROJECT / "deploy" / "monitoring"
RULES = MONITORING / "alerts.yml"
TESTS = MONITORING / "alerts.test.yml"
START_S = 60.0
"""Only to catch what hangs."""


def here(targets: Mapping[str, Sequence[int]], *, every_s: float) -> dict[str, Any]:
    """The configuration as it is shipped, with what containers and their names are for replaced: the ports on
    this machine at which each job's processes show their metrics, and how often they are asked."""
    config: dict[str, Any] = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    config["global"] |= dict.fromkeys(("scrape_interval", "evaluation_interval"), f"{every_s * 1000:.0f}ms")
    config["rule_files"] = [str(RULES)]
    del config["alerting"]
    for job in config["scrape_configs"]:
        del job["dns_sd_configs"]
        job["static_configs"] = [
            {"targets": [f"127.0.0.1:{port}" for port in targets.get(job["job_name"], [])]}
        ]
    return config


class Prometheus:
    """One that runs."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = httpx.Client(base_url=url, timeout=30)

    def close(self) -> None:
        self._http.close()

    def instant(self, query: str, at: float | None = None) -> list[dict[str, Any]]:
        """Its series, each with one value: `{metric, value: [time, text]}`. Raises where it is no PromQL."""
        return self._result("/api/v1/query", {"query": query} | ({"time": str(at)} if at else {}))

    def over(self, query: str, start: float, end: float, step_s: float) -> list[dict[str, Any]]:
        """Its series, each with `values` from start to end."""
        asked = {"query": query, "start": str(start), "end": str(end), "step": str(step_s)}
        return self._result("/api/v1/query_range", asked)

    def _result(self, path: str, asked: dict[str, str]) -> list[dict[str, Any]]:
        answer = self._http.post(path, data=asked).json()
        assert answer["status"] == "success", f"{asked['query']}: {answer['error']}"
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def alerts(self) -> list[str]:
        """The names of those that are firing."""
        found = self.instant('ALERTS{alertstate="firing"}')
        return sorted(series["metric"]["alertname"] for series in found)

    def caught_up(self) -> None:
        """Wait until each target was asked once more from now on, and answered."""
        now = time.time()
        while time.time() < now + START_S:
            asked = self.instant("timestamp(up)")
            down = [series["metric"] for series in self.instant("up == 0")]
            if asked and not down and all(float(series["value"][1]) > now for series in asked):
                return
            time.sleep(0.1)  # it has nothing that would tell
        raise AssertionError(f"not all of them answer: {down}; {asked}")


@contextlib.contextmanager
def running(program: str, config: Mapping[str, Any], folder: Path) -> Iterator[Prometheus]:
    """That program with this configuration and its data in `folder`, for as long as the block lasts."""
    [port] = ports.free(1)
    (folder / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
    log = (folder / "prometheus.log").open("wb")
    process = subprocess.Popen(
        [
            program,
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    found = Prometheus(f"http://127.0.0.1:{port}")
    try:
        until = time.monotonic() + START_S
        while not _ready(found.url):
            said = (folder / "prometheus.log").read_text()
            assert process.poll() is None and time.monotonic() < until, f"Prometheus did not start:\n{said}"
            time.sleep(0.05)
        yield found
    finally:
        found.close()
        process.terminate()
        try:
            process.wait(START_S)
        finally:
            process.kill()
            log.close()


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/-/ready").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
