{{ config(materialized='ephemeral') }}

select
    order_id,
    sum(price) as amount,
    count(*) as lines
from {{ ref('stg_shop__order_lines') }}
group by order_id
