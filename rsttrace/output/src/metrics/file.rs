//! Metrics in a file, replaced atomically, for the textfile collector of node_exporter.

use std::fs::Permissions;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::NamedTempFile;
use thiserror::Error;

/// Suffix of the temporary file: not `.prom`, which collectors read.
const SUFFIX: &str = ".tmp";
/// It begins with this.
const PREFIX: &str = ".rsttrace-";
/// A draft lives for moments; one of this age was left by a killed run, and is not another's at work in the same folder.
const LEFT_OVER: Duration = Duration::from_secs(60);

/// Why the file cannot be written. Each message names the file and ends with the next step.
#[derive(Debug, Error)]
pub enum FileError {
    /// It may not be written there.
    #[error("{}: permission denied; run as root, or use a directory that this user can write to", .0.display())]
    NotPermitted(PathBuf),
    /// It is a folder, or has no name.
    #[error("{}: not a file name; use one like /var/lib/node_exporter/rsttrace.prom", .0.display())]
    NoFile(PathBuf),
    /// Its folder does not exist.
    #[error("{}: no such directory; create it, or use another file", .0.display())]
    NoFolder(PathBuf),
    #[error("{}: {error}; use a writable file", file.display())]
    Unwritable { file: PathBuf, error: io::Error },
}

/// The file; written by replacing it, so that readers see the old text or the new one.
#[derive(Debug)]
pub struct MetricsFile {
    file: PathBuf,
    folder: PathBuf,
}

impl MetricsFile {
    /// Checks that the file can be written, without changing it, and removes temporary files of killed runs.
    pub fn new(file: &Path) -> Result<Self, FileError> {
        if file.file_name().is_none() || file.is_dir() || ends_in_slash(file) {
            return Err(FileError::NoFile(file.to_owned()));
        }
        let folder = match file.parent() {
            Some(folder) if folder != Path::new("") => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        if !folder.is_dir() {
            return Err(FileError::NoFolder(folder));
        }
        let new = Self {
            file: file.to_owned(),
            folder,
        };
        new.draft().map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => FileError::NotPermitted(new.file.clone()),
            _ => FileError::Unwritable {
                file: new.file.clone(),
                error,
            },
        })?;
        remove_leftovers(&new.folder);
        Ok(new)
    }

    /// Replaces the file by one with this text. On an error the old one stays.
    pub fn write(&self, text: &str) -> io::Result<()> {
        let mut draft = self.draft()?;
        draft.write_all(text.as_bytes())?;
        // Otherwise the name may survive a power failure, and the text not.
        draft.as_file().sync_all()?;
        draft.persist(&self.file)?;
        Ok(())
    }

    /// Where it is, as the user named it.
    pub fn path(&self) -> &Path {
        &self.file
    }

    /// An empty file next to it, removed when dropped. It is readable for all, limited by the umask: collectors run as
    /// users of their own.
    fn draft(&self) -> io::Result<NamedTempFile> {
        tempfile::Builder::new()
            .prefix(PREFIX)
            .suffix(SUFFIX)
            .permissions(Permissions::from_mode(0o644))
            .tempfile_in(&self.folder)
    }
}

fn remove_leftovers(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        let is_ours = name.starts_with(PREFIX.as_bytes()) && name.ends_with(SUFFIX.as_bytes());
        // Does not follow symbolic links.
        let is_left_over = || {
            let metadata = entry.metadata().ok().filter(std::fs::Metadata::is_file)?;
            let age = metadata.modified().ok()?.elapsed().ok()?;
            Some(age >= LEFT_OVER)
        };
        if is_ours && is_left_over() == Some(true) {
            let removed = std::fs::remove_file(entry.path());
            log::debug!(
                "{}, left by a killed run: {removed:?}",
                entry.path().display()
            );
        }
    }
}

/// `is_dir` is false for a folder that is not there.
fn ends_in_slash(file: &Path) -> bool {
    file.as_os_str().as_encoded_bytes().ends_with(b"/")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_replaced_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rsttrace.prom");
        std::fs::write(&path, "old").unwrap();
        let file = MetricsFile::new(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
        for text in ["one\n", "two\n"] {
            file.write(text).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o644, 0o644);
    }

    #[test]
    fn drafts_of_killed_runs_are_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let old = std::time::SystemTime::now() - LEFT_OVER * 2;
        for name in [
            ".rsttrace-old.tmp",
            ".rsttrace-old.prom",
            "rsttrace-old.tmp",
        ] {
            let file = std::fs::File::create(at(name)).unwrap();
            file.set_modified(old).unwrap();
        }
        std::fs::write(at(".rsttrace-new.tmp"), "").unwrap();
        std::fs::create_dir(at(".rsttrace-folder.tmp")).unwrap();
        std::os::unix::fs::symlink(at("rsttrace-old.tmp"), at(".rsttrace-link.tmp")).unwrap();
        MetricsFile::new(&at("x.prom")).unwrap();
        let entries = std::fs::read_dir(folder.path()).unwrap();
        let mut left: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(
            left,
            [
                ".rsttrace-folder.tmp",
                ".rsttrace-link.tmp",
                ".rsttrace-new.tmp",
                ".rsttrace-old.prom",
                "rsttrace-old.tmp"
            ]
        );
    }

    #[test]
    fn what_cannot_be_a_file_is_refused_with_a_next_step() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("plain"), "").unwrap();
        for (path, next) in [
            (folder.path().to_owned(), "use one like"),
            (at("new/"), "use one like"),
            (PathBuf::from("/"), "use one like"),
            (PathBuf::new(), "use one like"),
            (at("missing/x.prom"), "create it"),
            (at("plain/x.prom"), "create it"),
            (PathBuf::from("/proc/x.prom"), "use a writable file"),
        ] {
            let error = MetricsFile::new(&path).unwrap_err().to_string();
            assert!(error.contains(next), "{}: {error}", path.display());
        }
    }

    #[test]
    fn a_bare_name_is_a_file_of_this_folder() {
        let file = MetricsFile::new(Path::new("x.prom")).unwrap();
        assert_eq!(file.folder, Path::new("."));
        assert!(!Path::new("x.prom").exists());
    }
}
