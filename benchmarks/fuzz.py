"""Try random command lines, calls and damaged files: is each answered in one sentence?

    python benchmarks/fuzz.py [--commands 2000] [--calls 2000] [--files 2000] [--seed 0]
    python benchmarks/fuzz.py --only commands:17

A command line ends with status 0, 1, 2 or 130 and at most one line on the error stream. A call in
Python gives a result or raises an `InputError`, a `NumericalError`, or Python's own `TypeError` for
an argument that the function does not have. A damaged file is refused, or gives the same result as
before: the weights of a checkpoint, the options of a run, or the rows of its data. No case takes
longer than a minute or crashes the process.

Cases run in a forked process with limits of time and memory, each in a new copy of one folder. Case
N of a kind depends on the seed and N only, and `--only` runs it alone.
"""

import argparse
import contextlib
import gzip
import importlib
import inspect
import io
import multiprocessing
import os
import random
import re
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

import pyrovae as pv
from pyrovae.cli import main as command
from pyrovae.cli.parsing import parse
from pyrovae.names import named_classes

SECONDS, MEMORY = 60, 6 * 2**30
FOREIGN = r"<class|typing\.|Union|Parser key|NestedArg|Expected a|Subtype|Traceback|object has no attr"

# ------------------------------------------------------------------ the folder of a case

QUICKLY: dict[str, Any] = {
    "epochs": 1,
    "progress": False,
    "figures": False,
    "compile": False,
    "batch_size": 10,
}
QUICK = ["--epochs", "2", "--batch_size", "20", "--figures", "false", "--compile", "false"]
STEADY = ["--lr_schedule", "constant"]  # epochs can be added
SMALL = ["--encoder", "MLP", "--encoder.sizes", "[4]", "--decoder", "MLP", "--decoder.sizes", "[4]"]


def template(folder: Path) -> None:
    """Write data of several kinds, and three runs, into an empty folder."""
    rng = np.random.default_rng(0)
    bits = (rng.random((60, 1, 4, 4)) < 0.4).astype("f4")
    np.save(folder / "x.npy", bits)
    np.savez(folder / "x.npz", x=bits, y=np.arange(60) % 3)
    words = rng.choice(["a", "b", "c"], 60)
    cells = zip(rng.normal(size=60), rng.integers(0, 9, 60), words, strict=True)
    lines = [f"{a:.3f},{b:d},{w}" for a, b, w in cells]
    text = "\n".join(["height,count,word", *lines]) + "\n"
    (folder / "t.csv").write_text(text)
    with gzip.open(folder / "t.csv.gz", "wt") as file:
        file.write(text)
    (folder / "images").mkdir()
    for i in range(12):
        Image.fromarray(rng.integers(0, 255, (4, 4), dtype="u1")).save(folder / "images" / f"{i}.png")
    with contextlib.chdir(folder):
        for out, more in {
            "run": ["--data", "x.npy"],
            "table": ["--data", "t.csv"],
            "mixture": ["--data", "x.npy", "--prior", "GaussianMixture", "--prior.components", "2"],
        }.items():
            assert command(["fit", *more, "--out", out, *SMALL, "--latent_dim", "2", *QUICK, *STEADY]) == 0


# ------------------------------------------------------------------ command lines

LINES = {
    "fit": f"--data x.npy {' '.join([*SMALL, *QUICK])} --latent_dim 2",
    "evaluate": "run --particles 20 --rows 4 --method_rows 2 --chains 2 --bounds [1,5] --baseline false "
    "--compile false",
    "sample": "run --count 5",
    "reconstruct": "run --count 3",
    "score": "table t.csv --out s.csv --particles 20",
    "compare": "run mixture --particles 20 --rows 4",
    "clusters": "mixture",
    "explore": "run",  # it has no components, so no page is served
    "data": "t.csv",
    "datasets": "",
    "parts": "",
}
WORDS = [
    *"x 0 -1 1 2 1.5 nan -inf 1e400 true null [] [1,2] [0] {} {a:1} [1 { x.npy x.npz t.csv t.csv.gz".split(),
    *"images run table mixture nowhere run/best.ckpt run/config.yaml /dev/null .. é✓ AIS Mixed".split(),
    *"GaussianMixture Normal Bernoulli MLP DiagonalNormal IWAE os.system torch.nn.Linear word height".split(),
    *"labels test auto dynamic cuda cpu float32 adamw * -- -h ~nobody %s \\ !!python/object:os".split(),
    *["", "{a: 1}", "&a [*a]", "a\tb", "a\nb", "a\0b", "a" * 5000, "10" * 20, "\x1b[31m"],
]
USUAL = "1 2 3 0.5 0.1 true false test train [2,3] learned".split()
# Valid values of these options would take too long.
SLOW = {"--epochs", "--patience", "--checkpoint_seconds", "--compile", "--steps", "--config", "--help"}


