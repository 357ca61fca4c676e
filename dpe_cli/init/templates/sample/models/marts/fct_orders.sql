select
    order_id,
    branch,
    ordered_on,
    product,
    quantity,
    amount
from {{ ref('int_orders') }}
