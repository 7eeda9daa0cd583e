"""Rewind: consume again what was consumed, from a moment of one's choice."""

import time

import broker

at = broker.account()
queue = broker.new_queue(at, "ledger", rewindSeconds=3600)

for number in range(3):
    queue.send_message(broker.Message(f"early {number}"))
time.sleep(1)
moment = int(time.time())
# Messages bear the broker's time, which may be some tenths of a second behind this machine's: on the safe side of the moment.
time.sleep(2)
for number in range(3):
    queue.send_message(broker.Message(f"late {number}"))

first = broker.drain(queue, 1)
assert first == [f"early {n}" for n in range(3)] + [f"late {n}" for n in range(3)], first
assert queue.get_attributes().rewindmsgNum == 6

queue.rewindQueue(moment)
again = broker.drain(queue, 1)
assert again == [f"late {n}" for n in range(3)], again
print(f"consumed {len(first)}, went back to {moment}, consumed {len(again)} again")

plain = broker.new_queue(at, "plain")
try:
    plain.rewindQueue(moment)
    raise AssertionError("a queue without rewind was rewound")
except broker.CMQServerException as error:
    print(f"a queue without rewindSeconds refuses: {error.code} {error.message}")
