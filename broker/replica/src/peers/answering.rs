//! Answers the calls of one connection.
//!
//! Frames are handed over in the order in which they came: each answer is polled once before the next message is
//! read. The answers then go on side by side and leave as they are ready, so a group that is slow holds up no other.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinError, JoinSet, unconstrained};
use tokio_util::task::TaskTracker;

use super::connection::{Connection, ConnectionError, MessageReader, MessageWriter};
use super::message::{CallId, Greeting, Message};
use super::room::{Room, Taken};
use super::{Answerer, FRAME_BYTES_MAX, Hello};

/// Answers that wait to be written.
const ANSWERS_WAITING_MAX: usize = 1_024;

/// The calls of one connection that are being answered.
struct Answering {
    answerer: Arc<dyn Answerer>,
    asker: Hello,
    room: Room,
    running: JoinSet<CallId>,
    handles: BTreeMap<CallId, AbortHandle>,
    answered: mpsc::Sender<Answered>,
    tasks: TaskTracker,
}

/// An answer to be written. Its call has its room until then.
struct Answered {
    message: Message,
    _room: Taken,
}

/// Answers until the connection ends; what is not answered then is dropped.
pub(super) async fn answer_calls(
    connection: Connection,
    greeting: Greeting,
    answerer: Arc<dyn Answerer>,
    tasks: TaskTracker,
) -> ConnectionError {
    let Connection {
        mut reader,
        mut writer,
    } = connection;
    let (answered, answers) = mpsc::channel(ANSWERS_WAITING_MAX);
    let mut answering = Answering {
        answerer,
        asker: greeting.hello,
        room: Room::of_asker(greeting.channel),
        running: JoinSet::new(),
        handles: BTreeMap::new(),
        answered,
        tasks,
    };
    let ended = tokio::select! {
        ended = answering.take_calls(&mut reader) => ended,
        ended = write_answers(&mut writer, answers) => ended,
    };
    match ended {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

// === impl Answering ===

impl Answering {
    async fn take_calls(&mut self, reader: &mut MessageReader) -> Result<Infallible, ConnectionError> {
        loop {
            tokio::select! {
                message = reader.next() => self.take(message?).await?,
                Some(ended) = self.running.join_next() => self.forget(ended)?,
            }
        }
    }

    async fn take(&mut self, message: Message) -> Result<(), ConnectionError> {
        match message {
            Message::Group { call, group, frame } => {
                let room = self.room.take(frame.len()).await;
                let answer = self.answerer.group(group, frame);
                let message = answer.map(move |answer| match answer {
                    Ok(answer) => answer_message(call, answer),
                    Err(fault) => Message::Fault {
                        call,
                        reason: fault.to_string(),
                    },
                });
                self.begin(call, message.boxed(), room).await;
            }
            Message::Request { call, request } => {
                let room = self.room.take(request.len()).await;
                let answer = self.answerer.request(self.asker, request);
                let message = answer.map(move |answer| answer_message(call, answer));
                self.begin(call, message.boxed(), room).await;
            }
            Message::Cancel { call } => {
                if let Some(handle) = self.handles.remove(&call) {
                    handle.abort();
                }
            }
            Message::Hello(_) | Message::Refused(_) | Message::Answer { .. } | Message::Fault { .. } => {
                return Err(ConnectionError::OutOfPlace);
            }
        }
        Ok(())
    }

    /// Begins an answer here, so that calls begin in their order, and has it go on by itself.
    async fn begin(&mut self, call: CallId, mut answer: BoxFuture<'static, Message>, room: Taken) {
        let answered = self.answered.clone();
        // Unconstrained: what the order is made by must not be put off because this task did much already.
        let first = futures::poll!(unconstrained(&mut answer));
        let going_on = async move {
            let message = match first {
                Poll::Ready(message) => message,
                Poll::Pending => answer.await,
            };
            // Whoever would write it is gone only when the connection is.
            let _ = answered.send(Answered { message, _room: room }).await;
            call
        };
        let handle = self.running.spawn(self.tasks.track_future(going_on));
        self.handles.insert(call, handle);
    }

    fn forget(&mut self, ended: Result<CallId, JoinError>) -> Result<(), ConnectionError> {
        match ended {
            Ok(call) => {
                self.handles.remove(&call);
                Ok(())
            }
            Err(error) if error.is_cancelled() => Ok(()),
            Err(_) => Err(ConnectionError::Panicked),
        }
    }
}

async fn write_answers(
    writer: &mut MessageWriter,
    mut answers: mpsc::Receiver<Answered>,
) -> Result<Infallible, ConnectionError> {
    let mut rooms = Vec::new();
    loop {
        // The sender that is kept for new calls outlives this.
        let Some(first) = answers.recv().await else {
            return Err(ConnectionError::Closed);
        };
        let mut next = Some(first);
        while let Some(Answered { message, _room }) = next.take() {
            writer.push(message);
            rooms.push(_room);
            if !writer.is_full() {
                next = answers.try_recv().ok();
            }
        }
        writer.flush().await?;
        rooms.clear();
    }
}

fn answer_message(call: CallId, answer: Bytes) -> Message {
    let bytes = answer.len();
    if bytes > FRAME_BYTES_MAX {
        let reason = format!("the answer of {bytes} bytes is over the limit of {FRAME_BYTES_MAX}");
        return Message::Fault { call, reason };
    }
    Message::Answer { call, answer }
}
