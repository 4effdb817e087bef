"""Which system calls a run may make: the seccomp filters of the kinds of processes.

`sealed` is the filter of a fork server and of all its children. `own` is a second, small one that each child adds: what
its server needs and the source must not have. Calls that only an attack makes kill; others fail, so that a program which
merely asks goes on. Where both filters answer, the kernel takes the stricter answer.
"""

from __future__ import annotations

import errno

from sandbox.inside.bpf import (
    ALLOW,
    KILL,
    NEW_CALLS,
    Instructions,
    allow_listed,
    allow_masked,
    allow_null,
    always,
    answer_unless_masked,
    answer_where_masked,
    assemble,
    fail,
    fail_below,
)

_PLAIN = """
read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 close fstat lseek ftruncate fsync fdatasync
mmap mprotect munmap brk mremap madvise msync dup dup2 dup3 pipe pipe2 close_range
rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait rt_sigsuspend sigaltstack pause
alarm getitimer setitimer nanosleep clock_nanosleep clock_gettime clock_getres gettimeofday time times
select pselect6 poll ppoll epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 eventfd eventfd2
timerfd_create timerfd_settime timerfd_gettime
getpid gettid getppid getuid geteuid getgid getegid getresuid getresgid getgroups getpgrp getpgid getsid getcwd
uname sysinfo getrusage getrlimit getrandom getcpu sched_yield sched_getaffinity sched_get_priority_max
sched_get_priority_min sched_getscheduler sched_getparam futex futex_waitv set_robust_list set_tid_address rseq
membarrier restart_syscall exit exit_group wait4 waitid recvfrom shutdown getsockname getpeername getsockopt umask
arch_prctl
""".split()

_HOSTILE = """
ptrace process_vm_readv process_vm_writev kcmp pidfd_getfd pidfd_send_signal process_madvise
bpf perf_event_open userfaultfd kexec_load kexec_file_load init_module finit_module delete_module create_module
io_uring_setup io_uring_enter io_uring_register io_setup io_submit keyctl add_key request_key
mount umount2 pivot_root chroot setns unshare open_tree move_mount fsopen fsconfig fsmount fspick mount_setattr
swapon swapoff reboot iopl ioperm modify_ldt quotactl quotactl_fd open_by_handle_at name_to_handle_at
fanotify_init fanotify_mark lookup_dcookie acct settimeofday clock_settime sethostname setdomainname vhangup
move_pages migrate_pages memfd_secret syslog uselib vmsplice
""".split()

_LOOKUPS = """
stat lstat newfstatat statx access faccessat faccessat2 readlink readlinkat statfs fstatfs chdir getxattr lgetxattr
listxattr llistxattr fgetxattr flistxattr openat2
""".split()
_CHANGES = """
creat mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 link linkat symlink symlinkat truncate fallocate
""".split()
_ATTRIBUTES = """
chmod fchmod fchmodat chown fchown lchown fchownat utime utimes futimesat utimensat setxattr lsetxattr fsetxattr
removexattr lremovexattr fremovexattr
""".split()
_FILES = "getdents getdents64 fchdir flock fadvise64 readahead sendfile copy_file_range sync_file_range".split()
_PROCESSES = "fork vfork execve setsid setpgid kill tkill getpriority capget fstatfs statfs".split()

_NAMESPACES = 0x7E020080
"""CLONE_NEW*, time namespaces included."""
_THREAD, _SHARED_FILES = 0x10000, 0x400
"""CLONE_THREAD, CLONE_FILES."""
_WRITING = 0o1 | 0o2 | 0o100
"""O_WRONLY, O_RDWR, O_CREAT."""
_STREAM, _TYPE_MASK = 1, 0xF
# Commands of fcntl: duplicate, flags, seals and sizes. Not among them: F_SETOWN, F_SETSIG, F_SETOWN_EX, leases, locks,
# dnotify, which send signals to others or reach other runs.
_FCNTL = (0, 1, 2, 3, 4, 1030, 1032, 1033, 1034)
_FCNTL_LOCKS = (5, 6, 7, 36, 37, 38)
_IOCTL = (0x5450, 0x5451, 0x5421, 0x541B)  # FIONCLEX, FIOCLEX, FIONBIO, FIONREAD
_SET_NAME, _GET_NAME = 15, 16
# Names of threads and of memory; what there are of privileges, and to have no more of them.
_PRCTL = (_SET_NAME, _GET_NAME, 3, 23, 38, 39, 0x53564D41)
_MAP_STACK, _LEAST_STACK = 0x20000, 1 << 20
_DENIED = always(fail(errno.EPERM))


