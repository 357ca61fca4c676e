select
    orders.country,
    names.country_name,
    sum(orders.amount) as revenue,
    '{{ var("currency") }}' as currency
from {{ ref('fct_orders') }} as orders
inner join {{ ref('country_names') }} as names using (country)
where orders.status <> 'returned'
group by orders.country, names.country_name
