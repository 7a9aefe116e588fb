//! `struct stat`, in the layout of each generation and width (spec 06 §4.5).

use super::{
    access::Access,
    files::{FileSystem, Kind, NodeId},
    pointer::Pointer,
};
use crate::machine::format::Generation;

const BLOCK_BYTES: u64 = 4096;

/// Where the fields lie. All are little-endian; the size and a wide inode have 64 bits, the others 32.
struct Layout {
    bytes: u64,
    mode: u64,
    links: u64,
    size: u64,
    block_size: u64,
    blocks: u64,
    /// Access, change of contents, change of node.
    times: [u64; 3],
    /// From the seconds of a time to what is left of it, if that is told.
    rest: Option<u64>,
    inode: u64,
    /// The lower half of the inode once more.
    short_inode: Option<u64>,
    /// Whether the number of links and the parts of times have 64 bits. Seconds have in all but the oldest.
    wide: bool,
}

const OLD: Layout = Layout {
    bytes: 88,
    mode: 12,
    links: 16,
    size: 40,
    block_size: 48,
    blocks: 52,
    times: [56, 64, 72],
    rest: None,
    inode: 80,
    short_inode: Some(8),
    wide: false,
};

const NARROW: Layout = Layout {
    bytes: 96,
    mode: 4,
    links: 8,
    size: 24,
    block_size: 32,
    blocks: 36,
    times: [40, 56, 72],
    rest: Some(8),
    inode: 88,
    short_inode: None,
    wide: false,
};

const WIDE: Layout = Layout {
    bytes: 104,
    mode: 4,
    links: 8,
    size: 32,
    block_size: 40,
    blocks: 44,
    times: [48, 64, 80],
    rest: Some(8),
    inode: 96,
    short_inode: None,
    wide: true,
};

/// Writes what is known of a node.
pub(super) fn write_stat<P: Pointer>(
    memory: &mut [u8],
    at: u64,
    files: &FileSystem,
    id: NodeId,
    generation: Generation,
) -> wasmtime::Result<i32> {
    let layout = match generation {
        _ if P::wide() => WIDE,
        Generation::First | Generation::Second => OLD,
        Generation::Third | Generation::Fourth => NARROW,
    };
    let node = files.node(id);
    let inode = id as i64 + 1;
    let size = files.size(id);
    let device = match node.kind {
        Kind::Terminal | Kind::Null | Kind::Random => inode,
        _ => 1,
    };
    let (seconds, rest) = ((node.time / 1000) as i64, (node.time % 1000 * 1000) as i64);
    // Owner, group and the number of a device stay 0.
    let stat = memory.slice_mut(at, layout.bytes)?;
    stat.fill(0);
    stat.store_i32(0, device as i32)?;
    stat.store_i32(layout.mode, files.mode(id) as i32)?;
    stat.store_i32(layout.links, 1)?;
    stat.store_i64(layout.size, size as i64)?;
    stat.store_i32(layout.block_size, BLOCK_BYTES as i32)?;
    stat.store_i32(layout.blocks, size.div_ceil(BLOCK_BYTES) as i32)?;
    for time in layout.times {
        match layout.rest {
            None => stat.store_i32(time, seconds as i32)?,
            Some(after) => {
                stat.store_i64(time, seconds)?;
                if layout.wide {
                    stat.store_i64(time + after, rest)?;
                } else {
                    stat.store_i32(time + after, rest as i32)?;
                }
            }
        }
    }
    stat.store_i64(layout.inode, inode)?;
    if let Some(short) = layout.short_inode {
        stat.store_i32(short, inode as i32)?;
    }
    Ok(0)
}
