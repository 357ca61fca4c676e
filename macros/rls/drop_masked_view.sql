{#
    Drop the masked readers' view, if there is one, and what readers built on it; another role's view of this name stays.
#}
{% macro drop_masked_view() %}

{% set view = dpe.masked_view() %}
{% call dpe.do_block() %}
begin
    if obj_description(to_regclass({{ dpe.literal_of(view) }}), 'pg_class') like 'What masked readers see of %' then
        drop view {{ view }} cascade;
    end if;
end
{% endcall %}

{% endmacro %}
