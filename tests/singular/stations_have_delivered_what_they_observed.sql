{{ config(
    severity='error',
    meta={
        'rule': 'DPE-102-01',
        'dimension': 'completeness',
        'owner': 'weather-desk',
        'because': "a lost page would be silently missing"
    }
) }}
-- Fails each station that has more or fewer observations up to its last hour than the register states.
with

stations as (

    select * from {{ ref('int_stations_deduplicated') }}

),

observations as (

    select * from {{ ref('int_observations_deduplicated') }}

),

counted as (

    select
        stations.origin,
        stations.observation_count as registered_count,
        count(observations.observed_at) as delivered_count
    from stations
    left join observations
        on
            stations.origin = observations.origin
            and observations.observed_at between stations.first_observed_at and stations.last_observed_at
    group by stations.origin, stations.observation_count

)

select * from counted
where delivered_count is distinct from registered_count
