"""Long poll: a receive that waits comes back as soon as a message is there, or at the end of its wait."""

import statistics
import threading
import time

import broker

at = broker.account()
queue = broker.new_queue(at, "inbox")

begun = time.monotonic()
assert broker.receive(queue, 2) is None
waited = time.monotonic() - begun
assert 1.9 <= waited < 5, waited
print(f"nothing came: answered after {waited:.2f} s")

delays = []
for number in range(5):
    sent_at = []

    def send_soon():
        time.sleep(0.5)
        own = broker.account().get_queue(queue.queue_name)
        own.send_message(broker.Message(f"message {number}"))
        sent_at.append(time.monotonic())

    sender = threading.Thread(target=send_soon)
    sender.start()
    message = broker.receive(queue, 10)
    received_at = time.monotonic()
    sender.join()
    assert message.msgBody == f"message {number}"
    queue.delete_message(message.receiptHandle)
    delays.append((received_at - sent_at[0]) * 1000)

print(f"answered {statistics.median(delays):.1f} ms after the send was acknowledged (median of {len(delays)})")
assert statistics.median(delays) < 50, delays