def options() -> dict[str, list[str]]:
    """The options of each command, from its help."""
    found = {}
    for name in LINES:
        text = io.StringIO()
        with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
            parse([name, "--help"])()
        names = re.findall(r"^  (--[\w.]+)", text.getvalue(), re.MULTILINE)
        found[name] = sorted(set(names) - SLOW)
    return found


def line_of(rng: random.Random, every: dict[str, list[str]]) -> list[str]:
    """A valid command line, with some options, words and letters changed."""
    name = rng.choice([*LINES, "fit", "fit", "fit", "evaluate"])
    words = [name, *LINES[name].split()]
    for _ in range(rng.choice([0, 1, 1, 1, 2, 3])):
        match rng.randrange(8):
            case 0 | 1 | 2 | 3 if every[name]:
                option = rng.choice(every[name])
                option += rng.choice([*[""] * 12, ".x", ".components", ".class_path", ".init_args.x"])
                value = rng.choice(WORDS if rng.random() < 0.5 else USUAL)
                words += [f"{option}={value}"] if rng.random() < 0.5 else [option, value]
            case 4:
                words.insert(rng.randrange(len(words) + 1), rng.choice(WORDS))
            case 5 if len(words) > 1:
                del words[rng.randrange(1, len(words))]
            case 6:
                i = rng.randrange(len(words))
                words[i] = rng.choice(WORDS) if words[i - 1] not in SLOW else words[i]
            case _:
                i = rng.randrange(len(words))
                words[i] = damaged(rng, words[i].encode()).decode(errors="replace") or "x"
    if "explore" in words[:1]:  # a page would be served until it is stopped
        words = ["run" if word in ("mixture", "--") else word for word in words]
    late = [i for i, word in enumerate(words) if word.partition("=")[0] in SLOW - {"--help", "--config"}]
    return words if name != "fit" or len(late) >= 2 else [*words, *QUICK]


def run_line(words: list[str]) -> tuple[int, str | None]:
    """The status of a command line, and what is wrong with its answer."""
    with captured() as read:
        try:
            status = command(words)
        except SystemExit as stop:
            status = 0 if not stop.code else 99
    error = read()
    lines = error.splitlines()
    if status not in (0, 1, 2, 130):
        return status, f"status {status}"
    if re.search(FOREIGN, error):
        return status, f"foreign words: {error[-400:]}"
    if status and (len(lines) != 1 or not lines[0].startswith("pyrovae: ")):
        return status, f"not one sentence: {error[-600:]}"
    return status, None


@contextlib.contextmanager
def captured() -> Iterator[Callable[[], str]]:
    """Capture both output streams, also from C libraries; yields a reader of the error stream."""
    sys.stdout.flush()
    sys.stderr.flush()
    out, err = os.dup(1), os.dup(2)
    with tempfile.TemporaryFile() as file, open(os.devnull, "wb") as null:
        os.dup2(null.fileno(), 1)
        os.dup2(file.fileno(), 2)
        text = ""

        def read() -> str:
            return text

        try:
            with open(os.dup(2), "w", errors="replace") as errors, contextlib.redirect_stderr(errors):
                with open(os.dup(1), "w", errors="replace") as output, contextlib.redirect_stdout(output):
                    yield read
        finally:
            os.dup2(out, 1)
            os.dup2(err, 2)
            os.close(out)
            os.close(err)
            file.seek(0)
            text = file.read().decode(errors="replace")


# ------------------------------------------------------------------ calls

