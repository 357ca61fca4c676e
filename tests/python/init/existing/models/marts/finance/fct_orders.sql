{{ config(post_hook="create index if not exists {{ this.identifier }}_by_day on {{ this }} (ordered_on)") }}

select
    orders.order_id,
    customers.country,
    orders.ordered_on,
    orders.status,
    totals.amount
from {{ ref('stg_shop__orders') }} as orders
inner join {{ ref('stg_shop__customers') }} as customers using (customer_id)
inner join {{ ref('int_order_totals') }} as totals using (order_id)
{% if is_incremental() %}
where orders.ordered_on >= (select max(ordered_on) from {{ this }})
{% endif %}
