//! How many files the program may have open.
//!
//! The memory of every process that is more than a few pages is a file, at rest too, besides connections and stores. What systems
//! give a program at first is often 1024, and what it may take a thousand times that.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Takes as many open files as the system allows this program. For binaries, at their start.
pub fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let Some(raised) = raised(&limit) else { return };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => {
            tracing::debug!(from = ?limit.current, to = ?getrlimit(Resource::Nofile).current, "more files may be open")
        }
        Err(error) => tracing::warn!(%error, from = ?limit.current, "no more files may be open than at the start"),
    }
}

/// The limit to set, if it is another. The kernel refuses a limit without end, which only the hard one may have.
fn raised(limit: &Rlimit) -> Option<Rlimit> {
    let current = limit.maximum.or(limit.current);
    (current != limit.current).then_some(Rlimit { current, maximum: limit.maximum })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Set in the process that lowers and raises its own limit: it is one for all threads.
    const CHILD: &str = "HOLON_TEST_OPEN_FILES";
    const LOW: u64 = 100;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        if std::env::var_os(CHILD).is_some() {
            let hard = getrlimit(Resource::Nofile).maximum;
            assert_eq!(getrlimit(Resource::Nofile).current, Some(LOW));
            raise_open_files();
            assert_eq!(getrlimit(Resource::Nofile), Rlimit { current: hard, maximum: hard });
            return;
        }
        let name = "open_files::tests::the_soft_limit_becomes_the_hard_one";
        let shell = format!("ulimit -Sn {LOW} && exec \"$0\" --exact {name}");
        let child = Command::new("sh")
            .args(["-c", &shell])
            .arg(std::env::current_exe().unwrap())
            .env(CHILD, "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&child.stdout);
        assert!(
            child.status.success() && text.contains("1 passed"),
            "{text}{}",
            String::from_utf8_lossy(&child.stderr)
        );
        let limit = |current, maximum| Rlimit { current, maximum };
        assert_eq!(raised(&limit(Some(5), Some(5))), None);
        assert_eq!(raised(&limit(Some(5), None)), None);
        assert_eq!(raised(&limit(Some(5), Some(9))), Some(limit(Some(9), Some(9))));
    }
}
