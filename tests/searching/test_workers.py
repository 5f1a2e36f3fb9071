"""A pool of processes: outcomes, reports, failures, and that no process is left over."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch

import pyrovae as pv
from pyrovae.errors import InputError
from pyrovae.searching.worker import GRACE
from pyrovae.searching.workers import Done, Pool, Task

# ---------------------------------------------------------------- tasks


def scaled(context, report, factor):
    return [factor * x for x in context]


def climbing(context, report, steps):
    done = 0
    for step in range(steps):
        done += 1
        if not report(step, float(step)):
            break
    return done


def failing(context, report, error):
    raise error


def dying(context, report, number):
    os.kill(os.getpid(), number)
    time.sleep(60)


def sleeping(context, report, seconds, word=""):
    time.sleep(seconds)
    return word


def reporting_then_sleeping(context, report):
    report(0, float(os.getpid()))
    time.sleep(60)


def process(context, report):
    return os.getpid(), os.environ.get("OMP_NUM_THREADS"), os.getsid(0)


def loud(context, report):
    print("a line that nobody reads", flush=True)
    os.write(1, b"\x00\x01")
    return "quiet"


class Counted:
    """Counts how often it is read in a process."""

    read = 0

    def __reduce__(self):
        return _counted, ()


def _counted():
    Counted.read += 1
    return Counted()


def times_read(context, report):
    return os.getpid(), Counted.read


def outcomes(jobs, tasks, context=(1, 2), on_report=lambda *_: True):
    following = iter(tasks.items())
    with Pool(jobs, context) as pool:
        return list(pool.run(lambda: next(following, None), on_report))


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def gone(pid, seconds=15.0):
    until = time.monotonic() + seconds
    while is_alive(pid) and time.monotonic() < until:
        time.sleep(0.05)
    return not is_alive(pid)


# ---------------------------------------------------------------- outcomes


def test_one_process_and_two_have_the_same_outcomes():
    tasks = {"a": Task(scaled, {"factor": 2}), "b": Task(climbing, {"steps": 9}), "c": Task(loud)}
    tasks |= {
        "d": Task(failing, {"error": InputError("lr is 0: give more")}),
        "e": Task(failing, {"error": pv.errors.NumericalError("the loss is nan")}),
        "f": Task(failing, {"error": MemoryError()}),
        "g": Task(failing, {"error": KeyError("a key")}),
    }
    seen = {1: [], 2: []}

    def on_report(jobs):
        return lambda key, step, value: seen[jobs].append((key, step, value)) or step < 3

    found = {jobs: outcomes(jobs, tasks, on_report=on_report(jobs)) for jobs in (1, 2)}
    assert sorted(found[2]) == found[1]
    assert seen[2] == seen[1] == [("b", step, float(step)) for step in range(4)]
    assert found[1][:3] == [Done("a", [2, 4]), Done("b", 4), Done("c", "quiet")]
    assert [outcome.kind for outcome in found[1][3:]] == ["input", "numerical", "memory", "error"]
    assert found[1][3].sentence == "lr is 0: give more"
    assert found[1][6].sentence.startswith("KeyError: 'a key' (in test_workers.py, line ")


def test_outcomes_come_as_tasks_end_and_the_next_task_is_asked_for_after_them():
    tasks = [("slow", Task(sleeping, {"seconds": 3.0})), ("quick", Task(sleeping, {"seconds": 0.0}))]
    tasks += [("last", Task(sleeping, {"seconds": 0.0}))]
    log, following = [], iter(tasks)

    def next_task():
        task = next(following, None)
        log.append(f"asked {task and task[0]}")
        return task

    with Pool(2, None) as pool:
        for outcome in pool.run(next_task):
            log.append(f"ended {outcome.key}")
    assert log[:4] == ["asked slow", "asked quick", "ended quick", "asked last"]
    assert log[-1] == "asked None"
    assert {"ended slow", "ended last"} <= set(log)


def test_a_task_may_follow_from_an_outcome():
    """None means that there is nothing to do now: it is asked again after an outcome."""
    waiting = [("first", Task(scaled, {"factor": 2}))]
    found = []
    with Pool(2, (1,)) as pool:
        for outcome in pool.run(lambda: waiting.pop() if waiting else None):
            found.append(outcome)
            if outcome.key == "first":
                waiting.append(("second", Task(scaled, {"factor": outcome.value[0]})))
    assert found == [Done("first", [2]), Done("second", [2])]


def test_the_context_is_sent_once_to_each_process():
    found = outcomes(2, {number: Task(times_read) for number in range(5)}, Counted())
    assert {read for _, read in (outcome.value for outcome in found)} == {1}
    assert len({pid for pid, _ in (outcome.value for outcome in found)}) <= 2


def test_a_tensor_arrives_as_it_was():
    context = torch.arange(6.0).view(2, 3)
    found = outcomes(2, {"a": Task(scaled, {"factor": 1})}, context)
    assert torch.equal(torch.stack(found[0].value), context)


def test_threads_are_shared_unless_the_user_says_otherwise(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    (found,) = outcomes(2, {"a": Task(process)})
    pid, threads, session = found.value
    assert (threads, session) == ("7", pid)  # in its own session, which Ctrl-C does not reach
    monkeypatch.delenv("OMP_NUM_THREADS")
    (found,) = outcomes(64, {"a": Task(process)})
    assert found.value[1] == "1"


def test_one_job_is_done_in_the_calling_process():
    assert outcomes(1, {"a": Task(process)})[0].value[0] == os.getpid()


@pytest.mark.parametrize("jobs", [0, -1, 1.5, "two"])
def test_jobs_are_a_whole_number(jobs):
    with pytest.raises(InputError, match="jobs"):
        Pool(jobs, None)


def test_what_cannot_be_sent_is_refused_with_a_sentence():
    with pytest.raises(InputError, match="the data cannot be sent to another process .*: use jobs=1"):
        outcomes(2, {"a": Task(scaled, {"factor": 2})}, (x for x in (1, 2)))
    (failed,) = outcomes(2, {"a": Task(scaled, {"factor": (x for x in (1, 2))})})
    assert "cannot be sent" in failed.sentence


def test_a_context_that_cannot_be_read_fails_the_task(tmp_path, monkeypatch):
    (tmp_path / "a_module_of_a_user.py").write_text("class Rows: pass")
    monkeypatch.syspath_prepend(tmp_path)
    import a_module_of_a_user

    context = a_module_of_a_user.Rows()
    (tmp_path / "a_module_of_a_user.py").write_text("raise ValueError('broken')")
    (failed,) = outcomes(2, {"a": Task(scaled, {"factor": 2})}, context)
    assert failed.sentence.startswith("ValueError: broken")


# ---------------------------------------------------------------- death


def test_a_process_that_dies_is_replaced():
    tasks = {"killed": Task(dying, {"number": signal.SIGKILL}), "other": Task(scaled, {"factor": 3})}
    tasks |= {"crashed": Task(dying, {"number": signal.SIGSEGV}), "last": Task(scaled, {"factor": 4})}
    found = {outcome.key: outcome for outcome in outcomes(2, tasks)}
    assert found["other"].value == [3, 6]
    assert found["last"].value == [4, 8]
    assert found["killed"].kind == found["crashed"].kind == "killed"
    assert "killed (signal 9): it may have needed more memory" in found["killed"].sentence
    assert "ended by signal 11" in found["crashed"].sentence


def test_leaving_the_pool_ends_its_processes():
    tasks = iter({number: Task(reporting_then_sleeping) for number in range(2)}.items())
    pids = []

    def on_report(key, step, value):
        pids.append(int(value))
        if len(pids) == 2:
            raise KeyboardInterrupt
        return True

    began = 0.0
    with suppress(KeyboardInterrupt), Pool(2, None) as pool:
        try:
            list(pool.run(lambda: next(tasks, None), on_report))
        finally:
            assert all(map(is_alive, pids))
            began = time.monotonic()
    assert len(pids) == 2
    assert not any(map(is_alive, pids))
    assert time.monotonic() - began < GRACE / 2  # they ended by themselves


# ---------------------------------------------------------------- scripts

SCRIPT = """
import os, sys, time
import pyrovae as pv
from pyrovae.networks import MLP
from pyrovae.searching.workers import Pool, Task

