# SPDX-License-Identifier: AGPL-3.0-or-later
"""The walls around a parser process. It builds them itself, before its first file, and none can be taken down again.

The kernel is spoken to directly: a library for its filters would bring a system library that small images lack.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import resource
import signal
import struct
import sys
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)

_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 22, 24, 38
_SECCOMP_MODE_FILTER = 2
_MAX_CAPABILITY = 63
_CAPABILITY_VERSION = 0x20080522
_OPEN_FILES = 64


class Wall(StrEnum):
    """What a parser is kept from; those the kernel does not offer are named by `doctor`."""

    PRIVILEGES = "new privileges"
    SYSTEM_CALLS = "network, other processes and writing to files"
    FILES = "reading files beside its own"


class _Filter:
    """A filter of system calls for one kind of processor, as the kernel reads it: classic BPF.

    What is refused is listed, not what is allowed: libraries of parsers differ in what they need, and a parser that
    fails after an update of the C library would lose everybody's files.
    """

    _ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
    _EPERM, _EACCES, _ENOSYS = 1, 13, 38
    _LOAD, _EQUAL, _SET, _RETURN, _AT_LEAST = 0x20, 0x15, 0x45, 0x06, 0x35
    _NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16

    def __init__(self, audit_architecture: int) -> None:
        self._instructions = [
            (self._LOAD, 0, 0, self._ARCHITECTURE),
            (self._EQUAL, 1, 0, audit_architecture),
            (self._RETURN, 0, 0, self._KILL),
            (self._LOAD, 0, 0, self._NUMBER),
            # other ways to number the calls of the same processor
            (self._AT_LEAST, 0, 1, 0x40000000),
            (self._RETURN, 0, 0, self._KILL),
        ]

    def refuse(self, numbers: Iterable[int], error: int = _EPERM) -> None:
        """These calls fail with `error`."""
        for number in numbers:
            self._instructions += [(self._EQUAL, 0, 1, number), (self._RETURN, 0, 0, self._REFUSE | error)]

    def refuse_unknown(self, numbers: Iterable[int]) -> None:
        """These calls fail as if the kernel did not know them: the caller takes the older one, which is looked at."""
        self.refuse(numbers, self._ENOSYS)

    def refuse_if_set(self, number: int, argument: int, bits: int) -> None:
        """The call fails when its argument has any of the bits."""
        self._look(number, argument, [(self._SET, 0, 1, bits), (self._RETURN, 0, 0, self._REFUSE | self._EACCES)])

    def refuse_unless_set(self, number: int, argument: int, bits: int) -> None:
        """The call fails when its argument has none of the bits."""
        self._look(number, argument, [(self._SET, 1, 0, bits), (self._RETURN, 0, 0, self._REFUSE | self._EPERM)])

    def refuse_unless_one_of(self, number: int, argument: int, values: Iterable[int]) -> None:
        """The call fails when its argument is none of the values."""
        wanted = list(values)
        tests = [(self._EQUAL, len(wanted) - place, 0, value) for place, value in enumerate(wanted)]
        self._look(number, argument, [*tests, (self._RETURN, 0, 0, self._REFUSE | self._EPERM)])

    def refuse_one(self, number: int, argument: int, value: int) -> None:
        """The call fails when its argument is the value."""
        self._look(number, argument, [(self._EQUAL, 0, 1, value), (self._RETURN, 0, 0, self._REFUSE | self._EPERM)])

    def _look(self, number: int, argument: int, tests: list[tuple[int, int, int, int]]) -> None:
        """Arguments are looked at in their lower half: all that are looked at have 32 bits."""
        body = [(self._LOAD, 0, 0, self._FIRST_ARGUMENT + 8 * argument), *tests, (self._LOAD, 0, 0, self._NUMBER)]
        self._instructions += [(self._EQUAL, 0, len(body), number), *body]

    def install(self) -> bool:
        """Put the filter in force for this process and its threads; False where the kernel has none."""
        code = b"".join(struct.pack("=HBBI", *one) for one in [*self._instructions, (self._RETURN, 0, 0, self._ALLOW)])
        program = struct.pack("@HP", len(code) // 8, ctypes.addressof(held := ctypes.create_string_buffer(code)))
        done = _libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.create_string_buffer(program), 0, 0)
        del held
        return bool(done == 0)


# Numbers of system calls by processor: x86_64, aarch64; None where there is no such call.
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_NETWORK = {
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201), "accept": (43, 202),
    "accept4": (288, 242),
}  # fmt: skip
_PROCESSES = {
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281), "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240), "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424), "pidfd_getfd": (438, 438), "ptrace": (101, 117),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "process_madvise": (440, 440),
    "kcmp": (312, 272), "setpriority": (141, 140), "sched_setaffinity": (203, 122), "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118), "sched_setattr": (314, 274), "ioprio_set": (251, 30),
}  # fmt: skip
_FILES = {
    "creat": (85, None), "truncate": (76, 45), "rename": (82, None), "renameat": (264, 38), "renameat2": (316, 276),
    "mkdir": (83, None), "mkdirat": (258, 34), "rmdir": (84, None), "unlink": (87, None), "unlinkat": (263, 35),
    "link": (86, None), "linkat": (265, 37), "symlink": (88, None), "symlinkat": (266, 36), "mknod": (133, None),
    "mknodat": (259, 33), "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
    "chown": (92, None), "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54), "utime": (132, None),
    "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88), "setxattr": (188, 5),
    "lsetxattr": (189, 6), "fsetxattr": (190, 7), "removexattr": (197, 14), "lremovexattr": (198, 15),
    "fremovexattr": (199, 16), "setxattrat": (463, 463), "removexattrat": (466, 466), "open_by_handle_at": (304, 265),
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194), "semget": (64, 190),
    "msgget": (68, 186), "mq_open": (240, 180), "mq_unlink": (241, 181),
}  # fmt: skip
_KERNEL = {
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "keyctl": (250, 219),
    "add_key": (248, 217), "request_key": (249, 218), "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40),
    "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "open_tree": (428, 428),
    "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432),
    "fspick": (433, 433), "mount_setattr": (442, 442), "init_module": (175, 105), "finit_module": (313, 273),
    "delete_module": (176, 106), "kexec_load": (246, 104), "kexec_file_load": (320, 294), "reboot": (169, 142),
    "swapon": (167, 224), "swapoff": (168, 225), "acct": (163, 89), "settimeofday": (164, 170),
    "clock_settime": (227, 112), "clock_adjtime": (305, 266), "adjtimex": (159, 171), "quotactl": (179, 60),
    "setuid": (105, 146), "setgid": (106, 144), "setreuid": (113, 145), "setregid": (114, 143),
    "setresuid": (117, 147), "setresgid": (119, 149), "setgroups": (116, 159), "personality": (135, 92),
    "iopl": (172, None), "ioperm": (173, None), "modify_ldt": (154, None),
}  # fmt: skip
_NEWER = {
    "clone3": (435, 435), "openat2": (437, 437), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
}  # fmt: skip
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CLONE_THREAD = 0x10000


def confine(memory_bytes: int, parent: int, readable: Iterable[Path]) -> frozenset[Wall]:
    """Build the walls; returns those that stand. `memory_bytes` limits the address space.

    The process dies with its `parent`, whose id it is, and reads nothing but the files and folders in `readable`,
    what it holds open, and what shows itself and the processor. Ends the process when the parent is gone already.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(5)  # as inference/processes.py does: documents still get on, and questions go first
    _limit(memory_bytes)
    walls = set()
    if _give_up_privileges():
        walls.add(Wall.PRIVILEGES)
        if _close_files(readable):
            walls.add(Wall.FILES)
        if _close_system_calls():
            walls.add(Wall.SYSTEM_CALLS)
    return frozenset(walls)


