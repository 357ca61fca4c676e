-- One row per carrier.
with

carriers as (

    select
        carrier,
        carrier_name
    from {{ ref('stg_nyc__airlines') }}

)

select * from carriers
