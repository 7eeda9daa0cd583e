"""The streaming door from Python: publishes with many in flight, consumes with credit, gives one back, deletes the rest.

`posthouse/` beside this file is generated: pip install grpcio-tools, then, in the repository's root,

    python -m grpc_tools.protoc -I broker/stream/proto --python_out=examples/streaming \
        --grpc_python_out=examples/streaming posthouse/stream/v1/stream.proto
"""

import hashlib
import hmac
import os
import queue
import secrets
import sys
import time

import grpc

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import broker  # noqa: E402  (what the other examples share, to make a queue)
from posthouse.stream.v1 import stream_pb2 as pb  # noqa: E402
from posthouse.stream.v1 import stream_pb2_grpc  # noqa: E402

SCHEME = "POSTHOUSE-STREAM-HMAC-SHA256"
ADDRESS = os.environ.get("POSTHOUSE_STREAMS", "127.0.0.1:7270")
SECRET_ID = os.environ.get("POSTHOUSE_SECRET_ID", "AKIDdev")
SECRET_KEY = os.environ.get("POSTHOUSE_SECRET_KEY", "dev")
MESSAGES = 1_000


def signed(method):
    """Returns the metadata that opens a stream of a method."""
    now, nonce = int(time.time()), secrets.token_hex(16)
    text = "\n".join([SCHEME, SECRET_ID, str(now), nonce, f"/posthouse.stream.v1.Stream/{method}"])
    signature = hmac.new(SECRET_KEY.encode(), text.encode(), hashlib.sha256).hexdigest()
    fields = f"id={SECRET_ID},timestamp={now},nonce={nonce},signature={signature}"
    return [("authorization", f"{SCHEME} {fields}")]


def requests_of(waiting):
    """Yields what is put into a queue, until None is."""
    return iter(waiting.get, None)


letters = broker.new_queue(broker.account(), "letters").queue_name

with grpc.insecure_channel(ADDRESS) as channel:
    door = stream_pb2_grpc.StreamStub(channel)

    # Publish: all requests are sent before the first answer is read; a token each would make retries safe.
    waiting = queue.SimpleQueue()
    replies = door.Publish(requests_of(waiting), metadata=signed("Publish"))
    for number in range(MESSAGES // 10):
        messages = [pb.OutgoingMessage(body=f"{number}.{part}".encode()) for part in range(10)]
        waiting.put(pb.PublishRequest(id=number, queue=letters, messages=messages, token=secrets.token_hex(16)))
    waiting.put(None)
    answered = {one.id: one for reply in replies for one in reply.published}
    assert len(answered) == MESSAGES // 10
    assert not [one for one in answered.values() if one.HasField("error")], answered
    print(f"published {sum(len(one.message_ids) for one in answered.values())} messages")

    # Consume: never more come than were asked for.
    waiting = queue.SimpleQueue()
    waiting.put(pb.ConsumeRequest(open=pb.Open(queue=letters, credit=100)))
    returned, gone, settled = set(), set(), 0
    replies = door.Consume(requests_of(waiting), metadata=signed("Consume"))
    for number, reply in enumerate(replies):
        for one in reply.settled:
            assert not one.HasField("error") and not one.void_handles, one
            settled += 1
        handles = []
        for delivery in reply.deliveries:
            if not returned:
                # Given back: it comes again, and counts.
                returned.add(delivery.message_id)
                waiting.put(pb.ConsumeRequest(nack=pb.Nack(id=0, handles=[delivery.handle])))
                continue
            assert delivery.receive_count == (2 if delivery.message_id in returned else 1), delivery
            handles.append(delivery.handle)
            gone.add(delivery.message_id)
        if handles:
            waiting.put(pb.ConsumeRequest(ack=pb.Ack(id=number + 1, handles=handles)))
        if reply.deliveries:
            waiting.put(pb.ConsumeRequest(credit=pb.Credit(messages=len(reply.deliveries))))
        if len(gone) == MESSAGES:
            # The node answers what is in flight, then ends the stream.
            waiting.put(None)
    assert len(gone) == MESSAGES
    print(f"consumed and deleted {len(gone)} messages, with {settled} settlements")
