//! What this process takes of the machine.

use std::time::Duration;

/// Processor time, memory and threads.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Processor time since the process began, in the kernel and out of it.
    pub cpu: Option<Duration>,
    /// Resident memory, in bytes; where `/proc` is.
    pub resident: Option<u64>,
    /// Threads; where `/proc` is.
    pub threads: Option<u64>,
}

impl Usage {
    /// What it takes now.
    pub fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self {
            cpu: cpu(),
            resident: field(&status, "VmRSS:").map(|kibibytes| kibibytes * 1024),
            threads: field(&status, "Threads:"),
        }
    }
}

#[cfg(unix)]
fn cpu() -> Option<Duration> {
    use rustix::time::{ClockId, clock_gettime};
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    Some(Duration::new(u64::try_from(spent.tv_sec).ok()?, u32::try_from(spent.tv_nsec).ok()?))
}

#[cfg(not(unix))]
fn cpu() -> Option<Duration> {
    None
}

/// The number in a field of `/proc/self/status`.
fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Allows as many open files as the system lets us have: a call takes two sockets, and a file may be open for each.
pub fn allow_many_files() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        // Where it is refused, the limit stays, and a call that meets it says so.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_takes_time_memory_and_a_thread() {
        let usage = Usage::now();
        assert!(usage.cpu.unwrap() > Duration::ZERO);
        assert!(usage.resident.unwrap() > 100_000);
        assert!(usage.threads.unwrap() >= 1);
    }

    #[test]
    fn a_field_that_is_not_there_is_unknown() {
        assert_eq!(field("Name:\tx\nThreads:\t7\n", "Threads:"), Some(7));
        assert_eq!(field("Name:\tx\n", "Threads:"), None);
    }
}
