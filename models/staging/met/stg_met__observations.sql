with

source as (

    select * from {{ source('met', 'observations') }}

),

renamed as (

    select
        origin,
        observed_at,
        local_date as observed_date,
        local_hour as observed_hour,
        temperature_fahrenheit,
        dew_point_fahrenheit,
        relative_humidity_percent,
        wind_direction_degrees,
        wind_speed_mph,
        wind_gust_mph,
        precipitation_inches,
        pressure_millibars,
        visibility_miles,
        _load_id as load_id
    from source

)

select * from renamed
