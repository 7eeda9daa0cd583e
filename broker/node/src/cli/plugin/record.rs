//! Calls that failed, recorded by the nodes and written into files.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::admin::Operation;
use crate::admin::shapes::{RecordRequest, RecordedCallView, RecordingView, UnbindRequest};
use crate::cli::client::{CliError, Client};
use crate::cli::output::Output;

/// Has all nodes record from now on.
pub(super) async fn begin(
    client: &Client,
    named: UnbindRequest,
    seconds: u64,
    calls: u32,
) -> Result<Output, CliError> {
    let UnbindRequest { place, world } = named;
    let request = RecordRequest {
        place,
        world,
        seconds: Some(seconds),
        calls: Some(calls),
    };
    let view: RecordingView = client.tell(Operation::Record, &[], &request).await?;
    warn_of_silent(&view);
    let on = match view.recording.as_slice() {
        [_] => String::new(),
        nodes => format!(" on each of {} nodes", nodes.len()),
    };
    let text = format!(
        "calls of the {world} plugin at {} that fail are recorded for {seconds} s, {calls} at most{on}\n\
         the same command with `--into PROJECT/cases` writes them, and `posthouse plugin test PROJECT` repeats them\n",
        request.place,
    );
    client.output(&view, text)
}

/// Has all nodes stop, and forget what was recorded.
pub(super) async fn end(client: &Client, named: &UnbindRequest) -> Result<Output, CliError> {
    let view: RecordingView = client.tell(Operation::EndRecording, &[], named).await?;
    warn_of_silent(&view);
    let UnbindRequest { place, world } = named;
    client.output(
        &view,
        format!("nothing of the {world} plugin at {place} is recorded any more\n"),
    )
}

/// Writes what was recorded so far into a folder. What was written before stays as it is.
pub(super) async fn fetch(client: &Client, named: &UnbindRequest, folder: &Path) -> Result<Output, CliError> {
    let view: RecordingView = client.tell(Operation::ReadRecording, &[], named).await?;
    warn_of_silent(&view);
    let unusable =
        |path: &Path, error: std::io::Error| CliError::Usage(format!("{}: {error}", path.display()));
    std::fs::create_dir_all(folder).map_err(|error| unusable(folder, error))?;
    let mut written = 0;
    for call in &view.calls {
        let path = file(folder, call);
        match write_new(&path, &call.case) {
            Ok(()) => written += 1,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(unusable(&path, error)),
        }
    }
    let all = view.calls.len();
    let mut text = format!(
        "{written} of {all} recorded calls are new, in {}\n",
        folder.display()
    );
    if view.missed > 0 {
        text.push_str(&format!("{} more were too large to be recorded\n", view.missed));
    }
    client.output(&view, text)
}

fn warn_of_silent(view: &RecordingView) {
    for replica in &view.silent {
        eprintln!("the node of replica {replica} does not answer: its calls are not among these");
    }
}

/// Returns a call's file: the same one each time that it is fetched.
fn file(folder: &Path, call: &RecordedCallView) -> PathBuf {
    let RecordedCallView {
        at_ms,
        node,
        number,
        version,
        ..
    } = call;
    let plain = |character: char| character.is_ascii_alphanumeric().then_some(character);
    let node: String = node
        .chars()
        .map(|character| plain(character).unwrap_or('-'))
        .collect();
    folder.join(format!(
        "recorded-version-{version}-at-{at_ms}-node-{node}-{number}.json"
    ))
}

fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut file = std::fs::File::create_new(path)?;
    file.write_all(text.as_bytes())
}