class Own:
    value = 5

    def __init__(self, number):
        self.number = number

def fitted(context, report, out, own):
    data = pv.datasets.load("digits", binarize="threshold")
    vae = pv.VAE(data.event_shape, latent_dim=2, encoder=MLP(8), decoder=MLP(8))
    sys.stderr.write(f"{os.getpid()}\\n")
    pv.fit(vae, data, epochs=100_000, batch_size=16, out=out, figures=False, progress=False, compile=False,
           patience=None, checkpoint_seconds=600)

def shown(context, report, own):
    return type(own).__name__, own.number, own.value, type(context).__name__

if sys.argv[1] == "own":
    tasks = iter([("a", Task(shown, {"own": Own(3)}))])
    with Pool(2, Own(1)) as pool:
        print(list(pool.run(lambda: next(tasks, None))))
else:
    tasks = iter([(out, Task(fitted, {"out": out, "own": Own(0)})) for out in sys.argv[2:]])
    try:
        with Pool(2, None) as pool:
            for outcome in pool.run(lambda: next(tasks, None)):
                print(outcome, flush=True)
    except KeyboardInterrupt:
        print("stopped", flush=True)
"""


def script(*words):
    command = [sys.executable, "-c", SCRIPT, *map(str, words)]
    return subprocess.Popen(command, stdout=-1, stderr=-1, text=True, start_new_session=True)


def is_training(folder):
    return (folder / "best.ckpt").exists()


def until(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.05)


def test_a_class_of_the_script_travels():
    with script("own") as started:
        out, errors = started.communicate(timeout=60)
    assert "('Own', 3, 5, 'Own')" in out, errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_when_the_parent_is_stopped_or_killed_a_fit_writes_its_checkpoint(number, tmp_path):
    """The checkpoint on time is ten minutes away, so a later one was written by the stop."""
    folders = [tmp_path / "a", tmp_path / "b"]
    with script("fit", *folders) as started:
        pids = [int(started.stderr.readline()) for _ in folders]
        until(lambda: all(map(is_training, folders)))
        time.sleep(0.5)
        before = [(folder / "last.ckpt").stat().st_mtime_ns for folder in folders]
        os.killpg(started.pid, number)  # as the terminal does
        out, _ = started.communicate(timeout=60)
    assert out == ("stopped\n" if number == signal.SIGINT else "")
    assert all(gone(pid) for pid in pids)
    after = [(folder / "last.ckpt").stat().st_mtime_ns for folder in folders]
    assert all(a > b for a, b in zip(after, before, strict=True))
