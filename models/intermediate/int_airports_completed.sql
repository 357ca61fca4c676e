-- The delivered airports, and destinations that the delivery lacks.
with

delivered as (

    select
        airport,
        airport_name,
        latitude_degrees,
        longitude_degrees,
        altitude_feet,
        utc_offset_hours,
        dst_rule,
        time_zone,
        false as is_added
    from {{ ref('stg_nyc__airports') }}

),

added as (

    select
        airport,
        airport_name,
        latitude_degrees,
        longitude_degrees,
        altitude_feet,
        utc_offset_hours,
        dst_rule,
        time_zone,
        true as is_added
    from {{ ref('airports_added') }}
    -- Once the delivery has one of them, the delivered row is used.
    where airport not in (select delivered.airport from delivered)

),

completed as (

    select * from delivered
    union all
    select * from added

)

select * from completed
