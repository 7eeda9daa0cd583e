// A deliver plugin: posts the body to a URL with the message's id in a header, or puts it into a queue.
//
// It does no I/O: `begin` says what the host is to do, and `resume` is told how that went. A failed attempt is made
// again after as many times ten seconds as there were attempts; after the fifth it is given up.

const ATTEMPTS_MAX = 5;
const WAIT_MS = 10_000n;
const TIMEOUT_MS = 5_000;

export const delivering = {
  begin(delivery, body) {
    if (delivery.endpointKind === 'queue') {
      return step({ tag: 'enqueue', val: { queue: delivery.endpoint } });
    }
    return step({
      tag: 'http',
      val: {
        method: 'POST',
        url: delivery.endpoint,
        headers: [['x-message-id', String(delivery.messageId)]],
        body: { tag: 'message' },
        timeoutMs: TIMEOUT_MS,
      },
    });
  },

  resume(delivery, state, response) {
    return step({ tag: 'done', val: outcome(delivery, response) });
  },
};

function outcome(delivery, response) {
  if (response.tag === 'enqueued') return { tag: 'acknowledged' };
  if (response.tag === 'failed') return failed(delivery, response.val);
  const { status } = response.val;
  return status >= 200 && status < 300 ? { tag: 'acknowledged' } : failed(delivery, `status ${status}`);
}

function failed(delivery, reason) {
  if (delivery.attempt >= ATTEMPTS_MAX) return { tag: 'drop', val: `attempt ${delivery.attempt}: ${reason}` };
  return { tag: 'retry-after', val: WAIT_MS * BigInt(delivery.attempt) };
}

// What is to be done, with nothing to remember until then: all is told again at each call.
function step(action) {
  return { action, state: new Uint8Array() };
}
