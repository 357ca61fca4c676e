with

source as (

    select * from {{ source('met', 'hourly_departures') }}

),

renamed as (

    select
        origin,
        scheduled_hour_at,
        scheduled_count,
        cancelled_count,
        delayed_count,
        departure_delay_minutes as total_departure_delay_minutes,
        _load_id as load_id
    from source

)

select * from renamed
