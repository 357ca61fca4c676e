-- One row per carrier and day with at least one scheduled departure.
with

flights as (

    select * from {{ ref('fct_flights') }}

),

daily as (

    select
        carrier,
        flight_date,
        count(*) as scheduled_count,
        count(*) filter (where is_cancelled) as cancelled_count,
        count(*) filter (where has_arrived) as arrived_count,
        count(*) filter (where is_on_time) as on_time_count,
        avg(departure_delay_minutes)::numeric(8, 2) as mean_departure_delay_minutes,
        avg(arrival_delay_minutes)::numeric(8, 2) as mean_arrival_delay_minutes
    from flights
    group by carrier, flight_date

)

select * from daily
