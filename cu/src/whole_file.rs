//! Files that are there whole or not at all, whoever else writes them at the same time and whatever happens meanwhile.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Writes a file that consists of `parts`. Folders that are missing are made.
pub fn write(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    // Others may be writing the same file: each has a name of its own until it is done.
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let partial = path.with_added_extension(format!("{}.{number}.part", std::process::id()));
    let write = || {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).open(&partial)?;
        parts.iter().try_for_each(|part| file.write_all(part))?;
        // Else a crash could leave a file with this name and without contents.
        file.sync_data()?;
        fs::rename(&partial, path)
    };
    write().inspect_err(|_| {
        // The error that matters is the one above; a leftover is harmless.
        let _ = fs::remove_file(&partial);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_who_write_one_file_leave_what_one_of_them_wrote() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/file");
        std::thread::scope(|scope| {
            for writer in 0..8_u8 {
                let path = &path;
                scope.spawn(move || (0..20).for_each(|_| write(path, &[&[writer; 5000], &[writer; 5000]]).unwrap()));
            }
        });
        let written = fs::read(&path).unwrap();
        assert_eq!(written.len(), 10_000);
        assert!(written.iter().all(|byte| *byte == written[0]));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left over");
    }
}
