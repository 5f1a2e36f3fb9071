"""Text from files that may be packed, in a known encoding.

.gz .bz2 .xz .zip   unpacked; a .zip file must hold one file
UTF-8               with or without a byte order mark
UTF-16              with a byte order mark
others              refused, with the command that converts the file
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from pyrovae.errors import InputError
from pyrovae.memory import in_bytes, refuse_too_large

__all__ = ["PACKED", "ending_of", "lines_of", "read_bytes", "read_text"]

PACKED = (".gz", ".bz2", ".xz", ".zip")
BEGINNING = 4096  # bytes
PIECE = 2**24


def ending_of(path: Path) -> str:
    """The suffix of the content: ".csv" for t.csv and for t.csv.gz."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in PACKED:
        inner = suffixes[-2] if len(suffixes) > 1 else ""
        if suffixes[-1] == ".zip" and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                members = _members(archive)
            return _plain_suffix(members[0]) or inner if len(members) == 1 else inner
        return inner
    return suffixes[-1] if suffixes else ""


def _plain_suffix(name: str) -> str:
    """The suffix of a member of an archive: ".csv" for t.csv, and for text called t.csv.zip."""
    plain = [suffix.lower() for suffix in Path(name).suffixes if suffix.lower() not in PACKED]
    return plain[-1] if plain else ""


def read_bytes(path: Path) -> bytes:
    """The bytes of a file, unpacked by the suffix of its name.

    Raises:
        InputError: for a .zip file with several files or a password, or for too much text.
        OSError, EOFError, lzma.LZMAError, zipfile.BadZipFile: for a broken file.
    """
    if path.suffix.lower() not in PACKED:
        _refuse_long(path, path.stat().st_size)
        return path.read_bytes()
    content = io.BytesIO()
    with _unpacked(path) as file:
        while piece := file.read(PIECE):
            content.write(piece)
            _refuse_long(path, content.tell())
    return content.getvalue()


def _refuse_long(path: Path, size: int) -> None:
    """Refuse a text whose characters and cells do not fit into memory."""
    refuse_too_large(f"{in_bytes(size)} of text in {path.name}", 4 * size, "give a part of it")


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, or in UTF-16 with a byte order mark.

    Raises:
        InputError: for another encoding, or a file that is not text.
    """
    content = read_bytes(path)
    try:
        return content.decode(_encoding(content[:BEGINNING], path))
    except UnicodeDecodeError as error:
        raise _not_text(path, content[error.start], content.count(b"\n", 0, error.start) + 1) from None


def lines_of(path: Path) -> Iterator[str]:
    """The lines of the text of a file, one at a time, with their ends.

    Raises:
        InputError: as `read_text` does.
    """
    with _unpacked(path) as file:
        encoding = _encoding(file.read(BEGINNING), path)
    with _unpacked(path) as file, io.TextIOWrapper(file, encoding, newline="") as text:
        try:
            yield from text
        except UnicodeDecodeError:
            raise _first_wrong(path) from None


def _first_wrong(path: Path) -> InputError:
    """The error of the first line that is not in UTF-8."""
    with _unpacked(path) as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return _not_text(path, line[error.start], number)
    return InputError(f"{path} is cut off in the middle of a character: save it again")


def _encoding(beginning: bytes, path: Path) -> str:
    """The encoding of a text that begins with some bytes."""
    if beginning[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    if b"\0" in beginning:
        zeros = sorted((beginning[::2].count(0), beginning[1::2].count(0)))
        wide = zeros[1] > len(beginning) / 4 > 10 * zeros[0]  # every second byte, as in UTF-16
        cure = f"convert it with `iconv -f UTF-16LE -t UTF-8 {path.name}`" if wide else "give a text file"
        raise InputError(f"{path} is not text in UTF-8, as it contains NUL bytes: {cure}")
    return "utf-8-sig"


def _not_text(path: Path, byte: int, line: int) -> InputError:
    return InputError(
        f"{path} is not in UTF-8 (byte 0x{byte:02x} in line {line}): convert it, from "
        f"Latin-1 as most such files with `iconv -f WINDOWS-1252 -t UTF-8 {path.name}`"
    )


def _unpacked(path: Path) -> IO[bytes]:
    """A file opened for reading, unpacked by the suffix of its name."""
    suffix = path.suffix.lower()
    if suffix == ".zip":
        archive = zipfile.ZipFile(path)
        name = _only_member(archive, path)
        if archive.getinfo(name).flag_bits & 1:
            raise InputError(f"{path} is encrypted: save it again without a password")
        return archive.open(name)
    opener = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}.get(suffix, open)
    return opener(path, "rb")  # type: ignore[operator, no-any-return]


def _only_member(archive: zipfile.ZipFile, path: Path) -> str:
    members = _members(archive)
    if len(members) != 1:
        raise InputError(
            f"{path} holds {len(members)} files ({', '.join(members[:3])}): unpack it and give one of them"
        )
    return members[0]


def _members(archive: zipfile.ZipFile) -> list[str]:
    return [
        name
        for name in archive.namelist()
        if not name.endswith("/") and not name.startswith("__MACOSX/") and not Path(name).name.startswith(".")
    ]
