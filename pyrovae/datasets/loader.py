"""`load`: make a data set from a name, file, folder, or data in memory.

    find rows -> check, scale -> split by a seed -> prepare validation and test once -> Data

The same arguments give the same data on every machine.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyrovae.checks import one_of, path_of, words_by_name
from pyrovae.datasets.assembling import assembled, contexts_in, part_of
from pyrovae.datasets.catalogue import canonical
from pyrovae.datasets.contexts import Derived, Function, derived_of
from pyrovae.datasets.copies import repeated
from pyrovae.datasets.data import Data, Splits
from pyrovae.datasets.drawn import Drawn
from pyrovae.datasets.drawn_sets import drawn_set, is_drawn
from pyrovae.datasets.factor_values import FactorSplits
from pyrovae.datasets.find import find
from pyrovae.datasets.fingerprints import fingerprint
from pyrovae.datasets.jitter import Jitter
from pyrovae.datasets.labelling import values_of, with_context, with_labels
from pyrovae.datasets.memory import has_columns, source_of
from pyrovae.datasets.options import Binarize, Options, context_option, labels_or_not
from pyrovae.datasets.readers.arrays import noted
from pyrovae.datasets.readers.foreign import opened
from pyrovae.datasets.rereading import source_like
from pyrovae.datasets.schema import Schema
from pyrovae.datasets.source import Source
from pyrovae.datasets.split import Parts, own_parts
from pyrovae.datasets.streaming import streamed, to_stream
from pyrovae.datasets.toys import TOYS
from pyrovae.errors import InputError, deprecated

__all__ = ["load"]

STREAM_ROWS = 10_000

if TYPE_CHECKING:
    Context = Any
    Labels = Any
    Jittered = Any
else:  # what the command line can say
    Context = list[str] | str | None
    Labels = bool | str | None
    Jittered = list[str] | str | None


def load(
    name: Any,  # noqa: ANN401
    *,
    root: str | os.PathLike[str] | None = None,
    binarize: Binarize | None = None,
    dequantize: bool = False,
    validation: int | float | None = None,
    test: int | float | None = None,
    split_seed: int = 0,
    context: Context = None,
    labels: Labels = None,
    known: int | None = None,
    copies: int = 1,
    count: int | None = None,
    kinds: dict[str, str] | None = None,
    drop: list[str] | str | None = None,
    na: list[str] | str | None = None,
    separator: str | None = None,
    decimal: str | None = None,
    header: bool | None = None,
    resize: int | None = None,
    jitter: Jittered = None,
    stream: bool | None = None,
    workers: int | None = None,
    layer: str | None = None,
    schema: Schema | None = None,
) -> Data:
    """Load training, validation and test rows from a name, file, folder, or data in memory.

    Arguments:
        name: a known name (`known()`); a file (.npy, .npz, .csv, .parquet and others, see
            `datasets.files`); a folder of images; or data in memory: an array, tensor, list or
            sparse matrix (N, ...), in which NaN, None and masked entries are missing; a DataFrame
            or a dict of columns, read like a CSV file; a pair (X, y) of rows and labels; an
            AnnData; a `Dataset` of torch or Hugging Face (see `readers.items`); or a `DataLoader`,
            of which the dataset is taken.
        root: folder of the known image sets in torchvision's layout; by default the environment
            variable PYROVAE_DATA, else the user's cache folder.
        binarize: make x in [0, 1] binary: "dynamic" (training set again every epoch), "static"
            (once), "threshold" (at 1/2) or None.
        dequantize: add uniform noise smaller than one integer level, to the training set again
            every epoch.
        validation: number of validation rows, or their share (below 1); by default a tenth, or up
            to 10,000 for a set with its own test set.
        test: number of test rows, or their share (below 1); by default a fifth, or the set's own
            test set.
        split_seed: seed of the split, and of all random preparation that is done once.
        context: names of columns that condition the program, p(x|c): numbers are standardised,
            words become one-hot vectors. "labels" gives one-hot labels. Of images, a part that is
            given ("left half", "right half", "top half", "bottom half", "centre", "quadrants 1 2"),
            the image with noise ("noisy .3") or a small one ("small 2"); see `datasets.contexts`.
            In Python also a function of prepared x (N, *event), which gives contexts (N, *context)
            of each row alone, or the values themselves, one for each row: an array of numbers is
            used as given, and a DataFrame, a Series or an array of words as columns.
        labels: observe the labels of the training set as y, for a prior with labels=True. A word
            names the column of the labels. In Python also the labels themselves, one number or word
            for each row; None and NaN are labels that are not known. Validation and test rows have
            no labels, so bounds on these rows are bounds on log p(x). By default only with known=.
            With context="labels", a word (or values) says which labels are the context.
        known: keep only this number of labels, balanced over classes; the others are -1.
        copies: the number of times that each row with a known label is in the training set, so that
            every batch has some.
        count: number of rows to use; of a toy, the number to draw (by default 5,000), and of a set
            without a length, the number to read. A set's own test set shrinks in proportion.
        kinds: kinds of some columns, as in {"zip": "categorical"}; see `likelihoods.Mixed`.
        drop: names of columns of a table to leave out.
        na: further words that stand for a missing entry, as in "-9,unknown".
        separator: the separator of a CSV file; detected by default.
        decimal: the decimal mark of a CSV file, "." or ","; detected by default.
        header: whether a CSV file has a header; detected by default.
        resize: height and width to which the images of a folder or a known set are resized.
        jitter: random changes of training images, again every epoch: shifts in pixels, angles in
            degrees, elastic deformation and noise, as in "shift 2, rotate 10, elastic 1, noise .05"
            (in Python also a dict of these); see `datasets.jitter`.
        layer: the layer of an AnnData to read; by default its matrix X.
        stream: read training rows from their file during training (.npy, .npz without compression,
            .parquet, .feather, or a torch `Dataset`); by default for 2 GB or more.
        workers: the number of processes that read a streamed torch `Dataset`; 0 reads it between
            steps, and None reads it ahead in a thread.
        schema: the schema that a run stored: read a table with its names, words and scaling.

    Returns:
        A `Data` with values in float32, or in float64 for tables and arrays that float32 would
            round.

    Raises:
        InputError: for data or options that cannot be used.

    Example:
        >>> load("digits", binarize="threshold")  # doctest: +ELLIPSIS
        Data(digits): 1,257 train, 180 validation, 360 test
          event shape (1, 8, 8), 10 classes
          0..16 divided by 16; binarised at 1/2
          split seed 0, fingerprint ...
    """
    name, note = opened(name)
    context, labels, given, derived = _asked(name, context, labels, known)
    options = Options(
        data=None if given else _plain_name(name),
        root=None if root is None else os.path.abspath(os.path.expanduser(path_of("root", root))),
        binarize=binarize,
        dequantize=one_of("dequantize", dequantize, (True, False)),
        validation=validation,
        test=test,
        split_seed=split_seed,
        context=context,
        labels=labels_or_not(labels, known),
        known=known,
        copies=copies,
        count=len(name) if count is None and isinstance(name, Drawn) else count,
        kinds=None if kinds is None else words_by_name("kinds", kinds),
        drop=drop,  # type: ignore[arg-type]
        na=na,  # type: ignore[arg-type]
        separator=separator,
        decimal=decimal,
        header=header,
        resize=resize,
        jitter=None if jitter is None else str(Jitter.of(jitter)),
        stream=stream if isinstance(name, (str, os.PathLike)) else None,
    )
    reading = options.reading
    if is_drawn(name) or isinstance(name, Drawn):
        name = drawn_set(name, options.count) if isinstance(name, str) else name.first(options.count)
    rows = to_stream(name, stream, workers, reading, schema)
    if rows is not None:
        return _recorded(streamed(rows, options, given, derived, schema, STREAM_ROWS, workers), given)
    source = noted(_source(name, options, schema, root=root, layer=layer), note)
    return _recorded(_in_memory(_with_values(source, given, derived), options, schema, derived), given)


def _with_values(source: Source, given: dict[str, Any], derived: Derived | None) -> Source:
    """The source with the labels and the context that are given as values."""
    source = with_labels(source, given["labels"]) if "labels" in given else source
    return with_context(source, given["context"]) if "context" in given and derived is None else source


def _asked(
    name: Any,  # noqa: ANN401
    context: Any,  # noqa: ANN401
    labels: Any,  # noqa: ANN401
    known: int | None,
) -> tuple[Any, Any, dict[str, Any], Derived | None]:
    """The options `context` and `labels`, their values, and a context that is computed from x."""
    given = values_of(context=context, labels=labels)
    is_value = context is None or "context" in given
    is_column = not is_value and not callable(context) and has_columns(name)
    derived = None if is_value or is_column else derived_of(context)
    if isinstance(derived, Function):
        given["context"] = derived
    context = None if "context" in given else context_option(context, derived)
    if isinstance(context, str) and context == "labels" and known is not None:
        deprecated("context='labels' with known=", "labels=True with known=, as labels are observed")
        context = None
    if "labels" in given:  # as a context they are not observed as well
        labels = not (isinstance(context, str) and context == "labels")
    return context, labels, given, derived


def _in_memory(
    source: Source, options: Options, schema: Schema | None = None, derived: Derived | None = None
) -> Data:
    cut = _cut(source, options)
    labels = None
    if source.labels is not None:
        tests = source.labels if source.test_labels is None else source.test_labels
        labels = Splits(source.labels[cut.train], source.labels[cut.validation], tests[cut.test])
    tests = source.x if source.test_x is None else source.test_x
    grey = Splits(source.x[cut.train], source.x[cut.validation], tests[cut.test])
    columns, context = contexts_in(source, cut, schema)
    data = assembled(source, grey, labels, Splits(*cut), options, context=context, derived=derived)
    factors = None if source.factors is None else FactorSplits.of(source.factors, *cut)
    data = replace(data, schema=replace(data.schema, context_columns=columns), factors=factors)
    return data if options.copies == 1 else repeated(data, options.copies)


def _cut(source: Source, options: Options) -> Parts:
    """The row numbers of each part, by the source's own split if there is one."""
    if source.split is not None:
        sizes = {name: getattr(options, name) for name in ("validation", "test", "count")}
        return own_parts(source.split.tolist(), seed=options.split_seed, **sizes)
    return options.parts_of(
        len(source.x),
        count=None if source.name in TOYS else options.count,
        own_test=None if source.test_x is None else len(source.test_x),
        held_out=source.held_out,
    )


