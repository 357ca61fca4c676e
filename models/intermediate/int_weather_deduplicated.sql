-- One row per airport and point in time: the most complete observation, or the newest of several equally complete ones.
--
-- The local hour that occurs twice when the clocks are set back is two points in time, not a duplicate: both stay.
with

weather as (

    select * from {{ ref('stg_nyc__weather') }}

),

deduplicated as (

    select distinct on (origin, observed_at)
        origin,
        observed_at,
        observed_date,
        observed_hour,
        temperature_fahrenheit,
        dew_point_fahrenheit,
        relative_humidity_percent,
        wind_direction_degrees,
        wind_speed_mph,
        wind_gust_mph,
        precipitation_inches,
        pressure_millibars,
        visibility_miles
    from weather
    order by
        origin asc,
        observed_at asc,
        num_nulls(temperature_fahrenheit, wind_speed_mph, precipitation_inches, visibility_miles) asc,
        load_id desc

)

select * from deduplicated
