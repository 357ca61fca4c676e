select
    order_id,
    line,
    article,
    {{ cents_to_amount('price_in_cents') }} as price
from {{ source('shop', 'order_lines') }}
