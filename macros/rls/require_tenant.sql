{#
    Refuse rows without a tenant: no reader could see them, so their absence would go unnoticed.
#}
{% macro require_tenant(relation, column) %}

{% call dpe.do_block() %}
begin
    alter table {{ relation }} alter column {{ dpe.quote_name(column) }} set not null;
exception
    when not_null_violation then
        raise exception '%', {{ dpe.literal_of(relation.schema ~ '.' ~ relation.identifier ~ ': has rows without a ' ~ column ~ ', its tenant column') }}
            using hint = 'Filter them out, give them a tenant, or quarantine them with a not_null rule (on_failure: quarantine).';
end
{% endcall %}

{% endmacro %}
