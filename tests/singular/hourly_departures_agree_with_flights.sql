{{ config(
    severity='warn',
    meta={
        'rule': 'DPE-102-16',
        'dimension': 'consistency',
        'owner': 'airport-operations',
        'because': "both desks see the same departures, which are delivered to each separately"
    }
) }}
-- Fails each airport and hour whose departures and flights differ in number, from the first to the last hour that both have.
with

flights as (

    select
        origin,
        date_trunc('hour', scheduled_departure_at) as scheduled_hour_at,
        count(*) as flight_count
    from {{ ref('fct_flights') }}
    group by origin, date_trunc('hour', scheduled_departure_at)

),

departures as (

    select * from {{ ref('fct_departure_weather') }}

),

delivered as (

    select
        greatest((select min(scheduled_hour_at) from flights), (select min(scheduled_hour_at) from departures)) as first_hour_at,
        least((select max(scheduled_hour_at) from flights), (select max(scheduled_hour_at) from departures)) as last_hour_at

),

compared as (

    select
        coalesce(flights.origin, departures.origin) as origin,
        coalesce(flights.scheduled_hour_at, departures.scheduled_hour_at) as scheduled_hour_at,
        flights.flight_count,
        departures.scheduled_count
    from flights
    full join departures
        on
            flights.origin = departures.origin
            and flights.scheduled_hour_at = departures.scheduled_hour_at

)

select compared.*
from compared
inner join delivered on compared.scheduled_hour_at between delivered.first_hour_at and delivered.last_hour_at
where compared.flight_count is distinct from compared.scheduled_count
