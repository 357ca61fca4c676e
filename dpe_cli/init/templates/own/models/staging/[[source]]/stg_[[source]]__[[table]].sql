select
[% for column in columns %]
    [[ column.sql ]][[ "," if not loop.last ]]
[% endfor %]
from {{ source('[[ source ]]', '[[ table ]]') }}
