-- One row per airport and point in time: the newest version of the observation.
with

observations as (

    select * from {{ ref('stg_met__observations') }}

),

deduplicated as (

    select distinct on (origin, observed_at) *
    from observations
    order by
        origin asc,
        observed_at asc,
        load_id desc

)

select * from deduplicated
