//! Settings as requests give them: what is absent stays, what is out of bounds is refused by name.

use std::ops::RangeInclusive;

use posthouse_model::{Span, bounds};

use crate::admin::AdminError;

/// Sets what every body that is taken in must keep to.
pub(super) fn set_body_bytes_max(place: &mut u32, bytes: Option<u32>) -> Result<(), AdminError> {
    within("body_bytes_max", bytes.map(u64::from), &bounds::BODY_BYTES)?;
    set(place, bytes);
    Ok(())
}

/// Sets how long messages are kept.
pub(super) fn set_retention(place: &mut Span, seconds: Option<u64>) -> Result<(), AdminError> {
    set_seconds(place, "retention_seconds", seconds, &bounds::RETENTION_SECONDS)
}

/// Sets a time that is given in seconds.
pub(super) fn set_seconds(
    place: &mut Span,
    field: &str,
    seconds: Option<u64>,
    range: &RangeInclusive<u64>,
) -> Result<(), AdminError> {
    within(field, seconds, range)?;
    set(place, seconds.map(Span::from_seconds));
    Ok(())
}

/// Sets a number.
pub(super) fn set_within(
    place: &mut u64,
    field: &str,
    value: Option<u64>,
    range: &RangeInclusive<u64>,
) -> Result<(), AdminError> {
    within(field, value, range)?;
    set(place, value);
    Ok(())
}

/// Sets anything, if it is given.
pub(super) fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

/// Refuses a number out of its bounds, naming both.
pub(super) fn within(field: &str, value: Option<u64>, range: &RangeInclusive<u64>) -> Result<(), AdminError> {
    match value {
        Some(value) if !range.contains(&value) => Err(AdminError::malformed(format!(
            "`{field}` is {value}; it must be {} to {}",
            range.start(),
            range.end()
        ))),
        Some(_) | None => Ok(()),
    }
}
