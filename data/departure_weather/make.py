"""Make the Parquet file and the database of this folder from the sample data; DIRECTORY is where to, by default here."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

import duckdb

HERE = Path(__file__).parent
NYC = HERE.parent / "nyc_flights"

# Delays of a minute are whole, so that their sum is exact; the mean is the desk's to take.
DEPARTURES = """
    select
        origin,
        time_hour as scheduled_hour_at,
        count(*)::integer as scheduled_count,
        count(*) filter (where dep_time is null)::integer as cancelled_count,
        count(*) filter (where dep_delay >= 15)::integer as delayed_count,
        coalesce(sum(dep_delay), 0)::integer as departure_delay_minutes
    from read_csv($1, nullstr = 'NA')
    group by origin, time_hour
    order by origin, time_hour
"""
STATIONS = """
    select
        faa,
        name,
        lat,
        lon,
        alt,
        tzone,
        strftime(min(time_hour), '%Y-%m-%d %H:%M:%S') as first_observed_at,
        strftime(max(time_hour), '%Y-%m-%d %H:%M:%S') as last_observed_at,
        count(*) as observation_count
    from read_csv($1, nullstr = 'NA') as airports
    inner join read_csv($2, nullstr = 'NA') as weather on airports.faa = weather.origin
    group by all
    order by faa
"""


def make(directory: Path) -> None:
    """Write both files."""
    connection = duckdb.connect()
    connection.execute("set timezone = 'UTC'")
    connection.execute("set threads = 1")
    departures = connection.execute(f"create table departures as {DEPARTURES}", [str(NYC / "flights" / "*.csv.gz")])
    departures.execute(f"copy departures to '{directory / 'hourly_departures.parquet'}' (format parquet, compression zstd)")
    stations = connection.execute(STATIONS, [str(NYC / "airports.csv"), str(NYC / "weather.csv.gz")]).fetchall()
    _write_register(directory / "stations.sqlite", stations)


def _write_register(path: Path, stations: list[tuple[object, ...]]) -> None:
    """Write the register of stations; times are UTC, as SQLite writes them."""
    path.unlink(missing_ok=True)
    register = sqlite3.connect(path)
    register.execute(
        "create table stations (origin text primary key, station_name text, latitude real, longitude real, altitude_feet integer,"
        " time_zone text, first_observed_at text, last_observed_at text, observation_count integer)"
    )
    register.executemany("insert into stations values (?, ?, ?, ?, ?, ?, ?, ?, ?)", stations)
    register.commit()
    register.close()


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
