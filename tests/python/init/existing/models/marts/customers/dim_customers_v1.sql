select
    customer_id,
    country
from {{ ref('stg_shop__customers') }}
