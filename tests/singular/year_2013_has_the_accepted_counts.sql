{{ config(
    severity='error',
    meta={
        'rule': 'DPE-101-22',
        'dimension': 'accuracy',
        'owner': 'flight-operations',
        'because': "the pipeline was accepted with them"
    }
) }}
-- Fails each count of the flights of 2013 that differs from the accepted one.
with

delivered as (

    select
        count(*) as flights,
        count(*) filter (where flights.tail_number is null) as flights_without_tail_number,
        count(flights.tail_number) filter (where planes.tail_number is null) as flights_with_unknown_tail_number,
        count(distinct flights.tail_number) filter (where planes.tail_number is null) as unknown_tail_numbers,
        count(*) filter (where airports.airport is null) as flights_to_airports_not_delivered,
        count(*) filter (where flights.departure_time is null) as cancelled,
        count(flights.departure_time) filter (where flights.arrival_time is null) as departed_without_arrival_time
    from {{ ref('stg_nyc__flights') }} as flights
    left join {{ ref('stg_nyc__planes') }} as planes on flights.tail_number = planes.tail_number
    left join {{ ref('stg_nyc__airports') }} as airports on flights.destination = airports.airport
    where flights.flight_date between '2013-01-01' and '2013-12-31'

),

published as (

    select
        count(*) as flights,
        count(distinct flight_key) as flight_keys,
        count(*) filter (where is_cancelled) as cancelled
    from {{ ref('fct_flights') }}
    where flight_date between '2013-01-01' and '2013-12-31'

),

performance as (

    select
        sum(scheduled_count) as flights,
        sum(cancelled_count) as cancelled
    from {{ ref('fct_carrier_daily_performance') }}
    where flight_date between '2013-01-01' and '2013-12-31'

),

compared as (

    select counts.*
    from delivered
    cross join published
    cross join performance
    cross join lateral (
        values
        ('flights delivered', delivered.flights, 336776),
        ('flights without a tail number', delivered.flights_without_tail_number, 2512),
        ('flights with an unknown tail number', delivered.flights_with_unknown_tail_number, 50094),
        ('unknown tail numbers', delivered.unknown_tail_numbers, 721),
        ('flights to airports not delivered', delivered.flights_to_airports_not_delivered, 7602),
        ('cancelled flights delivered', delivered.cancelled, 8255),
        ('departed flights without an arrival time', delivered.departed_without_arrival_time, 458),
        ('flights published', published.flights, 336776),
        ('different flights published', published.flight_keys, 336776),
        ('cancelled flights published', published.cancelled, 8255),
        ('flights in the daily performance', performance.flights, 336776),
        ('cancelled flights in the daily performance', performance.cancelled, 8255)
    ) as counts (what, counted, accepted)

)

select * from compared
where counted is distinct from accepted
