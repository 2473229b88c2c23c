//! What a process takes of the machine.

use std::{fs, io, time::Duration};

use nix::{
    time::{ClockId, clock_gettime},
    unistd::Pid,
};

/// What a process has taken so far, and takes now.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Processor time, in the kernel and out of it.
    pub cpu: Duration,
    /// Context switches of the threads that there are now.
    pub switches: u64,
    pub threads: usize,
    pub resident_bytes: u64,
}

impl Usage {
    /// What this process takes now.
    ///
    /// # Errors
    ///
    /// When it has ended.
    pub fn of(pid: u32) -> io::Result<Self> {
        let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(pid.try_into().map_err(io::Error::other)?))?;
        let (mut switches, mut threads) = (0, 0);
        for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
            // A thread may have ended since.
            let Ok(status) = fs::read_to_string(thread?.path().join("status")) else { continue };
            threads += 1;
            switches +=
                field(&status, "voluntary_ctxt_switches:") + field(&status, "nonvoluntary_ctxt_switches:");
        }
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let resident_bytes = field(&status, "VmRSS:") * 1024;
        Ok(Self { cpu: clock_gettime(clock)?.into(), switches, threads, resident_bytes })
    }
}

/// The number in a line that begins like this.
fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}
