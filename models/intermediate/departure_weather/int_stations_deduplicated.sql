-- One row per station: the newest version.
with

stations as (

    select * from {{ ref('stg_met__stations') }}

),

deduplicated as (

    select distinct on (origin) *
    from stations
    order by
        origin asc,
        last_observed_at desc,
        load_id desc

)

select * from deduplicated