def _common() -> dict[str, Instructions]:
    answers = {name: always(ALLOW) for name in _PLAIN} | {name: always(KILL) for name in _HOSTILE}
    # So that the limit of the address space bounds the number of threads where nothing else does.
    answers["mmap"] = fail_below(1, _LEAST_STACK, (3, _MAP_STACK), fail(errno.ENOMEM))
    answers["fcntl"] = allow_listed(1, _FCNTL, fail(errno.EPERM))
    answers["ioctl"] = allow_listed(1, _IOCTL, fail(errno.ENOTTY))
    answers["sendto"] = allow_null(4, fail(errno.EPERM))
    answers["socket"] = always(fail(errno.EACCES))
    # A pair of datagram sockets could send to any abstract address.
    answers["socketpair"] = allow_masked(1, _TYPE_MASK, _STREAM, fail(errno.EPERM))
    answers["prlimit64"] = allow_masked(0, 0xFFFFFFFF, 0, fail(errno.EPERM))  # its own limits only
    answers["clone"] = [
        # Threads share descriptors, so that one look tells what a process has open.
        *answer_where_masked(0, _THREAD | _SHARED_FILES, _THREAD, fail(errno.EPERM)),
        *allow_masked(0, _NAMESPACES, 0, KILL),
    ]
    answers["clone3"] = NEW_CALLS[:]  # its flags lie in memory, where no filter can see them
    answers["clock_adjtime"] = answers["adjtimex"] = _DENIED
    return answers


def sealed() -> bytes:
    """The filter of a sealed server: no path can be opened, looked up or changed, whatever is asked."""
    answers = _common()
    answers |= {name: always(fail(errno.ENOENT)) for name in _LOOKUPS}
    answers |= {name: always(fail(errno.EROFS)) for name in (*_CHANGES, *_ATTRIBUTES)}
    answers["open"] = [*_not_for_writing(1), *always(fail(errno.ENOENT))]
    answers["openat"] = [*_not_for_writing(2), *always(fail(errno.ENOENT))]
    for name in ("kill", "tgkill", "prctl", "seccomp", "sendmsg", "recvmsg", "setresuid", "setresgid", "setgroups"):
        answers[name] = always(ALLOW)  # the server's; `own` takes them from the source
    return assemble(answers, known=_DENIED, new=NEW_CALLS)


def files(in_jail: bool) -> bytes:
    """The filter of a process that may use files, as far as the layers about files let it."""
    answers = _common() | _with_files(in_jail)
    answers["kill"] = answers["tgkill"] = answers["prctl"] = answers["seccomp"] = always(ALLOW)
    return assemble(answers, known=_DENIED, new=NEW_CALLS)


def processes(in_jail: bool) -> bytes:
    """The filter of a process tree that may use files and start programs, other languages' runtimes among them."""
    answers = _common() | _with_files(in_jail)
    answers["prctl"] = allow_listed(0, _PRCTL, fail(errno.EPERM))
    answers["mmap"] = always(ALLOW)  # threads count as processes, of which there is a limit here
    answers |= {name: always(ALLOW) for name in (*_PROCESSES, "tgkill", "rt_sigqueueinfo", "getpriority", "mincore")}
    # Runtimes ask for these and do without.
    for name in ("io_uring_setup", "io_uring_enter", "io_uring_register", "io_setup", "io_submit"):
        answers[name] = NEW_CALLS[:]
    answers["ioctl"] = allow_listed(1, (*_IOCTL, 0x5401, 0x5413, 0x540F), fail(errno.ENOTTY))
    return assemble(answers, known=_DENIED, new=NEW_CALLS)


def _with_files(in_jail: bool) -> dict[str, Instructions]:
    answers = {name: always(ALLOW) for name in (*_LOOKUPS, *_CHANGES, *_FILES, "open", "openat")}
    answers["openat2"] = NEW_CALLS[:]
    # Outside a jail no layer covers attributes: they are left as they are, and whoever sets them is told it was done.
    answers |= {name: always(ALLOW if in_jail else fail(0)) for name in _ATTRIBUTES}
    # Landlock before its third version does not cover it either.
    answers["truncate"] = always(ALLOW if in_jail else fail(errno.EACCES))
    # Takes up any room at once, before anybody can have counted it; the C library does without.
    answers["fallocate"] = always(ALLOW if in_jail else fail(errno.EOPNOTSUPP))
    answers["fcntl"] = allow_listed(1, (*_FCNTL, *_FCNTL_LOCKS), fail(errno.EPERM))
    return answers


def own(pid: int) -> bytes:
    """What a child adds: no processes, signals to itself alone, no messages with descriptors, no further filters."""
    to_itself = allow_masked(0, 0xFFFFFFFF, pid, fail(errno.EPERM))
    answers = {
        "clone": allow_masked(0, _THREAD, _THREAD, fail(errno.EPERM)),
        "kill": to_itself,
        "tgkill": to_itself,
        "prctl": allow_listed(0, (_SET_NAME, _GET_NAME), fail(errno.EPERM)),
    }
    for name in ("seccomp", "sendmsg", "recvmsg", "setresuid", "setresgid", "setgroups"):
        answers[name] = _DENIED
    return assemble(answers, known=always(ALLOW), new=always(ALLOW))


def _not_for_writing(argument: int) -> Instructions:
    """Opening for writing fails as on a read-only file system; else the next instructions decide."""
    return answer_unless_masked(argument, _WRITING, fail(errno.EROFS))
