//! How is an initramfs written? In the "newc" format of cpio, see Documentation/driver-api/early-userspace/buffer-format.rst
//! of the kernel. Uncompressed: a guest in software emulation reads faster than it unpacks.

/// Files and folders, owned by root.
#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;

impl Archive {
    /// Adds a folder. Its parents come first.
    pub fn folder(&mut self, path: &str) {
        self.entry(path, FOLDER, &[]);
    }

    /// Adds a file that may be executed.
    pub fn file(&mut self, path: &str, contents: &[u8]) {
        self.entry(path, PROGRAM, contents);
    }

    /// The finished archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, contents: &[u8]) {
        self.entries += 1;
        let length = |bytes: usize| u32::try_from(bytes).expect("no file in it is that large");
        // Number, mode, uid, gid, links, mtime, size, device twice by two, length of the name with its NUL, checksum.
        let header = [
            self.entries,
            mode,
            0,
            0,
            1,
            0,
            length(contents.len()),
            0,
            0,
            0,
            0,
            length(path.len() + 1),
            0,
        ];
        self.bytes.extend(b"070701");
        for field in header {
            self.bytes.extend(format!("{field:08x}").into_bytes());
        }
        self.bytes.extend(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(contents);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_aligned_and_end_with_a_trailer() {
        let mut archive = Archive::default();
        archive.folder("a");
        archive.file("a/b", b"hello");
        let bytes = archive.finish();
        // A header has 110 bytes: with the name, and with the contents, to the next multiple of four.
        let file = (110 + 2_usize).next_multiple_of(4);
        assert_eq!(&bytes[file..file + 6], b"070701");
        assert_eq!(&bytes[file + 110..file + 114], b"a/b\0");
        let contents = (file + 114).next_multiple_of(4);
        assert_eq!(&bytes[contents..contents + 5], b"hello");
        assert!(
            bytes.ends_with(b"TRAILER!!!\0\0\0\0"),
            "{:?}",
            &bytes[bytes.len() - 16..]
        );
    }
}
