select
    order_id,
    branch,
    ordered_on,
    product,
    quantity,
    unit_price
from {{ source('shop', 'orders') }}
