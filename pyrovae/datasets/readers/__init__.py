"""Readers of files: text, the structure of a CSV file, cells, tables and arrays.

text        bytes, packed or not, to text; refuses another encoding than UTF-8
structure   separator, header and lines to leave out of a CSV file, found or refused
header      whether the first line of a CSV file is a header
cells       what the cells of one column hold: numbers, dates, yes and no, words
dates       dates as days since 1970-01-01
tables      a file as a table of cells
arrays      .npy and .npz
"""

__all__ = ()
