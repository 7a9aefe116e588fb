//! The in-memory file system of one message (spec 06 §4.5): nodes and names. Descriptors are in `descriptors`.

use std::{collections::BTreeMap, sync::Arc};

use super::{descriptors::Descriptors, errno::*};
use crate::machine::{DriveFile, host::Held};

/// Bytes all files of a message may have together.
pub(super) const MAX_FILE_BYTES: u64 = 256 << 20;
/// Files, folders and links of a message.
const MAX_NODES: usize = 1 << 16;
/// Longest path, in bytes.
pub(super) const MAX_PATH_BYTES: usize = 4096;
/// Symbolic links followed before a path is given up.
const MAX_LINKS: usize = 40;

pub(super) const S_IFCHR: u32 = 0o020_000;
pub(super) const S_IFDIR: u32 = 0o040_000;
pub(super) const S_IFREG: u32 = 0o100_000;
pub(super) const S_IFLNK: u32 = 0o120_000;

pub(super) type NodeId = usize;
pub(super) const ROOT: NodeId = 0;

/// What a node is.
pub(super) enum Kind {
    Folder(BTreeMap<String, NodeId>),
    File(Vec<u8>),
    Link(String),
    /// A terminal: writing is logging, reading finds the end.
    Terminal,
    Null,
    /// Deterministic bytes (spec 06 §4.5).
    Random,
    /// A file of WeaveDrive, under its path; not in any folder.
    Drive {
        file: Arc<dyn DriveFile>,
        whole: bool,
    },
}

pub(super) struct Node {
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    /// The one time a node has, in milliseconds of the date counter.
    pub time: u64,
    parent: NodeId,
}

pub(super) struct FileSystem {
    nodes: Vec<Node>,
    /// Bytes in files.
    bytes: u64,
    held: Held,
    pub descriptors: Descriptors,
    /// How much of the random stream has been read.
    pub random_read: u64,
}

/// Where a path leads.
pub(super) struct Found {
    /// The folder that holds, or would hold, the last name.
    pub parent: NodeId,
    /// The last name; empty for the root.
    pub name: String,
    /// What is there.
    pub node: Option<NodeId>,
}

impl FileSystem {
    /// The tree every message begins with; `drive` adds the folder where WeaveDrive's data would be. `held` counts bytes in files.
    pub fn new(drive: bool, held: &Held) -> Self {
        let root = Node { kind: Kind::Folder(BTreeMap::new()), mode: 0o777, time: 0, parent: ROOT };
        let descriptors = Descriptors::default();
        let mut files = Self { nodes: vec![root], bytes: 0, held: held.clone(), descriptors, random_read: 0 };
        files.fill(drive);
        files
    }

    fn fill(&mut self, drive: bool) {
        let folder = || Kind::Folder(BTreeMap::new());
        self.attach(ROOT, "tmp", folder(), 0o777, 0);
        let home = self.attach(ROOT, "home", folder(), 0o777, 0);
        self.attach(home, "web_user", folder(), 0o777, 0);
        let dev = self.attach(ROOT, "dev", folder(), 0o777, 0);
        self.attach(dev, "null", Kind::Null, 0o666, 0);
        let tty = self.attach(dev, "tty", Kind::Terminal, 0o666, 0);
        let tty1 = self.attach(dev, "tty1", Kind::Terminal, 0o666, 0);
        self.attach(dev, "random", Kind::Random, 0o666, 0);
        self.attach(dev, "urandom", Kind::Random, 0o666, 0);
        let shm = self.attach(dev, "shm", folder(), 0o777, 0);
        self.attach(shm, "tmp", folder(), 0o777, 0);
        let proc = self.attach(ROOT, "proc", folder(), 0o777, 0);
        let own = self.attach(proc, "self", folder(), 0o777, 0);
        // Once as the folder it is in, and once as the file system that is mounted there.
        self.attach(own, "fd", folder(), 0o777, 0);
        self.attach(own, "fd", folder(), 0o777, 0);
        self.attach(dev, "stdin", Kind::Link("/dev/tty".to_owned()), 0o777, 0);
        self.attach(dev, "stdout", Kind::Link("/dev/tty".to_owned()), 0o777, 0);
        self.attach(dev, "stderr", Kind::Link("/dev/tty1".to_owned()), 0o777, 0);
        if drive {
            self.attach(ROOT, "data", folder(), 0o777, 0);
        }
        self.descriptors = Descriptors::standard([tty, tty, tty1]);
    }

