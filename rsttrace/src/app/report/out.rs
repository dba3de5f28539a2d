//! Output file of `rsttrace report`.

use std::fs::{File, Metadata, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::STANDARD;
use crate::cli::Failure;
use crate::report::is_page;

/// As a page that is made by `>`: what the user's umask leaves of it.
const MODE: u32 = 0o666;
/// Bytes that a page is known by.
const HEAD: u64 = 4_096;

/// A place for the page.
pub(super) enum Out {
    Standard,
    /// A pipe or a device stays what it is.
    Special(PathBuf),
    /// The file, without links, and its mode.
    File {
        name: PathBuf,
        path: PathBuf,
        mode: u32,
    },
}

impl Out {
    /// Checks before anything is read that the page can be written there, and that nothing but a page is replaced unless that is
    /// wanted; the source never is.
    pub fn new(out: &Path, force: bool, source: Option<&Metadata>) -> Result<Self, Failure> {
        if out == Path::new(STANDARD) {
            return Ok(Self::Standard);
        }
        let name = out.to_owned();
        let there = match out.metadata() {
            Ok(there) => there,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                probe(out, out)?;
                return Ok(Self::File {
                    path: name.clone(),
                    name,
                    mode: MODE,
                });
            }
            Err(error) => return Err(unwritable(out, &error)),
        };
        if there.is_dir() {
            return Err(Failure::Usage(format!(
                "{}: is a directory; use --out with a file in it",
                out.display()
            )));
        }
        if !there.is_file() {
            return Ok(Self::Special(name));
        }
        if source.is_some_and(|it| (it.dev(), it.ino()) == (there.dev(), there.ino())) {
            return Err(Failure::Usage(format!(
                "{}: the report would overwrite its input; use another file with --out",
                out.display()
            )));
        }
        let unwritable = |error| unwritable(out, &error);
        if !force && there.len() > 0 {
            let mut head = Vec::new();
            let file = File::open(out).map_err(unwritable)?;
            file.take(HEAD).read_to_end(&mut head).map_err(unwritable)?;
            if !is_page(&head) {
                return Err(Failure::Usage(format!(
                    "{} already exists and is not a report of rsttrace; use another file with --out, or overwrite it with --force",
                    out.display()
                )));
            }
        }
        let path = out.canonicalize().map_err(unwritable)?;
        probe(out, &path)?;
        Ok(Self::File {
            name,
            path,
            mode: there.mode() & 0o777,
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
            Self::Special(path) => {
                std::fs::write(path, text).map_err(|error| unwritable(path, &error))
            }
            Self::File { name, path, mode } => {
                let unwritable = |error| unwritable(name, &error);
                let mut draft = tempfile::Builder::new()
                    .prefix(".rsttrace-")
                    .permissions(Permissions::from_mode(*mode))
                    .tempfile_in(folder(path))
                    .map_err(unwritable)?;
                draft.write_all(text.as_bytes()).map_err(unwritable)?;
                draft
                    .persist(path)
                    .map_err(|error| unwritable(error.error))?;
                Ok(())
            }
        }
    }
}

/// Whether a file can be created next to `path`; the attempt leaves nothing behind.
fn probe(name: &Path, path: &Path) -> Result<(), Failure> {
    tempfile::tempfile_in(folder(path))
        .map(drop)
        .map_err(|error| unwritable(name, &error))
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
    fn a_page_keeps_its_mode_and_the_links_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let [page, link] = ["page.html", "link.html"].map(|name| folder.path().join(name));
        std::fs::write(&page, "").unwrap();
        std::fs::set_permissions(&page, Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink("page.html", &link).unwrap();
        let out = Out::new(&link, false, None).unwrap();
        out.write("new").unwrap();
        assert_eq!(std::fs::read_to_string(&page).unwrap(), "new");
        assert_eq!(page.metadata().unwrap().mode() & 0o777, 0o600);
        assert!(link.symlink_metadata().unwrap().is_symlink());
        let left = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, 2);
    }
}
