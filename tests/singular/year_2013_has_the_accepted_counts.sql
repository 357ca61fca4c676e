{{ config(
    severity='error',
    meta={
        'rule': 'DPE-101-22',
        'dimension': 'accuracy',
        'owner': 'flight-operations',
        'because': "they are how this pipeline was accepted"
    }
) }}
-- Fails each count of the delivered year that is not the one the pipeline was accepted with.
with

delivered as (

    select * from {{ ref('stg_nyc__flights') }}
    where flight_date between '2013-01-01' and '2013-12-31'

),

published as (

    select * from {{ ref('fct_flights') }}
    where flight_date between '2013-01-01' and '2013-12-31'

),

unknown_tail_numbers as (

    select delivered.tail_number
    from delivered
    left join {{ ref('stg_nyc__planes') }} as planes on delivered.tail_number = planes.tail_number
    where
        delivered.tail_number is not null
        and planes.tail_number is null

),

counted as (

    select
        'flights' as what,
        count(*) as counted
    from delivered
    union all
    select
        'flights without a tail number' as what,
        count(*) as counted
    from delivered
    where tail_number is null
    union all
    select
        'flights with an unknown tail number' as what,
        count(*) as counted
    from unknown_tail_numbers
    union all
    select
        'unknown tail numbers' as what,
        count(distinct tail_number) as counted
    from unknown_tail_numbers
    union all
    select
        'flights to airports not delivered' as what,
        count(*) as counted
    from delivered
    where destination not in (select airports.airport from {{ ref('stg_nyc__airports') }} as airports)
    union all
    select
        'cancelled flights' as what,
        count(*) as counted
    from delivered
    where departure_time is null
    union all
    select
        'departed flights without an arrival time' as what,
        count(*) as counted
    from delivered
    where
        departure_time is not null
        and arrival_time is null
    union all
    select
        'published flights' as what,
        count(*) as counted
    from published
    union all
    select
        'published cancelled flights' as what,
        count(*) as counted
    from published
    where is_cancelled
    union all
    select
        'weather observations' as what,
        count(*) as counted
    from {{ ref('stg_nyc__weather') }}
    where observed_date between '2013-01-01' and '2013-12-31'
    union all
    select
        'published flights of ' || carrier as what,
        count(*) as counted
    from published
    group by carrier

),

expected (what, expected) as (

    values
    ('flights', 336776),
    ('flights without a tail number', 2512),
    ('flights with an unknown tail number', 50094),
    ('unknown tail numbers', 721),
    ('flights to airports not delivered', 7602),
    ('cancelled flights', 8255),
    ('departed flights without an arrival time', 458),
    ('published flights', 336776),
    ('published cancelled flights', 8255),
    ('weather observations', 26115),
    ('published flights of UA', 58665),
    ('published flights of B6', 54635),
    ('published flights of EV', 54173),
    ('published flights of DL', 48110),
    ('published flights of AA', 32729),
    ('published flights of MQ', 26397),
    ('published flights of US', 20536),
    ('published flights of 9E', 18460),
    ('published flights of WN', 12275),
    ('published flights of VX', 5162),
    ('published flights of FL', 3260),
    ('published flights of AS', 714),
    ('published flights of F9', 685),
    ('published flights of YV', 601),
    ('published flights of HA', 342),
    ('published flights of OO', 32)

)

select
    coalesce(counted.what, expected.what) as what,
    counted.counted,
    expected.expected
from counted
full join expected on counted.what = expected.what
where counted.counted is distinct from expected.expected
