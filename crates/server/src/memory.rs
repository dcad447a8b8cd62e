//! How much memory this process may use, and how it keeps it.

use std::path::{Path, PathBuf};

/// Where nothing is known: little, so that a guess does no harm.
const UNKNOWN: u64 = 1 << 30;

/// The memory of the machine in bytes, or of the control group (a container, a service) where that is less.
pub(crate) fn limit() -> u64 {
    limit_by(&|path| std::fs::read_to_string(path).ok())
}

fn limit_by(read: &dyn Fn(&Path) -> Option<String>) -> u64 {
    let groups = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let files = groups.lines().flat_map(group_files);
    let of_groups = files.filter_map(|file| read(&file)?.trim().parse().ok());
    machine(read).into_iter().chain(of_groups).min().unwrap_or(UNKNOWN)
}

fn machine(read: &dyn Fn(&Path) -> Option<String>) -> Option<u64> {
    let text = read(Path::new("/proc/meminfo"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()?.saturating_mul(1024))
}

/// The files with the limits of a control group and of those around it, from its line `number:controllers:path`.
fn group_files(line: &str) -> Vec<PathBuf> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { return Vec::new() };
    let (root, file) = match controllers {
        "" => ("/sys/fs/cgroup", "memory.max"),
        _ if controllers.split(',').any(|one| one == "memory") => {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return Vec::new(),
    };
    let folder = Path::new(root).join(path.trim_start_matches('/'));
    folder.ancestors().take_while(|folder| folder.starts_with(root)).map(|folder| folder.join(file)).collect()
}

/// Tells the C library's allocator to keep the buffers that bytes arrive in, some hundred kilobytes each, for the next.
///
/// By itself it may give each back to the kernel, which hands it out again in zeroed pages, one fault each: a tenth
/// of the cost of a push of 64 MiB. To be called once, by a server: it holds for the process.
pub(crate) fn keep_large_buffers() {
    #[cfg(target_env = "gnu")]
    {
        const LARGEST: libc::c_int = 4 << 20;
        const KEPT: libc::c_int = 16 << 20;
        // SAFETY: the calls set two numbers of the allocator, under its own lock.
        unsafe {
            // What is refused leaves all as it was, which is slower and as good.
            libc::mallopt(libc::M_MMAP_THRESHOLD, LARGEST);
            libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(files: &[(&str, &str)], expect: u64) {
        let read = |path: &Path| {
            files.iter().find(|(name, _)| path == Path::new(name)).map(|(_, text)| (*text).to_owned())
        };
        assert_eq!(limit_by(&read), expect, "{files:?}");
    }

    #[test]
    fn the_least_limit_counts() {
        let machine = ("/proc/meminfo", "MemTotal:       1000 kB\nMemFree: 1 kB\n");
        check(&[], UNKNOWN);
        check(&[machine], 1_024_000);
        let new = ("/proc/self/cgroup", "0::/a/b\n");
        check(&[machine, new, ("/sys/fs/cgroup/a/b/memory.max", "max\n")], 1_024_000);
        check(&[machine, new, ("/sys/fs/cgroup/a/b/memory.max", "5000\n")], 5_000);
        check(&[machine, new, ("/sys/fs/cgroup/a/memory.max", "6000\n")], 6_000);
        check(&[machine, new, ("/sys/fs/cgroup/memory.max", "7000\n")], 7_000);
        let old = ("/proc/self/cgroup", "5:cpu,memory:/x\n4:pids:/y\n0::/\n");
        check(&[machine, old, ("/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "8000\n")], 8_000);
        check(
            &[machine, old, ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")],
            1_024_000,
        );
    }

    #[test]
    fn this_machine_has_memory() {
        assert!(limit() > 1 << 20);
    }
}
