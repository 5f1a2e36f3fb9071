"""How a separate process answers Ctrl-C, SIGTERM and SIGHUP."""

import os
import signal
import subprocess
import sys
import time

import pytest

from pyrovae.interrupts import AGAIN, Presses

COMMAND = """
import time
from pyrovae.interrupts import ending, running, starting

def wait(seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.01)

starting()
{started}
try:
    print("ready", flush=True)
    wait(30)
except KeyboardInterrupt:
    print("kept", flush=True)
    wait(0.3)
    ending()
    wait(0.6)
    print("written")
"""


def answers(code, *signals, pause=0.05, **options):
    """The status, the output and the errors of a command that gets signals as soon as it is ready."""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=-1, stderr=-1, text=True, **options) as process:
        assert process.stdout.readline() == "ready\n"
        for number in signals:
            process.send_signal(number)
            time.sleep(pause)
        out, errors = process.communicate(timeout=20)
    return process.returncode, out.split(), errors


def test_ctrl_c_while_modules_are_imported_is_one_line():
    assert answers(COMMAND.format(started=""), signal.SIGINT) == (130, [], "pyrovae: stopped\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_runs_can_keep_what_it_has(number):
    assert answers(COMMAND.format(started="running()"), number) == (0, ["kept", "written"], "")


def test_five_times_ctrl_c_is_one_request_and_quiet():
    status, out, errors = answers(COMMAND.format(started="running()"), *[signal.SIGINT] * 5)
    assert (status, out, errors) == (0, ["kept", "written"], "")


def test_somebody_who_does_not_stop_pressing_ends_the_command_at_once():
    status, out, errors = answers(COMMAND.format(started="running()"), *[signal.SIGINT] * 8, pause=0.1)
    assert (status, out, errors) == (130, ["kept"], "")


def test_a_request_while_python_ends_changes_no_status():
    """Python has no handlers then, and the default one kills the process."""
    end = "import os, signal\nkill, own, number = os.kill, os.getpid(), signal.SIGINT\n"
    pressed = "class Pressed:\n    def __del__(self, k=kill, p=own, n=number): k(p, n)\nlast = Pressed()\n"
    code = COMMAND.format(started="") + end + pressed
    assert answers(code.replace("wait(30)", "wait(0)")) == (0, [], "")


LOST = """
class Pressed:
    def __del__(self):
        os.kill(os.getpid(), signal.{number})

class Broken:
    def __del__(self):
        raise ValueError("shown as always")

running()
"""


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_a_request_that_is_lost_in_a_destructor_is_made_again(number):
    code = f"import os, signal\n{COMMAND.format(started=LOST.format(number=number))}"
    code = code.replace("wait(30)", "Broken(); Pressed(); wait(30)")
    status, out, errors = answers(code)
    assert (status, out) == (0, ["kept", "written"])
    assert "shown as always" in errors
    assert "KeyboardInterrupt" not in errors


def test_what_the_user_ignores_stays_ignored():
    """`nohup` sets this, and so does a shell for a process in the background."""
    ignored = "signal.signal(signal.SIGHUP, signal.SIG_IGN)"
    code = f"import signal\n{ignored}\n{COMMAND.format(started='running()')}"
    assert answers(code, signal.SIGHUP, signal.SIGTERM) == (0, ["kept", "written"], "")


def test_processes_of_torchrun_end_at_once():
    """They may wait for each other inside a library, where no request is answered."""
    environment = os.environ | {"WORLD_SIZE": "2", "RANK": "0"}
    status, out, _ = answers(COMMAND.format(started="running()"), signal.SIGTERM, env=environment)
    assert (status, out) == (-signal.SIGTERM, [])


def test_importing_changes_no_handler():
    code = "import signal; before = signal.getsignal(2); import pyrovae.cli, pyrovae.__main__\n"
    code += "assert signal.getsignal(2) is before is signal.default_int_handler"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_key_that_is_held_is_pressed_once(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    presses = Presses()
    assert [presses.is_new(), presses.is_new()] == [True, False]
    now[0] += 1.1 * AGAIN
    assert [presses.is_new(), presses.is_new()] == [True, False]
