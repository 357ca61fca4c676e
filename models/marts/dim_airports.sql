-- One row per airport.
with

airports as (

    select
        airport,
        airport_name,
        latitude_degrees,
        longitude_degrees,
        altitude_feet,
        utc_offset_hours,
        dst_rule,
        time_zone,
        is_added
    from {{ ref('int_airports_completed') }}

)

select * from airports
