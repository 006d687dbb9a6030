"""What a server counts, in Prometheus' form."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from langsteer.serving.asked import Used
from langsteer.serving.rows import Row
from langsteer.serving.scoring import ChoiceRow


class Metrics:
    """The counters of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        own = self._registry
        self.requests = Counter("langsteer_requests", "Requests", ["path", "status"], registry=own)
        self.seconds = Histogram(
            "langsteer_request_seconds", "Time of a request", ["path"], registry=own
        )
        self.batches = Histogram(
            "langsteer_batch_rows",
            "Rows of a pass of the model",
            buckets=(1, 2, 4, 8, 16, 32),
            registry=own,
        )
        self.answers = Counter("langsteer_answers", "Answers by vector", ["vector"], registry=own)
        self.tokens = Counter("langsteer_tokens", "Tokens read and written", ["kind"], registry=own)
        self.waiting = Gauge("langsteer_waiting_rows", "Rows that wait", registry=own)
        self.running = Gauge("langsteer_running_rows", "Rows that are written", registry=own)

    def count(self, row: Row) -> None:
        """Count an answer that has ended."""
        self._count(row.used, len(row.prompt))
        self.tokens.labels("written").inc(len(row.ids))

    def count_choice(self, row: ChoiceRow) -> None:
        """Count a prompt whose choices have been scored."""
        self._count(row.used, len(row.prompt))
        self.tokens.labels("choices").inc(row.choice_tokens)

    def _count(self, used: Used | None, prompt: int) -> None:
        change = used.change if used is not None else None
        self.answers.labels(change.language if change is not None else "none").inc()
        self.tokens.labels("prompt").inc(prompt)

    def text(self) -> bytes:
        return generate_latest(self._registry)
