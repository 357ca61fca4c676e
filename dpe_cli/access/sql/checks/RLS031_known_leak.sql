-- severity: error
-- title: The server has a known leak of rows
-- why: a later minor release fixes it
select
    'server' as subject,
    format('is PostgreSQL %s, where %s', current_setting('server_version'), leaks.leak) as detail,
    format('update PostgreSQL to %s.%s or later', leaks.major, leaks.minor) as fix
from (
    values
    -- CVE-2025-8713: the planner's statistics show values of rows that policies hide.
    (15, 14, 'statistics show values of hidden rows (CVE-2025-8713)'),
    (16, 10, 'statistics show values of hidden rows (CVE-2025-8713)'),
    (17, 6, 'statistics show values of hidden rows (CVE-2025-8713)')
) as leaks (major, minor, leak)
where
    current_setting('server_version_num')::integer / 10000 = leaks.major
    and current_setting('server_version_num')::integer % 10000 < leaks.minor
