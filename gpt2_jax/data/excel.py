"""The first sheet of an .xlsx file, through openpyxl (the extra `data`)."""

from __future__ import annotations

import datetime
import itertools
import warnings
import zipfile
from collections.abc import Iterator
from typing import Any

from gpt2_jax.data import content
from gpt2_jax.data.reading import Form, Reading
from gpt2_jax.data.row import Row, Rows, name_columns
from gpt2_jax.errors import DataError, DeviceError

SUFFIXES = (".xlsx",)


def open_excel(stream: Any, name: str, how: Reading) -> Rows:
    """Return the rows of the first sheet, below its first row that is not empty.

    Raises:
        DeviceError: openpyxl is not installed.
        DataError: it is damaged, or unpacks to too much.
    """
    try:
        import openpyxl
    except ImportError:
        raise DeviceError(
            f"{name}: .xlsx needs the extra: pip install 'gpt2-jax[data]'"
        ) from None
    try:
        with zipfile.ZipFile(stream) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > content.MAX_BYTES:
            raise DataError(
                f"{name}: unpacks to more than {content.MAX_BYTES / 1e9:.1f} GB; split "
                "the file"
            )
        with warnings.catch_warnings(action="ignore"):  # of styles
            book = openpyxl.load_workbook(stream, read_only=True, data_only=True)
        sheet = book.worksheets[0]
    except DataError:
        raise
    except Exception as error:  # openpyxl lets through what its parsers raise
        raise DataError(
            f"{name}: damaged or no .xlsx ({type(error).__name__}: {error})"
        ) from None
    rows = Rows(name, "row", Form("xlsx", header=how.header is not False), [], iter(()))
    if len(book.worksheets) > 1:
        rows.notes.append(f"of {len(book.worksheets)} sheets {sheet.title!r} was read")
    cells = _cells(name, sheet)
    for number, first in cells:
        while first and first[-1] == "":
            first.pop()
        if not first:
            rows.blank += 1
            continue
        rows.header_line = number
        if rows.form.header:
            name_columns(rows, list(map(str, first)))
            rows.rows = _rows(cells, rows)
        else:
            rows.columns = [str(i) for i in range(1, len(first) + 1)]
            rows.rows = _rows(itertools.chain([(number, first)], cells), rows)
        break
    return rows


def _cells(name: str, sheet: Any) -> Iterator[tuple[int, list[Any]]]:
    rows = enumerate(sheet.iter_rows(values_only=True), start=1)
    while True:
        try:
            number, values = next(rows)
        except StopIteration:
            return
        except Exception as error:
            raise DataError(
                f"{name}: damaged ({type(error).__name__}: {error})"
            ) from None
        yield number, [_plain(value) for value in values]


def _plain(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    return value if isinstance(value, (str, bool, int, float)) else str(value)


def _rows(cells: Iterator[tuple[int, list[Any]]], rows: Rows) -> Iterator[Row]:
    width = len(rows.columns)
    for number, values in cells:
        if all(value == "" for value in values):
            rows.blank += 1
            continue
        if any(value != "" for value in values[width:]):
            raise DataError(
                f"{rows.name}, row {number}: {len(values)} cells, but the header has "
                f"{width} ({', '.join(rows.columns)})"
            )
        values = values[:width] + [""] * (width - len(values))
        yield rows.named(number, values)
