//! Reduced BTF with the types that rsttrace uses.
//!
//! Kilobytes per kernel instead of megabytes, as test data. Types that are used keep their offsets and chains of typedefs; others
//! become `int`.

use std::collections::HashSet;

use super::{
    Btf, KIND_CONST, KIND_ENUM, KIND_ENUM64, KIND_FUNC, KIND_FUNC_PROTO, KIND_INT, KIND_PTR,
    KIND_RESTRICT, KIND_STRUCT, KIND_TYPE_TAG, KIND_TYPEDEF, KIND_UNION, KIND_VOLATILE, MAGIC,
    MAX_DEPTH, MAX_VISITS, Type, u32_at,
};

/// All that is ever asked of a kernel's types.
pub struct Questions<'a> {
    /// For [`Btf::resolve`]: structure and path.
    pub members: &'a [(&'a str, &'a str)],
    /// For [`Btf::enumerators`].
    pub enumerations: &'a [&'a str],
    /// For [`Btf::parameters`].
    pub prototypes: &'a [&'a str],
    /// For [`Btf::functions`].
    pub functions: &'a [&'a str],
}

impl Questions<'_> {
    /// A name that other questions do not have: an extract carries it, since what it lacks looks like what the kernel lacks.
    pub fn mark(&self) -> String {
        let members = self.members.iter().flat_map(|(name, path)| [*name, *path]);
        let others = [self.enumerations, self.prototypes, self.functions];
        let words = members.chain(others.into_iter().flatten().copied());
        // FNV-1a, which stays the same over releases of the standard library.
        let digest = words
            .flat_map(|word| word.bytes().chain([0]))
            .fold(0xcbf2_9ce4_8422_2325_u64, |digest, byte| {
                (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        format!("answers_{digest:016x}")
    }
}

impl Btf<'_> {
    /// BTF in which these typedefs and functions have the ids that they have here, and nothing else has a name: what
    /// attaching by type id needs, for a reader that copies all that it reads.
    pub fn skeleton(&self, typedefs: &HashSet<String>, functions: &HashSet<String>) -> Vec<u8> {
        let mut types = Vec::with_capacity(self.offsets.len() * 12);
        let mut strings = vec![0];
        let mut end = 0;
        for at in &self.offsets {
            let kept = self.read_type(*at as usize).and_then(|record| {
                let wanted = match record.kind {
                    KIND_TYPEDEF => typedefs,
                    KIND_FUNC => functions,
                    _ => return None,
                };
                let name = std::str::from_utf8(self.name(record.name)?).ok()?;
                wanted.contains(name).then_some((record.kind, name))
            });
            let (kind, name) = kept.unwrap_or((KIND_PTR, ""));
            let name_offset = if name.is_empty() { 0 } else { strings.len() };
            for word in [name_offset as u32, u32::from(kind) << 24, 0] {
                types.extend_from_slice(&word.to_ne_bytes());
            }
            if !name.is_empty() {
                strings.extend_from_slice(name.as_bytes());
                strings.push(0);
                end = types.len();
            }
        }
        types.truncate(end);
        assemble(&types, &strings)
    }

    /// BTF that answers `questions` as this does, and nothing else.
    pub fn extract(&self, questions: &Questions) -> Vec<u8> {
        let mut extract = Extract::new(self);
        extract.record(&[], KIND_INT, 0, 4, &[32]);
        extract.record(
            questions.mark().as_bytes(),
            KIND_TYPEDEF,
            0,
            Extract::OPAQUE,
            &[],
        );
        let mut structures: Vec<&str> = questions.members.iter().map(|(name, _)| *name).collect();
        structures.sort_unstable();
        structures.dedup();
        for structure in structures {
            let paths: Vec<Vec<&[u8]>> = questions
                .members
                .iter()
                .filter(|(name, _)| *name == structure)
                .map(|(_, path)| path.split('.').map(str::as_bytes).collect())
                .collect();
            let found = self.find(structure, |kind| kind == KIND_STRUCT || kind == KIND_UNION);
            if let Some(record) = found {
                extract.container(record, structure.as_bytes(), &paths, MAX_DEPTH);
            }
        }
        for name in questions.enumerations {
            if let Some(record) = self.find(name, |kind| kind == KIND_ENUM || kind == KIND_ENUM64) {
                extract.enumeration(record);
            }
        }
        for name in questions.prototypes {
            if let Some(record) = self.find(name, |kind| kind == KIND_TYPEDEF) {
                extract.prototype(record, MAX_DEPTH);
            }
        }
        for record in self.all().filter(|record| record.kind == KIND_FUNC) {
            let name = self.name(record.name).unwrap_or_default();
            if questions.functions.iter().any(|it| it.as_bytes() == name)
                && let Some(prototype) = self.by_id(record.value)
            {
                let prototype = extract.prototype(prototype, MAX_DEPTH);
                extract.record(name, KIND_FUNC, record.vlen as u32, prototype, &[]);
            }
        }
        extract.bytes()
    }

    fn all(&self) -> impl Iterator<Item = Type> {
        self.offsets
            .iter()
            .filter_map(|at| self.read_type(*at as usize))
    }
}

/// BTF that is being written.
struct Extract<'a> {
    from: &'a Btf<'a>,
    types: Vec<u8>,
    strings: Vec<u8>,
    count: u32,
}

impl<'a> Extract<'a> {
    /// The type in place of unused ones, the first that is written.
    const OPAQUE: u32 = 1;

    fn new(from: &'a Btf<'a>) -> Self {
        Self {
            from,
            types: Vec::new(),
            strings: vec![0],
            count: 0,
        }
    }