X = torch.bernoulli(torch.full((30, 5), 0.4), generator=torch.Generator().manual_seed(0))
WIDE = torch.zeros(2, 5, dtype=torch.complex64)
ODD: list[Any] = [
    *(None, "x", "", b"x", "a\0b", 0, -1, 1, 2, 1.5, -0.5, True, False, 10**30, -(10**30), 1e300, 1j),
    *(float("nan"), float("inf"), [], [1], [1, 2], (0,), {}, {"a": 1}, set(), object(), print, int),
    *(np.float32(2), np.int64(3), np.zeros(0), np.zeros((2, 3)), np.array("x"), np.array([None]), WIDE),
    *(torch.zeros(0), torch.zeros(30, 5), torch.zeros(3, 5, 2), torch.full((30, 5), float("nan"))),
    *(torch.tensor(2), torch.tensor([1, 2]), range(3), lambda: 0, slice(None), ..., NotImplemented),
]


class Call(NamedTuple):
    """A function with valid arguments."""

    function: Callable[..., Any]
    arguments: dict[str, Any]
    use: Callable[[Any], Any] = lambda result: None


def of(function: Callable[..., Any], use: Callable[[Any], Any] = lambda result: None, **given: Any) -> Call:
    """A call with the function's defaults and some arguments."""
    parameters = inspect.signature(function).parameters.values()
    return Call(function, {p.name: p.default for p in parameters if p.default is not p.empty} | given, use)


def calls() -> dict[str, Call]:
    """The public functions and classes, with valid arguments that take little time."""
    vae = pv.VAE((5,), 2, encoder=pv.networks.MLP(4), decoder=pv.networks.MLP(4), seed=0)
    mixture = pv.VAE((5,), 2, prior=pv.priors.GaussianMixture(2), encoder=pv.networks.MLP(4), seed=0)
    few, fast = {"vae": vae, "x": X[:5]}, {"particles": 3, "compile": False}
    found = {
        "VAE": of(pv.VAE, event_shape=(5,), latent_dim=2),
        "encode": of(vae.encode, x=X),
        "decode": of(vae.decode, z=torch.zeros(3, 2)),
        "latents": of(vae.latents),
        "sample": of(vae.sample, count=3),
        "reconstruct": of(vae.reconstruct, x=X),
        "responsibilities": of(mixture.responsibilities, x=X, particles=2),
        "log_prob": of(vae.log_prob, x=X, particles=2),
        "log_evidence": of(pv.log_evidence, **few, **fast),
        "iwae_bound": of(pv.iwae_bound, **few, particles=(1, 2)),
        "diagnose": of(pv.diagnose, **few, particles=3, rows=10),
        "gaps": of(pv.gaps, **few, particles=3, steps=2),
        "sandwich": of(pv.sandwich, vae=vae, temperatures=(2,), count=2, chains=2),
        "score": of(pv.score, **few, particles=3),
        "explore": of(pv.explore, vae=mixture, data=X, particles=2, rows=10),
        "fit": of(pv.fit, vae=mixture, data=X, **QUICKLY),
        "load": of(pv.datasets.load, name=X),
        "ring": of(pv.datasets.toys.ring, count=5),
        "load a run": of(pv.load, folder="run"),
        "AIS": of(pv.evidence.AIS, lambda m: pv.log_evidence(**few, particles=2, method=m), temperatures=2),
        "oracle": of(pv.oracles.LinearGaussian.random, event_dim=3, latent_dim=2),
        "plain mixture": of(pv.mixtures.GaussianMixture, components=2, event_dim=2),
    }
    return found | part_calls()


def part_calls() -> dict[str, Call]:
    """The constructors of all parts, each used in a VAE of its own."""
    roles = {"priors": "prior", "likelihoods": "likelihood", "guides": "guide", "networks": "encoder"}
    bases = {"priors": "Prior", "likelihoods": "Likelihood", "guides": "Guide", "networks": "Network"}
    found = {}
    for folder, base in (bases | {"objectives": "Objective"}).items():
        module = importlib.import_module(f"pyrovae.{folder}")
        for name, kind in named_classes(getattr(module, base)).items():
            parameters = inspect.signature(kind).parameters.values()
            defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
            if len(defaults) < sum(p.kind is not p.VAR_POSITIONAL for p in parameters):
                continue  # it has options without a default
            role = roles.get(folder)
            found[f"{folder}.{name}"] = Call(kind, defaults, lambda part, role=role: _used(part, role))
    return found


def _used(part: Any, role: str | None) -> None:
    if role is None:
        vae = pv.VAE((5,), 2, encoder=pv.networks.MLP(4), decoder=pv.networks.MLP(4), seed=0)
        pv.fit(vae, X, part, **QUICKLY)
        return
    with contextlib.suppress(pv.InputError):  # a part may need another partner
        pv.VAE((5,), 2, seed=0, **{role: part})
    pv.VAE((5,), 2, seed=0, **{role: part}).sample(2)


