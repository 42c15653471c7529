"""CSV as it comes out of spreadsheets and data tools: what changes no value is taken, and the rest is named."""

import codecs
import re

import pytest

from shared.csv_file import CsvError, Row, decoded, rows

PLAIN = "name,size\na,1\nb,2\n"
READ = [{"name": "a", "size": "1"}, {"name": "b", "size": "2"}]


def cells(text: str, *required: str) -> list[dict[str, str]]:
    return [row.cells for row in rows(text, "f.csv", required or ("name", "size"))]


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r"),
        PLAIN.rstrip("\n"),
        "name,size\n\na,1\n  \n\nb,2\n\n\n",
        " name , size \n a,1 \n\tb ,2\n",
        '"name","size"\n"a","1"\n"b","2"\n',
        "name,size,,\na,1,,\nb,2,,\n,,,\n",
        "name,size\na,1,\nb,2,,,\n",
        "\n\nname,size\na,1\nb,2\n",
    ],
)
def test_the_same_table_is_read_however_it_was_written(text: str) -> None:
    assert cells(text) == READ


@pytest.mark.parametrize("body", [PLAIN.encode(), codecs.BOM_UTF8 + PLAIN.encode()])
def test_a_byte_order_mark_is_no_part_of_the_first_column(body: bytes) -> None:
    assert cells(decoded(body, "f.csv")) == READ


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (PLAIN.encode("utf-16"), "f.csv: is UTF-16; save it as CSV in UTF-8"),
        (codecs.BOM_UTF16_BE + PLAIN.encode("utf-16-be"), "f.csv: is UTF-16; save it as CSV in UTF-8"),
        (b"name,size\nZ\xfcrich,1\n", "f.csv, line 2: byte 11 is not UTF-8; save it as CSV in UTF-8"),
    ],
)
def test_another_encoding_is_named(body: bytes, message: str) -> None:
    with pytest.raises(CsvError, match=f"^{re.escape(message)}$"):
        decoded(body, "f.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "f.csv, line 1: there is no column name; needed are name, size"),
        ("name,weight\n", "f.csv, line 1: there is no column size; needed are name, size"),
        ("name;size\na;1\n", "f.csv, line 1: the columns are separated by ';'; separate them by ','"),
        ("\nname;size;a,b\n", "f.csv, line 2: the columns are separated by ';'; separate them by ','"),
        ("name\tsize\n", "f.csv, line 1: the columns are separated by a tab; separate them by ','"),
        ("name|size\n", "f.csv, line 1: the columns are separated by '|'; separate them by ','"),
        ("name,size,name\n", "f.csv, line 1: the column name is there twice"),
        (
            "name,size\n\na\n",
            "f.csv, line 3, column size: is missing; the line has 1 cells, and the header has 2",
        ),
        (
            "name,size\na,1,x\n",
            "f.csv, line 2: has 3 cells, and the header has 2; the cell 'x' belongs to no column",
        ),
        ('name,size\n"a\nb",1\n"c,2\n', "f.csv, line 4: not CSV: unexpected end of data"),
        ('name,size\n"a"b,1\n', "f.csv, line 2: not CSV: ',' expected after '\"'"),
    ],
)
def test_what_is_wrong_is_named_with_its_line_and_column(text: str, message: str) -> None:
    with pytest.raises(CsvError, match=f"^{re.escape(message)}$"):
        cells(text)


def test_a_cell_may_hold_separators_quotes_and_line_ends() -> None:
    [row] = rows('name,size\n"a,""b""\nc",1\n', "f.csv", ("name",))
    assert (row.line, row.cells) == (2, {"name": 'a,"b"\nc', "size": "1"})


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("60", 60), ("60.0", 60), ("60.", 60), ("007", 7), ("1.25e1", None), ("1.2e1", 12), ("1E+3", 1000)],
)
def test_a_whole_number_may_be_written_with_a_point_or_an_exponent(text: str, value: int | None) -> None:
    row = Row("f.csv", 2, {"size": text})
    if value is None:
        with pytest.raises(CsvError, match="must be a whole number"):
            row.whole("size", 1000)
    else:
        assert row.whole("size", 1000) == value


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", "1001", "60.5", "nan", "inf", "1_0", "1,000", "0x1", "١", "1e99", "9" * 50, "ten"]
)
def test_what_is_no_whole_number_in_range_is_refused(text: str) -> None:
    with pytest.raises(CsvError, match=r"^f\.csv, line 2, column size: .* must be a whole number from 0 to 1000$"):
        Row("f.csv", 2, {"size": text}).whole("size", 1000)
