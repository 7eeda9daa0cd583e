"""How the examples reach the broker: CMQ's SDK for messages, the admin API for keys.

POSTHOUSE_URL, POSTHOUSE_SECRET_ID and POSTHOUSE_SECRET_KEY say where and as whom; without them it is the
broker that `cargo run --release -- serve --dev` starts. The SDK writes its log into the current directory.
"""

import hashlib
import hmac
import http.client
import json
import os
import time
import urllib.parse
import uuid
import warnings

warnings.filterwarnings("ignore", category=DeprecationWarning)

from cmq.account import Account  # noqa: E402
from cmq.cmq_exception import CMQServerException  # noqa: E402
from cmq.queue import Message, QueueMeta  # noqa: E402
from cmq.subscription import SubscriptionMeta  # noqa: E402
from cmq.topic import TopicMeta  # noqa: E402

URL = os.environ.get("POSTHOUSE_URL", "http://127.0.0.1:7070")
SECRET_ID = os.environ.get("POSTHOUSE_SECRET_ID", "AKIDdev")
SECRET_KEY = os.environ.get("POSTHOUSE_SECRET_KEY", "dev")

NO_MESSAGE = 7000


def account():
    """A connection of its own: the SDK's are not to be shared between threads."""
    return Account(URL, SECRET_ID, SECRET_KEY)


def unique(word):
    """A name that no other run has, so that examples can be run side by side and again."""
    return f"{word}-{uuid.uuid4().hex[:10]}"


def new_queue(at, word, **settings):
    """Makes a queue with the SDK's defaults but for what is given."""
    meta = QueueMeta()
    for name, value in settings.items():
        if not hasattr(meta, name):
            raise AttributeError(name)
        setattr(meta, name, value)
    queue = at.get_queue(unique(word))
    queue.create(meta)
    return queue


def new_topic(at, word, filter_type=1):
    """Makes a topic: filter type 1 chooses by tags, 2 by binding keys."""
    meta = TopicMeta()
    meta.filterType = filter_type
    topic = at.get_topic(unique(word))
    topic.create(meta)
    return topic


def subscribe(at, topic, word, endpoint, protocol="queue", keys=(), tags=(), **settings):
    """Subscribes an endpoint to a topic."""
    meta = SubscriptionMeta()
    meta.Endpoint = endpoint
    meta.Protocal = protocol
    meta.bindingKey = list(keys)
    meta.FilterTag = list(tags)
    for name, value in settings.items():
        if not hasattr(meta, name):
            raise AttributeError(name)
        setattr(meta, name, value)
    subscription = at.get_subscription(topic.topicName, unique(word))
    subscription.create(meta)
    return subscription


def receive(queue, wait):
    """The next message, or None when there is none within the wait: the SDK raises then."""
    try:
        return queue.receive_message(wait)
    except CMQServerException as error:
        if error.code == NO_MESSAGE:
            return None
        raise


def drain(queue, wait=1):
    """Receives and deletes until nothing comes for as long as `wait`; returns the bodies in order."""
    bodies = []
    while (message := receive(queue, wait)) is not None:
        bodies.append(message.msgBody)
        queue.delete_message(message.receiptHandle)
    return bodies


def admin(method, path, body=None):
    """Asks the admin API. Its requests are signed over what they ask, when, and the body's digest."""
    target = "/admin/v1" + path
    content = b"" if body is None else json.dumps(body).encode()
    digest = hashlib.sha256(content).hexdigest()
    timestamp = int(time.time())
    text = f"POSTHOUSE-HMAC-SHA256\n{timestamp}\n{method}\n{target}\n{digest}"
    signature = hmac.new(SECRET_KEY.encode(), text.encode(), hashlib.sha256).hexdigest()
    url = urllib.parse.urlsplit(URL)
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = kind(url.hostname, url.port, timeout=60)
    connection.request(method, target, content, {
        "Content-Type": "application/json",
        "x-posthouse-content-sha256": digest,
        "Authorization": f"POSTHOUSE-HMAC-SHA256 id={SECRET_ID},timestamp={timestamp},signature={signature}",
    })
    answer = connection.getresponse()
    reply = json.loads(answer.read() or b"{}")
    connection.close()
    if answer.status >= 400:
        raise RuntimeError(f"{method} {path}: {answer.status} {reply}")
    return reply
