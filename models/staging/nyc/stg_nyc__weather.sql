with

source as (

    select * from {{ source('nyc', 'weather') }}

),

renamed as (

    select
        origin,
        time_hour as observed_at,
        make_date(year, month, day) as observed_date,
        hour as observed_hour,
        temp as temperature_fahrenheit,
        dewp as dew_point_fahrenheit,
        humid as relative_humidity_percent,
        wind_dir as wind_direction_degrees,
        wind_speed as wind_speed_mph,
        wind_gust as wind_gust_mph,
        precip as precipitation_inches,
        pressure as pressure_millibars,
        visib as visibility_miles,
        _load_id as load_id
    from source

)

select * from renamed