    fn attach(&mut self, parent: NodeId, name: &str, kind: Kind, mode: u32, time: u64) -> NodeId {
        let id = self.nodes.len();
        self.nodes.push(Node { kind, mode, time, parent });
        if let Kind::Folder(entries) = &mut self.nodes[parent].kind {
            entries.insert(name.to_owned(), id);
        }
        id
    }

    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }

    pub fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id]
    }

    /// A node that is in no folder.
    pub fn detached(&mut self, kind: Kind) -> Result<NodeId, Errno> {
        if self.nodes.len() >= MAX_NODES {
            return Err(ENOSPC);
        }
        self.nodes.push(Node { kind, mode: 0o666, time: 0, parent: ROOT });
        Ok(self.nodes.len() - 1)
    }

    /// Creates a node where a path led to nothing. `time` is a value of the date counter taken for it.
    pub fn create(&mut self, found: &Found, kind: Kind, mode: u32, time: u64) -> Result<NodeId, Errno> {
        if self.nodes.len() >= MAX_NODES {
            return Err(ENOSPC);
        }
        if found.name.is_empty() || found.node.is_some() {
            return Err(EEXIST);
        }
        let id = self.attach(found.parent, &found.name, kind, mode & 0o7777, time);
        self.nodes[found.parent].time = time;
        Ok(id)
    }

    /// Follows a path from `base`. The last name may be missing; `follow` says whether a link there is followed.
    pub fn find(&self, base: NodeId, path: &str, follow: bool) -> Result<Found, Errno> {
        let mut links = 0;
        self.find_counting(base, path, follow, &mut links)
    }

    fn find_counting(&self, base: NodeId, path: &str, follow: bool, links: &mut usize) -> Result<Found, Errno> {
        if path.is_empty() {
            return Err(ENOENT);
        }
        if path.len() > MAX_PATH_BYTES {
            return Err(ENAMETOOLONG);
        }
        let mut at = if path.starts_with('/') { ROOT } else { base };
        let mut found = Found { parent: self.nodes[at].parent, name: String::new(), node: Some(at) };
        let mut names = path.split('/').filter(|name| !name.is_empty() && *name != ".").peekable();
        while let Some(name) = names.next() {
            let last = names.peek().is_none();
            let Kind::Folder(entries) = &self.nodes[at].kind else { return Err(ENOTDIR) };
            if name == ".." {
                at = self.nodes[at].parent;
                found = Found { parent: self.nodes[at].parent, name: String::new(), node: Some(at) };
                continue;
            }
            let Some(&node) = entries.get(name) else {
                return if last { Ok(Found { parent: at, name: name.to_owned(), node: None }) } else { Err(ENOENT) };
            };
            found = Found { parent: at, name: name.to_owned(), node: Some(node) };
            at = node;
            if let Kind::Link(target) = &self.nodes[node].kind
                && (!last || follow)
            {
                *links += 1;
                if *links > MAX_LINKS {
                    return Err(ELOOP);
                }
                found = self.find_counting(found.parent, target, true, links)?;
                match found.node {
                    Some(node) => at = node,
                    None if last => return Ok(found),
                    None => return Err(ENOENT),
                }
            }
        }
        Ok(found)
    }

    /// The node at a path.
    pub fn existing(&self, base: NodeId, path: &str, follow: bool) -> Result<NodeId, Errno> {
        self.find(base, path, follow)?.node.ok_or(ENOENT)
    }

    pub fn is_folder(&self, id: NodeId) -> bool {
        matches!(self.nodes[id].kind, Kind::Folder(_))
    }

    /// Removes a name: a folder, which must be empty, if `folder`, else anything but a folder.
    pub fn remove(&mut self, base: NodeId, path: &str, folder: bool, now: impl FnOnce() -> u64) -> Result<(), Errno> {
        let found = self.find(base, path, false)?;
        let node = found.node.ok_or(ENOENT)?;
        if folder {
            let Kind::Folder(entries) = &self.nodes[node].kind else { return Err(ENOTDIR) };
            if node == ROOT || found.name.is_empty() {
                return Err(EBUSY);
            }
            if !entries.is_empty() {
                return Err(ENOTEMPTY);
            }
        } else if self.is_folder(node) {
            return Err(EISDIR);
        }
        self.unlink(&found, now());
        Ok(())
    }

    fn unlink(&mut self, found: &Found, time: u64) {
        let parent = &mut self.nodes[found.parent];
        parent.time = time;
        if let Kind::Folder(entries) = &mut parent.kind {
            entries.remove(&found.name);
        }
    }

    /// Gives a node another name, replacing what has it.
    pub fn rename(&mut self, from: (NodeId, &str), to: (NodeId, &str), now: impl FnOnce() -> u64) -> Result<(), Errno> {
        let old = self.find(from.0, from.1, false)?;
        let new = self.find(to.0, to.1, false)?;
        let node = old.node.ok_or(ENOENT)?;
        if new.node == Some(node) {
            return Ok(());
        }
        if old.name.is_empty() || new.name.is_empty() || node == ROOT {
            return Err(EBUSY);
        }
        // Into itself.
        let mut above = new.parent;
        while above != ROOT {
            if above == node {
                return Err(EINVAL);
            }
            above = self.nodes[above].parent;
        }
        if let Some(target) = new.node {
            match (&self.nodes[target].kind, self.is_folder(node)) {
                (Kind::Folder(entries), true) if !entries.is_empty() => return Err(ENOTEMPTY),
                (Kind::Folder(_), false) => return Err(EISDIR),
                (Kind::Folder(_), true) => {}
                (_, true) => return Err(ENOTDIR),
                (_, false) => {}
            }
        }
        let time = now();
        self.unlink(&old, time);
        let parent = &mut self.nodes[new.parent];
        parent.time = time;
        if let Kind::Folder(entries) = &mut parent.kind {
            entries.insert(new.name, node);
        }
        self.nodes[node].parent = new.parent;
        Ok(())
    }

    /// Length as `stat` and `seek` see it.
    pub fn size(&self, id: NodeId) -> u64 {
        match &self.nodes[id].kind {
            Kind::Folder(_) => 4096,
            Kind::File(bytes) => bytes.len() as u64,
            Kind::Link(target) => target.len() as u64,
            Kind::Drive { file, .. } => file.size(),
            Kind::Terminal | Kind::Null | Kind::Random => 0,
        }
    }

    /// Type and permissions.
    pub fn mode(&self, id: NodeId) -> u32 {
        let node = &self.nodes[id];
        node.mode
            | match node.kind {
                Kind::Folder(_) => S_IFDIR,
                Kind::File(_) | Kind::Drive { .. } => S_IFREG,
                Kind::Link(_) => S_IFLNK,
                Kind::Terminal | Kind::Null | Kind::Random => S_IFCHR,
            }
    }

    /// Sets a file's length; what is new is zero.
    pub fn truncate(&mut self, id: NodeId, len: u64, time: u64) -> Result<(), Errno> {
        let bytes_elsewhere = self.bytes - self.file_len(id);
        match &mut self.nodes[id].kind {
            Kind::File(bytes) => {
                if bytes_elsewhere + len > MAX_FILE_BYTES {
                    return Err(ENOSPC);
                }
                bytes.resize(len as usize, 0);
            }
            Kind::Folder(_) => return Err(EISDIR),
            _ => return Err(EINVAL),
        }
        self.held.change(self.bytes, bytes_elsewhere + len);
        self.bytes = bytes_elsewhere + len;
        self.nodes[id].time = time;
        Ok(())
    }

    /// Writes into a file, extending it where needed.
    pub fn write(&mut self, id: NodeId, position: u64, data: &[u8], time: u64) -> Result<(), Errno> {
        let end = position.checked_add(data.len() as u64).ok_or(EOVERFLOW)?;
        if end > self.file_len(id) {
            self.truncate(id, end, time)?;
        }
        let node = &mut self.nodes[id];
        node.time = time;
        if let Kind::File(bytes) = &mut node.kind {
            bytes[position as usize..end as usize].copy_from_slice(data);
        }
        Ok(())
    }

    fn file_len(&self, id: NodeId) -> u64 {
        match &self.nodes[id].kind {
            Kind::File(bytes) => bytes.len() as u64,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(files: &mut FileSystem, path: &str) -> NodeId {
        let found = files.find(ROOT, path, true).unwrap();
        files.create(&found, Kind::File(Vec::new()), 0o666, 1).unwrap()
    }

    #[test]
    fn the_tree_begins_with_the_loaders_folders_and_devices() {
        let files = FileSystem::new(true, &Held::default());
        for path in ["/tmp", "/home/web_user", "/dev/null", "/dev/shm/tmp", "/proc/self/fd", "/data", "dev/../tmp/."] {
            assert!(files.existing(ROOT, path, true).is_ok(), "{path}");
        }
        assert_eq!(
            files.existing(ROOT, "/dev/stderr", true).unwrap(),
            files.existing(ROOT, "/dev/tty1", true).unwrap()
        );
        assert_eq!(files.existing(ROOT, "/nowhere", true), Err(ENOENT));
        assert_eq!(files.existing(ROOT, "/dev/null/x", true), Err(ENOTDIR));
    }

    #[test]
    fn names_are_removed_by_the_rules_of_folders_and_files() {
        let mut files = FileSystem::new(true, &Held::default());
        file(&mut files, "/tmp/a");
        assert_eq!(files.remove(ROOT, "/tmp", true, || 2), Err(ENOTEMPTY));
        assert_eq!(files.remove(ROOT, "/tmp", false, || 2), Err(EISDIR));
        assert_eq!(files.remove(ROOT, "/tmp/a", true, || 2), Err(ENOTDIR));
        assert_eq!(files.remove(ROOT, "/tmp/a", false, || 2), Ok(()));
        assert_eq!(files.remove(ROOT, "/tmp/a", false, || 2), Err(ENOENT));
        assert_eq!(files.remove(ROOT, "/tmp", true, || 2), Ok(()));
        assert_eq!(files.remove(ROOT, "/", true, || 2), Err(EBUSY));
    }

    #[test]
    fn renaming_replaces_files_and_never_moves_a_folder_into_itself() {
        let mut files = FileSystem::new(true, &Held::default());
        let a = file(&mut files, "/tmp/a");
        file(&mut files, "/tmp/b");
        assert_eq!(files.rename((ROOT, "/tmp/a"), (ROOT, "/tmp/b"), || 5), Ok(()));
        assert_eq!(files.existing(ROOT, "/tmp/b", true), Ok(a));
        assert_eq!(files.existing(ROOT, "/tmp/a", true), Err(ENOENT));
        assert_eq!(files.rename((ROOT, "/home"), (ROOT, "/home/web_user/x"), || 5), Err(EINVAL));
        assert_eq!(files.rename((ROOT, "/home"), (ROOT, "/tmp"), || 5), Err(ENOTEMPTY));
        assert_eq!(files.rename((ROOT, "/tmp/b"), (ROOT, "/home"), || 5), Err(EISDIR));
    }

    #[test]
    fn files_together_are_bounded() {
        let mut files = FileSystem::new(true, &Held::default());
        let a = file(&mut files, "/tmp/a");
        assert_eq!(files.write(a, MAX_FILE_BYTES, b"x", 1), Err(ENOSPC));
        assert_eq!(files.write(a, u64::MAX, b"x", 1), Err(EOVERFLOW));
        assert_eq!(files.write(a, 3, b"x", 1), Ok(()));
        assert_eq!(files.size(a), 4);
    }

    #[test]
    fn links_in_a_circle_end() {
        let mut files = FileSystem::new(true, &Held::default());
        let found = files.find(ROOT, "/tmp/loop", false).unwrap();
        files.create(&found, Kind::Link("/tmp/loop".to_owned()), 0o777, 1).unwrap();
        assert_eq!(files.existing(ROOT, "/tmp/loop", true), Err(ELOOP));
    }
}
