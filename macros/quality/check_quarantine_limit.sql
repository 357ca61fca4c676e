{#
    Fail if more rows would be quarantined than a rule allows.
#}
{% macro check_quarantine_limit(relation, test) %}

{% set limits = test.config.meta.get('quarantine') or {'max_ratio': 0.05} %}

{% call dpe.do_block() %}
#variable_conflict use_column
declare
    broken bigint;
    total bigint;
begin
    select count(*) filter (where {{ dpe.breaks(relation, test, 'candidate') }}), count(*)
    into broken, total
    from {{ relation }} as candidate;
    if {% if limits.max_rows is defined %}broken > {{ limits.max_rows }} or {% endif %}broken > total * {{ limits.get('max_ratio', 1) }} then
        raise exception 'rule %: % of % rows break it, more than its quarantine allows',
            {{ dpe.literal_of(test.config.meta.rule) }}, to_char(broken, 'FM999,999,999,999,990'), to_char(total, 'FM999,999,999,999,990')
            using hint = {{ dpe.literal_of('Correct the delivery, or raise quarantine: {max_rows: …, max_ratio: …} in the meta of the test ' ~ test.name ~ '.') }};
    end if;
end
{% endcall %}

{% endmacro %}
