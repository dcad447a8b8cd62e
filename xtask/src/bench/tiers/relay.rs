//! A link with a delay between two network namespaces, for kernels without netem: two TAP devices, and a process that
//! holds each frame for a while.
//!
//! The hidden command is `cargo xtask bench __relay DELAY_MICROS NS1 NS2 ADDRESS1 ADDRESS2`; it says `ready`, and ends with
//! its standard input.

use crate::tools;
use anyhow::{Context as _, Result, bail};
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

/// The name of the hidden command.
pub const COMMAND: &str = "__relay";

/// The devices in the two namespaces.
pub const DEVICES: [&str; 2] = ["wtd0", "wtd1"];

/// The longest frame, and room for what stands before it.
const FRAME: usize = 2048;

/// Bears frames until standard input ends.
pub fn run(args: &[String]) -> Result<()> {
    let [delay, first, second, first_address, second_address] = args else {
        bail!("usage: {COMMAND} DELAY_MICROS NS1 NS2 ADDRESS1 ADDRESS2")
    };
    let delay = Duration::from_micros(delay.parse()?);
    let ends = [tap(DEVICES[0])?, tap(DEVICES[1])?];
    for (device, (namespace, address)) in
        DEVICES.iter().zip([(first, first_address), (second, second_address)])
    {
        let ip = |line: String| tools::run(Command::new("ip").args(line.split(' ')));
        ip(format!("link set {device} netns {namespace}"))?;
        ip(format!("-n {namespace} addr add {address}/24 dev {device}"))?;
        ip(format!("-n {namespace} link set {device} txqueuelen 10000 up"))?;
    }
    println!("ready");
    bear(delay, &ends)
}

/// Frames on their way to one end.
#[derive(Default)]
struct Held(VecDeque<(Instant, Vec<u8>)>);

fn bear(delay: Duration, ends: &[File; 2]) -> Result<()> {
    let mut held = [Held::default(), Held::default()];
    let mut buffer = [0; FRAME];
    loop {
        let due = held.iter().filter_map(|held| held.0.front()).map(|(due, _)| *due).min();
        if wait(&[ends[0].as_raw_fd(), ends[1].as_raw_fd()], due)? {
            return Ok(());
        }
        for (from, mut end) in ends.iter().enumerate() {
            loop {
                match end.read(&mut buffer) {
                    Ok(length) => {
                        held[1 - from].0.push_back((Instant::now() + delay, buffer[..length].to_vec()));
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error).context("reading frames"),
                }
            }
        }
        let now = Instant::now();
        for (to, mut end) in ends.iter().enumerate() {
            while held[to].0.front().is_some_and(|(due, _)| *due <= now) {
                let Some((_, frame)) = held[to].0.pop_front() else { break };
                // A full queue loses frames, as that of a router does.
                let _lost = end.write(&frame);
            }
        }
    }
}

/// Waits for frames, or until some are due. Whether standard input has ended.
fn wait(ends: &[RawFd; 2], due: Option<Instant>) -> Result<bool> {
    let poll = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let mut polled = [poll(ends[0]), poll(ends[1]), poll(0)];
    let left = due.map_or(Duration::from_secs(1), |due| due.saturating_duration_since(Instant::now()));
    let time = libc::timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
    // SAFETY: the array has as many entries as are told, and both it and the time outlive the call.
    let count = unsafe { libc::ppoll(polled.as_mut_ptr(), 3, &raw const time, std::ptr::null()) };
    if count < 0 {
        let error = std::io::Error::last_os_error();
        return if error.kind() == ErrorKind::Interrupted { Ok(false) } else { Err(error.into()) };
    }
    Ok(polled[2].revents != 0)
}

/// A TAP device of that name, as frames.
fn tap(name: &str) -> Result<File> {
    const TUNSETIFF: libc::c_ulong = 0x4004_54CA;
    const TAP_WITHOUT_HEADER: i16 = 0x1002;
    let device =
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun");
    let device = device.context("cannot open /dev/net/tun")?;
    let mut request = [0_u8; 40];
    request[..name.len()].copy_from_slice(name.as_bytes());
    request[16..18].copy_from_slice(&TAP_WITHOUT_HEADER.to_ne_bytes());
    // SAFETY: the request is as long as the kernel's `ifreq`, which it reads and writes during the call.
    let code = unsafe { libc::ioctl(device.as_raw_fd(), TUNSETIFF as _, request.as_mut_ptr()) };
    if code < 0 {
        return Err(std::io::Error::last_os_error()).with_context(|| format!("cannot make {name}"));
    }
    Ok(device)
}