    /// A structure with the members on the way of `paths`; its id. Inner ones have no name, or they would be taken for
    /// the whole one.
    fn container(&mut self, record: Type, name: &[u8], paths: &[Vec<&[u8]>], depth: usize) -> u32 {
        let mut extra = Vec::new();
        let mut open = paths.to_vec();
        for (label, id, raw) in self.members(record) {
            let inner = self.from.resolve_aliases(id);
            // As in a search, the first member that leads on is the one.
            let (through, others) = open.into_iter().partition::<Vec<_>, _>(|path| {
                if label.is_empty() {
                    inner.is_some_and(|inner| self.has(inner, path))
                } else {
                    path.first() == Some(&label)
                }
            });
            open = others;
            if through.is_empty() {
                continue;
            }
            let rest: Vec<Vec<_>> = if label.is_empty() {
                through
            } else {
                let behind = through.iter().filter_map(|path| path.get(1..));
                let behind = behind.filter(|rest| !rest.is_empty());
                behind.map(<[_]>::to_vec).collect()
            };
            let id = if rest.is_empty() || inner.is_none() || depth == 0 {
                Self::OPAQUE
            } else {
                self.alias(id, &rest, depth - 1)
            };
            extra.extend([self.string(label), id, raw]);
        }
        let flag = u32::from(record.kind_flag) << 31;
        let vlen = (extra.len() / 3) as u32;
        self.record(name, record.kind, flag | vlen, record.value, &extra)
    }

    /// A chain of typedefs and qualifiers, down to the structure.
    fn alias(&mut self, id: u32, paths: &[Vec<&[u8]>], depth: usize) -> u32 {
        let Some(record) = self.from.by_id(id) else {
            return Self::OPAQUE;
        };
        match record.kind {
            KIND_STRUCT | KIND_UNION => self.container(record, &[], paths, depth),
            KIND_TYPEDEF | KIND_CONST | KIND_VOLATILE | KIND_RESTRICT | KIND_TYPE_TAG
                if depth > 0 =>
            {
                let inner = self.alias(record.value, paths, depth - 1);
                self.copy(record, inner)
            }
            _ => Self::OPAQUE,
        }
    }

    /// A chain down to a function's prototype, whose parameters are counted only.
    fn prototype(&mut self, record: Type, depth: usize) -> u32 {
        match record.kind {
            KIND_FUNC_PROTO => {
                let extra = [0, Self::OPAQUE].repeat(record.vlen);
                self.record(&[], KIND_FUNC_PROTO, record.vlen as u32, 0, &extra)
            }
            KIND_TYPEDEF | KIND_PTR | KIND_CONST | KIND_VOLATILE | KIND_RESTRICT
            | KIND_TYPE_TAG
                if depth > 0 =>
            {
                let inner = self.from.by_id(record.value);
                let inner = inner.map_or(Self::OPAQUE, |inner| self.prototype(inner, depth - 1));
                self.copy(record, inner)
            }
            _ => Self::OPAQUE,
        }
    }

    fn enumeration(&mut self, record: Type) {
        let words = if record.kind == KIND_ENUM { 2 } else { 3 };
        let mut extra = Vec::new();
        for index in 0..record.vlen {
            let at = record.at + 12 + index * words * 4;
            let word = |word: usize| u32_at(self.from.types, at + word * 4).unwrap_or_default();
            let values: Vec<_> = (1..words).map(word).collect();
            let label = self.from.name(word(0)).unwrap_or_default();
            extra.push(self.string(label));
            extra.extend(values);
        }
        let flag = u32::from(record.kind_flag) << 31;
        let name = self.from.name(record.name).unwrap_or_default();
        let info = flag | record.vlen as u32;
        self.record(name, record.kind, info, record.value, &extra);
    }

    /// Name, type and offset as it is written, of each member.
    fn members(&self, record: Type) -> Vec<(&'a [u8], u32, u32)> {
        let from = self.from;
        let member = |index: usize| {
            let at = record.at + 12 + index * 12;
            let word = |word: usize| u32_at(from.types, at + word * 4);
            Some((from.name(word(0)?)?, word(1)?, word(2)?))
        };
        (0..record.vlen).filter_map(member).collect()
    }

    /// Whether a path begins with a member of this one, or of an anonymous one in it.
    fn has(&self, container: Type, path: &[&[u8]]) -> bool {
        path.first().is_some_and(|first| {
            let mut visits = MAX_VISITS;
            let found = self.from.member(container, first, MAX_DEPTH, &mut visits);
            found.is_some()
        })
    }

    fn copy(&mut self, record: Type, value: u32) -> u32 {
        let name = self.from.name(record.name).unwrap_or_default();
        self.record(name, record.kind, 0, value, &[])
    }

    /// Writes a type; its id.
    fn record(&mut self, name: &[u8], kind: u8, info: u32, value: u32, extra: &[u32]) -> u32 {
        let name = self.string(name);
        let info = info | u32::from(kind) << 24;
        for word in [name, info, value].iter().chain(extra) {
            self.types.extend_from_slice(&word.to_ne_bytes());
        }
        self.count += 1;
        self.count
    }

    fn string(&mut self, text: &[u8]) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let at = self.strings.len() as u32;
        self.strings.extend_from_slice(text);
        self.strings.push(0);
        at
    }

    fn bytes(self) -> Vec<u8> {
        assemble(&self.types, &self.strings)
    }
}

fn assemble(types: &[u8], strings: &[u8]) -> Vec<u8> {
    let (type_len, string_len) = (types.len() as u32, strings.len() as u32);
    let mut bytes = MAGIC.to_ne_bytes().to_vec();
    bytes.extend([1, 0]);
    for word in [super::HEADER_LEN as u32, 0, type_len, type_len, string_len] {
        bytes.extend_from_slice(&word.to_ne_bytes());
    }
    bytes.extend_from_slice(types);
    bytes.extend_from_slice(strings);
    bytes
}
