//! rsttrace's eBPF programs: they collect evidence and filter cheaply. They hold no policy.
#![no_std]
#![no_main]

mod emit;
mod failure;
mod flood;
mod handshakes;
mod kernel;
mod knobs;
mod listeners;
mod maps;
mod owners;
mod packet;
mod probes;
mod snapshot;
mod table;
mod words;

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // No program here can panic: sums wrap, indices are constants. The verifier would refuse one that did.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
