//! Copies and clears what is made of whole words, word by word: what the compiler makes of an assignment goes byte by byte
//! through functions of its own, which costs time, stack and the verifier's patience.

/// Clears a value whose zeroes are valid, as those of everything on the wire are.
#[inline(always)]
pub fn clear<T: Copy>(into: &mut T) {
    if align_of::<T>() == 8 {
        clear_by::<T, u64>(into, 0);
    } else {
        clear_by::<T, u32>(into, 0);
    }
}

/// Copies a value.
#[inline(always)]
pub fn copy<T: Copy>(from: &T, into: &mut T) {
    if align_of::<T>() == 8 {
        copy_by::<T, u64>(from, into);
    } else {
        copy_by::<T, u32>(from, into);
    }
}

#[inline(always)]
fn clear_by<T, W: Copy>(into: &mut T, zero: W) {
    const { assert!(size_of::<T>().is_multiple_of(4) && align_of::<T>() >= 4) };
    let into = core::ptr::from_mut(into).cast::<W>();
    for i in 0..size_of::<T>() / size_of::<W>() {
        // SAFETY: within the value, which has whole words.
        let word = unsafe { into.add(i) };
        // SAFETY: as above.
        unsafe { word.write_volatile(zero) };
    }
}

#[inline(always)]
fn copy_by<T, W: Copy>(from: &T, into: &mut T) {
    const { assert!(size_of::<T>().is_multiple_of(4) && align_of::<T>() >= 4) };
    let from = core::ptr::from_ref(from).cast::<W>();
    let into = core::ptr::from_mut(into).cast::<W>();
    for i in 0..size_of::<T>() / size_of::<W>() {
        // SAFETY: within the value, which has whole words.
        let source = unsafe { from.add(i) };
        // SAFETY: as above.
        let target = unsafe { into.add(i) };
        // SAFETY: as above.
        let value = unsafe { source.read_volatile() };
        // SAFETY: as above.
        unsafe { target.write_volatile(value) };
    }
}
