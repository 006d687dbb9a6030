"""How often a client may ask: a bucket for each, which fills as time goes and which each request takes from."""

import collections
import math
import time
from collections.abc import Callable

from langsteer.serving.errors import RequestError

MOST_CLIENTS = 10_000  # remembered at a time


class RateLimit:
    """At most `rate` requests a minute of each client, and as many at once after a pause."""

    def __init__(self, rate: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._clock = rate, clock
        self._buckets: collections.OrderedDict[bytes, tuple[float, float]] = (
            collections.OrderedDict()
        )

    def take(self, client: bytes) -> None:
        """Count a request of this client. Raises RequestError where it asks too often."""
        now, every = self._clock(), 60 / self._rate
        left, then = self._buckets.pop(client, (float(self._rate), now))
        left = min(float(self._rate), left + (now - then) / every)
        allowed = left >= 1
        self._buckets[client] = (left - allowed, now)
        if len(self._buckets) > MOST_CLIENTS:
            self._buckets.popitem(last=False)
        if not allowed:
            after = math.ceil((1 - left) * every)
            raise RequestError(
                f"at most {self._rate} requests a minute: try again in {after} s",
                429,
                "rate_limit_exceeded",
                after=after,
            )
