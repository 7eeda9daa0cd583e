//! What processes use of the machine, as Linux tells it.

use std::collections::BTreeMap;
use std::fs;

use anyhow::Context;

/// Ticks of processor time in a second, as `/proc` counts them on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// Returns the resident memory of a process, in bytes.
pub fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("{path} cannot be read"))?;
    bytes_of(&status, "VmRSS:").with_context(|| format!("{path} does not say VmRSS"))
}

/// Returns the most memory that a process has had resident since it was started, in bytes, by the kernel's own count.
pub fn resident_bytes_most(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("{path} cannot be read"))?;
    bytes_of(&status, "VmHWM:").with_context(|| format!("{path} does not say VmHWM"))
}

/// Returns the processor time that a thread of this process has used, by its number, in seconds.
pub fn busy_seconds_of_thread(thread: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/self/task/{thread}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("{path} cannot be read"))?;
    busy_of(&stat).with_context(|| format!("{path} does not say what was used"))
}

/// Returns the processor time that a process has used, in seconds.
pub fn busy_seconds(pid: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("{path} cannot be read"))?;
    busy_of(&stat).with_context(|| format!("{path} does not say what was used"))
}

/// Returns the processor time that processes and all that they have started have used, also those of them that have ended,
/// in seconds.
pub fn busy_seconds_of_trees(roots: &[u32]) -> anyhow::Result<f64> {
    let mut ticks = 0;
    for pid in with_descendants(roots)? {
        // One that has ended since it was listed is counted by its parent.
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
            continue;
        };
        let with_ended = ticks_of(&stat).context("a process tells its time")?;
        ticks += with_ended.iter().sum::<u64>();
    }
    Ok(ticks as f64 / TICKS_PER_SECOND)
}

/// Returns what a line of a process's status says, which it does in units of 1,024 bytes.
fn bytes_of(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1_024)
}

fn busy_of(stat: &str) -> Option<f64> {
    let [user, system, ..] = ticks_of(stat)?;
    Some((user + system) as f64 / TICKS_PER_SECOND)
}

/// Returns the ticks in user and system mode, and those of children that have ended and were waited for.
fn ticks_of(stat: &str) -> Option<[u64; 4]> {
    let mut ticks = [0; 4];
    for (tick, field) in ticks.iter_mut().zip(fields_of(stat)?.skip(11)) {
        *tick = field.parse().ok()?;
    }
    Some(ticks)
}

fn parent_of(stat: &str) -> Option<u32> {
    fields_of(stat)?.nth(1)?.parse().ok()
}

/// Returns the fields from the third on: the program's name stands in brackets and may hold anything, brackets too.
fn fields_of(stat: &str) -> Option<std::str::SplitWhitespace<'_>> {
    let (_, fields) = stat.rsplit_once(')')?;
    Some(fields.split_whitespace())
}

/// Returns processes and all that they have started, as far as they run.
fn with_descendants(roots: &[u32]) -> anyhow::Result<Vec<u32>> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if let Some(parent) = parent_of(&stat) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = roots.to_vec();
    let mut looked_at = 0;
    while let Some(pid) = found.get(looked_at) {
        found.extend(children.remove(pid).unwrap_or_default());
        looked_at += 1;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_in_bytes() {
        let status = "Name:\tposthouse\nVmHWM:\t  900 kB\nVmRSS:\t   512 kB\n";
        assert_eq!(bytes_of(status, "VmRSS:"), Some(524_288));
        assert_eq!(bytes_of(status, "VmHWM:"), Some(921_600));
        assert_eq!(bytes_of("Name:\tzombie\n", "VmRSS:"), None);
    }

    #[test]
    fn a_strange_program_name_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 9 0 100 0 0";
        assert_eq!(busy_of(stat), Some(2.0));
    }

    #[test]
    fn this_process_has_memory() {
        let now = resident_bytes(std::process::id()).expect("a process can read of itself");
        assert!(now > 0 && resident_bytes_most(std::process::id()).expect("as above") > 0);
        assert!(busy_seconds(std::process::id()).expect("as above") >= 0.0);
    }

    #[test]
    fn what_ended_children_used_is_counted_too() {
        let stat = "7 (a) S 1 7 7 0 -1 4194304 100 0 0 0 150 50 30 20 20 0 9 0 100 0 0";
        assert_eq!(ticks_of(stat), Some([150, 50, 30, 20]));
        assert_eq!(parent_of(stat), Some(1));
        assert_eq!(ticks_of("7 (a"), None);
    }

    #[test]
    fn a_child_belongs_to_the_tree_of_its_parent() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .expect("a program that is everywhere");
        let tree = with_descendants(&[std::process::id()]);
        child.kill().expect("it runs");
        child.wait().expect("it was killed");
        assert!(tree.expect("/proc can be read").contains(&child.id()));
    }
}
