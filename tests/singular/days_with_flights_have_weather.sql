{{ config(
    severity='warn',
    meta={
        'rule': 'DPE-101-20',
        'dimension': 'timeliness',
        'owner': 'weather-desk',
        'because': "weather that arrives later than the flights would be silently missing from the report"
    }
) }}
-- Fails each airport and day with flights but without an observation.
with

flights as (

    select distinct
        origin,
        flight_date
    from {{ ref('stg_nyc__flights') }}

),

observations as (

    select distinct
        origin,
        observed_date
    from {{ ref('stg_nyc__weather') }}

)

select
    flights.origin,
    flights.flight_date
from flights
left join observations
    on
        flights.origin = observations.origin
        and flights.flight_date = observations.observed_date
where observations.observed_date is null
