"""A deliver plugin: posts the body to a URL with the message's id in a header, or puts it into a queue.

It does no I/O: `begin` says what the host is to do, and `resume` is told how that went. A failed attempt is made again
after as many times ten seconds as there were attempts; after the fifth it is given up.
"""

from wit_world.exports import Delivering as World
from wit_world.exports.delivering import (
    Action, Action_Done, Action_Enqueue, Action_Http, Delivery, EndpointKind, EnqueueRequest, HttpRequest, Outcome,
    Outcome_Acknowledged, Outcome_Drop, Outcome_RetryAfter, Payload_Message, Response, Response_Enqueued,
    Response_Http, Step,
)
from wit_world.imports.bodies import Body

ATTEMPTS_MAX = 5
WAIT_MS = 10_000
TIMEOUT_MS = 5_000


class Delivering(World):
    def begin(self, delivery: Delivery, body: Body) -> Step:
        if delivery.endpoint_kind == EndpointKind.QUEUE:
            return step(Action_Enqueue(EnqueueRequest(delivery.endpoint)))
        headers = [("x-message-id", str(delivery.message_id))]
        return step(Action_Http(HttpRequest("POST", delivery.endpoint, headers, Payload_Message(), TIMEOUT_MS)))

    def resume(self, delivery: Delivery, state: bytes, response: Response) -> Step:
        return step(Action_Done(outcome(delivery, response)))


def outcome(delivery: Delivery, response: Response) -> Outcome:
    if isinstance(response, Response_Enqueued):
        return Outcome_Acknowledged()
    if isinstance(response, Response_Http):
        status = response.value.status
        return Outcome_Acknowledged() if 200 <= status < 300 else failed(delivery, f"status {status}")
    return failed(delivery, response.value)


def failed(delivery: Delivery, reason: str) -> Outcome:
    if delivery.attempt >= ATTEMPTS_MAX:
        return Outcome_Drop(f"attempt {delivery.attempt}: {reason}")
    return Outcome_RetryAfter(WAIT_MS * delivery.attempt)


def step(action: Action) -> Step:
    """What is to be done, with nothing to remember until then: all is told again at each call."""
    return Step(action, b"")
