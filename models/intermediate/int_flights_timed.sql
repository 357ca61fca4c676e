-- One row per departure, with its times as points in time.
--
-- Arrivals are delivered as local times at the destination, without a date: a flight arrives the first time after its
-- departure that the clock there shows that time.
with

flights as (

    select * from {{ ref('stg_nyc__flights') }}

),

airports as (

    select * from {{ ref('int_airports_completed') }}

),

departures as (

    select
        flights.*,
        airports.time_zone as destination_time_zone,
        flights.scheduled_hour_at
        + make_interval(mins => extract(minute from flights.scheduled_departure_time)::integer) as scheduled_departure_at
    from flights
    left join airports on flights.destination = airports.airport

),

local_departures as (

    select
        *,
        scheduled_departure_at at time zone destination_time_zone as scheduled_on_destination_clock
    from departures

),

arrivals as (

    select
        *,
        (
            scheduled_on_destination_clock::date
            + scheduled_arrival_time
            + case
                when scheduled_arrival_time > scheduled_on_destination_clock::time then interval '0'
                else interval '1 day'
            end
        ) at time zone destination_time_zone as scheduled_arrival_at
    from local_departures

),

timed as (

    select
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
        scheduled_hour_at,
        scheduled_departure_at,
        scheduled_departure_at + make_interval(mins => departure_delay_minutes) as departed_at,
        scheduled_arrival_at,
        scheduled_arrival_at + make_interval(mins => arrival_delay_minutes) as arrived_at,
        departure_delay_minutes,
        arrival_delay_minutes,
        air_time_minutes,
        distance_miles,
        load_id
    from arrivals

)

select * from timed
