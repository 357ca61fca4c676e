-- One row per departure, with what became of it.
with

flights as (

    select * from {{ ref('int_flights_timed') }}

),

classified as (

    select
        *,
        departure_time is null as is_cancelled,
        arrival_delay_minutes is not null as has_arrived,
        -- It left, but did not arrive at its destination, or its arrival was not recorded.
        departure_time is not null and arrival_delay_minutes is null as is_diverted_or_unrecorded,
        -- The Bureau of Transportation Statistics calls a flight on time that arrives less than 15 minutes late.
        coalesce(arrival_delay_minutes < 15, false) as is_on_time
    from flights

)

select * from classified
