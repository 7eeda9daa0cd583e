//! Requests, signed and ready to be sent as they are.

use std::net::SocketAddr;

use posthouse_tests::Client;

/// The name of the access key that the tenant of development has.
pub const SECRET_ID: &str = "AKIDdev";
/// The access key itself.
pub const SECRET_KEY: &str = "dev";
/// What bodies are made of: nothing that a form has to escape.
const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
/// The path of CMQ's API.
const PATH: &str = "/v2/index.php";
/// How long a receive waits that is there before its message.
const WAIT_SECONDS: &str = "20";
/// The most messages of a call.
pub const BATCH: u64 = 16;

/// Signs requests for a node as the tenant of development.
#[derive(Debug)]
pub struct Signing {
    client: Client,
    address: SocketAddr,
}

/// A request as it goes over the wire.
#[derive(Clone, Debug)]
pub struct Request {
    bytes: Vec<u8>,
    /// How many messages it sends, or asks for.
    pub messages: u64,
}

// === impl Signing ===

impl Signing {
    /// Returns what signs for the node at an address.
    pub fn new(address: SocketAddr) -> Signing {
        Signing {
            client: Client::new(address, SECRET_ID, SECRET_KEY.as_bytes()),
            address,
        }
    }

    /// Sends one message.
    pub fn send(&self, queue: &str, body_bytes: usize) -> Request {
        self.request(
            "SendMessage",
            &[("queueName", queue), ("msgBody", &body(body_bytes))],
            1,
        )
    }

    /// Sends as many messages as a call takes.
    pub fn send_batch(&self, queue: &str, body_bytes: usize) -> Request {
        let body = body(body_bytes);
        let names: Vec<String> = (1..=BATCH).map(|number| format!("msgBody.{number}")).collect();
        let mut parameters = vec![("queueName", queue)];
        parameters.extend(names.iter().map(|name| (name.as_str(), body.as_str())));
        self.request("BatchSendMessage", &parameters, BATCH)
    }

    /// Receives as many messages as a call gives, without waiting for any.
    pub fn receive_batch(&self, queue: &str) -> Request {
        self.receive(queue, "0")
    }

    /// Receives as many messages as a call gives, waiting a second for the first.
    pub fn wait_for_batch(&self, queue: &str) -> Request {
        self.receive(queue, "1")
    }

    /// Receives one message, waiting for it as long as somebody may who has nothing else to do.
    pub fn wait_for_one(&self, queue: &str) -> Request {
        let parameters = [("queueName", queue), ("pollingWaitSeconds", WAIT_SECONDS)];
        self.request("ReceiveMessage", &parameters, 1)
    }

    fn receive(&self, queue: &str, wait: &str) -> Request {
        let count = BATCH.to_string();
        let parameters = [
            ("queueName", queue),
            ("numOfMsg", count.as_str()),
            ("pollingWaitSeconds", wait),
        ];
        self.request("BatchReceiveMessage", &parameters, BATCH)
    }

    /// Deletes what was received.
    pub fn delete_batch(&self, queue: &str, handles: &[&str]) -> Request {
        let names: Vec<String> = (1..=handles.len())
            .map(|number| format!("receiptHandle.{number}"))
            .collect();
        let mut parameters = vec![("queueName", queue)];
        parameters.extend(names.iter().map(String::as_str).zip(handles.iter().copied()));
        self.request("BatchDeleteMessage", &parameters, handles.len() as u64)
    }

    /// Makes a queue.
    pub fn create_queue(&self, queue: &str) -> Request {
        self.request("CreateQueue", &[("queueName", queue)], 0)
    }

    /// Lists the first queues.
    pub fn list_queues(&self) -> Request {
        self.request("ListQueue", &[], 0)
    }

    /// Publishes one message with a tag.
    pub fn publish(&self, topic: &str, tag: &str, body_bytes: usize) -> Request {
        let body = body(body_bytes);
        let parameters = [
            ("topicName", topic),
            ("msgBody", body.as_str()),
            ("msgTag.1", tag),
        ];
        self.request("PublishMessage", &parameters, 1)
    }

    fn request(&self, action: &str, parameters: &[(&str, &str)], messages: u64) -> Request {
        let parameters: Vec<(&str, &[u8])> = parameters
            .iter()
            .map(|(name, value)| (*name, value.as_bytes()))
            .collect();
        let form = self.client.form(action, &parameters);
        let mut bytes = format!(
            "POST {PATH} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n",
            self.address,
            form.len()
        )
        .into_bytes();
        bytes.extend_from_slice(&form);
        Request { bytes, messages }
    }
}

// === impl Request ===

impl Request {
    /// Returns its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Returns a body of so many bytes, none of them escaped.
pub fn body(bytes: usize) -> String {
    LETTERS
        .iter()
        .cycle()
        .take(bytes)
        .map(|byte| char::from(*byte))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signing() -> Signing {
        Signing::new(SocketAddr::from(([127, 0, 0, 1], 7070)))
    }

    #[test]
    fn a_body_has_its_size_on_the_wire_too() {
        assert_eq!(body(1_024).len(), 1_024);
        let bytes = signing().send("q", 1_024).bytes;
        let text = String::from_utf8(bytes).expect("letters");
        assert!(text.contains(&format!("msgBody={}&", body(1_024))));
    }

    #[test]
    fn a_request_says_its_length() {
        let request = signing().send_batch("q", 10);
        let text = String::from_utf8(request.bytes).expect("letters");
        let (head, form) = text.split_once("\r\n\r\n").expect("a head and a form");
        assert!(head.contains(&format!("Content-Length: {}", form.len())));
        assert_eq!(form.matches("msgBody.").count() as u64, request.messages);
    }
}
