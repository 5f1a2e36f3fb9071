"""Readers of files: text, the structure of a CSV file, cells, tables and arrays.

text        bytes to text; unpacks files, refuses encodings other than UTF-8 and UTF-16
structure   the separator and header of a CSV file, and the lines to leave out
header      whether the first line of a CSV file is a header
cells       what the cells of one column hold: numbers, dates, yes and no, words
dates       dates as days since 1970-01-01
tables      files as tables of cells
suspects    what a column probably is, such as an identifier
arrays      .npy and .npz
"""

__all__ = ()
