select *
from {{ ref('dim_customers', v=2) }}
order by orders desc
limit 10
