"""`score_file`: scores of a file of any size, written as they are computed.

    scores.csv.part         the lines that are done
    scores.csv.part.json    what is scored, and how many rows and bytes are done

The first file grows by one piece at a time; then the second is replaced. A run that was stopped or
killed goes on after the last piece: what was written later is cut off. At the end the first file
gets its final name, and the second is removed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pyrovae.compiling import Compile
from pyrovae.datasets.incoming import Asked
from pyrovae.datasets.matching import Unknown
from pyrovae.datasets.readers.options import ReadOptions
from pyrovae.errors import InputError, visible
from pyrovae.evidence import Method
from pyrovae.evidence.run import shown
from pyrovae.files import open_owned, reason_of, write_whole
from pyrovae.sharing import agreed, is_first, together
from pyrovae.tasks import result
from pyrovae.tasks.in_memory import Task, task_of
from pyrovae.tasks.kinds import KindName
from pyrovae.tasks.reference import run_key
from pyrovae.tasks.result import Scores

__all__ = ["Written", "file_key", "score_file"]


@dataclass(frozen=True)
class Written:
    """A file of scores.

    Attributes:
        path: the file.
        rows: the number of rows.
        resumed: the number of rows that were there before.
        mean: the mean of the finite log p(x) of the rows that were scored now, in nats.
        lowest: the most anomalous of these rows: the lowest log p(x), or the highest score of
            another kind.
        notes: remarks.
    """

    path: Path
    rows: int
    resumed: int
    mean: float
    lowest: Scores | None
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = [f"written: {visible(self.path)}, {self.rows:,} rows"]
        if self.resumed:
            text.append(f"  {self.resumed:,} of them were there from an earlier run")
        if self.lowest is not None:
            text.append(f"  mean of {self.lowest.quantity} {self.mean:.3f} nats")
            text.append(f"  {self.lowest.most_anomalous()}")
            if self.lowest.percentile is not None:
                text.append(f"  percentiles are among {self.lowest.reference_rows:,} training rows")
        return "\n".join([*text, *(f"  note: {visible(note)}" for note in self.notes)])


def score_file(
    run: str | os.PathLike[str],
    data: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    kind: KindName = "log_px",
    background: str | os.PathLike[str] | None = None,
    particles: int | None = None,
    method: str | Method = "importance",
    seed: int = 0,
    id: str | None = None,
    unknown: Unknown = "refuse",
    labels: str | None = None,
    percentiles: bool | None = None,
    separator: str | None = None,
    decimal: str | None = None,
    header: bool | None = None,
    overwrite: bool = False,
    piece: int | None = None,
    compile: Compile = "auto",
    device: str | None = None,
    progress: bool = False,
    trust: str | Sequence[str] | None = None,
) -> Written:
    """Score every row of a file, and write one line for each; memory does not grow with the file.

    A call that was stopped goes on where it was, if run, file and options are the same. The
    processes of torchrun share the rows of each piece.

    Arguments:
        run: a run folder.
        data: the name of a file (or a folder of images, or a known data set).
        out: the .csv file to write.
        kind, background, particles, method, seed, id, unknown, labels, percentiles: as for `score`.
        separator, decimal, header: how a CSV file is read, if it is not clear from the file.
        overwrite: replace `out`, and scores of another call that was stopped.
        piece: rows that are scored between two writes; None chooses. It changes no score.
        compile, device, progress, trust: as for `score`.

    Raises:
        InputError: for data that cannot be read or scored; the rows before are kept.
        KeyboardInterrupt: on Ctrl-C; the pieces that are done are kept.
    """
    reading = ReadOptions.of({"separator": separator, "decimal": decimal, "header": header})
    asked = Asked(unknown, id, labels, seed, reading)
    options: dict[str, Any] = {"particles": particles, "method": method, "seed": seed, "compile": compile}
    target = _target(out, overwrite=overwrite)
    of_run: dict[str, Any] = {"percentiles": percentiles, "device": device, "trust": trust}
    of_run |= {"kind": kind, "background": None if background is None else os.fspath(background)}
    task = task_of(run, os.fspath(data), asked, **of_run, **options)
    identity = {
        "run": run_key(run),
        "data": agreed(file_key(data) if is_first() else None),
        "particles": task.scorer.particles,
        "method": task.scorer.identity["method"],
        "seed": seed,
        "id": id,
        "unknown": unknown,
        "labels": labels,
        "reading": [separator, decimal, header],
        "percentiles": task.reference is not None,
        **({"kind": kind, **task.kind.identity} if kind != "log_px" else {}),
    }
    part = _Part(target, identity, overwrite=overwrite)
    with part.opened(task) as done:
        return _write(task, part, target, done, piece, progress=progress)


def _target(out: str | os.PathLike[str], *, overwrite: bool) -> Path:
    target = Path(out)
    if target.suffix.lower() != ".csv":
        raise InputError(f"{target} is not a .csv file: give a name that ends in .csv")
    if target.exists() and not overwrite:
        raise InputError(f"{target} exists: choose another name, or give overwrite=True (--overwrite)")
    if not target.absolute().parent.is_dir():
        raise InputError(f"the folder {target.absolute().parent} does not exist: make it, or choose another")
    return target


def _write(task: Task, part: _Part, target: Path, done: int, piece: int | None, *, progress: bool) -> Written:
    """Score the rows that are left, and give the file its name."""
    rows, total, count, lowest = done, 0.0, 0, None
    try:
        with shown("scoring", max(1, task.data.rows), show=progress and is_first()) as advance:
            advance(done)
            for scores in task.scores(done, piece):
                together(part.writer(scores, rows + len(scores), task.kind.used(task.scorer)))
                rows += len(scores)
                finite = scores.log_px[np.isfinite(scores.log_px)]
                total, count = total + float(finite.sum()), count + len(finite)
                lowest = _most_anomalous(scores, lowest)
                advance(len(scores))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped after {rows:,} rows, which are in {part.path}; give the same command to go on"
        ) from None
    if not rows:
        raise InputError(f"{task.data.name} has no rows to score: give at least one")
    together(part.finish if is_first() else _nothing)
    mean = total / count if count else np.nan
    return Written(target, rows, done, mean, lowest, tuple(task.notes))


def _most_anomalous(scores: Scores, before: Scores | None) -> Scores:
    """The most anomalous rows so far."""
    names = [name for name, value in vars(scores).items() if isinstance(value, np.ndarray)]
    both = [scores] if before is None else [before, scores]
    joined: dict[str, Any] = {name: np.concatenate([getattr(one, name) for one in both]) for name in names}
    every = replace(scores, **joined)
    return replace(every, **{name: joined[name][every.top()] for name in names})


class _Part:
    """The lines that are done, next to the file that is to be written.

    Arguments:
        target: the file.
        identity: what is scored, in plain values.
        overwrite: whether the lines of another call may be thrown away.
    """

    def __init__(self, target: Path, identity: dict[str, Any], *, overwrite: bool) -> None:
        self.target, self.identity, self.overwrite = target, json.loads(json.dumps(identity)), overwrite
        self.path = target.with_name(f"{target.name}.part")
        self.state = target.with_name(f"{target.name}.part.json")
        self._file: BinaryIO | None = None
        self._digest = hashlib.sha256()
        self.rows = 0

    @contextmanager
    def opened(self, task: Task) -> Iterator[int]:
        """Open the file in the first process; gives the number of rows that are done."""
        try:
            done, used = agreed(together(lambda: self._begin(task) if is_first() else (0, None)))
            if used is not None:  # the method with the options that were chosen
                task.kind.prepare(task.scorer, used)
            yield done
        finally:
            if self._file is not None:
                self._file.close()
                if not self.rows:  # nothing is lost
                    self.path.unlink(missing_ok=True)
                    self.state.unlink(missing_ok=True)

    def _begin(self, task: Task) -> tuple[int, dict[str, Any] | None]:
        before = self._before()
        try:
            self._file = open_owned(self.path)
        except OSError as error:
            raise InputError(f"cannot write {self.path}: {reason_of(error)}; choose another folder") from None
        self._lock()
        self._file.truncate(0 if before is None else before["bytes"])
        if before is not None:
            self.rows = before["rows"]
            return before["rows"], before["used"]
        options = {"background": task.kind.has_background, "percentiles": task.reference is not None}
        self._write(result.header(task.id_name, list(result.columns_of(task.kind.name, **options))))
        self._save(0, None)
        return 0, None

    def _before(self) -> dict[str, Any] | None:
        """The state of an earlier call, or None."""
        if not self.state.exists() or self.overwrite:
            return None
        try:
            before = json.loads(self.state.read_text(encoding="utf-8"))
            size, identity = self.path.stat().st_size, dict(before["identity"])
            is_whole = before.pop("check") == _check_of(before) and size >= before["bytes"]
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None
        names = [*self.identity, *identity]
        different = [name for name in names if identity.get(name) != self.identity.get(name)]
        if different:
            words = {"run": "weights of the run", "data": "data", "reading": "options of the file"}
            words["background"] = "weights of the background"
            other = words.get(different[0], different[0])
            raise InputError(
                f"{self.path} has scores of an earlier call with other {other}: "
                "give the same again to go on, or overwrite=True (--overwrite) to start again"
            )
        return before if is_whole and self._is_undamaged(before) else None

    def _is_undamaged(self, before: dict[str, Any]) -> bool:
        """Whether the finished lines are those that were written."""
        digest, left = hashlib.sha256(), before["bytes"]
        with open(self.path, "rb") as file:
            while left and (block := file.read(min(left, 2**22))):
                digest.update(block)
                left -= len(block)
        self._digest = digest if digest.hexdigest() == before.get("digest") else self._digest
        return self._digest is digest

    def _write(self, text: str) -> None:
        assert self._file is not None
        self._file.write(text.encode())
        self._digest.update(text.encode())

    def _lock(self) -> None:
        assert self._file is not None
        if os.fstat(self._file.fileno()).st_nlink > 1:
            raise self._is_not_ours("{} is a hard link to another file: remove it")
        try:
            import fcntl
        except ImportError:  # no advisory locks on this system
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise self._is_not_ours(
                "another process is writing {}: wait for it, or choose another name"
            ) from None

    def _is_not_ours(self, why: str) -> InputError:
        """Leave the file as it is."""
        assert self._file is not None
        self._file.close()
        self._file = None
        return InputError(why.format(self.path))

    def writer(self, scores: Scores, rows: int, used: dict[str, Any]) -> Any:  # noqa: ANN401
        """The function that adds the lines of a piece, in the first process."""
        return (lambda: self._add(scores, rows, used)) if is_first() else _nothing

    def _add(self, scores: Scores, rows: int, used: dict[str, Any]) -> None:
        assert self._file is not None
        try:
            self._write(result.lines(scores))
        except OSError as error:
            raise InputError(f"cannot write {self.path}: {reason_of(error)}; free space and go on") from None
        self._save(rows, used)

    def _save(self, rows: int, used: dict[str, Any] | None) -> None:
        assert self._file is not None
        self._file.flush()
        os.fsync(self._file.fileno())
        size, digest = self._file.tell(), self._digest.hexdigest()
        state = {"identity": self.identity, "rows": rows, "bytes": size, "digest": digest, "used": used}
        state["check"] = _check_of(state)
        write_whole(self.state, lambda file: file.write(json.dumps(state).encode()))
        self.rows = rows

    def finish(self) -> None:
        """Give the file its name."""
        os.replace(self.path, self.target)
        self.state.unlink(missing_ok=True)


def file_key(data: str | os.PathLike[str]) -> str:
    """A hash of the bytes of a file, or of the names, sizes and times of the files of a folder."""
    path = Path(data).expanduser()
    digest = hashlib.blake2b(digest_size=8)
    if path.is_dir():
        for member in sorted(path.rglob("*")):
            facts = member.stat()
            digest.update(repr((str(member.relative_to(path)), facts.st_size, facts.st_mtime_ns)).encode())
    elif path.is_file():
        with open(path, "rb") as file:
            while block := file.read(2**22):
                digest.update(block)
    else:
        digest.update(os.fspath(data).encode())
    return digest.hexdigest()


def _check_of(state: dict[str, Any]) -> str:
    """A hash of the state of a call, by which a damaged one is recognised."""
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def _nothing() -> None:
    return None
