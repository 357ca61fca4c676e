with

source as (

    select * from {{ source('nyc', 'planes') }}

),

renamed as (

    select
        tailnum as tail_number,
        year as built_year,
        type as aircraft_type,
        manufacturer,
        model,
        engines as engine_count,
        seats as seat_count,
        speed as cruising_speed_mph,
        engine as engine_type
    from source

)

select * from renamed
