with

source as (

    select * from {{ source('met', 'stations') }}

),

renamed as (

    select
        origin,
        station_name,
        latitude as latitude_degrees,
        longitude as longitude_degrees,
        altitude_feet,
        time_zone,
        -- SQLite has no time zones; the register is kept in UTC.
        first_observed_at at time zone 'UTC' as first_observed_at,
        last_observed_at at time zone 'UTC' as last_observed_at,
        observation_count,
        _load_id as load_id
    from source

)

select * from renamed
