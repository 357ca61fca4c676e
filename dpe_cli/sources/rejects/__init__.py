"""
Splits a rejected record into columns, so that a person can correct them (`dpe rejects export`).

`json_objects` splits those of Parquet, Excel, JSON, databases, APIs and taps; CSV and fixed-width files split their own, in
sources/files.
"""
