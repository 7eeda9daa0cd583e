"""Topic routing: binding keys choose by the words of the routing key; `*` is one word, `#` one or more."""

import broker

at = broker.account()
topic = broker.new_topic(at, "animals", filter_type=2)
orange = broker.new_queue(at, "orange")
rabbits = broker.new_queue(at, "rabbits")
broker.subscribe(at, topic, "orange", orange.queue_name, keys=["*.orange.*"])
broker.subscribe(at, topic, "rabbits", rabbits.queue_name, keys=["*.*.rabbit", "lazy.#"])

keys = ["quick.orange.rabbit", "lazy.orange.elephant", "quick.orange.fox", "lazy.brown.fox", "lazy.pink.rabbit"]
for key in keys:
    topic.publish_message(broker.Message(key), key)
for key in ["quick.brown.fox", "orange", "quick.orange.male.rabbit", "lazy"]:
    try:
        topic.publish_message(broker.Message(key), key)
        raise AssertionError(f"{key} matched")
    except broker.CMQServerException as error:
        assert error.code == 6030, error.code


def collect(queue, count):
    bodies = []
    while len(bodies) < count:
        message = broker.receive(queue, 10)
        assert message is not None, bodies
        queue.delete_message(message.receiptHandle)
        bodies.append(message.msgBody)
    assert broker.receive(queue, 0) is None
    return sorted(bodies)


assert collect(orange, 3) == sorted(keys[:3])
assert collect(rabbits, 4) == sorted([keys[0], keys[1], keys[3], keys[4]])
print("*.orange.* and ['*.*.rabbit', 'lazy.#'] got what they asked for")
