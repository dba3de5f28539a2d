//! Safe creation of output files.
//!
//! rsttrace runs as root, so it follows no symbolic links that other users may have created, replaces existing files only with
//! `--force`, and never touches files of other users.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context as _;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::{AccessFlags, access, geteuid};

use super::Failure;
use crate::sys::{PIPE_PATIENCE, PIPE_PULSE};

/// Output files contain addresses and command lines.
const MODE: u32 = 0o600;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputFile {
    pub path: PathBuf,
    /// Whether to replace an existing file.
    pub force: bool,
}

impl OutputFile {
    /// Checks whether the file can be written, without creating it.
    pub fn check(&self) -> Result<(), Failure> {
        let path = self.path.display();
        let usage = |what: String| Err(Failure::Usage(what));
        let special = match self.path.symlink_metadata() {
            Ok(found) if found.is_symlink() && !self.is_systems_link() => {
                return usage(format!(
                    "{path} is a symbolic link; use the path of the target file"
                ));
            }
            Ok(found) if found.is_symlink() => fs::metadata(&self.path).ok(),
            Ok(found) => Some(found),
            Err(_) => None,
        };
        let special = match special {
            Some(found) => {
                self.check_found(&found)?;
                !found.is_file()
            }
            None => false,
        };
        let folder = folder_of(&self.path);
        if !folder.is_dir() {
            return usage(format!(
                "{path}: no such directory; create it, or use a file in an existing directory"
            ));
        }
        let at = if special { &self.path } else { folder };
        if access(at, AccessFlags::W_OK).is_err() {
            return Err(Failure::NotPermitted(format!(
                "{path}: permission denied; run as root, or use a file that this user can write"
            )));
        }
        Ok(())
    }

    /// Checks whether an existing file may be written or replaced.
    fn check_found(&self, found: &Metadata) -> Result<(), Failure> {
        let path = self.path.display();
        let kind = found.file_type();
        if kind.is_dir() {
            return Err(Failure::Usage(format!(
                "{path} is a directory; use a file in it"
            )));
        }
        if kind.is_block_device() || kind.is_socket() {
            return Err(Failure::Usage(format!(
                "{path} is not a regular file or pipe; use another path"
            )));
        }
        if (kind.is_file() || kind.is_fifo()) && found.uid() != geteuid().as_raw() {
            return Err(Failure::NotPermitted(format!(
                "{path} belongs to another user; use another file"
            )));
        }
        if kind.is_file() && found.len() > 0 && !self.force {
            return Err(Failure::Usage(format!(
                "{path} already exists; use another file, or overwrite it with --force"
            )));
        }
        Ok(())
    }

    /// Fails if the file is one of `others`, which this command also reads or writes.
    pub fn check_apart<'a>(
        &self,
        others: impl IntoIterator<Item = &'a Path>,
    ) -> Result<(), Failure> {
        match others.into_iter().find(|other| same(&self.path, other)) {
            None => Ok(()),
            Some(other) => Err(Failure::Usage(format!(
                "{} is the same file as {}, which this command also reads or writes; use another file",
                self.path.display(),
                other.display()
            ))),
        }
    }

    /// Creates the file with mode 0600. An existing file is unlinked rather than truncated, so processes that have it open keep
    /// the old contents. Pipes and devices are opened.
    pub fn create(&self) -> Result<File, Failure> {
        self.check()?;
        let path = &self.path;
        if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            return self.open_special();
        }
        if path.symlink_metadata().is_ok() {
            fs::remove_file(path).with_context(|| format!("cannot replace {}", path.display()))?;
        }
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(MODE)
            .open(path);
        Ok(file.with_context(|| format!("cannot create {}", path.display()))?)
    }

    fn open_special(&self) -> Result<File, Failure> {
        let path = &self.path;
        let doing = || format!("cannot open {}", path.display());
        let mut flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        if !self.is_systems_link() {
            flags |= OFlag::O_NOFOLLOW;
        }
        let begun = Instant::now();
        let file = loop {
            let opened = OpenOptions::new()
                .write(true)
                .custom_flags(flags.bits())
                .open(path);
            match opened {
                Err(error) if error.raw_os_error() == Some(libc::ENXIO) => {
                    if begun.elapsed() > PIPE_PATIENCE {
                        return Err(Failure::Usage(format!(
                            "{}: the pipe has no reader; start its reader first",
                            path.display()
                        )));
                    }
                    std::thread::sleep(PIPE_PULSE);
                }
                opened => break opened.with_context(doing)?,
            }
        };
        // Check again: the path may have changed since the first check.
        let found = file.metadata().with_context(doing)?;
        if found.is_file() {
            return Err(Failure::Usage(format!(
                "{}: the file was replaced while opening it; use another file",
                path.display()
            )));
        }
        self.check_found(&found)?;
        let flags = fcntl(&file, FcntlArg::F_GETFL)
            .map_err(io::Error::from)
            .with_context(doing)?;
        let flags = OFlag::from_bits_retain(flags) - OFlag::O_NONBLOCK;
        fcntl(&file, FcntlArg::F_SETFL(flags))
            .map_err(io::Error::from)
            .with_context(doing)?;
        Ok(file)
    }

    /// Whether the path is a link like /dev/stdout or a shell's `>(…)`: no other user can create it, and it leads to a pipe or a
    /// device.
    fn is_systems_link(&self) -> bool {
        let folder = folder_of(&self.path).canonicalize();
        folder.is_ok_and(|folder| folder == Path::new("/dev") || folder.starts_with("/proc"))
            && fs::metadata(&self.path).is_ok_and(|found| !found.is_file())
    }
}