def _recorded(data: Data, given: dict[str, Any]) -> Data:
    """Record the values of context and labels, by which a run and its continuation are compared."""
    if not given:
        return data
    rows = data.train if data.derived is None else data.validation
    values = {"context": rows.context, "labels": part_of(data.labels, "train")}
    prints = {name: fingerprint(part) for name, part in values.items() if part is not None and name in given}
    return replace(data, record=data.record | prints)


def _source(
    name: Any,  # noqa: ANN401
    options: Options,
    schema: Schema | None,
    *,
    root: str | os.PathLike[str] | None,
    layer: str | None,
) -> Source:
    if not isinstance(name, (str, os.PathLike)):
        return source_of(name, options.reading, schema=schema, layer=layer, count=options.count)
    if layer is not None:
        raise InputError(f"layer names a layer of an AnnData, and {name} is not an AnnData: leave layer out")
    if schema is not None and schema.columns is not None:
        return source_like(schema, Path(name).expanduser(), options.reading)
    return find(name, root=root, count=options.count, options=options.reading)


# ------------------------------------------------------------------ names


def _plain_name(name: object) -> str | None:
    """A known name, or an absolute path; None for data in memory."""
    if isinstance(name, Drawn):
        return canonical(name.title)
    if not isinstance(name, (str, os.PathLike)):
        return None
    known = canonical(name) if isinstance(name, str) else None
    return known or os.path.abspath(os.path.expanduser(os.fspath(name)))
