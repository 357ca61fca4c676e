select
    order_id,
    branch,
    ordered_on,
    product,
    quantity,
    unit_price,
    quantity * unit_price as amount
from {{ ref('stg_shop__orders') }}
