-- One row per aircraft in the registry.
with

planes as (

    select
        tail_number,
        built_year,
        aircraft_type,
        manufacturer,
        model,
        engine_count,
        seat_count,
        cruising_speed_mph,
        engine_type
    from {{ ref('stg_nyc__planes') }}

)

select * from planes
