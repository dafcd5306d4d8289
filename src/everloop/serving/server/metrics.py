"""Figures of a prediction server in the format of Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Figures:
    """Counters of one server; each server has a registry of its own."""

    def __init__(self, endpoint: str) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "everloop_requests",
            "Requests by status",
            ["endpoint", "protocol", "status"],
            registry=self._registry,
        )
        self._rows = Counter(
            "everloop_predictions",
            "Rows answered",
            ["endpoint", "arm", "mode", "model"],
            registry=self._registry,
        )
        self._errors = Counter(
            "everloop_prediction_errors",
            "Rows an arm failed on",
            ["endpoint", "arm", "mode"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "everloop_request_seconds",
            "Seconds from request to reply",
            ["endpoint"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._dropped = Gauge(
            "everloop_shadow_rows_dropped",
            "Rows the shadow arms were too slow for",
            ["endpoint"],
            registry=self._registry,
        )
        self._revision = Gauge(
            "everloop_deployment_revision", "Revision being served", ["endpoint"], registry=self._registry
        )
        self._endpoint = endpoint

    def request(self, protocol: str, status: int, seconds: float) -> None:
        self._requests.labels(self._endpoint, protocol, str(status)).inc()
        self._seconds.labels(self._endpoint).observe(seconds)

    def answered(self, arm: str, mode: str, model: str, rows: int) -> None:
        self._rows.labels(self._endpoint, arm, mode, model).inc(rows)

    def failed(self, arm: str, mode: str, rows: int) -> None:
        self._errors.labels(self._endpoint, arm, mode).inc(rows)

    def text(self, *, dropped: int, revision: int) -> bytes:
        self._dropped.labels(self._endpoint).set(dropped)
        self._revision.labels(self._endpoint).set(revision)
        return generate_latest(self._registry)
