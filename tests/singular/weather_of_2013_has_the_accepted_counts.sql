{{ config(
    severity='error',
    meta={
        'rule': 'DPE-102-11',
        'dimension': 'accuracy',
        'owner': 'airport-operations',
        'because': "the pipeline was accepted with them"
    }
) }}
-- Fails each count of the departures of 2013 and their weather that differs from the accepted one.
with

accepted (origin, observation_count, hour_count, scheduled_count, cancelled_count, delayed_count, hours_without_weather_count) as (

    values
    ('EWR', 8703, 6266, 120835, 3239, 29775, 39),
    ('JFK', 8706, 6935, 111279, 1863, 23347, 40),
    ('LGA', 8706, 6285, 104662, 3153, 19792, 29)

),

observations as (

    select
        origin,
        count(*) as observation_count
    from {{ ref('int_observations_deduplicated') }}
    where observed_date between '2013-01-01' and '2013-12-31'
    group by origin

),

departures as (

    select
        origin,
        count(*) as hour_count,
        sum(scheduled_count) as scheduled_count,
        sum(cancelled_count) as cancelled_count,
        sum(delayed_count) as delayed_count,
        count(*) filter (where not has_observation) as hours_without_weather_count
    from {{ ref('fct_departure_weather') }}
    where scheduled_date between '2013-01-01' and '2013-12-31'
    group by origin

),

counted as (

    select
        coalesce(departures.origin, observations.origin) as origin,
        observations.observation_count,
        departures.hour_count,
        departures.scheduled_count,
        departures.cancelled_count,
        departures.delayed_count,
        departures.hours_without_weather_count
    from departures
    full join observations on departures.origin = observations.origin

),

compared as (

    select
        coalesce(accepted.origin, counted.origin) as origin,
        counts.*
    from accepted
    full join counted on accepted.origin = counted.origin
    cross join lateral (
        values
        ('observations', counted.observation_count, accepted.observation_count),
        ('hours with departures', counted.hour_count, accepted.hour_count),
        ('departures', counted.scheduled_count, accepted.scheduled_count),
        ('cancelled departures', counted.cancelled_count, accepted.cancelled_count),
        ('delayed departures', counted.delayed_count, accepted.delayed_count),
        ('hours without weather', counted.hours_without_weather_count, accepted.hours_without_weather_count)
    ) as counts (what, counted, accepted)

)

select * from compared
where counted is distinct from accepted
