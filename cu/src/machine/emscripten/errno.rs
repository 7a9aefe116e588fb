//! Error numbers of the official formats (spec 06 §4.5). Not Linux's.

pub(super) type Errno = i32;

pub(super) const EBADF: Errno = 8;
pub(super) const EBUSY: Errno = 10;
pub(super) const EEXIST: Errno = 20;
pub(super) const EINVAL: Errno = 28;
pub(super) const EISDIR: Errno = 31;
pub(super) const ELOOP: Errno = 32;
pub(super) const EMFILE: Errno = 33;
pub(super) const ENAMETOOLONG: Errno = 37;
pub(super) const ENOENT: Errno = 44;
pub(super) const ENOSPC: Errno = 51;
pub(super) const ENOTDIR: Errno = 54;
pub(super) const ENOTEMPTY: Errno = 55;
pub(super) const ENOTTY: Errno = 59;
pub(super) const EOVERFLOW: Errno = 61;
pub(super) const ERANGE: Errno = 68;
pub(super) const ESPIPE: Errno = 70;
