-- One row per airport and hour with scheduled departures, with the weather of that hour.
with

departures as (

    select * from {{ ref('stg_met__hourly_departures') }}

),

observations as (

    select
        *,
        -- More was never measured there: the gauge was broken, and the wind is unknown.
        greatest(
            case when wind_speed_mph <= 200 then wind_speed_mph end,
            case when wind_gust_mph <= 200 then wind_gust_mph end
        ) as strongest_wind_mph
    from {{ ref('int_observations_deduplicated') }}

),

stations as (

    select * from {{ ref('int_stations_deduplicated') }}

),

weathered as (

    select
        departures.*,
        departures.scheduled_count - departures.cancelled_count as departed_count,
        (departures.scheduled_hour_at at time zone stations.time_zone)::date as scheduled_date,
        extract(hour from departures.scheduled_hour_at at time zone stations.time_zone)::integer as scheduled_hour,
        observations.observed_at is not null as has_observation,
        case
            when observations.observed_at is null then 'unknown'
            when observations.visibility_miles < 3 then 'low visibility'
            when observations.precipitation_inches > 0 then 'precipitation'
            when observations.strongest_wind_mph >= 30 then 'strong wind'
            else 'fair'
        end as weather_condition,
        observations.temperature_fahrenheit,
        observations.wind_speed_mph,
        observations.wind_gust_mph,
        observations.precipitation_inches,
        observations.visibility_miles
    from departures
    -- A point in time; the local hour occurs twice when the clocks are set back.
    left join observations
        on
            departures.origin = observations.origin
            and departures.scheduled_hour_at = observations.observed_at
    left join stations on departures.origin = stations.origin

)

select * from weathered
