{{ config(
    severity='warn',
    meta={
        'rule': 'DPE-102-18',
        'dimension': 'timeliness',
        'owner': 'weather-desk',
        'because': "weather that arrives later than the departures would be silently missing from the report"
    }
) }}
-- Fails each hour with departures of an airport that is later than its last observation.
with

departures as (

    select * from {{ ref('fct_departure_weather') }}

),

observed as (

    select
        origin,
        max(observed_at) as last_observed_at
    from {{ ref('int_observations_deduplicated') }}
    group by origin

)

select
    departures.origin,
    departures.scheduled_hour_at
from departures
left join observed on departures.origin = observed.origin
where
    observed.last_observed_at is null
    or departures.scheduled_hour_at > observed.last_observed_at
