-- One row per airport and hour with scheduled departures.
with

departures as (

    select * from {{ ref('int_departures_with_weather') }}

),

final as (

    select
        origin,
        scheduled_hour_at,
        scheduled_date,
        scheduled_hour,
        scheduled_count,
        cancelled_count,
        departed_count,
        delayed_count,
        total_departure_delay_minutes,
        (total_departure_delay_minutes::numeric / nullif(departed_count, 0))::numeric(8, 2) as mean_departure_delay_minutes,
        has_observation,
        weather_condition,
        temperature_fahrenheit,
        wind_speed_mph,
        wind_gust_mph,
        precipitation_inches,
        visibility_miles,
        load_id
    from departures

)

select * from final
