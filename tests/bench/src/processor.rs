//! What processes use of the machine, as Linux tells it.

use std::fs;

use anyhow::Context;

/// Ticks of processor time in a second, as `/proc` counts them on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// Returns the resident memory of a process, in bytes.
pub(crate) fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("{path} cannot be read"))?;
    resident_of(&status).with_context(|| format!("{path} does not say VmRSS"))
}

/// Returns the processor time that a process has used, in seconds.
pub(crate) fn busy_seconds(pid: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("{path} cannot be read"))?;
    busy_of(&stat).with_context(|| format!("{path} does not say what was used"))
}

fn resident_of(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1_024)
}

fn busy_of(stat: &str) -> Option<f64> {
    // The program's name stands in brackets and may hold anything, brackets too.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) as f64 / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_in_bytes() {
        let status = "Name:\tposthouse\nVmHWM:\t  900 kB\nVmRSS:\t   512 kB\n";
        assert_eq!(resident_of(status), Some(524_288));
        assert_eq!(resident_of("Name:\tzombie\n"), None);
    }

    #[test]
    fn a_strange_program_name_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 9 0 100 0 0";
        assert_eq!(busy_of(stat), Some(2.0));
    }

    #[test]
    fn this_process_has_memory() {
        assert!(resident_bytes(std::process::id()).expect("a process can read of itself") > 0);
        assert!(busy_seconds(std::process::id()).expect("as above") >= 0.0);
    }
}
