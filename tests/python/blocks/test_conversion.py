"""Values in a declared format: whole blocks are converted as their records are, one by one."""

from __future__ import annotations

import random
from datetime import date, timedelta

import pytest

from dpe_cli.blocks import time_formats
from dpe_cli.blocks.conversion import Converter
from dpe_cli.blocks.csv_grammar import Dialect

FORMATS = ("DD.MM.YYYY", "MM/DD/YYYY", "YYYYMMDD", "YYYY-MM-DD HH24:MI:SS.FF3", 'DD.MM.YYYY "um" HH24:MI', "HH24:MI DD.MM.YYYY")
DIALECTS = (Dialect(), Dialect(delimiter=";", quote="'", escape="\\"), Dialect(delimiter="\t", quote="", escape="", null_string="\\N"))


def _one_by_one(converter: Converter, data: bytes) -> bytes | None:
    """Return a block as its records are converted; None if one of them is refused."""
    found = [converter.convert(raw) for raw in data.splitlines(keepends=True)]
    return None if any(isinstance(one, tuple) for one in found) else b"".join(one for one in found if isinstance(one, bytes))


def _field(random_: random.Random, value: str, dialect: Dialect) -> str:
    return f"{dialect.quote}{value}{dialect.quote}" if random_.random() < 0.3 else value


@pytest.mark.parametrize("dialect", DIALECTS, ids=["comma", "semicolon", "tab"])
@pytest.mark.parametrize("template", FORMATS)
def test_a_block_is_converted_like_its_records(template: str, dialect: Dialect) -> None:
    """Or not at all. Most blocks have the form; each third has something else in it."""
    random_ = random.Random(f"{template}{dialect.delimiter}")
    converter = Converter({1: time_formats.parse(template), 3: time_formats.parse("DD.MM.YYYY")}, dialect, null_quoted=[False] * 4, width=4)
    strange = [
        "",
        dialect.null_string,
        "31.02.2024",
        "29.02.1900",
        "00.01.2024",
        "x",
        " 01.02.2003",
        "\u0660\u0661.02.2003",
        "0000-01-01",
        "1.2.2003",
    ]
    whole = 0
    for number in range(150):
        lines = []
        for _ in range(random_.randint(1, 5)):
            day = date(1, 1, 1) + timedelta(random_.randrange(3_650_000))
            value = template.replace('"', "").replace("HH24", "23").replace("MI", "59").replace("SS", "58").replace("FF3", "057")
            value = value.replace("DD", f"{day:%d}").replace("MM", f"{day:%m}").replace("YYYY", f"{day.year:04}")
            if number % 3 == 0:
                value = random_.choice(strange)
            fields = [str(number), value, random_.choice(["a", "", "01.02.2003"]), f"{day:%d.%m}.{day.year:04}"]
            lines.append(dialect.delimiter.join(_field(random_, field, dialect) for field in fields) + random_.choice(["\n", "\r\n"]))
        data = "".join(lines).encode()

        converted = converter.convert_all(data)

        assert converted in {None, _one_by_one(converter, data)}, data
        whole += converted is not None
    assert whole > 75


@pytest.mark.parametrize("day", ["29.02.2024", "29.02.2000", "28.02.1900", "31.12.9999", "01.01.0001", "30.11.2023"])
def test_a_day_of_the_calendar_needs_no_second_look(day: str) -> None:
    """Leap years included."""
    converter = Converter({0: time_formats.parse("DD.MM.YYYY")}, Dialect(), null_quoted=[False], width=1)
    assert f'"{day[6:]}-{day[3:5]}-{day[:2]}"\n'.encode() == converter.convert_all(f"{day}\n".encode())


@pytest.mark.parametrize(
    "day", ["29.02.2023", "29.02.1900", "31.04.2024", "32.01.2024", "00.01.2024", "01.13.2024", "01.00.2024", "01.01.0000"]
)
def test_a_day_that_does_not_exist_is_looked_at(day: str) -> None:
    """So that its record is refused as it was delivered, with the reason."""
    converter = Converter({0: time_formats.parse("DD.MM.YYYY")}, Dialect(), null_quoted=[False], width=1)
    assert converter.convert_all(f"{day}\n".encode()) is None
    assert (0, f'"{day}" is not a date or time in the format DD.MM.YYYY') == converter.convert(f"{day}\n".encode())


@pytest.mark.parametrize("template", ["DD,MM,YYYY", "FMDD.MM.YYYY", "DD-MON-YYYY", "HH12:MI AM DD.MM.YYYY"])
def test_other_formats_are_converted_one_by_one(template: str) -> None:
    """If a value has to be quoted, or its parts are not digits at fixed places."""
    converter = Converter({0: time_formats.parse(template)}, Dialect(), null_quoted=[False], width=1)
    assert converter.convert_all(b"01.02.2024\n") is None
