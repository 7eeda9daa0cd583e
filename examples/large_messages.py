"""Large messages, in two ways: cut into fragments, or kept in an object store with the address as the message."""

import base64
import hashlib
import http.server
import json
import os
import threading
import urllib.request

import broker

FRAGMENT_BYTES = 48 * 1024


def send_in_fragments(queue, content):
    """Each fragment says which whole it belongs to, its place, how many there are, and the whole's digest."""
    whole = hashlib.sha256(content).hexdigest()
    pieces = [content[at:at + FRAGMENT_BYTES] for at in range(0, len(content), FRAGMENT_BYTES)]
    messages = []
    for place, piece in enumerate(pieces):
        header = {"whole": whole, "place": place, "of": len(pieces), "body": base64.b64encode(piece).decode()}
        messages.append(broker.Message(json.dumps(header)))
    for at in range(0, len(messages), 8):
        queue.batch_send_message(messages[at:at + 8])


def receive_whole(queue):
    """Puts fragments together as they come, in whatever order, some of them perhaps twice."""
    wholes, handles = {}, {}
    while True:
        message = broker.receive(queue, 10)
        assert message is not None, "the whole did not arrive"
        header = json.loads(message.msgBody)
        pieces = wholes.setdefault(header["whole"], {})
        pieces[header["place"]] = base64.b64decode(header["body"])
        handles.setdefault(header["whole"], []).append(message.receiptHandle)
        if len(pieces) == header["of"]:
            content = b"".join(pieces[place] for place in range(header["of"]))
            assert hashlib.sha256(content).hexdigest() == header["whole"], "damaged on the way"
            # Only now: had this process died before, another would have got all fragments again.
            held = handles[header["whole"]]
            for at in range(0, len(held), 16):
                queue.batch_delete_message(held[at:at + 16])
            return content


class ObjectStore(http.server.BaseHTTPRequestHandler):
    """The part of S3 that this needs: PUT and GET of /BUCKET/KEY."""

    objects = {}

    def do_PUT(self):
        self.objects[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self.reply(200, b"")

    def do_GET(self):
        found = self.objects.get(self.path)
        self.reply(404 if found is None else 200, found or b"")

    def reply(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


at = broker.account()

queue = broker.new_queue(at, "fragments", maxMsgSize=1048576, visibilityTimeout=60)
content = os.urandom(3 * 1024 * 1024 + 17)
send_in_fragments(queue, content)
assert receive_whole(queue) == content
assert broker.receive(queue, 0) is None
print(f"{len(content)} bytes went in fragments of {FRAGMENT_BYTES}")

store = http.server.ThreadingHTTPServer(("127.0.0.1", 0), ObjectStore)
threading.Thread(target=store.serve_forever, daemon=True).start()
address = f"http://127.0.0.1:{store.server_port}/bucket/{hashlib.sha256(content).hexdigest()}"
urllib.request.urlopen(urllib.request.Request(address, content, method="PUT")).close()
addresses = broker.new_queue(at, "addresses")
addresses.send_message(broker.Message(address))
message = broker.receive(addresses, 10)
with urllib.request.urlopen(message.msgBody) as reply:
    assert reply.read() == content
addresses.delete_message(message.receiptHandle)
store.shutdown()
print(f"{len(content)} bytes went through the object store, {len(address)} through the queue")
