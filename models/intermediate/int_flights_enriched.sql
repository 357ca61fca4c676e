-- One row per departure, with the weather at its airport in the hour it was scheduled to leave.
with

flights as (

    select * from {{ ref('int_flights_classified') }}

),

weather as (

    select * from {{ ref('int_weather_deduplicated') }}

),

enriched as (

    select
        flights.*,
        weather.observed_at is not null as has_weather,
        weather.temperature_fahrenheit,
        weather.wind_speed_mph,
        weather.precipitation_inches,
        weather.visibility_miles
    from flights
    -- observed_at is a point in time, which occurs once; the local hour occurs twice when the clocks are set back.
    left join weather
        on
            flights.origin = weather.origin
            and flights.scheduled_hour_at = weather.observed_at

)

select * from enriched
