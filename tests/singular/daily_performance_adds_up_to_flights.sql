{{ config(
    severity='error',
    meta={
        'rule': 'DPE-101-18',
        'dimension': 'consistency',
        'owner': 'flight-operations',
        'because': "both are shown side by side"
    }
) }}
-- Fails each carrier whose days do not add up to its flights.
with

flights as (

    select
        carrier,
        count(*) as scheduled_count,
        count(*) filter (where is_cancelled) as cancelled_count
    from {{ ref('fct_flights') }}
    group by carrier

),

days as (

    select
        carrier,
        sum(scheduled_count) as scheduled_count,
        sum(cancelled_count) as cancelled_count
    from {{ ref('fct_carrier_daily_performance') }}
    group by carrier

)

select coalesce(flights.carrier, days.carrier) as carrier
from flights
full join days on flights.carrier = days.carrier
where
    flights.scheduled_count is distinct from days.scheduled_count
    or flights.cancelled_count is distinct from days.cancelled_count