def _limit(memory_bytes: int) -> None:
    for what, most in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
    ):
        resource.setrlimit(what, (most, most))


def _give_up_privileges() -> bool:
    """No capabilities, though the program may run as root, and no way to new ones."""
    if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    for capability in range(_MAX_CAPABILITY + 1):
        _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)  # fails without privileges, when there is nothing to drop
    head = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION, 0))
    return bool(_libc.capset(head, ctypes.create_string_buffer(24)) == 0)


def _close_system_calls() -> bool:
    """No network, no other process, no writing: a filter of system calls, which needs no privileges."""
    column, audit = _ARCHITECTURES.get(platform.machine(), (0, 0))
    if not audit or sys.maxsize < 2**32:
        return False

    def numbers(*tables: Mapping[str, tuple[int, int | None]]) -> list[int]:
        columns = [pair[column] for table in tables for pair in table.values()]
        return [number for number in columns if number is not None]

    made = _Filter(audit)
    made.refuse(numbers(_NETWORK, _PROCESSES, _FILES, _KERNEL))
    made.refuse_unknown(numbers(_NEWER))
    openat, clone, kill, tgkill, prlimit, prctl = (
        (257, 56), (56, 220), (62, 129), (234, 131), (302, 261), (157, 167)
    )  # fmt: skip
    made.refuse_if_set(openat[column], 2, _WRITING)
    if column == 0:
        made.refuse_if_set(2, 1, _WRITING)
    made.refuse_unless_set(clone[column], 0, _CLONE_THREAD)
    own = os.getpid()
    made.refuse_unless_one_of(kill[column], 0, [own])
    made.refuse_unless_one_of(tgkill[column], 0, [own])
    made.refuse_unless_one_of(prlimit[column], 0, [0, own])
    made.refuse_one(prctl[column], 0, _PR_SET_PDEATHSIG)
    return made.install()


