//! Whether this computer, or the container the program runs in, is about to run out of memory.
//!
//! A guest may write to all the memory it may have within a second, and several may at once. What the kernel does when
//! nothing is left takes every process of the unit with it, so the largest evaluation is ended before.
//!
//! A container's memory is that of its control group, and of every group around it: a service in a slice, a container in a pod. Each of
//! them may have a limit, and the tightest counts.

use std::fs;
use std::path::{Component, Path, PathBuf};

/// Where the kernel shows control groups.
const CONTROL_GROUPS: &str = "/sys/fs/cgroup";

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
    computer.into_iter().chain(of_this_container()).any(Memory::is_short)
}

/// Memory of this computer, or of the container the program runs in if that is less, in bytes.
pub fn total_bytes() -> Option<u64> {
    let computer = of_computer(&fs::read_to_string("/proc/meminfo").ok()?)?;
    Some(of_this_container().map(|group| group.total).fold(computer.total, u64::min))
}

/// Memory of the control groups that this program is in.
fn of_this_container() -> impl Iterator<Item = Memory> {
    let membership = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    folders(Path::new(CONTROL_GROUPS), &membership).into_iter().filter_map(|folder| of_container(&folder))
}

/// The folders of the control groups that `/proc/self/cgroup` names, and of those around them, below `root`.
fn folders(root: &Path, membership: &str) -> Vec<PathBuf> {
    let line = |line: &str| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        // Version 2 has one hierarchy, without a name; version 1 one for each controller, below a folder of its name.
        let root = match controllers {
            "" => root.to_owned(),
            names if names.split(',').any(|name| name == "memory") => root.join("memory"),
            _ => return None,
        };
        // Seen from inside a container a path may lead out of what is shown; what is shown is then the innermost.
        let inside = Path::new(path).components().filter(|part| matches!(part, Component::Normal(_)));
        let outside = Path::new(path).components().any(|part| part == Component::ParentDir);
        let innermost =
            if outside { root.clone() } else { inside.fold(root.clone(), |folder, part| folder.join(part)) };
        Some(innermost.ancestors().take_while(|folder| folder.starts_with(&root)).map(Path::to_owned).collect())
    };
    membership.lines().filter_map(line).flat_map(|folders: Vec<PathBuf>| folders).collect()
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

/// From the files of the control group at `folder`, of either version, if it has a limit. Cached file contents can be given back.
fn of_container(folder: &Path) -> Option<Memory> {
    /// Above this, version 1 means that there is no limit.
    const UNLIMITED: u64 = 1 << 60;
    let number = |name: &str| fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
    let [limit, used, cached] = match folder.join("memory.current").exists() {
        true => ["memory.max", "memory.current", "inactive_file "],
        false => ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "],
    };
    let total = number(limit).filter(|limit| *limit < UNLIMITED)?;
    let used = number(used)?;
    let statistics = fs::read_to_string(folder.join("memory.stat")).ok()?;
    let cached = statistics.lines().find_map(|line| line.strip_prefix(cached)?.trim().parse().ok());
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

    #[test]
    fn every_group_around_the_program_counts() {
        let root = tempfile::tempdir().unwrap();
        let shown = |membership: &str| {
            let found = folders(root.path(), membership);
            let names =
                found.iter().map(|folder| folder.strip_prefix(root.path()).unwrap().to_str().unwrap().to_owned());
            names.collect::<Vec<_>>()
        };
        assert_eq!(shown("0::/system.slice/cu.service\n"), ["system.slice/cu.service", "system.slice", ""]);
        assert_eq!(shown("0::/\n"), [""]);
        assert_eq!(shown("0::/../other\n"), [""]);
        assert_eq!(shown("12:cpu,cpuacct:/a\n5:memory:/a/b\n"), ["memory/a/b", "memory/a", "memory"]);
        assert_eq!(shown("nonsense\n:\n"), Vec::<String>::new());
        // The slice is nearly full, the service in it has no limit of its own.
        let slice = root.path().join("system.slice");
        let service = slice.join("cu.service");
        fs::create_dir_all(&service).unwrap();
        let write = |folder: &Path, limit: &str, used: &str| {
            for (name, text) in [("memory.max", limit), ("memory.current", used), ("memory.stat", "anon 1\n")] {
                fs::write(folder.join(name), text).unwrap();
            }
        };
        write(&service, "max\n", "4000000000\n");
        write(&slice, "4294967296\n", "4200000000\n");
        let groups: Vec<Memory> = folders(root.path(), "0::/system.slice/cu.service\n")
            .iter()
            .filter_map(|group| of_container(group))
            .collect();
        assert_eq!(groups, [Memory { available: 94_967_296, total: 4_294_967_296 }]);
        assert!(groups[0].is_short());
    }

    #[test]
    fn groups_of_the_first_version_are_read_as_well() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("memory.limit_in_bytes", "9223372036854771712\n");
        write("memory.usage_in_bytes", "900\n");
        write("memory.stat", "inactive_file 1\ntotal_inactive_file 200\n");
        assert_eq!(of_container(folder.path()), None);
        write("memory.limit_in_bytes", "1000\n");
        assert_eq!(of_container(folder.path()), Some(Memory { available: 300, total: 1000 }));
    }
}
