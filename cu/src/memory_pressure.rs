//! Whether this computer, or the container the program runs in, is about to run out of memory.
//!
//! A guest may write to all the memory it may have within a second, and several may at once. What the kernel does when
//! nothing is left takes every process of the unit with it, so the largest evaluation is ended before.

use std::fs;
use std::path::Path;

/// Less available memory than this is short, in bytes; on a small computer a sixteenth of what it has.
const RESERVE_BYTES: u64 = 512 << 20;

/// Memory that can still be had, and all there is, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Memory {
    available: u64,
    total: u64,
}

/// Whether memory runs short. What cannot be found out does not count.
pub fn is_short_of_memory() -> bool {
    let computer = fs::read_to_string("/proc/meminfo").ok().and_then(|text| of_computer(&text));
    [computer, of_container(Path::new("/sys/fs/cgroup"))].into_iter().flatten().any(Memory::is_short)
}

/// Memory of this computer, in bytes.
pub fn total_bytes() -> Option<u64> {
    of_computer(&fs::read_to_string("/proc/meminfo").ok()?).map(|memory| memory.total)
}

impl Memory {
    fn is_short(self) -> bool {
        self.available < RESERVE_BYTES.min(self.total / 16)
    }
}

/// From the text of `/proc/meminfo`.
fn of_computer(text: &str) -> Option<Memory> {
    let bytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let kibibytes: u64 = line.trim_start_matches(':').trim().strip_suffix("kB")?.trim().parse().ok()?;
        kibibytes.checked_mul(1024)
    };
    Some(Memory { available: bytes("MemAvailable")?, total: bytes("MemTotal")? })
}

/// From the files of the control group at `folder`, if it has a limit. Cached file contents can be given back.
fn of_container(folder: &Path) -> Option<Memory> {
    let number = |name: &str| fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
    let (total, used) = (number("memory.max")?, number("memory.current")?);
    let statistics = fs::read_to_string(folder.join("memory.stat")).ok()?;
    let cached = statistics.lines().find_map(|line| line.strip_prefix("inactive_file ")?.trim().parse().ok());
    Some(Memory { available: total.saturating_sub(used).saturating_add(cached.unwrap_or(0)), total })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_is_read() {
        let text = "MemTotal:       16000000 kB\nMemFree:  1 kB\nMemAvailable:   400000 kB\n";
        let memory = of_computer(text).unwrap();
        assert_eq!(memory, Memory { available: 400_000 * 1024, total: 16_000_000 * 1024 });
        assert!(memory.is_short());
        assert!(!of_computer(&text.replace(" 400000", "9400000")).unwrap().is_short());
        for broken in ["", "MemTotal: 1 kB", "MemTotal: x kB\nMemAvailable: 2 kB", "MemTotal: 1\nMemAvailable: 1"] {
            assert_eq!(of_computer(broken), None, "{broken}");
        }
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("memory.current", "4200000000\n");
        write("memory.stat", "anon 5\ninactive_file 200000000\nfile 9\n");
        write("memory.max", "max\n");
        assert_eq!(of_container(folder.path()), None);
        write("memory.max", "4294967296\n");
        let memory = of_container(folder.path()).unwrap();
        assert_eq!(memory, Memory { available: 94_967_296 + 200_000_000, total: 4_294_967_296 });
        assert!(!memory.is_short());
        write("memory.stat", "");
        assert!(of_container(folder.path()).unwrap().is_short());
    }
}