_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_LANDLOCK_VERSION, _LANDLOCK_PATH_BENEATH = 1, 1
_READ_FILE, _READ_FOLDER = 1 << 2, 1 << 3
_RIGHTS = (0x1FFF, 0x1FFF, 0x3FFF, 0x7FFF, 0x7FFF, 0xFFFF)
"""All rights on files the kernel can withhold, by version of its interface; version 1 stands at index 1."""


def _close_files(readable: Iterable[Path]) -> bool:
    """Nothing but `readable` is read: Landlock, which needs no privileges and Linux 5.13."""
    version = _libc.syscall(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), _LANDLOCK_VERSION)
    if version < 1:
        return False
    network = 3 if version >= 4 else 0
    scopes = 3 if version >= 6 else 0
    rights = struct.pack("=QQQ", _RIGHTS[min(version, 5)], network, scopes)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    rules = _libc.syscall(_LANDLOCK_CREATE, ctypes.create_string_buffer(rights), ctypes.c_size_t(size), 0)
    if rules < 0:
        return False
    for path in [*readable, *_needed()]:
        with contextlib.suppress(OSError):  # what is not there is not read
            _allow_reading(rules, path)
    closed = _libc.syscall(_LANDLOCK_RESTRICT, rules, 0) == 0
    os.close(rules)
    return bool(closed)


def _allow_reading(rules: int, path: Path) -> None:
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    rights = _READ_FILE | _READ_FOLDER if path.is_dir() else _READ_FILE
    rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, place))
    _libc.syscall(_LANDLOCK_ADD, rules, _LANDLOCK_PATH_BENEATH, rule, 0)
    os.close(place)


def _needed() -> Iterable[Path]:
    """Where Python, its libraries, their data and facts about this process lie; none of it is of users or secret."""
    for root in {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix, "/", "/usr", "/usr/local"}:
        for folder in ("lib", "lib64"):
            yield Path(root, folder)
    yield from map(Path, ("/usr/share", "/usr/local/share", "/etc/ld.so.cache", "/etc/localtime"))
    yield from map(Path, ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random", "/proc/meminfo", "/proc/cpuinfo"))
    yield from map(Path, (f"/proc/{os.getpid()}", "/sys/devices/system/cpu", "/sys/fs/cgroup"))
