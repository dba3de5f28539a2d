//! The only place that reads kernel memory.
//!
//! Two ways, [`Followed`]: `load` follows a pointer whose type the verifier knows (arguments of tp_btf and fentry programs
//! and what they point to; a fault reads as zero, so null needs no check), and [`Copied`]: `read` copies from any address
//! by helper, all that kprobes and classifiers may do.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{
    bpf_get_current_cgroup_id, bpf_get_current_task, bpf_get_current_task_btf,
    bpf_probe_read_kernel, bpf_skc_to_tcp_sock,
};
use rsttrace_common::knobs::HELPER_TYPED_TASK;
use rsttrace_common::table::step;
use rsttrace_common::task::{CurrentTask, PF_EXITING, PID_OUTSIDE, Task};

use crate::emit::jiffies;
use crate::knobs::{PID_NAMESPACE, get, has, offset};
use crate::maps::{DEVICE, DeviceNetns};

/// A pointer whose type the verifier knows.
pub type Typed = *const c_void;

/// How a member of a kernel object is reached.
pub trait Reach {
    /// A member of an object; `None` if this kernel has no such member.
    ///
    /// Never pass a null pointer made here: the compiler would take what follows for unreachable.
    fn load<T: Copy>(object: Typed, member: Option<usize>) -> Option<T>;
}

/// By following a pointer whose type the verifier knows.
pub struct Followed;

/// By copying from an address.
pub struct Copied;

impl Reach for Followed {
    #[inline(always)]
    fn load<T: Copy>(object: Typed, member: Option<usize>) -> Option<T> {
        load(object, member)
    }
}

impl Reach for Copied {
    #[inline(always)]
    fn load<T: Copy>(object: Typed, member: Option<usize>) -> Option<T> {
        Some(read((object as u64).wrapping_add(member? as u64)))
    }
}

/// A network namespace.
#[derive(Clone, Copy)]
pub struct Netns {
    /// `net.net_cookie`.
    pub cookie: u64,
    /// `net.ns.inum`.
    pub inode: u32,
}

impl Netns {
    /// Nothing known.
    pub const UNKNOWN: Self = Self {
        cookie: 0,
        inode: 0,
    };

    /// The namespace of a `possible_net_t` member.
    #[inline(always)]
    pub fn of<R: Reach>(object: Typed, member: Option<usize>) -> Self {
        let Some(net) = R::load::<Typed>(object, member) else {
            return Self::UNKNOWN;
        };
        Self::new(
            R::load(net, offset!(net_cookie)).unwrap_or(0),
            R::load(net, offset!(net_inum)).unwrap_or(0),
        )
    }

    /// The namespace of the device a classifier runs on. By address: `bpf_get_netns_cookie` exists for classifiers from
    /// 6.15 on, but answers for `skb->sk`, which is the remote sender's on veth, and for the initial namespace without one.
    ///
    /// What the last packet's device had is kept for the rest of the jiffy: a device does not change its namespace, and no other
    /// one takes its address, while packets pass.
    #[inline(always)]
    pub fn of_device(skb: *mut c_void) -> Self {
        let device: u64 = read_member(skb as u64, offset!(skb_dev));
        let jiffies = jiffies();
        // SAFETY: this CPU's own element. A run that interrupts this one may write there, too: then `check` does not fit.
        let last = unsafe { DEVICE.get_ptr_mut(0).and_then(|it| it.as_mut()) };
        if let Some(last) = &last {
            let netns = Self {
                cookie: last.cookie,
                inode: last.inode,
            };
            if last.check == netns.check(device, jiffies) {
                return netns;
            }
        }
        let net: u64 = read_member(device, offset!(dev_net));
        let netns = Self::new(
            read_member(net, offset!(net_cookie)),
            read_member(net, offset!(net_inum)),
        );
        if let Some(last) = last {
            *last = DeviceNetns {
                check: netns.check(device, jiffies),
                cookie: netns.cookie,
                inode: netns.inode,
                reserved: 0,
            };
        }
        netns
    }

    /// That this is the namespace of a device in a jiffy; never 0.
    #[inline(always)]
    fn check(self, device: u64, jiffies: u32) -> u64 {
        let words = [u64::from(jiffies), self.cookie, u64::from(self.inode)];
        words.into_iter().fold(device, step) | 1
    }

    /// Without a cookie, which is never 0, the inode has to name the namespace.
    #[inline(always)]
    fn new(cookie: u64, inode: u32) -> Self {
        Self {
            cookie: if cookie == 0 {
                u64::from(inode)
            } else {
                cookie
            },
            inode,
        }
    }
}

/// Loads a member of a typed object; `None` if this kernel has no such member.
///
/// Never pass a null pointer made here: the compiler would take what follows for unreachable.
#[inline(always)]
pub fn load<T: Copy>(object: Typed, member: Option<usize>) -> Option<T> {
    let member = member?;
    let place = object.wrapping_byte_add(member).cast::<T>();
    // SAFETY: the verifier checks the access against the type; a fault at run time yields zeroes.
    Some(unsafe { place.read() })
}

/// Copies from kernel memory at any address; zero if it cannot be read.
#[inline(always)]
pub fn read<T: Copy>(address: u64) -> T {
    let mut value = core::mem::MaybeUninit::<T>::uninit();
    // SAFETY: writes the size of `value`; on a fault the helper clears it. All types here are plain numbers.
    unsafe {
        bpf_probe_read_kernel(
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            address as *const c_void,
        )
    };
    // SAFETY: it was written.
    unsafe { value.assume_init() }
}

