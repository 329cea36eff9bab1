//! Whether the files of the configuration have changed, by what the system says of them.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// What tells one state of a file from another. `None`: it is not there.
type Stamp = Option<(u64, u64, i64, i64)>;

/// The files as they were looked at.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// As they were when they were read last.
    read: BTreeMap<PathBuf, Stamp>,
    /// As they were the last time that they differed from that.
    seen: Option<BTreeMap<PathBuf, Stamp>>,
}

impl Watch {
    /// They are about to be read: whatever comes after this is a change.
    pub(super) fn reads(&mut self, files: &[PathBuf]) {
        self.read = stamps(files);
        self.seen = None;
    }

    /// These are named by what was read: those that were not looked at so far are from now on.
    pub(super) fn knows(&mut self, files: &[PathBuf]) {
        for (file, stamp) in stamps(files) {
            self.read.entry(file).or_insert(stamp);
        }
        self.read.retain(|file, _| files.contains(file));
    }

    /// Whether they have changed since they were read, and not any more since the last look: who writes a
    /// file in several steps is waited for.
    pub(super) fn has_changed(&mut self, files: &[PathBuf]) -> bool {
        self.judge(stamps(files))
    }

    fn judge(&mut self, now: BTreeMap<PathBuf, Stamp>) -> bool {
        if now == self.read {
            self.seen = None;
            return false;
        }
        let has_settled = self.seen.as_ref() == Some(&now);
        self.seen = Some(now);
        has_settled
    }
}

fn stamps(files: &[PathBuf]) -> BTreeMap<PathBuf, Stamp> {
    let stamp = |file: &PathBuf| {
        let data = std::fs::metadata(file).ok()?;
        Some((data.ino(), data.size(), data.mtime(), data.mtime_nsec()))
    };
    files.iter().map(|file| (file.clone(), stamp(file))).collect()
}

#[cfg(test)]
mod tests {
    use super::{Stamp, Watch};
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    fn file(stamp: Stamp) -> BTreeMap<PathBuf, Stamp> {
        [(PathBuf::from("proxy.toml"), stamp)].into()
    }

    #[test]
    fn a_file_that_is_still_being_written_is_waited_for() {
        let mut watch = Watch { read: file(Some((1, 10, 0, 0))), seen: None };
        assert!(!watch.judge(file(Some((1, 10, 0, 0)))), "nothing has happened");
        assert!(!watch.judge(file(Some((1, 4, 1, 0)))), "it is half there");
        assert!(!watch.judge(file(Some((1, 12, 1, 5)))), "it grows");
        assert!(watch.judge(file(Some((1, 12, 1, 5)))), "it has settled");
    }

    #[test]
    fn one_that_is_as_it_was_read_is_not_read_again() {
        let mut watch = Watch { read: file(Some((1, 10, 0, 0))), seen: None };
        assert!(!watch.judge(file(None)));
        assert!(!watch.judge(file(Some((1, 10, 0, 0)))), "it is back");
        assert!(!watch.judge(file(None)), "and gone again: looked at twice");
        assert!(watch.judge(file(None)));
    }

    #[test]
    fn files_on_disk_are_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        std::fs::write(&path, "one").unwrap();
        let files = [path.clone()];
        let mut watch = Watch::default();
        watch.reads(&files);
        assert!(!watch.has_changed(&files));
        // As careful people do: the same length, perhaps at the same moment, but another file.
        let beside = directory.path().join("b");
        std::fs::write(&beside, "two").unwrap();
        std::fs::rename(&beside, &path).unwrap();
        assert!(!watch.has_changed(&files), "once is not enough");
        assert!(watch.has_changed(&files));
    }
}
