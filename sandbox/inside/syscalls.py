"""System call numbers that a jailed program may use, by machine.

Generated from the kernel's ``unistd`` headers. Absent on purpose: everything that starts a process, opens a
socket, mounts, traces, changes identity, or reaches the kernel's larger surfaces (bpf, io_uring, keys, perf); and
``setsockopt``, which takes memory that no limit counts and programs for the kernel's packet filter.
"""

from __future__ import annotations


def _table(text: str) -> dict[str, int]:
    return {name: int(number) for name, number in (entry.split(":") for entry in text.split())}


X86_64 = _table(
    """
    read:0 write:1 readv:19 writev:20 pread64:17 pwrite64:18 preadv:295 pwritev:296 preadv2:327
    pwritev2:328 open:2 openat:257 close:3 close_range:436 creat:85 lseek:8 stat:4 fstat:5 lstat:6
    newfstatat:262 statx:332 statfs:137 fstatfs:138 access:21 faccessat:269 faccessat2:439 readlink:89
    readlinkat:267 getdents:78 getdents64:217 getcwd:79 chdir:80 fchdir:81 mkdir:83 mkdirat:258 rmdir:84
    unlink:87 unlinkat:263 rename:82 renameat:264 renameat2:316 link:86 linkat:265 symlink:88
    symlinkat:266 chmod:90 fchmod:91 fchmodat:268 truncate:76 ftruncate:77 fallocate:285 fsync:74
    fdatasync:75 utime:132 utimes:235 utimensat:280 futimesat:261 umask:95 dup:32 dup2:33 dup3:292
    pipe:22 pipe2:293 flock:73 sendfile:40 fadvise64:221 getxattr:191 lgetxattr:192
    fgetxattr:193 listxattr:194 llistxattr:195 flistxattr:196 poll:7 ppoll:271 select:23 pselect6:270
    epoll_create:213 epoll_create1:291 epoll_ctl:233 epoll_wait:232 epoll_pwait:281 epoll_pwait2:441
    eventfd:284 eventfd2:290 shutdown:48 sendto:44 recvfrom:45 getsockname:51 getpeername:52
    getsockopt:55 mmap:9 munmap:11 mprotect:10 mremap:25 madvise:28 brk:12 msync:26
    mincore:27 membarrier:324 rt_sigaction:13 rt_sigprocmask:14 rt_sigreturn:15 rt_sigpending:127
    rt_sigtimedwait:128 rt_sigsuspend:130 sigaltstack:131 restart_syscall:219
    pause:34 alarm:37 setitimer:38 getitimer:36 nanosleep:35 clock_nanosleep:230
    clock_gettime:228 clock_getres:229 gettimeofday:96 time:201 times:100 getpid:39 getppid:110
    gettid:186 getuid:102 geteuid:107 getgid:104 getegid:108 getresuid:118 getresgid:120 getgroups:115
    getpgid:121 getpgrp:111 getsid:124 setsid:112 setpgid:109 getrlimit:97 setrlimit:160
    getrusage:98 uname:63 sysinfo:99 getrandom:318 getcpu:309 getpriority:140 futex:202 futex_waitv:449
    set_robust_list:273 get_robust_list:274 set_tid_address:218 rseq:334 arch_prctl:158 sched_yield:24
    sched_getaffinity:204 sched_getparam:143 sched_getscheduler:145 sched_get_priority_max:146
    sched_get_priority_min:147 sched_rr_get_interval:148 wait4:61 waitid:247 exit:60 exit_group:231
    """
)
# Answered by argument, or allowed only to what becomes Node or to fork servers.
X86_64_SPECIAL = _table(
    """
    clone:56 clone3:435 socketpair:53 prctl:157 ioctl:16 fcntl:72 kill:62 tkill:200 tgkill:234
    prlimit64:302 execveat:322 recvmsg:47 memfd_create:319 sched_setaffinity:203
    setresuid:117 setresgid:119
    """
)

AARCH64 = _table(
    """
    read:63 write:64 readv:65 writev:66 pread64:67 pwrite64:68 preadv:69 pwritev:70 preadv2:286
    pwritev2:287 openat:56 close:57 close_range:436 lseek:62 fstat:80 newfstatat:79 statx:291 statfs:43
    fstatfs:44 faccessat:48 faccessat2:439 readlinkat:78 getdents64:61 getcwd:17 chdir:49 fchdir:50
    mkdirat:34 unlinkat:35 renameat:38 renameat2:276 linkat:37 symlinkat:36 fchmod:52 fchmodat:53
    truncate:45 ftruncate:46 fallocate:47 fsync:82 fdatasync:83 utimensat:88 umask:166 dup:23 dup3:24
    pipe2:59 flock:32 sendfile:71 fadvise64:223 getxattr:8 lgetxattr:9 fgetxattr:10
    listxattr:11 llistxattr:12 flistxattr:13 ppoll:73 pselect6:72 epoll_create1:20 epoll_ctl:21
    epoll_pwait:22 epoll_pwait2:441 eventfd2:19 shutdown:210 sendto:206 recvfrom:207 getsockname:204
    getpeername:205 getsockopt:209 mmap:222 munmap:215 mprotect:226 mremap:216
    madvise:233 brk:214 msync:227 mincore:232 membarrier:283 rt_sigaction:134 rt_sigprocmask:135
    rt_sigreturn:139 rt_sigpending:136 rt_sigtimedwait:137 rt_sigsuspend:133 sigaltstack:132
    restart_syscall:128 setitimer:103 getitimer:102 nanosleep:101
    clock_nanosleep:115 clock_gettime:113 clock_getres:114 gettimeofday:169 times:153 getpid:172
    getppid:173 gettid:178 getuid:174 geteuid:175 getgid:176 getegid:177 getresuid:148 getresgid:150
    getgroups:158 getpgid:155 getsid:156 setsid:157 setpgid:154 getrlimit:163 setrlimit:164
    getrusage:165 uname:160 sysinfo:179 getrandom:278 getcpu:168 getpriority:141 futex:98
    futex_waitv:449 set_robust_list:99 get_robust_list:100 set_tid_address:96 rseq:293 sched_yield:124
    sched_getaffinity:123 sched_getparam:121 sched_getscheduler:120 sched_get_priority_max:125
    sched_get_priority_min:126 sched_rr_get_interval:127 wait4:260 waitid:95 exit:93 exit_group:94
    """
)
# Answered by argument, or allowed only to what becomes Node or to fork servers.
AARCH64_SPECIAL = _table(
    """
    clone:220 clone3:435 socketpair:199 prctl:167 ioctl:29 fcntl:25 kill:129 tkill:130 tgkill:131
    prlimit64:261 execveat:281 recvmsg:212 memfd_create:279 sched_setaffinity:122
    setresuid:147 setresgid:149
    """
)