/// Copies a member of an object at any address; zero if it has none or cannot be read.
#[inline(always)]
pub fn read_member<T: Copy>(address: u64, member: Option<usize>) -> T {
    match member {
        Some(member) => read(address.wrapping_add(member as u64)),
        // SAFETY: all types here are plain numbers.
        None => unsafe { core::mem::zeroed() },
    }
}

/// The `n`th argument of a tp_btf or fentry program as a bare number: a comparison with null that no verifier removes.
#[inline(always)]
pub fn argument(ctx: *mut c_void, n: u64) -> u64 {
    read((ctx as u64).wrapping_add(n * 8))
}

/// The socket as a `tcp_sock`; `None` for minisocks and other protocols.
#[inline(always)]
pub fn tcp_sock(sk: Typed) -> Option<Typed> {
    // SAFETY: the verifier checks that `sk` is a socket.
    let tcp = unsafe { bpf_skc_to_tcp_sock(sk.cast_mut()) }
        .cast_const()
        .cast::<c_void>();
    if tcp.is_null() { None } else { Some(tcp) }
}

/// The running task, in tracing programs.
#[inline(always)]
pub fn current() -> CurrentTask {
    let mut current = if has(HELPER_TYPED_TASK) {
        // SAFETY: takes nothing.
        let task: Typed = unsafe { bpf_get_current_task_btf() }.cast_const().cast();
        task_of(task)
    } else {
        current_by_copy()
    };
    // SAFETY: takes nothing.
    current.task.cgroup_id = unsafe { bpf_get_current_cgroup_id() };
    current
}

/// A task the verifier knows as one. `cgroup_id` is left 0.
#[inline(always)]
pub fn task_of(task: Typed) -> CurrentTask {
    if get(&PID_NAMESPACE) != 0 {
        return task_at(task as u64);
    }
    let leader: Option<Typed> = load(task, offset!(task_group_leader));
    let cred: Option<Typed> = load(task, offset!(task_cred));
    // The process's name, not the thread's.
    let comm: [u64; 2] = match (leader, offset!(task_comm)) {
        (Some(leader), Some(comm)) => [
            load(leader, Some(comm)).unwrap_or(0),
            load(leader, Some(comm + 8)).unwrap_or(0),
        ],
        _ => [0, 0],
    };
    CurrentTask {
        task: Task {
            start_boottime_ns: leader
                .and_then(|leader| load(leader, offset!(task_start_boottime)))
                .unwrap_or(0),
            cgroup_id: 0,
            pid: load(task, offset!(task_tgid)).unwrap_or(0),
            uid: cred
                .and_then(|cred| load(cred, offset!(cred_euid)))
                .unwrap_or(0),
            comm: bytes(comm),
        },
        flags: load(task, offset!(task_flags)).unwrap_or(0),
        exit_code: load(task, offset!(task_exit_code)).unwrap_or(0),
    }
}

/// The running task, in programs that may only copy (classifiers). `cgroup_id` is left 0.
#[inline(always)]
pub fn current_by_copy() -> CurrentTask {
    // SAFETY: takes nothing.
    task_at(unsafe { bpf_get_current_task() })
}

/// A task by its address. `cgroup_id` is left 0.
#[inline(always)]
pub fn task_at(task: u64) -> CurrentTask {
    let leader: u64 = read_member(task, offset!(task_group_leader));
    let cred: u64 = read_member(task, offset!(task_cred));
    CurrentTask {
        task: Task {
            start_boottime_ns: read_member(leader, offset!(task_start_boottime)),
            cgroup_id: 0,
            pid: match get(&PID_NAMESPACE) {
                0 => read_member(task, offset!(task_tgid)),
                _ => pid_at(leader, read_member(task, offset!(task_tgid))),
            },
            uid: read_member(cred, offset!(cred_euid)),
            comm: bytes(read_member(leader, offset!(task_comm))),
        },
        flags: read_member(task, offset!(task_flags)),
        exit_code: read_member(task, offset!(task_exit_code)),
    }
}

/// The id of a process in the tracer's pid namespace, by its thread group leader and its id in the initial one. A function of its own,
/// so that programs stay as small as they are in the initial namespace.
#[inline(never)]
fn pid_at(leader: u64, initial: u32) -> u32 {
    let namespace = get(&PID_NAMESPACE);
    if initial == 0 {
        return initial;
    }
    let pid: u64 = read_member(leader, offset!(task_thread_pid));
    let deepest: u32 = read_member(pid, offset!(pid_level));
    // Level 0 is the initial one. The kernel allows 32; containers within containers are at 2.
    for level in 1..=MOST_PID_LEVELS {
        if level > deepest {
            break;
        }
        let numbers = pid.wrapping_add(u64::from(level) * SIZE_OF_UPID);
        let [number, owner]: [u64; 2] = read_member(numbers, offset!(pid_numbers));
        if read_member::<u32>(owner, offset!(pid_ns_inum)) == namespace {
            return number as u32;
        }
    }
    initial | PID_OUTSIDE
}

const MOST_PID_LEVELS: u32 = 4;
/// `struct upid { int nr; struct pid_namespace *ns; }` of 64 bits (include/linux/pid.h).
const SIZE_OF_UPID: u64 = 16;

/// The signal that is killing a task, 0: none.
#[inline(always)]
pub fn killing_signal(task: &CurrentTask) -> u8 {
    if task.flags & PF_EXITING != 0 {
        (task.exit_code & 0x7f) as u8
    } else {
        0
    }
}

#[inline(always)]
fn bytes(words: [u64; 2]) -> [u8; 16] {
    // SAFETY: any bytes are valid on both sides, and the sizes agree.
    unsafe { core::mem::transmute(words) }
}
