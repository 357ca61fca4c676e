-- One row per weather station.
with

stations as (

    select
        origin,
        station_name,
        latitude_degrees,
        longitude_degrees,
        altitude_feet,
        time_zone,
        first_observed_at,
        last_observed_at,
        observation_count
    from {{ ref('int_stations_deduplicated') }}

)

select * from stations
