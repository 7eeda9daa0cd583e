"""Broadcast, pulled: one topic, a queue for each consumer; every consumer gets every message at its own pace."""

import broker

at = broker.account()
topic = broker.new_topic(at, "news")
queues = [broker.new_queue(at, f"reader{number}") for number in (1, 2, 3)]
for queue in queues:
    broker.subscribe(at, topic, "to", queue.queue_name)

sent = [f"edition {number}" for number in range(10)]
for text in sent:
    topic.publish_message(broker.Message(text))

for queue in queues:
    got = []
    while len(got) < len(sent):
        message = broker.receive(queue, 10)
        assert message is not None, f"{queue.queue_name} got only {got}"
        queue.delete_message(message.receiptHandle)
        got.append(message.msgBody)
    assert sorted(got) == sorted(sent), got
    assert broker.receive(queue, 0) is None
    print(f"{queue.queue_name}: {len(got)} of {len(sent)} messages")
