//! BTF reader: offsets of structure members and names of enumerators.
//!
//! A reader for the little of BTF that the tool needs (Documentation/bpf/btf.rst): offsets of structure members,
//! names of an enumeration, parameters of a tracepoint's prototype. It borrows the bytes and keeps one offset a type,
//! so that its memory is released afterwards. Any bytes give an answer or an error, never a panic.

mod extract;

use std::collections::HashMap;
use std::path::Path;

use thiserror::Error;

pub use extract::Questions;

/// Where the kernel shows its own types.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;
const HEADER_LEN: usize = 24;
const KIND_INT: u8 = 1;
const KIND_PTR: u8 = 2;
const KIND_ARRAY: u8 = 3;
const KIND_STRUCT: u8 = 4;
const KIND_UNION: u8 = 5;
const KIND_ENUM: u8 = 6;
const KIND_TYPEDEF: u8 = 8;
const KIND_VOLATILE: u8 = 9;
const KIND_CONST: u8 = 10;
const KIND_RESTRICT: u8 = 11;
const KIND_FUNC: u8 = 12;
const KIND_FUNC_PROTO: u8 = 13;
const KIND_VAR: u8 = 14;
const KIND_DATASEC: u8 = 15;
const KIND_DECL_TAG: u8 = 17;
const KIND_TYPE_TAG: u8 = 18;
const KIND_ENUM64: u8 = 19;
const KIND_MAX: u8 = KIND_ENUM64;

/// Longest chain of typedefs and qualifiers, and deepest nest of anonymous members, that is followed.
const MAX_DEPTH: usize = 32;
/// Maximum number of members read for one answer; the largest structures of the kernel have some hundreds.
const MAX_VISITS: usize = 65_536;

/// Why BTF bytes cannot be used.
#[derive(Debug, Error)]
pub enum BtfError {
    /// The file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        path: String,
        source: std::io::Error,
    },
    /// It does not begin as BTF of this machine's byte order does.
    #[error("BTF has the wrong byte order")]
    NotBtf,
    /// It ends early, or a length in it points outside.
    #[error("BTF is truncated or damaged at type {0}")]
    Damaged(u32),
    /// It has a kind of type that came after this reader.
    #[error("unknown BTF kind {kind} at type {id}")]
    UnknownKind { id: u32, kind: u8 },
    /// An extract of it does not answer as all of it does.
    #[error("an extract of BTF says something else than all of it")]
    Extract,
}

/// Reads [`VMLINUX`] or a file like it.
pub fn read(path: &Path) -> Result<Vec<u8>, BtfError> {
    std::fs::read(path).map_err(|source| BtfError::Read {
        path: path.display().to_string(),
        source,
    })
}

/// The types of a kernel.
pub struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// Offset of each type in `types`; index 0 is type id 1.
    offsets: Vec<u32>,
    structures: HashMap<String, Option<u32>>,
}

/// One record of the type section.
#[derive(Clone, Copy)]
struct Type {
    at: usize,
    name: u32,
    kind: u8,
    vlen: usize,
    kind_flag: bool,
    /// Size or type id, by kind.
    value: u32,
}

impl<'a> Btf<'a> {
    /// Indexes the types; O(types), 4 bytes each.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BtfError> {
        if bytes.len() < HEADER_LEN || u16_at(bytes, 0) != Some(MAGIC) {
            return Err(BtfError::NotBtf);
        }
        let field = |at| {
            u32_at(bytes, at)
                .map(|v| v as usize)
                .ok_or(BtfError::NotBtf)
        };
        let body = bytes.get(field(4)?..).ok_or(BtfError::NotBtf)?;
        let part = |offset: usize, len: usize| body.get(offset..)?.get(..len);
        let types = part(field(8)?, field(12)?).ok_or(BtfError::NotBtf)?;
        let strings = part(field(16)?, field(20)?).ok_or(BtfError::NotBtf)?;

