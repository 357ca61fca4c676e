select
[% for column in columns %]
    [[ column.sql ]][[ "," if not loop.last ]]
[% endfor %]
from {{ ref('stg_[[ source ]]__[[ table ]]') }}
