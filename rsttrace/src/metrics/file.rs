//! Metrics in a file that is always whole: for node_exporter's textfile collector.

use std::fs::Permissions;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use thiserror::Error;

/// What the file is replaced through ends in this, not in `.prom`, which collectors look for.
const SUFFIX: &str = ".tmp";

/// Why the file cannot be written. Each message names the file and ends with the next step.
#[derive(Debug, Error)]
pub enum FileError {
    /// It may not be written there.
    #[error("{}: not permitted to write in its folder; run as root, or name a folder that this user may write in", .0.display())]
    NotPermitted(PathBuf),
    /// It is a folder, or has no name.
    #[error("{}: this names no file; write one like /var/lib/node_exporter/rsttrace.prom", .0.display())]
    NoFile(PathBuf),
    /// Its folder does not exist.
    #[error("{}: there is no such folder; make it, or name another file", .0.display())]
    NoFolder(PathBuf),
    /// It cannot be written.
    #[error("{}: {error}; name a file that can be written", file.display())]
    Unwritable {
        /// The file.
        file: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

/// The file; written by replacing it, so that readers see the old text or the new one.
#[derive(Debug)]
pub struct MetricsFile {
    file: PathBuf,
    folder: PathBuf,
}

impl MetricsFile {
    /// Makes sure that the file could be written; leaves what is there as it is.
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
        Ok(new)
    }

    /// Replaces the file by one with this text. On an error the old one stays.
    pub fn write(&self, text: &str) -> io::Result<()> {
        let mut draft = self.draft()?;
        draft.write_all(text.as_bytes())?;
        draft.persist(&self.file)?;
        Ok(())
    }

    /// Where it is, as the user named it.
    pub fn path(&self) -> &Path {
        &self.file
    }

    /// An empty file beside it, gone when dropped. Everybody may read it, as far as the umask lets them: collectors run as
    /// users of their own.
    fn draft(&self) -> io::Result<NamedTempFile> {
        tempfile::Builder::new()
            .prefix(".rsttrace-")
            .suffix(SUFFIX)
            .permissions(Permissions::from_mode(0o644))
            .tempfile_in(&self.folder)
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
    fn what_cannot_be_a_file_is_refused_with_a_next_step() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("plain"), "").unwrap();
        for (path, next) in [
            (folder.path().to_owned(), "write one like"),
            (at("new/"), "write one like"),
            (PathBuf::from("/"), "write one like"),
            (PathBuf::new(), "write one like"),
            (at("missing/x.prom"), "make it"),
            (at("plain/x.prom"), "make it"),
            (PathBuf::from("/proc/x.prom"), "name a"),
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
