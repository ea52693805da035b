"""What a person's photos go through opens no connection: adapt, classify, report and demo.

The commands run in a process of their own that ends at the first socket: Python's audit hook sees
the sockets of Python code, and on Linux a filter in the kernel sees those of C++ libraries too.
"""

import subprocess
import sys
from pathlib import Path

import pytest

CAUGHT = 97  # exit status when Python code touches a socket
KILLED = -31  # by SIGSYS, when the kernel is asked for an internet socket

GUARD = f"""
import ctypes, os, platform, struct, sys

def refuse(event, arguments):
    if event.startswith("socket.") and event != "socket.gethostname":  # a name, not a connection
        os.write(2, f"{{event}} {{arguments}}".encode())
        os._exit({CAUGHT})

sys.addaudithook(refuse)

# socket(2) with AF_INET or AF_INET6 ends the process; local sockets (AF_UNIX) are no network.
NUMBERS = {{"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}}
guarded = sys.platform == "linux" and platform.machine() in NUMBERS
if guarded:
    machine, number = NUMBERS[platform.machine()]
    LOAD, EQUAL, ANSWER, ALLOW, KILL = 0x20, 0x15, 0x06, 0x7FFF0000, 0x80000000
    steps = [
        (LOAD, 0, 0, 4), (EQUAL, 0, 5, machine),
        (LOAD, 0, 0, 0), (EQUAL, 0, 3, number),
        (LOAD, 0, 0, 16), (EQUAL, 2, 0, 2), (EQUAL, 1, 0, 10),
        (ANSWER, 0, 0, ALLOW), (ANSWER, 0, 0, KILL),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    head = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code))
    program = ctypes.create_string_buffer(head)
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    # no new privileges, then the filter
    guarded = prctl(38, 1, 0, 0, 0) == 0 and prctl(22, 2, program, 0, 0) == 0
"""


def guarded(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", GUARD + code], capture_output=True, text=True, check=False
    )


COMMANDS = """
from litecli.cli import main
for line in (
    ["adapt", "my_objects"],
    ["adapt", "my_objects", "--no-thumbnails"],
    ["classify", "my_objects/mug", "--report", "answers.html", "--csv", "answers.csv"],
    ["report"],
    ["demo", "show"],
    ["profiles"],
):
    code = main(line)
    print("code", code, flush=True)
"""


def test_no_socket_is_opened(run, write_objects) -> None:
    write_objects({"keys": 3, "mug": 3})
    done = guarded(COMMANDS)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines().count("code 0") == 6
    for written in ("answers.html", "answers.csv", "report.html", "show"):
        assert Path(written).exists()


@pytest.mark.parametrize(
    "code",
    [
        "import socket; socket.socket()",
        "import socket; socket.create_connection(('127.0.0.1', 9), timeout=1)",
        "import socket; socket.getaddrinfo('localhost', 80)",
        "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9')",
    ],
)
def test_the_guard_catches_python(code: str) -> None:
    # Even where the code that opened the connection would swallow every exception.
    lines = f"try:\n    {code}\nexcept BaseException:\n    pass\n"
    assert guarded(lines).returncode == CAUGHT


@pytest.mark.skipif(sys.platform != "linux", reason="a filter of the Linux kernel")
@pytest.mark.parametrize("family", [2, 10])
def test_the_guard_catches_c(family: int) -> None:
    done = guarded(f"print(guarded, flush=True); ctypes.CDLL(None).socket({family}, 1, 0)")
    if done.stdout == "False\n":
        pytest.skip("this kernel takes no filter")
    assert (done.returncode, done.stdout) == (KILLED, "True\n")


def test_the_guard_lets_everything_else_pass() -> None:
    code = "import tempfile, json; tempfile.TemporaryFile().write(b'x'); print(json.dumps(1))"
    done = guarded(code)
    assert (done.returncode, done.stdout) == (0, "1\n")
