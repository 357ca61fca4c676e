select order_id
from {{ ref('fct_orders') }}
where ordered_on > current_date
