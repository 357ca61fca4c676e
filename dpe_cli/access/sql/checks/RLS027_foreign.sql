-- severity: error
-- title: A foreign table
-- why: no policy protects it
select
    name as subject,
    'is a foreign table, which no policy protects' as detail,
    'load its rows into a table' as fix
from managed
where kind = 'f'
