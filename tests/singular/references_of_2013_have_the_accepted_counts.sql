{{ config(
    severity='error',
    meta={
        'rule': 'DPE-101-22',
        'dimension': 'accuracy',
        'owner': 'flight-operations',
        'because': "the pipeline was accepted with them"
    }
) }}
-- Fails each count of the reference data that differs from the accepted one.
--
-- A delivery replaces the reference data, so the counts of 2013 are compared only until later flights are loaded.
with

airports as (

    select
        count(*) as airport_count,
        count(*) filter (where not is_added) as delivered_count
    from {{ ref('int_airports_completed') }}

),

planes as (

    select
        count(*) as plane_count,
        count(*) filter (where built_year is null) as without_year_count,
        count(*) filter (where built_year < 1959) as before_1959_count
    from {{ ref('stg_nyc__planes') }}

),

weather_hours as (

    select count(*) as observation_count
    from {{ ref('stg_nyc__weather') }}
    group by origin, observed_date, observed_hour

),

weather as (

    select
        sum(observation_count) as observation_count,
        count(*) filter (where observation_count > 1) as repeated_hour_count
    from weather_hours

),

kept_weather as (

    select count(*) as observation_count from {{ ref('int_weather_deduplicated') }}

),

airlines as (

    select count(*) as airline_count from {{ ref('stg_nyc__airlines') }}

),

flights as (

    select max(flight_date) as last_date from {{ ref('stg_nyc__flights') }}

),

compared as (

    select
        flights.last_date,
        counts.*
    from flights
    cross join airlines
    cross join airports
    cross join planes
    cross join weather
    cross join kept_weather
    cross join lateral (
        values
        ('airlines', airlines.airline_count, 16),
        ('airports delivered', airports.delivered_count, 1458),
        ('airports published', airports.airport_count, 1462),
        ('aircraft', planes.plane_count, 3322),
        ('aircraft without a year', planes.without_year_count, 70),
        ('aircraft built before 1959', planes.before_1959_count, 1),
        ('weather observations', weather.observation_count, 26115),
        ('weather observations kept', kept_weather.observation_count, 26115),
        ('local hours of weather that occur twice', weather.repeated_hour_count, 3)
    ) as counts (what, counted, accepted)

)

select * from compared
where
    counted is distinct from accepted
    and last_date <= '2013-12-31'
