"""HTTP push: the broker posts to a server of yours, and tries again when that fails."""

import http.server
import json
import queue as local
import threading

import broker

pushes = local.Queue()
failures = [503]


class Endpoint(http.server.BaseHTTPRequestHandler):
    """Fails once, then accepts."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = failures.pop() if failures else 200
        pushes.put((status, self.headers, body))
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
threading.Thread(target=server.serve_forever, daemon=True).start()
endpoint = f"http://127.0.0.1:{server.server_port}/hook"

at = broker.account()
topic = broker.new_topic(at, "hooks")
broker.subscribe(at, topic, "json", endpoint, protocol="http")
message_id = topic.publish_message(broker.Message("wake up", ["urgent", "night"])).msgId

status, headers, body = pushes.get(timeout=30)
assert status == 503
status, headers, body = pushes.get(timeout=30)
assert status == 200
assert headers["x-cmq-message-id"] == message_id, headers
assert headers["x-cmq-message-tag"] == "urgent, night", headers
assert headers["User-Agent"] == "Qcloud Notification Service Agent", headers
assert headers["Content-Type"] == "text/plain", headers
said = json.loads(body)
assert said["msgBody"] == "wake up" and said["msgId"] == message_id and said["topicName"] == topic.topicName, said
print("a JSON push, at the second attempt:", said)

plain = broker.new_topic(at, "plain-hooks")
broker.subscribe(at, plain, "plain", endpoint, protocol="http", NotifyContentFormat="SIMPLIFIED")
plain.publish_message(broker.Message("just this"))
status, headers, body = pushes.get(timeout=30)
assert body == b"just this", body
print("a simplified push:", body)
server.shutdown()
