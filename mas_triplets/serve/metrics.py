"""What an operator watches: requests by route and status, how long they took, how large the index is."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """Counts of one server, apart from all others of the process.

    Routes are named by their pattern, such as /api/similar/{row}, so that clients cannot make up new ones.
    """

    def __init__(self, rows: int) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "mas_triplets_requests", "Requests answered.", ("route", "method", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "mas_triplets_request_seconds",
            "Time to the end of the answer, in seconds.",
            ("route",),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        Gauge("mas_triplets_rows", "Rows of the index.", registry=self._registry).set(rows)

    def note(self, route: str, method: str, status: int, seconds: float) -> None:
        """Note one request that has been answered."""
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def text(self) -> str:
        """Return all numbers in the text form of Prometheus."""
        return generate_latest(self._registry).decode()
