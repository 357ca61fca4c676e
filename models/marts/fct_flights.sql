-- One row per scheduled departure.
with

flights as (

    select * from {{ ref('int_flights_enriched') }}

),

final as (

    select
        concat_ws('-', carrier, flight_number, flight_date, to_char(scheduled_departure_time, 'HH24MI'), origin) as flight_key,
        carrier,
        flight_number,
        flight_date,
        origin,
        destination,
        tail_number,
        scheduled_departure_time,
        departure_time,
        scheduled_arrival_time,
        arrival_time,
        scheduled_departure_at,
        departed_at,
        scheduled_arrival_at,
        arrived_at,
        departure_delay_minutes,
        arrival_delay_minutes,
        air_time_minutes,
        distance_miles,
        is_cancelled,
        has_arrived,
        is_diverted_or_unrecorded,
        is_on_time,
        has_weather,
        temperature_fahrenheit,
        wind_speed_mph,
        precipitation_inches,
        visibility_miles,
        load_id
    from flights

)

select * from final