/// Whether both paths lead to the same regular file. Pipes and devices may be used twice.
fn same(one: &Path, other: &Path) -> bool {
    match (fs::metadata(one), fs::metadata(other)) {
        (Ok(one), Ok(other)) => {
            one.is_file() && (one.dev(), one.ino()) == (other.dev(), other.ino())
        }
        (Err(_), Err(_)) => {
            let place = |path: &Path| {
                Some((
                    folder_of(path).canonicalize().ok()?,
                    path.file_name()?.to_owned(),
                ))
            };
            place(one).is_some_and(|one| Some(one) == place(other))
        }
        _ => false,
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;

    fn output(path: &Path, force: bool) -> OutputFile {
        OutputFile {
            path: path.to_owned(),
            force,
        }
    }

    fn refusal(path: &Path, force: bool) -> String {
        output(path, force).create().unwrap_err().to_string()
    }

    #[test]
    fn what_is_there_is_replaced_only_if_that_is_asked_for_and_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        fs::write(&path, "old").unwrap();
        assert!(refusal(&path, false).contains("--force"));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        let old = File::open(&path).unwrap();
        output(&path, true).create().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"");
        assert_eq!(old.metadata().unwrap().len(), 3, "its readers keep it");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // An empty one holds nothing to keep.
        output(&path, false).create().unwrap();
    }

    #[test]
    fn links_folders_and_files_of_others_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        fs::write(&target, "precious").unwrap();
        symlink(&target, &link).unwrap();
        for force in [false, true] {
            assert!(refusal(&link, force).contains("is a symbolic link"));
            assert!(refusal(folder.path(), force).contains("is a directory"));
        }
        symlink(
            folder.path().join("nothing"),
            folder.path().join("dangling"),
        )
        .unwrap();
        assert!(refusal(&folder.path().join("dangling"), true).contains("is a symbolic link"));
        assert_eq!(fs::read(&target).unwrap(), b"precious");
        if geteuid().is_root() {
            chown(&target, Some(1), None).unwrap();
            assert!(refusal(&target, true).contains("another user"));
            let pipe = folder.path().join("pipe");
            mkfifo(&pipe, Mode::S_IRWXU).unwrap();
            chown(&pipe, Some(1), None).unwrap();
            assert!(refusal(&pipe, true).contains("another user"));
        }
    }

    #[test]
    fn a_pipe_without_a_reader_is_not_waited_for_without_end() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        mkfifo(&pipe, Mode::S_IRWXU).unwrap();
        assert!(refusal(&pipe, false).contains("start its reader"));
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || io::read_to_string(File::open(pipe).unwrap()).unwrap()
        });
        let mut file = output(&pipe, false).create().unwrap();
        io::Write::write_all(&mut file, b"through").unwrap();
        drop(file);
        assert_eq!(reader.join().unwrap(), "through");
        output(Path::new("/dev/null"), false).create().unwrap();
    }

    #[test]
    fn one_file_is_known_by_whatever_name() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("a"), folder.path().join("b"));
        let apart = |one: &Path, other: &Path| output(one, true).check_apart([other]).is_ok();
        assert!(!apart(&file, &folder.path().join("./a")), "not made yet");
        assert!(apart(&file, &link));
        fs::write(&file, "x").unwrap();
        fs::hard_link(&file, &link).unwrap();
        assert!(!apart(&file, &link));
        assert!(!apart(&file, &file));
        assert!(apart(Path::new("/dev/null"), Path::new("/dev/null")));
    }
}
