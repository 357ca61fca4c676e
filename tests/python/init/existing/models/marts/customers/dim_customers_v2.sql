select
    customers.customer_id,
    customers.country,
    count(orders.order_id) as orders
from {{ ref('stg_shop__customers') }} as customers
left join {{ ref('stg_shop__orders') }} as orders using (customer_id)
group by customers.customer_id, customers.country
