//! Steps that most tests take: each is done, or the test ends.

use posthouse_tests::{Answer, Client};

/// How long a receive waits that must be answered with a message, in seconds: the longest poll there is.
const WAIT_SECONDS: &str = "30";

/// An action or what it is about, its parameters, and the code and module code that answer it.
pub(crate) type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], (i64, i64));

/// What a client does in most tests.
pub(crate) trait Steps {
    /// Does an action, which must succeed.
    fn done(&mut self, action: &str, parameters: &[(&str, &str)]) -> Answer;

    /// Creates a queue with these attributes.
    fn create_queue(&mut self, queue: &str, attributes: &[(&str, &str)]) {
        self.done("CreateQueue", &with(&[("queueName", queue)], attributes));
    }

    /// Creates a topic with these attributes.
    fn create_topic(&mut self, topic: &str, attributes: &[(&str, &str)]) {
        self.done("CreateTopic", &with(&[("topicName", topic)], attributes));
    }

    /// Subscribes a queue to a topic under the queue's name, with these settings.
    fn subscribe_queue(&mut self, topic: &str, queue: &str, settings: &[(&str, &str)]) {
        let subscription = [
            ("topicName", topic),
            ("subscriptionName", queue),
            ("protocol", "queue"),
            ("endpoint", queue),
        ];
        self.done("Subscribe", &with(&subscription, settings));
    }

    /// Sends a message to a queue.
    fn send(&mut self, queue: &str, body: &str) -> Answer {
        self.done("SendMessage", &[("queueName", queue), ("msgBody", body)])
    }

    /// Publishes a message with these settings.
    fn publish(&mut self, topic: &str, body: &str, settings: &[(&str, &str)]) -> Answer {
        self.done(
            "PublishMessage",
            &with(&[("topicName", topic), ("msgBody", body)], settings),
        )
    }

    /// Receives a message, waiting for it.
    fn receive(&mut self, queue: &str) -> Answer {
        let wait = [("queueName", queue), ("pollingWaitSeconds", WAIT_SECONDS)];
        self.done("ReceiveMessage", &wait)
    }

    /// Receives a message if there is one; returns the code.
    fn look(&mut self, queue: &str) -> i64;

    /// Deletes a message; returns the codes.
    fn delete(&mut self, queue: &str, handle: &str) -> (i64, i64);
}

impl Steps for Client {
    fn done(&mut self, action: &str, parameters: &[(&str, &str)]) -> Answer {
        let answer = self.ask(action, parameters).and_then(Answer::success);
        answer.unwrap_or_else(|error| panic!("{action} {parameters:?}: {error:#}"))
    }

    fn look(&mut self, queue: &str) -> i64 {
        let answer = self.ask("ReceiveMessage", &[("queueName", queue)]);
        answer.expect("an answer").code()
    }

    fn delete(&mut self, queue: &str, handle: &str) -> (i64, i64) {
        let message = [("queueName", queue), ("receiptHandle", handle)];
        self.ask("DeleteMessage", &message).expect("an answer").codes()
    }
}

fn with<'a>(needed: &[(&'a str, &'a str)], more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [needed, more].concat()
}
