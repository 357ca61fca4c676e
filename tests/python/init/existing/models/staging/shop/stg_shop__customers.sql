select
    customer_id,
    name as customer_name,
    upper(country) as country,
    email
from {{ source('shop', 'customers') }}
