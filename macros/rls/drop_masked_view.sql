{#
    Drop the view of masked readers and what readers made of it, if there is one; a view of its name that somebody else made stays.
#}
{% macro drop_masked_view() %}

{% set view = masked_view() %}
do $dpe$
begin
    if obj_description(to_regclass('{{ view }}'), 'pg_class') like 'What masked readers see of %' then
        drop view {{ view }} cascade;
    end if;
end
$dpe$;

{% endmacro %}
