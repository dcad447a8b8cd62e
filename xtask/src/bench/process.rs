//! What the kernel knows of a process tree: CPU time in nanoseconds, memory, and a clean end.

use anyhow::{Context, Result, bail};
use std::fs;
use std::io;
use std::time::{Duration, Instant};

/// CPU time that a process and its living descendants have used, user and system together.
///
/// The kernel's per-process CPU clock counts every thread, those that have ended too, in nanoseconds;
/// `/proc/PID/stat` has the same sum in steps of 10 ms, too coarse for a sample of half a second.
pub fn tree_cpu(pid: u32) -> Result<Duration> {
    let mut total = cpu(pid)?;
    for child in children(pid)? {
        total += tree_cpu(child)?;
    }
    Ok(total)
}

/// CPU time that this very process has used.
pub fn own_cpu() -> Result<Duration> {
    read_clock(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn cpu(pid: u32) -> Result<Duration> {
    let mut clock = 0;
    // SAFETY: the call writes one clockid_t through a pointer to a live local.
    let code = unsafe { libc::clock_getcpuclockid(pid.cast_signed(), &raw mut clock) };
    if code != 0 {
        bail!("no CPU clock of process {pid}: {}; has it ended?", io::Error::from_raw_os_error(code));
    }
    read_clock(clock).with_context(|| format!("CPU time of process {pid}"))
}

fn read_clock(clock: libc::clockid_t) -> Result<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes one timespec through a pointer to a live local.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return Err(io::Error::last_os_error().into());
    }
    Ok(Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_nsec)?))
}

fn children(pid: u32) -> Result<Vec<u32>> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    text.split_whitespace().map(|word| Ok(word.parse()?)).collect()
}

/// Memory of one process in bytes.
#[derive(Clone, Copy)]
pub struct Memory {
    /// Resident now (`VmRSS`).
    pub resident: u64,
    /// The highest it has been (`VmHWM`).
    pub peak: u64,
    /// The part of `resident` that is the process's own (`RssAnon`), not pages of files.
    pub anonymous: u64,
}

/// Reads the memory lines of `/proc/PID/status`.
pub fn memory(pid: u32) -> Result<Memory> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let field = |name: &str| -> Result<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let kilobytes = line.and_then(|rest| rest.split_whitespace().next());
        let kilobytes = kilobytes.with_context(|| format!("{path} has no {name}"))?;
        Ok(kilobytes.parse::<u64>()? * 1024)
    };
    Ok(Memory { resident: field("VmRSS:")?, peak: field("VmHWM:")?, anonymous: field("RssAnon:")? })
}

/// Asks a child to end, waits up to ten seconds, then insists.
pub fn end(child: &mut std::process::Child) -> io::Result<()> {
    if child.try_wait()?.is_some() {
        return Ok(());
    }
    // SAFETY: plain kill(2) on the pid of a child not yet waited for, so the pid is still its own.
    unsafe { libc::kill(child.id().cast_signed(), libc::SIGTERM) };
    let asked = Instant::now();
    while asked.elapsed() < Duration::from_secs(10) {
        if child.try_wait()?.is_some() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill()?;
    child.wait()?;
    Ok(())
}
