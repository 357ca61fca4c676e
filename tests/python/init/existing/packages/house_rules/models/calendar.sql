{{ config(materialized='table') }}

select day::date
from generate_series('2026-01-01'::date, '2026-12-31'::date, '1 day') as days (day)
