"""Delayed message: hidden until its time has come."""

import time

import broker

at = broker.account()
queue = broker.new_queue(at, "later")

sent_at = time.monotonic()
queue.send_message(broker.Message("in three seconds"), 3)
queue.send_message(broker.Message("at once"))
assert queue.get_attributes().delayMsgNum == 1

first = broker.receive(queue, 1)
assert first.msgBody == "at once", first.msgBody
queue.delete_message(first.receiptHandle)
assert broker.receive(queue, 0) is None

second = broker.receive(queue, 10)
waited = time.monotonic() - sent_at
assert second.msgBody == "in three seconds"
assert waited >= 3, waited
queue.delete_message(second.receiptHandle)
print(f"visible after {waited:.2f} s")
