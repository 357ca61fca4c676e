-- One row per airport and weather condition in which departures were scheduled.
with

departures as (

    select * from {{ ref('fct_departure_weather') }}

),

summed as (

    select
        origin,
        weather_condition,
        count(*) as hour_count,
        sum(scheduled_count) as scheduled_count,
        sum(cancelled_count) as cancelled_count,
        sum(departed_count) as departed_count,
        sum(delayed_count) as delayed_count,
        sum(total_departure_delay_minutes) as total_departure_delay_minutes
    from departures
    group by origin, weather_condition

),

impact as (

    select
        origin,
        weather_condition,
        hour_count,
        scheduled_count,
        cancelled_count,
        departed_count,
        delayed_count,
        (100.0 * cancelled_count / scheduled_count)::numeric(5, 2) as cancelled_percent,
        (100.0 * delayed_count / nullif(departed_count, 0))::numeric(5, 2) as delayed_percent,
        (total_departure_delay_minutes::numeric / nullif(departed_count, 0))::numeric(8, 2) as mean_departure_delay_minutes
    from summed

)

select * from impact