        let mut btf = Self {
            types,
            strings,
            offsets: Vec::with_capacity(types.len() / 24),
            structures: HashMap::new(),
        };
        let mut at = 0;
        while at < types.len() {
            let id = btf.offsets.len() as u32 + 1;
            let record = btf.read_type(at).ok_or(BtfError::Damaged(id))?;
            if record.kind == 0 || record.kind > KIND_MAX {
                return Err(BtfError::UnknownKind {
                    id,
                    kind: record.kind,
                });
            }
            btf.offsets
                .push(u32::try_from(at).map_err(|_| BtfError::Damaged(id))?);
            at += 12 + record.extra();
        }
        if at != types.len() {
            return Err(BtfError::Damaged(btf.offsets.len() as u32));
        }
        Ok(btf)
    }

    /// Byte offset of `path` (dots between nested members) in `structure`, and the bit offset in that byte, which
    /// is 0 but for bit fields. `None` where the kernel has no such member, or keeps it beyond 64 KiB.
    pub fn resolve(&mut self, structure: &str, path: &str) -> Option<(u16, u16)> {
        let mut id = self.structure(structure)?;
        let mut bits: u64 = 0;
        let mut visits = MAX_VISITS;
        for name in path.split('.') {
            let container = self.resolve_aliases(id)?;
            let (offset, member) =
                self.member(container, name.as_bytes(), MAX_DEPTH, &mut visits)?;
            bits += offset;
            id = member;
        }
        let byte = u16::try_from(bits / 8)
            .ok()
            .filter(|byte| *byte != u16::MAX)?;
        Some((byte, (bits % 8) as u16))
    }

    /// The enumerators of `enum name` with `prefix` taken off; empty where the kernel has none.
    pub fn enumerators(&self, name: &str, prefix: &str) -> Vec<(u32, String)> {
        let Some(found) = self.find(name, |kind| kind == KIND_ENUM || kind == KIND_ENUM64) else {
            return Vec::new();
        };
        let step = if found.kind == KIND_ENUM { 8 } else { 12 };
        (0..found.vlen)
            .filter_map(|index| {
                let at = found.at + 12 + index * step;
                let label =
                    String::from_utf8_lossy(self.name(u32_at(self.types, at)?)?).into_owned();
                let label = label
                    .strip_prefix(prefix)
                    .map(str::to_owned)
                    .unwrap_or(label);
                Some((u32_at(self.types, at + 4)?, label))
            })
            .collect()
    }

    /// How many parameters the prototype behind a `typedef` of a function pointer has, as `btf_trace_NAME` is;
    /// the first is the tracer's own. `None` where the kernel has no such typedef.
    pub fn parameters(&self, typedef: &str) -> Option<usize> {
        let mut record = self.find(typedef, |kind| kind == KIND_TYPEDEF)?;
        for _ in 0..MAX_DEPTH {
            match record.kind {
                KIND_FUNC_PROTO => return Some(record.vlen),
                KIND_TYPEDEF | KIND_PTR | KIND_CONST | KIND_VOLATILE | KIND_RESTRICT
                | KIND_TYPE_TAG => {
                    record = self.by_id(record.value)?;
                }
                _ => return None,
            }
        }
        None
    }

    /// How many parameters each of these functions has; those that the kernel does not have are left out. One pass.
    pub fn functions<'n>(&self, names: &[&'n str]) -> HashMap<&'n str, usize> {
        let mut found = HashMap::new();
        for at in &self.offsets {
            let Some(record) = self.read_type(*at as usize) else {
                continue;
            };
            if record.kind != KIND_FUNC {
                continue;
            }
            let Some(name) = self.name(record.name) else {
                continue;
            };
            let Some(wanted) = names.iter().find(|wanted| wanted.as_bytes() == name) else {
                continue;
            };
            if let Some(prototype) = self.by_id(record.value)
                && prototype.kind == KIND_FUNC_PROTO
            {
                found.insert(*wanted, prototype.vlen);
            }
        }
        found
    }

    /// Id of the structure or union that has a body under this name, looked for once.
    fn structure(&mut self, name: &str) -> Option<u32> {
        if let Some(known) = self.structures.get(name) {
            return *known;
        }
        let id = self.find_id(name, |kind| kind == KIND_STRUCT || kind == KIND_UNION);
        self.structures.insert(name.to_owned(), id);
        id
    }

    /// Follows typedefs and qualifiers to a structure or union.
    fn resolve_aliases(&self, mut id: u32) -> Option<Type> {
        for _ in 0..MAX_DEPTH {
            let record = self.by_id(id)?;
            match record.kind {
                KIND_STRUCT | KIND_UNION => return Some(record),
                KIND_TYPEDEF | KIND_CONST | KIND_VOLATILE | KIND_RESTRICT | KIND_TYPE_TAG => {
                    id = record.value
                }
                _ => return None,
            }
        }
        None
    }

    /// Bit offset and type of a member, also in anonymous structures and unions.
    fn member(
        &self,
        container: Type,
        name: &[u8],
        depth: usize,
        visits: &mut usize,
    ) -> Option<(u64, u32)> {
        for index in 0..container.vlen {
            *visits = visits.checked_sub(1)?;
            let at = container.at + 12 + index * 12;
            let (label, id, raw) = (
                u32_at(self.types, at)?,
                u32_at(self.types, at + 4)?,
                u32_at(self.types, at + 8)?,
            );
            // With kind_flag the top byte is the width of a bit field.
            let bits = u64::from(if container.kind_flag {
                raw & 0x00ff_ffff
            } else {
                raw
            });
            let label = self.name(label)?;
            if label == name {
                return Some((bits, id));
            }
            if label.is_empty()
                && depth > 0
                && let Some(inner) = self.resolve_aliases(id)
                && let Some((offset, found)) = self.member(inner, name, depth - 1, visits)
            {
                return Some((bits + offset, found));
            }
        }
        None
    }

    fn find(&self, name: &str, kind: impl Fn(u8) -> bool) -> Option<Type> {
        self.find_id(name, kind).and_then(|id| self.by_id(id))
    }

    fn find_id(&self, name: &str, kind: impl Fn(u8) -> bool) -> Option<u32> {
        let index = self.offsets.iter().position(|at| {
            self.read_type(*at as usize).is_some_and(|record| {
                kind(record.kind) && self.is_named(record.name, name.as_bytes())
            })
        })?;
        Some(index as u32 + 1)
    }

    fn by_id(&self, id: u32) -> Option<Type> {
        let at = *self.offsets.get((id as usize).checked_sub(1)?)?;
        self.read_type(at as usize)
    }

    fn read_type(&self, at: usize) -> Option<Type> {
        let record = self.types.get(at..at.checked_add(12)?)?;
        let info = u32_at(record, 4)?;
        Some(Type {
            at,
            name: u32_at(record, 0)?,
            kind: ((info >> 24) & 0x1f) as u8,
            vlen: (info & 0xffff) as usize,
            kind_flag: info >> 31 == 1,
            value: u32_at(record, 8)?,
        })
    }

    fn is_named(&self, offset: u32, name: &[u8]) -> bool {
        self.strings
            .get(offset as usize..)
            .and_then(|rest| rest.strip_prefix(name))
            .is_some_and(|rest| rest.first() == Some(&0))
    }

    fn name(&self, offset: u32) -> Option<&'a [u8]> {
        let rest = self.strings.get(offset as usize..)?;
        let end = rest.iter().position(|byte| *byte == 0)?;
        rest.get(..end)
    }
}

