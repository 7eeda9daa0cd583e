//! The parameters of actions on queues.

use posthouse_model::{Name, ReceiptHandle, Span, Time, bounds};

use super::{Action, GivenHandle, Listing, batch, bodies, body};
use crate::cmq::parameters::Parameters;
use crate::cmq::{CmqError, Config, QueueChange};

/// The most queues that one list tells.
pub(super) const LIST_MAX: u64 = 50;
/// The most characters of a receipt handle.
const HANDLE_CHARS_MAX: usize = 256;

/// Reads `queueName`.
pub(super) fn name(parameters: &Parameters<'_>) -> Result<Name, CmqError> {
    named(parameters, "queueName")
}

pub(super) fn create(parameters: &Parameters<'_>) -> Result<Action, CmqError> {
    Ok(Action::CreateQueue {
        queue: name(parameters)?,
        change: QueueChange::parse(parameters)?,
    })
}

pub(super) fn set_attributes(parameters: &Parameters<'_>) -> Result<Action, CmqError> {
    let queue = name(parameters)?;
    Ok(Action::SetQueueAttributes {
        queue,
        change: QueueChange::parse(parameters)?,
    })
}

pub(super) fn rewind(parameters: &Parameters<'_>) -> Result<Action, CmqError> {
    let queue = name(parameters)?;
    let seconds = parameters.required_number("startConsumeTime")?;
    let seconds = u64::try_from(seconds).map_err(|_| CmqError::invalid_rewind_time())?;
    Ok(Action::RewindQueue {
        queue,
        to: Time::from_seconds(seconds),
    })
}

pub(super) fn list_dead_letter_sources(parameters: &Parameters<'_>) -> Result<Action, CmqError> {
    let queue = named(parameters, "deadLetterQueueName")?;
    Ok(Action::ListDeadLetterSourceQueues {
        queue,
        listing: Listing::parse(parameters, LIST_MAX)?,
    })
}

pub(super) fn send(parameters: &Parameters<'_>, config: &Config) -> Result<Action, CmqError> {
    let queue = name(parameters)?;
    let delay = delay(parameters, config)?;
    Ok(Action::SendMessage {
        queue,
        body: body(parameters)?,
        delay,
    })
}

pub(super) fn batch_send(parameters: &Parameters<'_>, config: &Config) -> Result<Action, CmqError> {
    let queue = name(parameters)?;
    let delay = delay(parameters, config)?;
    Ok(Action::BatchSendMessage {
        queue,
        bodies: bodies(parameters)?,
        delay,
    })
}

pub(super) fn receive(parameters: &Parameters<'_>) -> Result<Action, CmqError> {
    Ok(Action::ReceiveMessage {
        queue: name(parameters)?,
        wait: wait(parameters)?,
    })
}

pub(super) fn batch_receive(parameters: &Parameters<'_>) -> Result<Action, CmqError> {
    let queue = name(parameters)?;
    let max = parameters.required_number("numOfMsg")?;
    let max = u16::try_from(max).map_err(|_| CmqError::out_of_range("numOfMsg"))?;
    if max == 0 || usize::from(max) > bounds::BATCH_MAX {
        return Err(CmqError::out_of_range("numOfMsg"));
    }
    Ok(Action::BatchReceiveMessage {
        queue,
        max,
        wait: wait(parameters)?,
    })
}

pub(super) fn delete(parameters: &Parameters<'_>) -> Result<Action, CmqError> {
    let queue = name(parameters)?;
    let text = parameters.required_text("receiptHandle")?;
    match given_handle(text.as_bytes()) {
        GivenHandle::Handle(handle) => Ok(Action::DeleteMessage { queue, handle }),
        GivenHandle::Malformed(_) => Err(CmqError::malformed_handle()),
    }
}

pub(super) fn batch_delete(parameters: &Parameters<'_>) -> Result<Action, CmqError> {
    let queue = name(parameters)?;
    let handles = batch(parameters, "receiptHandle")?;
    let handles = handles.iter().map(|text| given_handle(text)).collect();
    Ok(Action::BatchDeleteMessage { queue, handles })
}

fn named(parameters: &Parameters<'_>, parameter: &str) -> Result<Name, CmqError> {
    let text = parameters
        .text(parameter)?
        .ok_or_else(|| CmqError::lacked(parameter))?;
    Name::parse(text).map_err(|refused| CmqError::queue_name_format().because(&refused.to_string()))
}

/// Reads how long to wait. What is out of range is brought into it: some SDKs send milliseconds.
fn wait(parameters: &Parameters<'_>) -> Result<Option<Span>, CmqError> {
    let Some(seconds) = parameters.number("pollingWaitSeconds")? else {
        return Ok(None);
    };
    let seconds = u64::try_from(seconds).unwrap_or(0);
    Ok(Some(Span::from_seconds(
        seconds.min(*bounds::POLLING_WAIT_SECONDS.end()),
    )))
}

fn delay(parameters: &Parameters<'_>, config: &Config) -> Result<Span, CmqError> {
    let Some(seconds) = parameters.number("delaySeconds")? else {
        return Ok(Span::ZERO);
    };
    match u64::try_from(seconds).map(Span::from_seconds) {
        Ok(delay) if delay <= config.delay_max => Ok(delay),
        Ok(_) | Err(_) => Err(CmqError::delay_out_of_range()),
    }
}

fn given_handle(text: &[u8]) -> GivenHandle {
    let shown = String::from_utf8_lossy(text);
    let digits = !shown.is_empty() && shown.bytes().all(|byte| byte.is_ascii_digit());
    match shown.parse() {
        Ok(number) if digits => GivenHandle::Handle(ReceiptHandle(number)),
        _ => GivenHandle::Malformed(shown.chars().take(HANDLE_CHARS_MAX).collect()),
    }
}
