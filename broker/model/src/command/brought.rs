//! The messages that an entry brings, found by where a set says it stored them from.

use crate::{Batch, Message, Readmitted, SetCommand};

// === impl Batch ===

impl Batch<SetCommand> {
    /// Returns a message that the entry brings: by submission, and by place among that submission's messages.
    pub fn message(&self, submission: u32, ordinal: u32) -> Option<&Message> {
        let submission = self.submissions.get(submission as usize)?;
        submission.command.message(ordinal as usize)
    }
}

// === impl SetCommand ===

impl SetCommand {
    /// Returns a message that the command brings, by its place: in a publication first the message itself, then its
    /// replacements.
    fn message(&self, ordinal: usize) -> Option<&Message> {
        match self.plain() {
            SetCommand::Send { messages, .. } => messages.get(ordinal).map(|incoming| &incoming.message),
            SetCommand::Publish { publications, .. } => {
                let mut contents = publications.iter().flat_map(|publication| {
                    let replaced = publication.replaced.iter().map(|(_, message)| message);
                    std::iter::once(&publication.message).chain(replaced)
                });
                contents.nth(ordinal)
            }
            SetCommand::Deposit { parcels, .. } => parcels.get(ordinal).map(|parcel| &parcel.message),
            SetCommand::Readmit { content, .. } => content.messages().nth(ordinal),
            SetCommand::Define { .. }
            | SetCommand::Drop { .. }
            | SetCommand::Subscribe { .. }
            | SetCommand::AlterSubscription { .. }
            | SetCommand::Unsubscribe { .. }
            | SetCommand::Receive { .. }
            | SetCommand::Delete { .. }
            | SetCommand::Release { .. }
            | SetCommand::Rewind { .. }
            | SetCommand::Claim { .. }
            | SetCommand::Settle { .. }
            | SetCommand::Shipped { .. }
            | SetCommand::Tick
            | SetCommand::Lead { .. }
            | SetCommand::Observe { .. }
            | SetCommand::Cut
            | SetCommand::Rewrite { .. }
            | SetCommand::Decide { .. }
            | SetCommand::ForgetKv { .. }
            | SetCommand::ReceiveThese { .. }
            | SetCommand::Park { .. }
            | SetCommand::Return { .. }
            | SetCommand::Extend { .. } => None,
        }
    }
}

// === impl Readmitted ===

impl Readmitted {
    /// Returns its contents, as the set counts them: the message first, then its replacements.
    pub fn messages(&self) -> impl Iterator<Item = &Message> {
        let (message, replaced): (_, &[_]) = match self {
            Readmitted::Queue(incoming) => (&incoming.message, &[]),
            Readmitted::Topic(publication) => (&publication.message, &publication.replaced),
        };
        std::iter::once(message).chain(replaced.iter().map(|(_, message)| message))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{Incarnation, LogIndex, MessageId, Publication, Submission, SubscriptionId, Time};

    fn message(id: u64) -> Message {
        Message::plain(MessageId(id), Bytes::from_static(b"x"))
    }

    fn publication(id: u64, replacements: &[u64]) -> Publication {
        Publication {
            message: message(id),
            matched: Vec::new(),
            replaced: replacements
                .iter()
                .map(|id| (SubscriptionId(*id), message(*id)))
                .collect(),
        }
    }

    #[test]
    fn a_publications_replacements_are_counted_after_its_message() {
        let publish = SetCommand::Publish {
            topic: Incarnation(1),
            publications: vec![publication(1, &[2, 3]), publication(4, &[5])],
            token: None,
            decided_at: LogIndex(0),
        };
        let commands = [SetCommand::Tick, publish];
        let batch = Batch {
            now: Time::from_seconds(7),
            submissions: commands
                .into_iter()
                .map(|command| Submission { call: None, command })
                .collect(),
        };
        for (ordinal, id) in (0..).zip(1..=5) {
            let found = batch.message(1, ordinal).expect("there");
            assert_eq!(found.id, MessageId(id));
        }
        assert_eq!(batch.message(1, 5), None);
        assert_eq!(batch.message(0, 0), None);
        assert_eq!(batch.message(2, 0), None);
    }
}
