with

source as (

    select * from {{ source('nyc', 'flights') }}

),

renamed as (

    select
        carrier,
        flight as flight_number,
        make_date(year, month, day) as flight_date,
        origin,
        dest as destination,
        tailnum as tail_number,
        -- Midnight is delivered as 2400; PostgreSQL accepts 24:00, but most programs do not.
        make_time(sched_dep_time / 100 % 24, sched_dep_time % 100, 0) as scheduled_departure_time,
        make_time(dep_time / 100 % 24, dep_time % 100, 0) as departure_time,
        make_time(sched_arr_time / 100 % 24, sched_arr_time % 100, 0) as scheduled_arrival_time,
        make_time(arr_time / 100 % 24, arr_time % 100, 0) as arrival_time,
        time_hour as scheduled_hour_at,
        dep_delay as departure_delay_minutes,
        arr_delay as arrival_delay_minutes,
        air_time as air_time_minutes,
        distance as distance_miles,
        _load_id as load_id
    from source

)

select * from renamed
