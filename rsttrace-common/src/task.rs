//! Which process: the part of a task that is worth keeping.

/// Length of a task's `comm`, `TASK_COMM_LEN` in the kernel.
pub const COMM_LEN: usize = 16;

wire! {
    /// A process (thread group), as remembered with a socket.
    pub struct Task {
        /// `group_leader->start_boottime`: with `pid` it names a process for good, as pids are reused.
        pub start_boottime_ns: u64,
        /// cgroup v2 id (inode number under the cgroup2 mount) of the task at that moment.
        pub cgroup_id: u64,
        /// Thread group id in the tracer's pid namespace; with [`PID_OUTSIDE`], that in the initial one, as the process has none
        /// there. 0: no process recorded.
        pub pid: u32,
        /// Effective user id in the initial user namespace.
        pub uid: u32,
        /// Name of the process (its thread group leader's), NUL-padded bytes of any encoding.
        pub comm: [u8; COMM_LEN],
    }

    /// The task that was running when a hook fired. In softirq it is a bystander:
    /// see [`crate::socket::Socket::owned`] for when it may be believed.
    pub struct CurrentTask {
        /// The process.
        pub task: Task,
        /// `task_struct.flags`, see `PF_EXITING` and `PF_KTHREAD`.
        pub flags: u32,
        /// `task_struct.exit_code`; the low 7 bits are the killing signal, meaningful only with `PF_EXITING`.
        pub exit_code: i32,
    }
}

/// In `pid`: the process is outside of the tracer's pid namespace. Process ids have 22 bits (`PID_MAX_LIMIT`, include/linux/threads.h).
pub const PID_OUTSIDE: u32 = 1 << 31;

/// `task_struct.flags`: the task is on its way out (include/linux/sched.h).
pub const PF_EXITING: u32 = 0x0000_0004;
/// `task_struct.flags`: a kernel thread (include/linux/sched.h).
pub const PF_KTHREAD: u32 = 0x0020_0000;