impl Type {
    /// Bytes that follow the 12 common ones.
    fn extra(&self) -> usize {
        match self.kind {
            KIND_INT | KIND_VAR | KIND_DECL_TAG => 4,
            KIND_ARRAY => 12,
            KIND_STRUCT | KIND_UNION | KIND_DATASEC | KIND_ENUM64 => self.vlen * 12,
            KIND_ENUM | KIND_FUNC_PROTO => self.vlen * 8,
            _ => 0,
        }
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(
        bytes.get(at..at.checked_add(2)?)?.try_into().ok()?,
    ))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(
        bytes.get(at..at.checked_add(4)?)?.try_into().ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rsttrace_common::knobs::{ABSENT, Offsets};

    /// Writes BTF by hand.
    struct Blob {
        types: Vec<u8>,
        strings: Vec<u8>,
    }

    impl Blob {
        fn new() -> Self {
            Self {
                types: Vec::new(),
                strings: vec![0],
            }
        }
        fn string(&mut self, text: &str) -> u32 {
            if text.is_empty() {
                return 0;
            }
            let at = self.strings.len() as u32;
            self.strings.extend_from_slice(text.as_bytes());
            self.strings.push(0);
            at
        }
        fn record(
            &mut self,
            name: &str,
            kind: u8,
            flag: bool,
            vlen: usize,
            value: u32,
            extra: &[u32],
        ) {
            let name = self.string(name);
            let info = u32::from(flag) << 31 | u32::from(kind) << 24 | vlen as u32;
            for word in [name, info, value].iter().chain(extra) {
                self.types.extend_from_slice(&word.to_ne_bytes());
            }
        }
        fn bytes(&self) -> Vec<u8> {
            let mut out = Vec::new();
            out.extend_from_slice(&MAGIC.to_ne_bytes());
            out.extend_from_slice(&[1, 0]);
            for word in [
                24,
                0,
                self.types.len(),
                self.types.len(),
                self.strings.len(),
            ] {
                out.extend_from_slice(&(word as u32).to_ne_bytes());
            }
            out.extend_from_slice(&self.types);
            out.extend_from_slice(&self.strings);
            out
        }
    }

    fn sample() -> Vec<u8> {
        let mut blob = Blob::new();
        blob.record("int", KIND_INT, false, 0, 4, &[32]); // 1
        let (a, b, c, d) = (
            blob.string("a"),
            blob.string("b"),
            blob.string("c"),
            blob.string("flag"),
        );
        blob.record("", KIND_UNION, false, 2, 4, &[a, 1, 0, b, 1, 0]); // 2: anonymous
        blob.record("inner", KIND_STRUCT, false, 2, 8, &[c, 1, 0, 0, 2, 32]); // 3
        blob.record("inner_t", KIND_TYPEDEF, false, 0, 3, &[]); // 4
        let nested = blob.string("nested");
        blob.record(
            "outer",
            KIND_STRUCT,
            true,
            3,
            24,
            &[0, 2, 64, nested, 4, 96, d, 1, 1 << 24 | 165],
        ); // 5
        let (x, y) = (blob.string("REASON_X"), blob.string("OTHER"));
        blob.record("reason", KIND_ENUM, false, 2, 4, &[x, 7, y, 9]); // 6
        blob.record("", KIND_FUNC_PROTO, false, 3, 0, &[0, 1, 0, 1, 0, 1]); // 7
        blob.record("", KIND_PTR, false, 0, 7, &[]); // 8
        blob.record("btf_trace_x", KIND_TYPEDEF, false, 0, 8, &[]); // 9
        let itself = [0, 12, 0, 0, 12, 0];
        blob.record("do_it", KIND_FUNC, false, 0, 7, &[]); // 10
        blob.record("no_prototype", KIND_FUNC, false, 0, 1, &[]); // 11
        blob.record("loop", KIND_STRUCT, false, 2, 8, &itself); // 12: contains itself, which no compiler writes
        blob.bytes()
    }

    const QUESTIONS: Questions = Questions {
        members: &[
            ("outer", "b"),
            ("outer", "nested.c"),
            ("outer", "nested.a"),
            ("outer", "flag"),
            ("outer", "missing"),
            ("loop", "a"),
        ],
        enumerations: &["reason", "none"],
        prototypes: &["btf_trace_x", "btf_trace_y"],
        functions: &["do_it", "no_prototype", "absent"],
    };

    #[test]
    fn a_skeleton_keeps_the_ids_of_what_is_wanted_and_no_other_name() {
        let mut blob = Blob::new();
        blob.record("int", KIND_INT, false, 0, 4, &[32]);
        blob.record("", KIND_FUNC_PROTO, false, 1, 0, &[0, 1]);
        blob.record("hook", KIND_TYPEDEF, false, 0, 1, &[]);
        blob.record("hook", KIND_FUNC, false, 0, 2, &[]);
        blob.record("other", KIND_FUNC, false, 0, 2, &[]);
        let bytes = blob.bytes();
        let wanted = |name: &str| [name.to_owned()].into();
        let skeleton = Btf::parse(&bytes)
            .unwrap()
            .skeleton(&wanted("other"), &wanted("hook"));
        let skeleton = Btf::parse(&skeleton).unwrap();
        assert_eq!(skeleton.offsets.len(), 4);
        assert_eq!(skeleton.find_id("hook", |kind| kind == KIND_FUNC), Some(4));
        assert_eq!(skeleton.find_id("hook", |kind| kind == KIND_TYPEDEF), None);
        assert_eq!(skeleton.find_id("int", |_| true), None);
    }

    #[test]
    fn an_extract_answers_as_all_of_it_does() {
        let bytes = sample();
        let mut all = Btf::parse(&bytes).expect("well formed");
        let bytes = all.extract(&QUESTIONS);
        let mut extract = Btf::parse(&bytes).expect("well formed");
        for (structure, path) in QUESTIONS.members {
            let expected = all.resolve(structure, path);
            assert_eq!(extract.resolve(structure, path), expected, "{path}");
        }
        for name in QUESTIONS.enumerations {
            assert_eq!(extract.enumerators(name, ""), all.enumerators(name, ""));
        }
        for name in QUESTIONS.prototypes {
            assert_eq!(extract.parameters(name), all.parameters(name));
        }
        let names = QUESTIONS.functions;
        assert_eq!(extract.functions(names), all.functions(names));
        // It was not requested in this way.
        assert_eq!(extract.resolve("inner", "c"), None);
    }

    #[test]
    fn members_are_found_through_anonymous_unions_typedefs_and_bit_fields() {
        let bytes = sample();
        let mut btf = Btf::parse(&bytes).expect("well formed");
        assert_eq!(btf.resolve("outer", "b"), Some((8, 0)));
        assert_eq!(btf.resolve("outer", "nested.c"), Some((12, 0)));
        assert_eq!(btf.resolve("outer", "nested.a"), Some((16, 0)));
        assert_eq!(btf.resolve("outer", "flag"), Some((20, 5)));
        assert_eq!(btf.resolve("outer", "missing"), None);
        assert_eq!(btf.resolve("outer", "flag.a"), None);
        assert_eq!(btf.resolve("nowhere", "a"), None);
        assert_eq!(btf.resolve("loop", "a"), None);
    }

    #[test]
    fn enumerators_lose_their_prefix_and_prototypes_are_counted() {
        let bytes = sample();
        let btf = Btf::parse(&bytes).expect("well formed");
        assert_eq!(
            btf.enumerators("reason", "REASON_"),
            [(7, "X".to_owned()), (9, "OTHER".to_owned())]
        );
        assert_eq!(btf.enumerators("none", ""), []);
        assert_eq!(btf.parameters("btf_trace_x"), Some(3));
        assert_eq!(btf.parameters("btf_trace_y"), None);
        let functions = btf.functions(&["do_it", "no_prototype", "absent", "int"]);
        assert_eq!(functions, HashMap::from([("do_it", 3)]));
    }

    #[test]
    fn the_running_kernel_has_what_the_probes_read() {
        let Ok(bytes) = read(Path::new(VMLINUX)) else {
            return;
        };
        let mut btf = Btf::parse(&bytes).expect("well formed");
        let offsets = Offsets::resolve(|structure, path| btf.resolve(structure, path));
        for (name, offset) in [
            ("skc_family", offsets.skc_family),
            ("sk_lock_owned", offsets.sk_lock_owned),
            ("icsk_lrcvtime", offsets.icsk_lrcvtime),
            ("chrono_type", offsets.chrono_type),
            ("net_inum", offsets.net_inum),
            ("skb_network_header", offsets.skb_network_header),
            ("task_tgid", offsets.task_tgid),
            ("cred_euid", offsets.cred_euid),
        ] {
            assert_ne!(offset, ABSENT, "{name}");
        }
        assert_eq!(btf.resolve("sock_common", "skc_family"), Some((16, 0)));
        assert!(
            btf.parameters("btf_trace_tcp_send_reset")
                .is_some_and(|n| n == 3 || n == 4)
        );
        assert_eq!(btf.parameters("btf_trace_tcp_receive_reset"), Some(2));
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_answer_or_an_error(flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12), cut in any::<prop::sample::Index>()) {
            let mut bytes = sample();
            for (at, value) in flips {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            bytes.truncate(cut.index(bytes.len() * 2 + 1));
            if let Ok(mut btf) = Btf::parse(&bytes) {
                for path in ["b", "nested.c", "nested.a", "flag", "nested.nested"] {
                    let _ = btf.resolve("outer", path);
                    let _ = btf.resolve("loop", path);
                }
                let _ = btf.enumerators("reason", "REASON_");
                let _ = btf.parameters("btf_trace_x");
                let _ = btf.functions(&["do_it", "no_prototype"]);
                let _ = Btf::parse(&btf.extract(&QUESTIONS)).expect("well formed");
            }
        }

        #[test]
        fn noise_is_no_btf(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = Btf::parse(&bytes);
        }
    }
}