def run_call(rng: random.Random, every: dict[str, Call]) -> tuple[str, str | None]:
    """A call with one or two odd arguments, and what is wrong with its answer."""
    name = rng.choice(list(every))
    call = every[name]
    odd = {
        key: rng.choice(ODD)
        for key in rng.sample(list(call.arguments), min(len(call.arguments), rng.choice([1, 1, 2])))
    }
    text = f"{name}({', '.join(f'{key}={str(value)[:40]!s}' for key, value in odd.items())})"
    with warnings.catch_warnings(), captured():
        warnings.simplefilter("ignore")
        try:
            call.use(call.function(**call.arguments | odd))
        except (pv.InputError, pv.NumericalError) as error:
            return f"refused: {text}", f"not one sentence: {error}" if "\n" in str(error) else None
        except TypeError as error:
            if traceback.extract_tb(error.__traceback__)[-1].filename == __file__:
                return f"refused: {text}", None
            raise _Found(text) from error
        except Exception as error:
            raise _Found(text) from error
    return f"answered: {text}", None


class _Found(Exception):
    """A case with an error that should not occur."""


# ------------------------------------------------------------------ damaged files


def damaged(rng: random.Random, content: bytes) -> bytes:
    """The content with some bits, bytes or ranges changed."""
    data = bytearray(content or b"x")
    i, j = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    match rng.randrange(7):
        case 0 | 1:
            for _ in range(rng.choice([1, 1, 1, 4])):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        case 2:
            del data[i:]
        case 3:
            data[i:j] = bytes(j - i)
        case 4:
            del data[i:j]
        case 5:
            data[i:i] = rng.randbytes(rng.randrange(1, 9))
        case _:
            data[i:i] = data[i:j]
    return bytes(data)


def rows_of(data: Any) -> Any:
    return [part.x.numpy().tobytes() for part in (data.train, data.validation, data.test)]


def weights_of(folder: str) -> Any:
    vae = pv.load(folder)
    return repr(vae), {name: value.numpy().tobytes() for name, value in vae.state_dict().items()}


def resumed(folder: str) -> Any:
    if command(["fit", "--out", folder, "--resume", "true", "--epochs", "3"]) != 0:
        raise pv.InputError("the run cannot be resumed")
    return weights_of(folder)


def of_run(folder: str, source: str) -> Any:
    from pyrovae.tasks.runs import data_of

    return rows_of(data_of(folder, pv.load(folder).schema, source))


# The file, what is read from it, and whether a different result is a silent error.
READERS: list[tuple[str, Callable[[], Any], bool]] = [
    ("x.npy", lambda: rows_of(pv.datasets.load("x.npy")), False),
    ("x.npz", lambda: rows_of(pv.datasets.load("x.npz", labels=True)), False),
    ("t.csv", lambda: rows_of(pv.datasets.load("t.csv")), False),
    ("t.csv.gz", lambda: rows_of(pv.datasets.load("t.csv.gz")), True),
    ("images/3.png", lambda: rows_of(pv.datasets.load("images")), False),
    ("x.npy", lambda: of_run("run", "x.npy"), True),
    ("t.csv", lambda: of_run("table", "t.csv"), True),
    ("run/best.ckpt", lambda: weights_of("run"), True),
    ("table/best.ckpt", lambda: weights_of("table"), True),
    ("run/config.yaml", lambda: (weights_of("run"), of_run("run", "x.npy")), True),
    ("run/config.yaml", lambda: resumed("run"), True),
    ("run/last.ckpt", lambda: resumed("run"), True),
]


def run_file(rng: random.Random, before: dict[int, Any]) -> tuple[str, str | None]:
    """Damage a file and read it; what is wrong with the answer."""
    number = rng.randrange(len(READERS))
    name, read, is_checked = READERS[number]
    with captured():
        if number not in before:
            saved = Path("saved")
            shutil.copytree("run", saved)
            before[number] = read()
            shutil.rmtree("run")
            saved.rename("run")
        content = Path(name).read_bytes()
        Path(name).write_bytes(changed := damaged(rng, content))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                after = read()
            except pv.InputError as error:
                return f"refused: {name}", f"not one sentence: {error}" if "\n" in str(error) else None
            except Exception as error:
                raise _Found(f"{name}, reader {number}") from error
    silent = is_checked and changed != content and after != before[number]
    same = "read as before" if after == before[number] else "read"
    return f"{same}: {name}", "accepted in silence" if silent else None


