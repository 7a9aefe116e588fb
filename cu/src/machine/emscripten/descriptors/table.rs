//! Open files and the numbers by which a guest knows them (spec 06 §4.5).

use crate::machine::emscripten::{errno::*, files::NodeId};

/// Descriptors a message may have open.
const MAX_DESCRIPTORS: usize = 4096;
/// A log line is cut here, in bytes.
const MAX_LINE_BYTES: usize = 4096;

/// An open file; duplicates of a descriptor share it.
#[derive(Clone)]
pub struct Open {
    pub node: NodeId,
    pub flags: i32,
    pub position: u64,
}

/// The table of descriptors.
#[derive(Default)]
pub struct Descriptors {
    /// What each descriptor refers to, as an index into `open`.
    table: Vec<Option<usize>>,
    /// Open files, each with the number of descriptors that refer to it.
    open: Vec<(Open, u32)>,
    /// Places in `open` to which no descriptor refers.
    free: Vec<usize>,
    /// What was written to the terminal since the last line ended.
    line: Vec<u8>,
}

impl Descriptors {
    /// Input, output and errors.
    pub fn standard(terminals: [NodeId; 3]) -> Self {
        let open = terminals.iter().zip([0, 1, 1]).map(|(node, flags)| (Open { node: *node, flags, position: 0 }, 1));
        Self { table: vec![Some(0), Some(1), Some(2)], open: open.collect(), free: Vec::new(), line: Vec::new() }
    }

    fn index(&self, fd: i32) -> Result<usize, Errno> {
        usize::try_from(fd).ok().and_then(|fd| self.table.get(fd).copied().flatten()).ok_or(EBADF)
    }

    pub fn get(&self, fd: i32) -> Result<&Open, Errno> {
        self.index(fd).map(|index| &self.open[index].0)
    }

    pub fn get_mut(&mut self, fd: i32) -> Result<&mut Open, Errno> {
        self.index(fd).map(|index| &mut self.open[index].0)
    }

    /// The lowest free descriptor from `least` on.
    fn place(&mut self, least: i32, index: usize) -> Result<i32, Errno> {
        let least = usize::try_from(least).map_err(|_| EINVAL)?;
        let fd = (least..MAX_DESCRIPTORS).find(|fd| self.table.get(*fd).is_none_or(Option::is_none)).ok_or(EMFILE)?;
        if fd >= self.table.len() {
            self.table.resize(fd + 1, None);
        }
        self.table[fd] = Some(index);
        self.open[index].1 += 1;
        Ok(fd as i32)
    }

    /// Opens a node.
    pub fn open(&mut self, node: NodeId, flags: i32) -> Result<i32, Errno> {
        let open = (Open { node, flags, position: 0 }, 0);
        let index = match self.free.pop() {
            Some(index) => {
                self.open[index] = open;
                index
            }
            None => {
                self.open.push(open);
                self.open.len() - 1
            }
        };
        let placed = self.place(0, index);
        if placed.is_err() {
            self.free.push(index);
        }
        placed
    }

    /// Closes a descriptor.
    pub fn close(&mut self, fd: i32) -> Result<(), Errno> {
        let index = self.index(fd)?;
        self.table[fd as usize] = None;
        self.open[index].1 -= 1;
        if self.open[index].1 == 0 {
            self.free.push(index);
        }
        Ok(())
    }

    pub fn duplicate(&mut self, fd: i32, least: i32) -> Result<i32, Errno> {
        let index = self.index(fd)?;
        self.place(least, index)
    }

    pub fn duplicate_to(&mut self, fd: i32, to: i32) -> Result<i32, Errno> {
        let index = self.index(fd)?;
        let slot = usize::try_from(to).ok().filter(|to| *to < MAX_DESCRIPTORS).ok_or(EBADF)?;
        // The new reference first: closing `to` may drop the last other one.
        self.open[index].1 += 1;
        if self.index(to).is_ok() {
            self.close(to)?;
        }
        if slot >= self.table.len() {
            self.table.resize(slot + 1, None);
        }
        self.table[slot] = Some(index);
        Ok(to)
    }

    /// Logs what a process prints, line by line.
    pub fn print(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = MAX_LINE_BYTES.saturating_sub(self.line.len());
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            if part.ends_with(b"\n") {
                tracing::debug!(line = %String::from_utf8_lossy(&self.line).trim_end(), "process printed");
                self.line.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_descriptor_is_given_and_duplicates_share_their_position() {
        let mut descriptors = Descriptors::standard([1, 1, 2]);
        let fd = descriptors.open(7, 2).unwrap();
        assert_eq!(fd, 3);
        let copy = descriptors.duplicate(fd, 10).unwrap();
        assert_eq!(copy, 10);
        descriptors.get_mut(copy).unwrap().position = 5;
        assert_eq!(descriptors.get(fd).unwrap().position, 5);
        descriptors.close(fd).unwrap();
        assert_eq!(descriptors.close(fd), Err(EBADF));
        assert_eq!(descriptors.open(8, 0).unwrap(), 3);
        assert_eq!(descriptors.get(copy).unwrap().node, 7);
        assert_eq!(descriptors.duplicate_to(copy, 1), Ok(1));
        assert_eq!(descriptors.get(1).unwrap().node, 7);
    }

    #[test]
    fn descriptors_run_out() {
        let mut descriptors = Descriptors::standard([1, 1, 2]);
        for _ in 3..MAX_DESCRIPTORS {
            descriptors.open(7, 0).unwrap();
        }
        assert_eq!(descriptors.open(7, 0), Err(EMFILE));
    }
}
