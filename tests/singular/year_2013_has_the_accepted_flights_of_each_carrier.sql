{{ config(
    severity='error',
    meta={
        'rule': 'DPE-101-22',
        'dimension': 'accuracy',
        'owner': 'flight-operations',
        'because': "the pipeline was accepted with them"
    }
) }}
-- Fails each carrier whose number of flights in 2013, delivered or published, differs from the accepted one.
with

accepted (carrier, flight_count) as (

    values
    ('UA', 58665),
    ('B6', 54635),
    ('EV', 54173),
    ('DL', 48110),
    ('AA', 32729),
    ('MQ', 26397),
    ('US', 20536),
    ('9E', 18460),
    ('WN', 12275),
    ('VX', 5162),
    ('FL', 3260),
    ('AS', 714),
    ('F9', 685),
    ('YV', 601),
    ('HA', 342),
    ('OO', 32)

),

delivered as (

    select
        carrier,
        count(*) as flight_count
    from {{ ref('stg_nyc__flights') }}
    where flight_date between '2013-01-01' and '2013-12-31'
    group by carrier

),

published as (

    select
        carrier,
        count(*) as flight_count
    from {{ ref('fct_flights') }}
    where flight_date between '2013-01-01' and '2013-12-31'
    group by carrier

),

compared as (

    select
        coalesce(accepted.carrier, delivered.carrier, published.carrier) as carrier,
        accepted.flight_count as accepted_count,
        delivered.flight_count as delivered_count,
        published.flight_count as published_count
    from accepted
    full join delivered on accepted.carrier = delivered.carrier
    full join published on coalesce(accepted.carrier, delivered.carrier) = published.carrier

)

select * from compared
where
    delivered_count is distinct from accepted_count
    or published_count is distinct from accepted_count
