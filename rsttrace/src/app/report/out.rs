//! Output file of `rsttrace report`.

use std::fs::{Metadata, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::STANDARD;
use crate::cli::{Failure, OutputFile};
use crate::report::is_page;

/// As a page that is made by `>`: what the user's umask leaves of it.
const MODE: u32 = 0o666;
/// Bytes that a page is known by.
const HEAD: u64 = 4_096;

/// A place for the page.
pub(super) enum Out {
    Standard,
    /// A pipe or a device stays what it is.
    Special(OutputFile),
    /// A file and its mode.
    File {
        path: PathBuf,
        mode: u32,
    },
}

impl Out {
    /// Checks before anything is read that the page can be written there, and that nothing but a page is replaced unless that is
    /// wanted; the source, links and files of other users never are.
    pub fn new(out: &Path, force: bool, source: Option<&Metadata>) -> Result<Self, Failure> {
        if out == Path::new(STANDARD) {
            return Ok(Self::Standard);
        }
        let there = out.metadata();
        if let (Ok(there), Some(source)) = (&there, source)
            && there.is_file()
            && (source.dev(), source.ino()) == (there.dev(), there.ino())
        {
            return Err(Failure::Usage(format!(
                "{}: the report would overwrite its input; use another file with --out",
                out.display()
            )));
        }
        let file = OutputFile {
            path: out.to_owned(),
            // Whether a file may be replaced is decided here.
            force: true,
        };
        file.check()?;
        let there = match there {
            Ok(there) if !there.is_file() => return Ok(Self::Special(file)),
            Ok(there) => Some(there),
            Err(_) => None,
        };
        if !force && there.as_ref().is_some_and(|there| there.len() > 0) {
            let is_page = is_page(&head(out).map_err(|error| unwritable(out, &error))?);
            if !is_page {
                return Err(Failure::Usage(format!(
                    "{} already exists and is not a report of rsttrace; use another file with --out, or overwrite it with --force",
                    out.display()
                )));
            }
        }
        probe(out)?;
        Ok(Self::File {
            path: out.to_owned(),
            mode: there.map_or(MODE, |there| there.mode() & 0o777),
        })
    }

    /// Writes the page as a whole: a reader sees the old one or the new one.
    pub fn write(&self, text: &str) -> Result<(), Failure> {
        match self {
            Self::Standard => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(text.as_bytes())?;
                Ok(stdout.flush()?)
            }
            Self::Special(file) => file
                .create()?
                .write_all(text.as_bytes())
                .map_err(|error| unwritable(&file.path, &error)),
            Self::File { path, mode } => {
                let unwritable = |error| unwritable(path, &error);
                let mut draft = tempfile::Builder::new()
                    .prefix(".rsttrace-")
                    .permissions(Permissions::from_mode(*mode))
                    .tempfile_in(folder(path))
                    .map_err(unwritable)?;
                draft.write_all(text.as_bytes()).map_err(unwritable)?;
                // A link that was put there meanwhile is replaced, not followed.
                draft
                    .persist(path)
                    .map_err(|error| unwritable(error.error))?;
                Ok(())
            }
        }
    }
}

/// The begin of a file that may have been replaced by a link or a pipe since it was checked.
fn head(path: &Path) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?
        .take(HEAD)
        .read_to_end(&mut head)?;
    Ok(head)
}

/// Whether a file can be created next to `path`; the attempt leaves nothing behind.
fn probe(path: &Path) -> Result<(), Failure> {
    tempfile::tempfile_in(folder(path))
        .map(drop)
        .map_err(|error| unwritable(path, &error))
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

fn unwritable(out: &Path, error: &io::Error) -> Failure {
    let out = out.display();
    if error.kind() == io::ErrorKind::PermissionDenied {
        return Failure::NotPermitted(format!(
            "{out}: permission denied; use a file in another directory with --out"
        ));
    }
    // The name of a temporary file does not matter.
    let error = error.raw_os_error().map_or_else(
        || error.to_string(),
        |code| io::Error::from_raw_os_error(code).to_string(),
    );
    Failure::Usage(format!("{out}: {error}; use a writable file with --out"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_right_that_is_missing_is_no_mistake_of_the_command_line() {
        let denied = unwritable(Path::new("x"), &io::ErrorKind::PermissionDenied.into());
        assert_eq!(denied.exit_code() as u8, 3);
        assert!(denied.to_string().ends_with("--out"), "{denied}");
        let missing = unwritable(Path::new("x"), &io::ErrorKind::NotFound.into());
        assert_eq!(missing.exit_code() as u8, 2);
    }

    #[test]
    fn a_page_keeps_its_mode() {
        let folder = tempfile::tempdir().unwrap();
        let page = folder.path().join("page.html");
        std::fs::write(&page, "").unwrap();
        std::fs::set_permissions(&page, Permissions::from_mode(0o600)).unwrap();
        let out = Out::new(&page, false, None).unwrap();
        out.write("new").unwrap();
        assert_eq!(std::fs::read_to_string(&page).unwrap(), "new");
        assert_eq!(page.metadata().unwrap().mode() & 0o777, 0o600);
        let left = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, 1);
    }

    #[test]
    fn neither_links_nor_files_and_pipes_of_others_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let [target, link, pipe, dangling] =
            ["target", "link", "pipe", "dangling"].map(|name| folder.path().join(name));
        std::fs::write(&target, "precious").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        std::os::unix::fs::symlink("nothing", &dangling).unwrap();
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let refusal = |path: &Path| {
            let refused = Out::new(path, true, None).err();
            refused.unwrap().to_string()
        };
        for link in [&link, &dangling] {
            assert!(refusal(link).contains("is a symbolic link"), "{link:?}");
        }
        assert_eq!(std::fs::read(&target).unwrap(), b"precious");
        // A pipe of this user without a reader is not waited for without end.
        let error = Out::new(&pipe, true, None).unwrap().write("page");
        let error = error.unwrap_err().to_string();
        assert!(error.contains("no reader"), "{error}");
        if nix::unistd::geteuid().is_root() {
            for path in [&target, &pipe] {
                std::os::unix::fs::chown(path, Some(1), None).unwrap();
                assert!(refusal(path).contains("belongs to another user"));
            }
        }
    }

    #[test]
    fn a_link_that_comes_after_the_check_is_replaced_and_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let [target, page] = ["target", "page.html"].map(|name| folder.path().join(name));
        std::fs::write(&target, "precious").unwrap();
        let out = Out::new(&page, false, None).unwrap();
        std::os::unix::fs::symlink(&target, &page).unwrap();
        out.write("new").unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"precious");
        assert!(page.symlink_metadata().unwrap().is_file());
    }
}