# ------------------------------------------------------------------ running


def case(kind: str, number: int, seed: int, state: dict[str, Any]) -> tuple[str, str | None]:
    """Run one case in the working folder; what it was, and what is wrong."""
    rng = random.Random(f"{seed} {kind} {number}")
    if kind == "commands":
        words = line_of(rng, state["options"])
        try:
            status, text = run_line(words)
            return f"status {status}: {words}", text
        except Exception as error:
            raise _Found(repr(words)) from error
    if kind == "calls":
        return run_call(rng, state["calls"])
    return run_file(rng, state["before"])


def work(pipe: Any, kind: str, seed: int, folder: str, state: dict[str, Any]) -> None:
    """Answer the indices of cases with (what, wrong), each in a copy of the folder."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY + _size(), resource.RLIM_INFINITY))
    while (number := pipe.recv()) is not None:
        place = Path(tempfile.mkdtemp(dir=os.path.dirname(folder)))
        os.chdir(shutil.copytree(folder, place / "w"))
        try:
            answer = case(kind, number, seed, state)
        except _Found as found:
            lines = traceback.format_exception(found.__cause__)[-4:]
            answer = str(found), "raises " + "".join(lines).strip()[-900:]
        os.chdir("/")
        shutil.rmtree(place, ignore_errors=True)
        pipe.send(answer)


def _size() -> int:
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:
        return 0


class Worker:
    """A forked process that runs cases; it is replaced when one of them ends it or takes too long."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.start()

    def start(self) -> None:
        context = multiprocessing.get_context("fork")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=work, args=(other, *self.arguments), daemon=True)
        self.process.start()
        other.close()

    def run(self, number: int) -> tuple[str, str | None]:
        """What the case was, and what is wrong with its answer."""
        try:
            self.pipe.send(number)
            if self.pipe.poll(SECONDS):
                return self.pipe.recv()
            wrong = f"takes more than {SECONDS} seconds"
        except (EOFError, OSError):
            wrong = "ended the process"
        self.stop()
        self.start()
        kind, seed, _, state = self.arguments
        rng = random.Random(f"{seed} {kind} {number}")
        return repr(line_of(rng, state["options"])) if kind == "commands" else "", wrong

    def stop(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.join()


def fuzz(counts: dict[str, int], seed: int = 0, only: tuple[str, int] | None = None) -> dict[str, list[str]]:
    """Run cases of each kind; what is wrong, by kind."""
    torch.set_num_threads(1)
    wrong: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "template")
        folder.mkdir()
        with captured():
            template(folder)
            state = {"options": options(), "calls": calls(), "before": {}}
        for kind, count in counts.items():
            numbers = range(count) if only is None else [only[1]] * (only[0] == kind)
            worker, began = Worker(kind, seed, str(folder), state), time.monotonic()
            wrong[kind], outcomes = [], Counter[str]()
            for number in numbers:
                what, text = worker.run(number)
                outcomes[what.partition(":")[0]] += text is None
                if only is not None:
                    print(what)
                if text is not None:
                    wrong[kind].append(f"{kind}:{number} {what}: {text}")
                    print(wrong[kind][-1], flush=True)
            worker.stop()
            seconds = time.monotonic() - began
            said = ", ".join(f"{what} {count}" for what, count in outcomes.most_common() if count)
            print(f"{kind}: {len(numbers)} cases, {len(wrong[kind])} wrong, {seconds:.0f} seconds ({said})")
            sys.stdout.flush()
    return wrong


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for kind in ("commands", "calls", "files"):
        parser.add_argument(f"--{kind}", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", metavar="KIND:N")
    arguments = parser.parse_args(words)
    counts = {kind: getattr(arguments, kind) for kind in ("commands", "calls", "files")}
    kind, _, number = (arguments.only or "").partition(":")
    wrong = fuzz(counts, arguments.seed, (kind, int(number)) if kind else None)
    kinds = Counter(
        re.sub(r"^\w+:\d+ ", "", text).partition(":")[0] for found in wrong.values() for text in found
    )
    for what, count in kinds.most_common(20):
        print(f"{count:5}  {what[:120]}")
    return 1 if any(wrong.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
