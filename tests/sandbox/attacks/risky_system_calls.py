# /// attack
# must-not = "reach any of the kernel's larger surfaces"
# allowed = ["ok"]
# returns = "[]"
# machine = "x86_64"
# ///
import ctypes

# Each is refused whatever its arguments. With null arguments the kernel itself would answer EFAULT or EINVAL.
CALLS = {
    "ptrace": 101, "syslog": 103, "setuid": 105, "setgid": 106, "setpgid to init": None, "setreuid": 113, "setgroups": 116,
    "personality": 135, "modify_ldt": 154, "pivot_root": 155, "chroot": 161, "acct": 163, "settimeofday": 164, "mount": 165,
    "umount2": 166, "swapon": 167, "reboot": 169, "sethostname": 170, "iopl": 172, "ioperm": 173, "init_module": 175,
    "delete_module": 176, "quotactl": 179, "io_setup": 206, "clock_settime": 227, "mbind": 237, "mq_open": 240, "kexec_load": 246,
    "add_key": 248, "request_key": 249, "keyctl": 250, "unshare": 272, "splice": 275, "vmsplice": 278, "move_pages": 279,
    "fanotify_init": 300, "name_to_handle_at": 303, "open_by_handle_at": 304, "setns": 308, "process_vm_readv": 310, "kcmp": 312,
    "finit_module": 313, "sched_setattr": 314, "seccomp": 317, "memfd_create": 319, "bpf": 321, "execveat": 322,
    "userfaultfd": 323, "perf_event_open": 298, "pkey_alloc": 330, "io_uring_setup": 425, "open_tree": 428, "fsopen": 430,
    "pidfd_getfd": 438, "process_madvise": 440, "mount_setattr": 442, "memfd_secret": 447,
    "shmget": 29, "semget": 64, "msgget": 68, "inotify_init": 253, "lookup_dcookie": 212, "vhangup": 153, "nfsservctl": 180,
}
EPERM, ENOSYS = 1, 38


def attack():
    libc = ctypes.CDLL(None, use_errno=True)
    reached = []
    for name, number in CALLS.items():
        if number is None:
            continue
        ctypes.set_errno(0)
        done = libc.syscall(number, 0, 0, 0, 0, 0, 0)
        if not (done == -1 and ctypes.get_errno() in (EPERM, ENOSYS)):
            reached.append(name)
    return reached
