//! Configuration files below a root directory, within the limits of one process.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use super::super::root::{Root, read_folder};
use super::Found;

/// Files of one process.
const MOST_FILES: usize = 256;
/// Bytes of one process.
const MOST_BYTES: u64 = 2 << 20;

impl Root {
    /// The text of a regular file, as far as the limits allow.
    pub(super) fn text(&self, path: &Path, found: &mut Found) -> Option<String> {
        let left = MOST_BYTES.saturating_sub(found.bytes);
        if found.files >= MOST_FILES || left == 0 {
            return None;
        }
        found.files += 1;
        let file = File::from(self.open(path, OFlag::empty())?);
        let about = file.metadata().ok()?;
        if !about.is_file() || about.len() > left {
            return None;
        }
        let mut bytes = Vec::new();
        file.take(left).read_to_end(&mut bytes).ok()?;
        found.bytes += bytes.len() as u64;
        found.newest = found.newest.max(about.modified().ok());
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The files that a pattern names, in order; `*` may be in its last part. Absent if that cannot be told.
    pub(super) fn matching(&self, pattern: &Path) -> Option<Vec<PathBuf>> {
        let name = pattern.file_name()?.to_str()?;
        let folder = pattern.parent()?;
        let is_pattern = |text: &str| text.contains(['*', '?', '[']);
        if is_pattern(folder.to_str()?) || name.contains(['?', '[']) {
            return None;
        }
        if !name.contains('*') {
            return Some(vec![pattern.to_owned()]);
        }
        // No folder: no files.
        let Some(opened) = self.open(folder, OFlag::O_DIRECTORY) else {
            return Some(Vec::new());
        };
        let entries = read_folder(&opened).ok()?;
        let mut names: Vec<_> = entries
            .take(MOST_FILES)
            .filter_map(|entry| Some(entry.ok()?.file_name()))
            .filter(|found| fits(name, found))
            .collect();
        names.sort();
        Some(names.into_iter().map(|name| folder.join(name)).collect())
    }
}

/// Whether a name fits a pattern with `*`. As a shell does, `*` leaves hidden files out.
fn fits(pattern: &str, name: &OsStr) -> bool {
    let mut rest = name.as_bytes();
    if rest.starts_with(b".") && !pattern.starts_with('.') {
        return false;
    }
    let mut parts = pattern.as_bytes().split(|&byte| byte == b'*');
    let Some(after) = parts.next().and_then(|first| rest.strip_prefix(first)) else {
        return false;
    };
    rest = after;
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        let Some(place) = find(rest, part) else {
            return false;
        };
        rest = rest.get(place + part.len()..).unwrap_or_default();
    }
    rest.ends_with(last)
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    if part.is_empty() {
        return Some(0);
    }
    text.windows(part.len()).position(|window| window == part)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use nix::sys::stat::Mode;

    use super::*;

    #[test]
    fn patterns_fit_as_in_a_shell() {
        for (pattern, name, expected) in [
            ("*", "default", true),
            ("*", ".hidden", false),
            ("*.conf", "a.conf", true),
            ("*.conf", "a.conf.bak", false),
            ("*stream*.conf", "50-mod-stream.conf", true),
            ("*stream*.conf", "50-mod-http.conf", false),
            ("a*a", "a", false),
            ("exact", "exact", true),
        ] {
            assert_eq!(
                fits(pattern, OsStr::new(name)),
                expected,
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn a_file_outside_of_the_root_is_not_read_and_a_fifo_does_not_block() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        std::fs::create_dir_all(folder.join("etc")).unwrap();
        std::fs::write(folder.join("outside"), "timeout client 1s").unwrap();
        std::fs::write(folder.join("etc/a.cfg"), "timeout client 1s").unwrap();
        std::os::unix::fs::symlink("/outside", folder.join("etc/link.cfg")).unwrap();
        nix::unistd::mkfifo(&folder.join("etc/fifo.cfg"), Mode::S_IRUSR).unwrap();
        let root = Root::at(&folder.join("etc")).unwrap();
        let files = root.matching(Path::new("/*.cfg")).unwrap();
        let read: Vec<bool> = files
            .iter()
            .map(|path| root.text(path, &mut Found::default()).is_some())
            .collect();
        assert_eq!(files.len(), 3);
        // a.cfg; the FIFO; the link, which leads to a file that this root does not have.
        assert_eq!(read, [true, false, false]);
        let mut full = Found {
            bytes: MOST_BYTES - 1,
            ..Found::default()
        };
        assert_eq!(root.text(Path::new("/a.cfg"), &mut full), None);
    }
}
