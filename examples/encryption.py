"""Encryption, in two ways: sealed by the client with a data key from the keyring, or by the broker's seal plugin."""

import base64
import json
import os

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import broker

at = broker.account()
key = broker.unique("key")
broker.admin("POST", "/master-keys", {"name": key})

# By the client. The broker sees neither the text nor, later, the key that sealed it; only its wrapped form.
queue = broker.new_queue(at, "sealed-by-client")
data_key = broker.admin("POST", f"/master-keys/{key}/data-keys")
nonce = os.urandom(12)
sealed = AESGCM(base64.b64decode(data_key["plain_base64"])).encrypt(nonce, b"for your eyes only", None)
queue.send_message(broker.Message(json.dumps({
    "key": data_key["wrapped_base64"],
    "nonce": base64.b64encode(nonce).decode(),
    "body": base64.b64encode(sealed).decode(),
})))
del data_key

message = broker.receive(queue, 10)
envelope = json.loads(message.msgBody)
plain_key = broker.admin("POST", "/decrypt", {"wrapped_base64": envelope["key"]})
opened = AESGCM(base64.b64decode(plain_key["plain_base64"])).decrypt(
    base64.b64decode(envelope["nonce"]), base64.b64decode(envelope["body"]), None)
assert opened == b"for your eyes only"
queue.delete_message(message.receiptHandle)
print("sealed and opened by the client")

# By the broker: nothing changes for clients, and no file of the broker says what was sent.
queue = broker.new_queue(at, "sealed-by-broker")
broker.admin("PUT", f"/queues/{queue.queue_name}/seal", {"master_key": key})
queue.send_message(broker.Message("as usual"))
message = broker.receive(queue, 10)
assert message.msgBody == "as usual"
queue.delete_message(message.receiptHandle)
print("sealed and opened by the broker")

# Rotation keeps old versions opening; disabling the key closes everything sealed under it.
queue.send_message(broker.Message("before the rotation"))
broker.admin("POST", f"/master-keys/{key}/rotate")
queue.send_message(broker.Message("after it"))
assert broker.drain(queue, 0) == ["before the rotation", "after it"]
queue.send_message(broker.Message("out of reach"))
broker.admin("PUT", f"/master-keys/{key}/state", {"to": "disabled"})
try:
    broker.receive(queue, 0)
    raise AssertionError("opened under a disabled key")
except broker.CMQServerException as error:
    print(f"under a disabled key: {error.code} {error.message}")
broker.admin("PUT", f"/master-keys/{key}/state", {"to": "enabled"})
assert broker.drain(queue, 1) == ["out of reach"]
